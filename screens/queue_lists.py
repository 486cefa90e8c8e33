"""The lists of the Queues screen as data: queues with their slots, held causes, job types, providers.

Rows are made of a snapshot once for each; columns are what header, order, filter and export come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.domain.vocabulary import PauseKind, Verdict
from backend.watch.queue_alerts import broken
from backend.watch.snapshots import (
    HeldGroup,
    JobTypeRow,
    PauseRow,
    ProviderRow,
    QueueRow,
    QueuesSnapshot,
    ReconciledRow,
    SlotRow,
)
from screens.moments import moment_text, until_text
from widgets.columns import Column
from widgets.figures import DASH, age_text, count_text, ratio_text, short_text, span_text, sparkline, with_unit
from widgets.pieces import Content, Piece, Tone, verdict


@dataclass(frozen=True, slots=True)
class Expected:
    """What was just asked for and no snapshot tells of yet."""

    slots: int | None = None
    """None: as they were."""
    text: str = ""
    """What is being done, in a word or two."""


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One queue with everything that was said about it."""

    row: QueueRow
    slots: tuple[SlotRow, ...] = ()
    """On each of its nodes."""
    pause: PauseRow | None = None
    """In force, or still on its ramp."""
    is_balancing: bool = True
    expected: Expected = Expected()

    @property
    def decided(self) -> int:
        """Jobs at once on all nodes, as decided; what live workers say where nothing is known."""
        if self.expected.slots is not None:
            return self.expected.slots
        return sum(slot.slots for slot in self.slots) if self.slots else self.row.concurrency

    @property
    def is_pinned(self) -> bool:
        """Whether a person said how many slots it has, on any node."""
        return any(slot.is_pinned for slot in self.slots)


@dataclass(frozen=True, slots=True)
class TypeLine:
    """One job type and its pause."""

    row: JobTypeRow
    pause: PauseRow | None = None


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """One provider: its breaker, whether people keep it open, how it was compared with."""

    provider: str
    row: ProviderRow | None = None
    pause: PauseRow | None = None
    compared: ReconciledRow | None = None


def is_in_force(pause: PauseRow, now: float) -> bool:
    """Whether it holds something back at this moment; else it is on its ramp."""
    return pause.resumed_at is None and (pause.until is None or pause.until > now)


def ramp_share(pause: PauseRow, now: float) -> float:
    """How much of full speed it allows, 0 to 1."""
    if is_in_force(pause, now):
        return 0.0
    ended = pause.resumed_at if pause.resumed_at is not None else pause.until or now
    return min(1.0, max(0.0, (now - ended) / pause.ramp_s)) if pause.ramp_s else 1.0


def pauses_by_name(snapshot: QueuesSnapshot, kind: PauseKind) -> dict[str, PauseRow]:
    """The pauses of one kind by what they pause; one in force before one on its ramp."""
    found: dict[str, PauseRow] = {}
    for pause in snapshot.pauses:
        if pause.kind == kind and (pause.name not in found or pause.resumed_at is None):
            found[pause.name] = pause
    return found


def queue_rows(snapshot: QueuesSnapshot, expected: Mapping[str, Expected]) -> list[QueueLine]:
    """Every queue."""
    pauses = pauses_by_name(snapshot, PauseKind.QUEUE)
    return [
        QueueLine(
            row,
            tuple(slot for slot in snapshot.slots if slot.queue == row.queue),
            pauses.get(row.queue),
            snapshot.is_balancing,
            expected.get(row.queue, Expected()),
        )
        for row in snapshot.queues
    ]


def type_rows(snapshot: QueuesSnapshot) -> list[TypeLine]:
    """Every job type."""
    pauses = pauses_by_name(snapshot, PauseKind.JOB_TYPE)
    return [TypeLine(row, pauses.get(row.entrypoint)) for row in snapshot.job_types]


def provider_rows(snapshot: QueuesSnapshot) -> list[ProviderLine]:
    """Every provider that was called, is paused, or was compared with."""
    called = {row.provider: row for row in snapshot.providers}
    pauses = pauses_by_name(snapshot, PauseKind.PROVIDER)
    compared = {row.provider: row for row in snapshot.reconciled}
    names = sorted({*called, *pauses, *compared})
    return [ProviderLine(name, called.get(name), pauses.get(name), compared.get(name)) for name in names]


# Queues


