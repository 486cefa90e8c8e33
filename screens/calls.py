"""Calls: who is speaking with the agent now, who called before, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar
from zoneinfo import ZoneInfo

from textual.widget import Widget

from backend.domain.phones import masked
from backend.domain.vocabulary import CallOutcome, CallStatus, Sentiment
from backend.watch.snapshots import CallRow, CallsSnapshot
from screens.base import ZONE, ConsoleScreen
from widgets.columns import Column
from widgets.figures import DASH, age_text, count_text, length_text, money_text, sparkline, with_unit
from widgets.line_view import LineView
from widgets.pieces import Content, Line, Piece, Tone
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.snapshots import Snapshot

_ZONE = ZoneInfo(ZONE)


def started_cell(row: CallRow) -> Content:
    """The time of day it began; the day only when it was not the newest row's."""
    return Piece(datetime.fromtimestamp(row.started_at, _ZONE).strftime("%H:%M:%S"), Tone.DIM)


def caller_cell(row: CallRow) -> Content:
    """Who called: the name, else the number, else that it is hidden."""
    if row.caller:
        return Piece(row.caller, Tone.BRIGHT)
    return Piece(masked(row.from_number) or "number withheld", Tone.DIM)


def length_cell(row: CallRow, now: float) -> Content:
    """How long it lasted, or lasts."""
    if row.status == CallStatus.ONGOING:
        return Piece(length_text(now - row.started_at), Tone.ACCENT)
    return Piece(length_text(row.duration_s))


def state_cell(row: CallRow) -> Content:
    """Speaking, or what came of it."""
    if row.status == CallStatus.ONGOING:
        return Piece("● speaking", Tone.ACCENT)
    if row.status == CallStatus.ERROR:
        return Piece("✖ failed", Tone.CRIT)
    if row.status == CallStatus.NOT_CONNECTED:
        return Piece("not connected", Tone.DIM)
    outcome = row.outcome
    if outcome == CallOutcome.BOOKED:
        return Piece("booked", Tone.OK)
    if outcome == CallOutcome.ERROR:
        return Piece("✖ error", Tone.CRIT)
    if outcome in {CallOutcome.CALLBACK, CallOutcome.TRANSFER}:
        return Piece(outcome, Tone.WARN)
    return Piece(outcome if outcome != CallOutcome.UNKNOWN else DASH, Tone.DIM)


def mood_cell(row: CallRow) -> Content:
    """The caller's mood; only a bad one stands out."""
    if row.sentiment == Sentiment.NEGATIVE:
        return Piece("▲ negative", Tone.WARN)
    return Piece(row.sentiment if row.sentiment != Sentiment.UNKNOWN else DASH, Tone.DIM)


COLUMNS: tuple[Column[CallRow], ...] = (
    Column("started", "Started", cell=started_cell, width=8, sort=lambda row: row.started_at, descending=True),
    Column(
        "length", "Length", timed=length_cell, width=7, align="right", sort=lambda row: row.duration_s, searched=False
    ),
    Column("caller", "Caller", cell=caller_cell, width=18, grow=2, most=30),
    Column("outcome", "Outcome", cell=state_cell, width=13),
    Column("company", "Company", cell=lambda row: Piece(row.company), width=14, grow=1, most=24, priority=2),
    Column("branch", "Branch", cell=lambda row: Piece(row.branch, Tone.DIM), width=12, priority=5),
    Column("number", "Number", cell=lambda row: Piece(masked(row.from_number), Tone.DIM), width=15, priority=4),
    Column("mood", "Mood", cell=mood_cell, width=10, priority=3),
    Column(
        "cost",
        "Cost",
        cell=lambda row: with_unit(money_text(row.cost_cents)),
        width=7,
        align="right",
        sort=lambda row: row.cost_cents,
        descending=True,
        searched=False,
        priority=6,
    ),
    Column("summary", "Summary", cell=lambda row: Piece(row.summary, Tone.DIM), width=24, grow=5, priority=7),
)


def figures_line(snapshot: CallsSnapshot, width: int) -> Line:
    """The day in one line: now, last hour, today, what came of it, and the trend."""
    booked = snapshot.by_outcome_today.get(CallOutcome.BOOKED, 0)
    pieces: list[Piece] = [
        Piece(" Now "),
        Piece(f"{snapshot.ongoing}", Tone.BRIGHT),
        Piece("   last hour ", Tone.DIM),
        Piece(count_text(snapshot.started_last_hour)),
        Piece("   today ", Tone.DIM),
        Piece(count_text(snapshot.started_today)),
        Piece("   booked ", Tone.DIM),
        Piece(count_text(booked)),
    ]
    if snapshot.started_today:
        pieces.append(Piece(f" {booked / snapshot.started_today * 100:.0f} %", Tone.DIM))
    pieces += [Piece("   median ", Tone.DIM), *with_unit(age_text(snapshot.median_duration_s))]
    room = width - Line(tuple(pieces)).width - 19
    if room >= 12:
        trend = sparkline(snapshot.per_minute.values, min(60, room))
        pieces += [Piece("   "), Piece(trend, Tone.ACCENT), Piece(" calls/min, 1 h", Tone.DIM)]
    return Line(tuple(pieces))


class CallsScreen(ConsoleScreen):
    """The list of calls, newest first."""

    NAME = "calls"
    TITLE = "Calls"
    DOMAINS: ClassVar[tuple[str, ...]] = ("calls",)

    def body(self) -> Iterable[Widget]:
        """Figures, then the list."""
        yield LineView(id="figures")
        yield VirtualTable(
            COLUMNS,
            key=lambda row: row.id,
            title="Calls",
            nouns=("call", "calls"),
            empty="No calls yet. They appear here within a second after the provider's first webhook.",
            row_tone=lambda row: Tone.DIM if row.status == CallStatus.NOT_CONNECTED else None,
        )

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """New calls."""
        if isinstance(snapshot, CallsSnapshot):
            self.query_one("#figures", LineView).show([figures_line(snapshot, self.app.size.width)])
            self.query_one(VirtualTable).set_rows(snapshot.rows)

    def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """A call opens with everything that happened for it."""
        if isinstance(event.row, CallRow):
            from screens.things import open_thing

            open_thing(self.app, "call", event.row.id, crumbs=(self.TITLE,))
