"""What people said about queues and somebody else should know of: pauses, quarantines, work that was given up.

None of it is wrong by itself. But whoever is on call wonders why nothing moves, and what was meant for an hour is
easily forgotten: so each is told with who, why and how much longer. What is on its ramp is over and not told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backend.domain.vocabulary import BulkState, PauseKind, Verdict
from backend.watch.queue_alerts import span
from backend.watch.snapshots import BulkRow, PauseRow, QuarantineRow, QueuesSnapshot


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that somebody said."""

    subject: str
    text: str
    hint: str
    verdict: Verdict = Verdict.WARN


def said(snapshot: QueuesSnapshot) -> Iterator[Said]:
    """All of it, pauses first."""
    for pause in snapshot.pauses:
        # A drained node is told where nodes are.
        if pause.resumed_at is None and pause.kind != PauseKind.NODE:
            yield _pause(pause, snapshot)
    for quarantine in snapshot.quarantines:
        yield _quarantine(quarantine, snapshot.taken_at)
    for bulk in snapshot.bulk_actions:
        if bulk.state == BulkState.FAILED:
            yield _given_up(bulk)


def _pause(row: PauseRow, snapshot: QueuesSnapshot) -> Said:
    match row.kind:
        case PauseKind.QUEUE:
            what, option = "paused", row.name
            waiting = sum(queue.ready for queue in snapshot.queues if queue.queue == row.name)
        case PauseKind.JOB_TYPE:
            what, option = "paused", row.name
            waiting = sum(kind.ready for kind in snapshot.job_types if kind.entrypoint == row.name)
        case PauseKind.PROVIDER:
            what, option, waiting = "held back", f"--provider {row.name}", 0
        case PauseKind.SCHEDULE:
            what, option, waiting = "does not come round, paused", f"--schedule {row.name}", 0
        case _:
            what, option, waiting = "paused", f"--{row.kind} {row.name}", row.parked
    text = f"{what} by {row.paused_by} {_times(row.paused_at, row.until, snapshot.taken_at)}{_why(row.reason)}"
    if waiting:
        text = f"{text}; {waiting:,} job{'s wait' if waiting > 1 else ' waits'}"
    return Said(row.name, text, f"askpro queue resume {option}")


def _quarantine(row: QuarantineRow, now: float) -> Said:
    of = f" of {row.company}" if row.company else ""
    text = f"jobs{of} are held before they run by {row.made_by} {_times(row.made_at, row.until, now)}{_why(row.reason)}"
    if row.held:
        text = f"{text}; {row.held:,} so far"
    return Said(row.entrypoint, text, f"askpro queue quarantine --lift {row.id}")


def _given_up(row: BulkRow) -> Said:
    text = f"{row.action} of {row.matched:,} held jobs ended after {row.done + row.skipped:,}{_why(row.error)}"
    return Said("held jobs", text, "askpro queue held")


def _times(since: float, until: float | None, now: float) -> str:
    told = f"for {span(max(0.0, now - since))}"
    return told if until is None else f"{told}, {span(max(0.0, until - now))} to go"


def _why(reason: str) -> str:
    return f": {reason}" if reason else ""