def pause_pieces(pause: PauseRow, now: float) -> tuple[Piece, ...]:
    """`▲ paused 14:30`: until then; or how far its ramp has come. Who and why stands in the list beside."""
    if not is_in_force(pause, now):
        return (Piece(f"▲ ramp {ratio_text(ramp_share(pause, now))}", Tone.WARN),)
    until = until_text(pause.until, now).removeprefix("until")
    return (Piece("▲ paused", Tone.WARN), Piece(until))


def state_cell(line: QueueLine, now: float) -> Content:
    """What a person should know first about the queue; health is plain."""
    row = line.row
    if line.expected.text:
        return Piece(f"… {line.expected.text}", Tone.ACCENT)
    if not row.workers:
        return verdict(Tone.CRIT, "no worker")
    if line.pause is not None:
        return pause_pieces(line.pause, now)
    if row.paused:
        return verdict(Tone.WARN, "paused")
    if row.limits_broken:
        return verdict(limits_tone(row), ", ".join(row.limits_broken))
    return Piece("● works" if row.running else "● idle", Tone.TEXT if row.running else Tone.DIM)


def limits_tone(row: QueueRow) -> Tone:
    """How bad the worst of the limits is that it breaks."""
    critical = {one.limit for one in broken(row) if one.verdict is Verdict.CRIT}
    return Tone.CRIT if critical & set(row.limits_broken) else Tone.WARN


def _breaks(row: QueueRow, limit: str) -> bool:
    return limit in row.limits_broken


def _oldest_cell(line: QueueLine) -> Content:
    tone = limits_tone(line.row) if _breaks(line.row, "oldest") else Tone.TEXT
    return with_unit(age_text(line.row.oldest_s), tone)


def drain_cell(line: QueueLine) -> Content:
    """Time until what is ready is done; a queue that gets longer has none."""
    row = line.row
    tone = limits_tone(row) if _breaks(row, "drain") else Tone.TEXT
    if row.drain_s is None and row.ready and row.in_per_s > row.done_per_s:
        return Piece("grows", Tone.DIM if tone is Tone.TEXT else tone)
    if not row.ready:
        return Piece(DASH, Tone.DIM)
    return with_unit(age_text(row.drain_s), tone)


def _ready_cell(line: QueueLine) -> Content:
    ready = line.row.ready
    tone = Tone.WARN if _breaks(line.row, "backlog") else Tone.TEXT if ready else Tone.DIM
    return with_unit(short_text(ready), tone) if ready else Piece("0", tone)


def busy_cell(line: QueueLine) -> Content:
    """Running jobs of the slots there are."""
    row = line.row
    full = row.running >= line.decided > 0
    tone = Tone.ACCENT if full else Tone.TEXT if row.running else Tone.DIM
    return (Piece(f"{row.running}", tone), Piece(f"/{line.decided}", Tone.DIM))


def slots_cell(line: QueueLine) -> Content:
    """Who says how many slots it has: a person, the balancer, its policy."""
    if line.expected.slots is not None:
        return Piece(f"→ {line.expected.slots}", Tone.ACCENT)
    if line.is_pinned:
        return Piece("pinned", Tone.BRIGHT)
    if not line.is_balancing:
        return Piece("fixed", Tone.DIM)
    moved = line.decided - sum(slot.base for slot in line.slots) if line.slots else 0
    return Piece(f"auto {moved:+}", Tone.ACCENT) if moved else Piece("auto", Tone.DIM)


def _bounds_cell(line: QueueLine) -> Content:
    if not line.slots:
        return Piece(DASH, Tone.DIM)
    floor, ceiling = sum(slot.floor for slot in line.slots), sum(slot.ceiling for slot in line.slots)
    return Piece(f"{floor}–{ceiling}", Tone.DIM)


def _rate(value: float) -> Content:
    return Piece(short_text(round(value, 1)), Tone.TEXT if value >= 0.05 else Tone.DIM)


def _held_cell(count: int) -> Content:
    if not count:
        return Piece("0", Tone.DIM)
    number = short_text(count)
    return Piece(f"▲{'' if len(number) > 4 else ' '}{number}", Tone.WARN)


def _trend_cell(line: QueueLine) -> Content:
    return Piece(sparkline(line.row.ready_trend.values, 30) if line.row.ready_trend else "", Tone.ACCENT)


