"""`askpro queue ls`: every queue at a glance."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from askpro_console.commands.queue.steering import queues_now
from askpro_console.printed import print_json, print_table
from askpro_console.system import System
from askpro_console.terminal import harmless
from backend.domain.vocabulary import PauseKind

if TYPE_CHECKING:
    from backend.watch.snapshots import QueueRow, QueuesSnapshot


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    listing = verbs.add_parser(
        "ls", help="every queue: what waits, runs, is held; slots, age of the oldest job and time to drain"
    )
    listing.set_defaults(act=_list)


def _list(system: System, args: argparse.Namespace) -> int:
    snapshot = queues_now(system)
    if args.json:
        print_json(snapshot.queues)
        return 0
    print_table(
        ("QUEUE", "READY", "SCHEDULED", "RUNNING", "HELD", "OLDEST", "DRAINED IN", "DONE", "SLOTS", "WORKERS", "STATE"),
        (_cells(snapshot, row) for row in snapshot.queues),
    )
    paused = [f"{row.kind.replace('_', ' ')} {row.name}" for row in snapshot.pauses if row.resumed_at is None]
    ramps = [f"{row.kind.replace('_', ' ')} {row.name}" for row in snapshot.pauses if row.resumed_at is not None]
    if paused:
        print(f"\nPaused: {harmless(', '.join(paused))}. `askpro queue pauses` tells by whom and why.")
    if ramps:
        print(f"\nComing to full speed: {harmless(', '.join(ramps))}.")
    if snapshot.quarantines:
        print(f"\nIn quarantine: {len(snapshot.quarantines)} sorts of jobs, see `askpro queue quarantine`.")
    return 0


def _cells(snapshot: QueuesSnapshot, row: QueueRow) -> tuple[str, ...]:
    return (
        row.queue,
        f"{row.ready:,}",
        f"{row.scheduled:,}",
        f"{row.running:,}",
        f"{row.held:,}",
        "-" if row.oldest_s is None else f"{row.oldest_s:,.1f} s",
        _drain(row),
        f"{row.done_per_s:.1f}/s",
        _slots(snapshot, row.queue),
        str(row.workers),
        _state(snapshot, row),
    )


def _drain(row: QueueRow) -> str:
    """Time to clear what is ready at the last minute's net rate."""
    if row.ready == 0 or row.paused:
        return "-"
    return "not shrinking" if row.drain_s is None else f"{row.drain_s:,.0f} s"


def _slots(snapshot: QueuesSnapshot, queue: str) -> str:
    """In sum over all nodes, with a mark where they are not the policy's."""
    rows = [row for row in snapshot.slots if row.queue == queue]
    slots, base = sum(row.slots for row in rows), sum(row.base for row in rows)
    mark = " pinned" if any(row.is_pinned for row in rows) else f" of {base}" if slots != base else ""
    return f"{slots}{mark}"


def _state(snapshot: QueuesSnapshot, row: QueueRow) -> str:
    if row.paused:
        pause = next((each for each in snapshot.pauses if (each.kind, each.name) == ("queue", row.queue)), None)
        return f"paused by {pause.paused_by}: {pause.reason}" if pause is not None else "paused"
    if not row.workers:
        return "no worker"
    drained = {each.name for each in snapshot.pauses if each.kind == PauseKind.NODE and each.resumed_at is None}
    if drained and drained.issuperset(each.node for each in snapshot.slots if each.queue == row.queue):
        return "all its nodes are drained"
    return ", ".join(row.limits_broken) or "ok"
