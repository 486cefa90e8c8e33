"""Calls: who is speaking with the agent now, who called before, and what came of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.containers import Horizontal
from textual.widget import Widget

from backend.domain.phones import masked
from backend.domain.vocabulary import CallOutcome, CallStatus, Sentiment
from backend.watch.snapshots import CallRow, CallsSnapshot
from screens.base import ConsoleScreen
from screens.moments import moment_text
from widgets.columns import Column
from widgets.figures import DASH, age_text, count_text, length_text, money_text, sparkline, with_unit
from widgets.line_view import LineView
from widgets.pieces import Content, Line, Piece, Tone, fitted, pieces_of, rule, wrapped
from widgets.row_book import Sorting
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.snapshots import Snapshot

WIDE = 200
"""Columns from which on the call under the cursor is shown beside the list."""

GLANCE_WIDTH = 60


def started_cell(row: CallRow, now: float) -> Content:
    """When it began: the time of today, else the day too."""
    return Piece(moment_text(row.started_at, now), Tone.DIM)


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
    return Piece(outcome if outcome and outcome != CallOutcome.UNKNOWN else DASH, Tone.DIM)


def mood_cell(row: CallRow) -> Content:
    """The caller's mood; only a bad one stands out."""
    if row.sentiment == Sentiment.NEGATIVE:
        return Piece("▲ negative", Tone.WARN)
    return Piece(row.sentiment if row.sentiment and row.sentiment != Sentiment.UNKNOWN else DASH, Tone.DIM)


COLUMNS: tuple[Column[CallRow], ...] = (
    Column("started", "Started", timed=started_cell, width=12, sort=lambda row: row.started_at, descending=True),
    Column(
        "length", "Length", timed=length_cell, width=7, align="right", sort=lambda row: row.duration_s, searched=False
    ),
    Column("caller", "Caller", cell=caller_cell, width=18, grow=4, most=30),
    Column("outcome", "Outcome", cell=state_cell, width=13),
    Column("company", "Company", cell=lambda row: Piece(row.company), width=16, grow=1, most=24, priority=2),
    Column("branch", "Branch", cell=lambda row: Piece(row.branch, Tone.DIM), width=12, grow=1, most=18, priority=5),
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
    room = width - Line(tuple(pieces)).width - 24
    if room >= 12:
        values = snapshot.per_minute.values
        trend = sparkline(values, min(60, room))
        most = f" at most {count_text(max(values, default=0))} /min, 1 h"
        pieces += [Piece("   "), Piece(trend, Tone.DIM), Piece(most, Tone.DIM)]
    return Line(tuple(pieces))


def glance_lines(row: CallRow | None, now: float, width: int) -> list[Line]:
    """One call beside the list: what the list has no room for."""
    if row is None:
        return [rule(Piece("Call", Tone.BRIGHT), width)]
    facts: list[tuple[str, Content]] = [
        ("Number", masked(row.from_number) or "withheld"),
        ("Company", f"{row.company}  {row.branch}".strip()),
        ("Started", moment_text(row.started_at, now)),
        ("Length", length_cell(row, now)),
        ("Outcome", state_cell(row)),
        ("Mood", mood_cell(row)),
        ("Cost", with_unit(money_text(row.cost_cents))),
    ]
    if row.appointment_id:
        facts.append(("Booked", Piece("an appointment", Tone.OK)))
    lines = [rule(Piece(row.caller or "Unknown caller", Tone.BRIGHT), width), Line()]
    lines += [Line((*fitted(Piece(f" {label}", Tone.DIM), 11), *pieces_of(content))) for label, content in facts]
    if row.summary:
        lines += [Line(), *(Line((Piece(" "), *line.pieces)) for line in wrapped(row.summary, width - 3))]
    lines += [Line(), Line((Piece(" ⏎", Tone.ACCENT), Piece(" everything that happened for it", Tone.DIM)))]
    return lines


class CallsScreen(ConsoleScreen):
    """The list of calls, newest first; on a wide screen the one under the cursor beside it."""

    NAME = "calls"
    TITLE = "Calls"
    DOMAINS: ClassVar[tuple[str, ...]] = ("calls",)
    CSS_PATH = "calls.tcss"

    def body(self) -> Iterable[Widget]:
        """Figures, then the list and the call beside it."""
        yield LineView(id="figures")
        with Horizontal(id="list"):
            yield VirtualTable(
                COLUMNS,
                key=lambda row: row.id,
                title="Calls",
                nouns=("call", "calls"),
                empty="No calls yet. They appear here within a second after the provider's first webhook.",
                natural=Sorting("started", descending=True),
                row_tone=lambda row: Tone.DIM if row.status == CallStatus.NOT_CONNECTED else None,
            )
            yield LineView(id="glance")

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """New calls."""
        if isinstance(snapshot, CallsSnapshot):
            self.query_one("#figures", LineView).show([figures_line(snapshot, self.app.size.width)])
            self.query_one(VirtualTable).set_rows(snapshot.rows)

    def tick(self) -> None:
        """A call that is going on grows longer."""
        super().tick()
        self._glance()

    def on_resize(self) -> None:
        """Figures and glance are laid out anew."""
        seen = self.seen.get("calls")
        if seen is not None and isinstance(seen.snapshot, CallsSnapshot):
            self.query_one("#figures", LineView).show([figures_line(seen.snapshot, self.app.size.width)])
        self._glance()

    def on_virtual_table_highlighted(self, _event: VirtualTable.Highlighted) -> None:
        """The call under the cursor."""
        self._glance()

    async def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """A call opens with everything that happened for it."""
        if isinstance(event.row, CallRow):
            from screens.things import open_thing

            await open_thing(self.app, "call", event.row.id, crumbs=(self.TITLE,))

    def _glance(self) -> None:
        if self.app.size.width < WIDE:
            return
        view = self.query_one("#glance", LineView)
        row = self.query_one(VirtualTable).cursor_row
        view.show(glance_lines(row if isinstance(row, CallRow) else None, math.floor(time.time()), GLANCE_WIDTH - 2))