QUEUES: tuple[Column[QueueLine], ...] = (
    Column("queue", "Queue", cell=lambda line: Piece(line.row.queue, Tone.BRIGHT), width=13),
    Column("state", "State", timed=state_cell, width=14, grow=2, most=36),
    Column("ready", "ready", cell=_ready_cell, width=5, align="right", sort=lambda line: line.row.ready,
           descending=True, searched=False),
    Column("oldest", "oldest", cell=_oldest_cell, width=6, align="right", sort=lambda line: line.row.oldest_s,
           descending=True, searched=False),
    Column("drain", "drain", cell=drain_cell, width=6, align="right", sort=lambda line: line.row.drain_s,
           descending=True, searched=False),
    Column("busy", "busy", cell=busy_cell, width=7, align="right", sort=lambda line: line.row.running,
           descending=True, searched=False),
    Column("slots", "slots", cell=slots_cell, width=8, sort=lambda line: line.decided, descending=True),
    Column("held", "held", cell=lambda line: _held_cell(line.row.held), width=6, align="right",
           sort=lambda line: line.row.held, descending=True, searched=False),
    Column("bounds", "may be", cell=_bounds_cell, width=7, align="right", searched=False, priority=3),
    Column("in", "in/s", cell=lambda line: _rate(line.row.in_per_s), width=6, align="right",
           sort=lambda line: line.row.in_per_s, descending=True, searched=False, priority=2),
    Column("done", "done/s", cell=lambda line: _rate(line.row.done_per_s), width=6, align="right",
           sort=lambda line: line.row.done_per_s, descending=True, searched=False, priority=2),
    Column("later", "later", cell=lambda line: Piece(short_text(line.row.scheduled), Tone.DIM), width=6,
           align="right", sort=lambda line: line.row.scheduled, descending=True, searched=False, priority=4),
    Column("trend", "ready, 1 h", cell=_trend_cell, width=30, searched=False, priority=6),
)  # fmt: skip


# Held causes


def held_count_cell(group: HeldGroup) -> Content:
    """How many of the last hour; none is dim."""
    if not group.held_1h:
        return Piece("0", Tone.DIM)
    return Piece(_counted(group.held_1h), Tone.WARN)


def _counted(count: int) -> str:
    """To the last one where there is room for that."""
    return count_text(count) if count < 100_000 else short_text(count)


def companies_cell(group: HeldGroup) -> Content:
    """The companies that have most of them: `nord 190, +2`."""
    if not group.top_companies:
        return Piece(count_text(group.companies) if group.companies else DASH, Tone.DIM)
    (first, count), *_ = group.top_companies
    if group.companies <= 1:
        return Piece(first)
    return (Piece(f"{first} {_counted(count)}"), Piece(f", +{group.companies - 1}", Tone.DIM))


def trend_cell(group: HeldGroup) -> Content:
    """The last hour in twelve bars; an hour without any is faint."""
    return Piece(sparkline(group.trend, 12), Tone.ACCENT if any(group.trend) else Tone.FAINT)


def _moment(column: str, title: str, priority: int) -> Column[HeldGroup]:
    def at(row: HeldGroup) -> float:
        return float(getattr(row, f"{column}_at"))

    tone = Tone.DIM if column == "first" else Tone.TEXT
    return Column(
        column, title, timed=lambda row, now: Piece(moment_text(at(row), now), tone), width=12, sort=at,
        descending=True, searched=False, priority=priority,
    )  # fmt: skip


def _held(column: str, title: str, value: str, priority: int) -> Column[HeldGroup]:
    def count(row: HeldGroup) -> int:
        return int(getattr(row, value))

    return Column(
        column, title, cell=lambda row: Piece(_counted(count(row)), Tone.TEXT if count(row) else Tone.DIM), width=6,
        align="right", sort=count, descending=True, searched=False, priority=priority,
    )  # fmt: skip


CAUSES: tuple[Column[HeldGroup], ...] = (
    Column("type", "Job type", cell=lambda row: Piece(row.entrypoint, Tone.BRIGHT), width=22, grow=1, most=34),
    Column("error", "Cause", cell=lambda row: Piece(f"{row.error_type}: {row.message}"), width=30, grow=9),
    Column("hour", "1 h", cell=held_count_cell, width=6, align="right", sort=lambda row: row.held_1h, descending=True,
           searched=False),
    Column("trend", "last hour", cell=trend_cell, width=12,
           searched=False, priority=5),
    _held("day", "24 h", "held_24h", 3),
    _held("week", "7 d", "held_7d", 6),
    _moment("first", "First", 7),
    _moment("last", "Last", 2),
    Column("companies", "Companies", cell=companies_cell, width=16, sort=lambda row: row.companies, descending=True,
           priority=4),
)  # fmt: skip


# Job types


def _name_cell(line: TypeLine) -> Content:
    name = Piece(line.row.entrypoint, Tone.BRIGHT)
    return (Piece("▲ ", Tone.WARN), name) if line.pause is not None else name


