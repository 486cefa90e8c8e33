"""What is in force besides the rules, and what was decided: pauses, quarantines, bulk actions; troubles and slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.domain.vocabulary import BulkState, PauseKind, TroubleKind
from backend.watch.queue_alerts import broken
from backend.watch.snapshots import BulkRow, PauseRow, QuarantineRow, QueuesSnapshot, SlotChange, TroubleRow
from screens.moments import moment_text, until_text
from screens.queue_lists import is_in_force, limits_tone, ramp_share
from widgets.columns import Column
from widgets.figures import age_text, count_text, meter, ratio_text, short_text, with_unit
from widgets.pieces import Content, Line, Piece, Tone, fitted, pieces_of, verdict

KINDS = {
    PauseKind.QUEUE: "queue",
    PauseKind.JOB_TYPE: "job type",
    PauseKind.COMPANY: "company",
    PauseKind.PROVIDER: "provider",
    PauseKind.NODE: "node",
    PauseKind.SCHEDULE: "schedule",
}
"""How people call what can be paused."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One thing that is in force until somebody, or its time, ends it."""

    key: str
    ref: PauseRow | QuarantineRow | BulkRow

    @property
    def at(self) -> float:
        """When it began."""
        match self.ref:
            case PauseRow():
                return self.ref.paused_at
            case QuarantineRow():
                return self.ref.made_at
        return self.ref.started_at

    @property
    def by(self) -> str:
        """Who said so."""
        match self.ref:
            case PauseRow():
                return self.ref.paused_by
            case QuarantineRow():
                return self.ref.made_by
        return self.ref.started_by


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that happened: a trouble that a job made, or a decision about slots."""

    key: str
    ref: TroubleRow | SlotChange
    is_alone: bool = False
    """Whether there is one node only, which then goes without saying."""

    @property
    def at(self) -> float:
        """When."""
        return self.ref.at


def lanes(snapshot: QueuesSnapshot) -> list[Lane]:
    """What is in force: running bulk actions first, then pauses, quarantines, and bulk actions that ended lately."""
    running = [row for row in snapshot.bulk_actions if row.state == BulkState.RUNNING]
    ended = [row for row in snapshot.bulk_actions if row.state != BulkState.RUNNING]
    return [
        *(Lane(f"bulk {row.id}", row) for row in running),
        *(Lane(f"pause {row.id}", row) for row in snapshot.pauses),
        *(Lane(f"quarantine {row.id}", row) for row in snapshot.quarantines),
        *(Lane(f"bulk {row.id}", row) for row in ended),
    ]


def notes(snapshot: QueuesSnapshot) -> list[Note]:
    """What happened, newest first."""
    is_alone = len({slot.node for slot in snapshot.slots}) <= 1
    found = [
        *(Note(f"trouble {row.entrypoint} {row.kind} {row.node}", row) for row in snapshot.troubles),
        *(Note(f"slots {row.at} {row.queue} {row.node}", row, is_alone) for row in snapshot.slot_changes),
    ]
    return sorted(found, key=lambda note: note.at, reverse=True)


# What is in force


def kind_cell(lane: Lane, now: float) -> Content:
    """What it is; only what waits for somebody stands out."""
    match lane.ref:
        case PauseRow():
            if is_in_force(lane.ref, now):
                return verdict(Tone.WARN, "paused")
            return Piece(f"▲ ramp {ratio_text(ramp_share(lane.ref, now))}", Tone.WARN)
        case QuarantineRow():
            return verdict(Tone.WARN, "quarantine")
    state = lane.ref.state
    if state == BulkState.RUNNING:
        return Piece(f"… {lane.ref.action}", Tone.ACCENT)
    if state == BulkState.FAILED:
        return verdict(Tone.CRIT, lane.ref.action)
    return Piece(f"● {lane.ref.action}" if state == BulkState.DONE else f"  {lane.ref.action}", Tone.DIM)


def what_cell(lane: Lane) -> Content:
    """What it is about."""
    match lane.ref:
        case PauseRow():
            kind = next((words for kind, words in KINDS.items() if kind == lane.ref.kind), lane.ref.kind)
            return (Piece(f"{kind} ", Tone.DIM), Piece(lane.ref.name, Tone.BRIGHT))
        case QuarantineRow():
            where = f" of {lane.ref.company}" if lane.ref.company else ""
            piece = f" with “{lane.ref.contains}”" if lane.ref.contains else ""
            return (Piece(lane.ref.entrypoint, Tone.BRIGHT), Piece(f"{where}{piece}"))
    return bulk_pieces(lane.ref)


def bulk_pieces(row: BulkRow) -> tuple[Piece, ...]:
    """How far a bulk action has come: `▇▇▇··· 4 100 of 10 000, 12 skipped`."""
    through = row.done + row.skipped
    bar = (Piece(f"{meter(through / row.matched, 6)} ", Tone.ACCENT),) if row.matched and not row.ended_at else ()
    skipped = (Piece(f", {count_text(row.skipped)} skipped", Tone.WARN),) if row.skipped else ()
    return (*bar, Piece(count_text(row.done), Tone.BRIGHT), Piece(f" of {count_text(row.matched)}", Tone.DIM), *skipped)


def why_cell(lane: Lane) -> Content:
    """Why, in the words of whoever said so; what it holds back."""
    match lane.ref:
        case PauseRow():
            parked = f"{count_text(lane.ref.parked)} put off" if lane.ref.parked else ""
            return _joined(lane.ref.reason, parked)
        case QuarantineRow():
            return _joined(lane.ref.reason, f"holds {count_text(lane.ref.held)}")
    if lane.ref.error:
        return Piece(lane.ref.error, Tone.CRIT)
    rate = f"{short_text(lane.ref.per_s)} /s at most" if lane.ref.per_s and not lane.ref.ended_at else ""
    return _joined(lane.ref.reason, rate)


def _joined(reason: str, more: str) -> Content:
    if not reason:
        return Piece(more, Tone.DIM)
    return (Piece(reason), Piece(f"  {more}" if more else "", Tone.DIM))


def end_cell(lane: Lane, now: float) -> Content:
    """When it ends by itself."""
    match lane.ref:
        case PauseRow():
            if not is_in_force(lane.ref, now):
                left = (1 - ramp_share(lane.ref, now)) * lane.ref.ramp_s
                return (Piece("full in ", Tone.DIM), *with_unit(age_text(left)))
            return Piece(until_text(lane.ref.until, now) or "until resumed", Tone.TEXT if lane.ref.until else Tone.DIM)
        case QuarantineRow():
            return Piece(until_text(lane.ref.until, now) or "until lifted", Tone.TEXT if lane.ref.until else Tone.DIM)
    return Piece(lane.ref.state, Tone.DIM)


LANES: tuple[Column[Lane], ...] = (
    Column("kind", "What", timed=kind_cell, width=13),
    Column("what", "", cell=what_cell, width=26, grow=3),
    Column("why", "Why", cell=why_cell, width=16, grow=4),
    Column("end", "Until", timed=end_cell, width=14, searched=False, priority=2),
    Column("by", "By", cell=lambda lane: Piece(lane.by, Tone.DIM), width=10, priority=3),
    Column("since", "Since", timed=lambda lane, now: Piece(moment_text(lane.at, now), Tone.DIM), width=12,
           sort=lambda lane: lane.at, descending=True, searched=False, priority=4),
)  # fmt: skip


# What happened


TROUBLES = {
    TroubleKind.CRASH: "kills its worker",
    TroubleKind.MEMORY: "eats memory",
    TroubleKind.BLOCKS: "blocks its worker",
    TroubleKind.OVERRUN: "runs over its time",
    TroubleKind.IGNORES_CANCELLATION: "does not let itself be ended",
    TroubleKind.RAISES: "fails every time",
    TroubleKind.PROVIDER_HANGS: "waits for its provider",
}
"""What a job does, in words, by the word of its trouble."""


def trouble_text(row: TroubleRow) -> str:
    """`webhooks.retell_call kills its worker, job 4711, 3 ×`."""
    return ", ".join([_what_it_does(row), *_which_job(row)])


def _what_it_does(row: TroubleRow) -> str:
    does = next((words for kind, words in TROUBLES.items() if kind == row.kind), row.kind.replace("_", " "))
    return f"{row.entrypoint} {does}"


def _which_job(row: TroubleRow) -> list[str]:
    job = [f"job {row.job_id}"] if row.job_id is not None else []
    return [*job, *([f"{row.count} ×"] if row.count > 1 else [])]


def _note_kind(note: Note) -> Content:
    if isinstance(note.ref, TroubleRow):
        return verdict(Tone.CRIT, "trouble")
    grows = note.ref.after > note.ref.before
    return Piece(f"{'+' if grows else '−'} slots", Tone.TEXT if note.ref.decided_by else Tone.DIM)


def _note_what(note: Note) -> Content:
    ref = note.ref
    if isinstance(ref, TroubleRow):
        return Piece(_what_it_does(ref), Tone.BRIGHT)
    where = f" on {ref.node}" if ref.node and not note.is_alone else ""
    return (Piece(ref.queue, Tone.BRIGHT), Piece(f" {ref.before} → {ref.after}{where}"))


def _note_why(note: Note) -> Content:
    if isinstance(note.ref, SlotChange):
        return note.ref.why
    which = ", ".join(_which_job(note.ref))
    return (Piece(which, Tone.BRIGHT), Piece(f": {note.ref.detail}" if which else note.ref.detail))


def _note_by(note: Note) -> Content:
    return Piece(note.ref.node if isinstance(note.ref, TroubleRow) else note.ref.decided_by, Tone.DIM)


NOTES: tuple[Column[Note], ...] = (
    Column("at", "At", timed=lambda note, now: Piece(moment_text(note.at, now), Tone.DIM), width=12,
           sort=lambda note: note.at, descending=True, searched=False, priority=2),
    Column("kind", "What", cell=_note_kind, width=9),
    Column("what", "", cell=_note_what, width=24, grow=2),
    Column("why", "Why", cell=_note_why, width=26, grow=4),
    Column("by", "By", cell=_note_by, width=10, priority=3),
)  # fmt: skip


# The line that stands for lists which are not shown


def news_line(snapshot: QueuesSnapshot, width: int, now: float, hidden: Sequence[tuple[str, int]]) -> Line:
    """The worst that is in force, in words; at the right the lists for which there is no room, with their sizes."""
    right = [Piece(f"{title} {count_text(size)}  ", Tone.DIM) for title, size in hidden]
    right.append(Piece("tab ", Tone.ACCENT))
    if sum(len(piece.text) for piece in right) > width // 2:
        right = [Piece(f"+{len(hidden)} lists ", Tone.DIM), right[-1]]
    taken = sum(len(piece.text) for piece in right) + 1
    return Line((*fitted(worst(snapshot, now), max(0, width - taken)), Piece(" "), *right))


def worst(snapshot: QueuesSnapshot, now: float) -> tuple[Piece, ...]:
    """The one thing to know first; nothing when nothing is in force."""
    if snapshot.troubles:
        return (Piece(" ✖ ", Tone.CRIT), Piece(trouble_text(snapshot.troubles[0]), Tone.CRIT))
    for row in snapshot.queues:
        if not row.workers:
            return (Piece(f" ✖ {row.queue} has no worker", Tone.CRIT),)
        for one in broken(row):
            if one.limit in row.limits_broken:
                return (Piece(" "), *verdict(limits_tone(row), row.queue), Piece(f": {one.text}"))
    for lane in lanes(snapshot):
        if isinstance(lane.ref, BulkRow) and lane.ref.state != BulkState.RUNNING:
            continue
        kind, what = kind_cell(lane, now), what_cell(lane)
        return (Piece(" "), *pieces_of(kind), Piece(" "), *pieces_of(what))
    for provider in snapshot.providers:
        if provider.breaker != "closed":
            return (Piece(" ▲ ", Tone.WARN), Piece(f"{provider.provider} held back", Tone.WARN))
    return (Piece(" ● nothing is paused or held back", Tone.DIM),)
