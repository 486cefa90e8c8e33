"""Queues: what waits, how long, whether it gets fewer, what is held and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.containers import Container
from textual.widget import Widget

from backend.watch.snapshots import HeldGroup, JobTypeRow, QueuesSnapshot
from screens.base import ConsoleScreen
from screens.moments import moment_text
from screens.pulse_panels import queue_lines
from widgets.columns import Column
from widgets.figures import age_text, count_text, short_text, with_unit
from widgets.line_view import LineView
from widgets.pieces import Content, Line, Piece, Tone, rule
from widgets.row_book import Sorting
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.snapshots import Snapshot


def held_count_cell(group: HeldGroup) -> Content:
    """How many of the last hour; none is dim."""
    if not group.held_1h:
        return Piece("0", Tone.DIM)
    return Piece(count_text(group.held_1h), Tone.WARN)


CAUSES: tuple[Column[HeldGroup], ...] = (
    Column("type", "Job type", cell=lambda row: Piece(row.entrypoint, Tone.BRIGHT), width=22),
    Column("error", "Cause", cell=lambda row: Piece(f"{row.error_type}: {row.message}"), width=26, grow=4),
    Column(
        "hour", "1 h", cell=held_count_cell, width=6, align="right", sort=lambda row: row.held_1h, descending=True,
        searched=False,
    ),
    Column(
        "day", "24 h", cell=lambda row: count_text(row.held_24h), width=6, align="right",
        sort=lambda row: row.held_24h, descending=True, searched=False, priority=4,
    ),
    Column(
        "all", "all", cell=lambda row: count_text(row.held_total), width=6, align="right",
        sort=lambda row: row.held_total, descending=True, searched=False, priority=3,
    ),
    Column(
        "first", "First", timed=lambda row, now: Piece(moment_text(row.first_at, now), Tone.DIM), width=12,
        sort=lambda row: row.first_at, descending=True, searched=False, priority=5,
    ),
    Column(
        "last", "Last", timed=lambda row, now: Piece(moment_text(row.last_at, now)), width=12,
        sort=lambda row: row.last_at, descending=True, searched=False, priority=2,
    ),
    Column(
        "companies", "Comp.", cell=lambda row: Piece(count_text(row.companies), Tone.DIM), width=5, align="right",
        sort=lambda row: row.companies, descending=True, searched=False, priority=6,
    ),
)  # fmt: skip


def _age_column(key: str, title: str, value: str, *, priority: int) -> Column[JobTypeRow]:
    def seconds(row: JobTypeRow) -> float | None:
        found = getattr(row, value)
        return float(found) if found is not None else None

    return Column(
        key, title, cell=lambda row: with_unit(age_text(seconds(row))), width=8, align="right", sort=seconds,
        descending=True, searched=False, priority=priority,
    )  # fmt: skip


def _count_column(key: str, title: str, value: str, *, priority: int, alarm: bool = False) -> Column[JobTypeRow]:
    def count(row: JobTypeRow) -> int:
        return int(getattr(row, value))

    def cell(row: JobTypeRow) -> Content:
        number = count(row)
        if not number:
            return Piece("0", Tone.DIM)
        return Piece(short_text(number), Tone.WARN if alarm else Tone.TEXT)

    return Column(
        key, title, cell=cell, width=7, align="right", sort=count, descending=True, searched=False, priority=priority
    )


JOB_TYPES: tuple[Column[JobTypeRow], ...] = (
    Column("type", "Job type", cell=lambda row: Piece(row.entrypoint, Tone.BRIGHT), width=24, grow=1, most=40),
    _count_column("ready", "ready", "ready", priority=1),
    _count_column("running", "runs", "running", priority=1),
    _count_column("scheduled", "later", "scheduled", priority=2),
    _count_column("held", "held", "held", priority=1, alarm=True),
    _count_column("done", "done", "done", priority=3),
    _count_column("retried", "retried", "retried", priority=4, alarm=True),
    _age_column("wait50", "wait p50", "wait_p50_s", priority=6),
    _age_column("wait99", "wait p99", "wait_p99_s", priority=3),
    _age_column("run50", "run p50", "run_p50_s", priority=7),
    _age_column("run99", "run p99", "run_p99_s", priority=5),
)


def intake_line(snapshot: QueuesSnapshot, width: int) -> Line:
    """What stands in front of the queues: deliveries accepted, waiting, refused, without a company."""
    waiting = snapshot.inbox_waiting
    refused = ", ".join(
        f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(snapshot.rejected_by_reason_1h.items())
    )
    pieces: list[Piece] = [
        Piece(" Accepted, 1 h "),
        Piece(count_text(snapshot.accepted_1h), Tone.BRIGHT),
        Piece("   without effect yet ", Tone.DIM),
        Piece(count_text(waiting)),
    ]
    if waiting:
        pieces += [Piece(", oldest ", Tone.DIM), *with_unit(age_text(snapshot.inbox_oldest_s))]
    pieces += [
        Piece("   quarantined ", Tone.DIM),
        Piece(f"▲ {snapshot.quarantined}", Tone.WARN) if snapshot.quarantined else Piece("0"),
        Piece("   refused, 1 h ", Tone.DIM),
        Piece(count_text(snapshot.rejected_1h)),
    ]
    if refused and Line(tuple(pieces)).width + len(refused) + 4 < width:
        pieces.append(Piece(f" ({refused})", Tone.DIM))
    return Line(tuple(pieces))


def calendar_lines(snapshot: QueuesSnapshot) -> list[Line]:
    """What is on its way to calendars, and how the providers do; nothing while no provider is called."""
    if not (snapshot.providers or snapshot.calendar_pending or snapshot.calendar_failed):
        return []
    pieces: list[Piece] = [Piece(" Calendars, not written yet "), Piece(count_text(snapshot.calendar_pending))]
    if snapshot.calendar_pending:
        pieces += [Piece(", oldest ", Tone.DIM), *with_unit(age_text(snapshot.calendar_oldest_s))]
    failed = snapshot.calendar_failed
    pieces += [
        Piece("   refused ", Tone.DIM),
        Piece(f"✖ {failed}", Tone.CRIT) if failed else Piece("0"),
    ]
    for row in snapshot.providers:
        is_open = row.breaker != "closed"
        pieces += [
            Piece(f"   {row.provider} ", Tone.DIM),
            Piece("▲ held back" if is_open else "answers", Tone.WARN if is_open else Tone.OK),
            *((Piece(" since ", Tone.DIM), *with_unit(age_text(row.since_s))) if is_open else ()),
            Piece("  p99 ", Tone.DIM),
            *with_unit(age_text(row.p99_s)),
        ]
    return [Line(tuple(pieces))]


def reconciled_lines(snapshot: QueuesSnapshot) -> list[Line]:
    """When providers were last compared with, and what is open; nothing while none is."""
    if not snapshot.reconciled:
        return []
    pieces: list[Piece] = [Piece(" Compared")]
    for row in snapshot.reconciled:
        is_well = row.state in {"done", "running"}
        pieces += [
            Piece(f"   {row.provider} ", Tone.DIM),
            *(() if is_well else (Piece(f"▲ {row.state} ", Tone.WARN),)),
            *((Piece("not within the hour"),) if row.done_s is None else with_unit(f"{age_text(row.done_s)} ago")),
            Piece("  open ", Tone.DIM),
            Piece(f"▲ {row.open}", Tone.WARN) if row.open else Piece("0"),
        ]
    return [Line(tuple(pieces))]


class QueuesScreen(ConsoleScreen):
    """Queues on top, then what is held by cause, then job types."""

    NAME = "queues"
    TITLE = "Queues"
    DOMAINS: ClassVar[tuple[str, ...]] = ("queues",)
    CSS_PATH = "queues.tcss"

    def body(self) -> Iterable[Widget]:
        """Figures, causes, job types."""
        yield LineView(id="queues", classes="body")
        with Container(id="lists", classes="body"):
            yield VirtualTable(
                CAUSES,
                key=lambda row: row.fingerprint,
                title="Held, by cause",
                nouns=("cause", "causes"),
                empty="No held jobs. A job that fails its last attempt waits here, with its payload and traceback.",
                sorting=Sorting("last", descending=True),
                id="causes",
            )
            yield VirtualTable(
                JOB_TYPES,
                key=lambda row: row.entrypoint,
                title="Job types, last 15 min",
                nouns=("type", "types"),
                empty="No job has run yet.",
                id="types",
            )

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """New figures."""
        if isinstance(snapshot, QueuesSnapshot):
            width = self.app.size.width
            lines = [
                *queue_lines(snapshot, width),
                rule(Piece("Intake", Tone.BRIGHT), width),
                intake_line(snapshot, width),
                *calendar_lines(snapshot),
                *reconciled_lines(snapshot),
            ]
            self.query_one("#queues", LineView).show(lines)
            self.query_one("#causes", VirtualTable).set_rows(snapshot.held)
            self.query_one("#types", VirtualTable).set_rows(snapshot.job_types)

    def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """A cause opens into its jobs; a job type shows its causes."""
        if isinstance(event.row, HeldGroup):
            from screens.cause import CauseScreen

            self.app.push_screen(CauseScreen(event.row))
        elif isinstance(event.row, JobTypeRow):
            causes = self.query_one("#causes", VirtualTable)
            causes.set_filter(event.row.entrypoint)
            causes.focus()