def _age_column(key: str, title: str, value: str, *, priority: int) -> Column[TypeLine]:
    def seconds(line: TypeLine) -> float | None:
        found = getattr(line.row, value)
        return float(found) if found is not None else None

    return Column(
        key, title, cell=lambda line: with_unit(span_text(seconds(line))), width=8, align="right", sort=seconds,
        descending=True, searched=False, priority=priority,
    )  # fmt: skip


def _count_column(key: str, title: str, value: str, *, priority: int, alarm: bool = False) -> Column[TypeLine]:
    def count(line: TypeLine) -> int:
        return int(getattr(line.row, value))

    def cell(line: TypeLine) -> Content:
        number = count(line)
        if not number:
            return Piece("0", Tone.DIM)
        return Piece(short_text(number), Tone.WARN if alarm else Tone.TEXT)

    return Column(
        key, title, cell=cell, width=7, align="right", sort=count, descending=True, searched=False, priority=priority
    )


def _type_state(line: TypeLine, now: float) -> Content:
    return pause_pieces(line.pause, now) if line.pause is not None else ""


JOB_TYPES: tuple[Column[TypeLine], ...] = (
    Column("type", "Job type", cell=_name_cell, width=24, grow=1, most=40),
    _count_column("ready", "ready", "ready", priority=1),
    _count_column("running", "runs", "running", priority=1),
    _count_column("scheduled", "later", "scheduled", priority=2),
    _count_column("held", "held", "held", priority=1, alarm=True),
    _count_column("done", "done", "done", priority=3),
    _count_column("retried", "retried", "retried", priority=4, alarm=True),
    _age_column("wait50", "wait p50", "wait_p50_s", priority=7),
    _age_column("wait99", "wait p99", "wait_p99_s", priority=3),
    _age_column("run50", "run p50", "run_p50_s", priority=8),
    _age_column("run99", "run p99", "run_p99_s", priority=5),
    Column("state", "", timed=_type_state, width=16, grow=1, most=36, priority=6),
)


# Providers


def breaker_cell(line: ProviderLine, now: float) -> Content:
    """How calls to it go: let through, held back by its failures, or held back by people."""
    if line.pause is not None:
        return pause_pieces(line.pause, now)
    if line.row is None:
        return Piece(DASH, Tone.DIM)
    if line.row.breaker == "closed":
        return Piece("● answers")
    word = "held back" if line.row.breaker == "open" else "tried again"
    return (*verdict(Tone.WARN, word), Piece(" for ", Tone.DIM), *with_unit(age_text(line.row.since_s)))


def failures_cell(line: ProviderLine) -> Content:
    """Attempts without a usable answer, and their share."""
    if line.row is None:
        return Piece(DASH, Tone.DIM)
    if not line.row.failures:
        return Piece("0", Tone.DIM)
    return (
        Piece(count_text(line.row.failures)),
        Piece(f"  {ratio_text(line.row.failures / line.row.calls)}", Tone.DIM),
    )


def compared_cell(line: ProviderLine) -> Content:
    """When it was last compared with, and what somebody has to decide."""
    row = line.compared
    if row is None:
        return Piece("never", Tone.DIM)
    state = () if row.state in {"done", "running"} else (Piece(f"▲ {row.state} ", Tone.WARN),)
    when = (Piece("not within the hour"),) if row.done_s is None else with_unit(f"{age_text(row.done_s)} ago")
    left_open = (Piece(f"▲ {row.open} open  ", Tone.WARN),) if row.open else ()
    return (*left_open, *state, *when)


PROVIDERS: tuple[Column[ProviderLine], ...] = (
    Column("provider", "Provider", cell=lambda line: Piece(line.provider, Tone.BRIGHT), width=10),
    Column("breaker", "Breaker", timed=breaker_cell, width=20, grow=2, most=36),
    Column("p99", "p99", cell=lambda line: with_unit(span_text(line.row.p99_s if line.row else None)), width=7,
           align="right", searched=False),
    Column("calls", "calls", cell=lambda line: short_text(line.row.calls if line.row else None), width=7,
           align="right", searched=False, priority=3),
    Column("failures", "failed", cell=failures_cell, width=12, align="right", searched=False, priority=2),
    Column("compared", "Compared", cell=compared_cell, width=20, grow=1, most=40, priority=4),
)  # fmt: skip


def about(count: int, noun: str) -> str:
    """A count with its noun: `1 job`, `1 200 jobs`."""
    return f"{count_text(count)} {noun}" + ("" if count == 1 else "s")


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence: the first few, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
