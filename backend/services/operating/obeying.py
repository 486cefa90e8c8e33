"""Whether workers go by what was said: each tells in its row of the roster what is in force with it."""

from __future__ import annotations

import asyncio
import time

import msgspec

from backend.domain.vocabulary import PauseKind
from backend.postgres.pools import Connection
from backend.queue.roster import LIVE_S

PATIENCE_S = 2.0
"""A worker that lives and hears has said so by then."""

LOOK_S = 0.05

_PAUSED = """
select count(*) as workers, count(*) filter (where coalesce(in_force -> 'paused', '[]') ? $3 = $4) as obeying
from workers
where state <> 'stopped' and heartbeat_at > now() - make_interval(secs => $5)
  and ($1::text is null or queue = $1) and ($2::text is null or node = $2)
"""

# What is said for all nodes is not meant for those with a number of their own. A paused worker has no slots; it comes
# back with what was said meanwhile.
_SLOTS = """
select count(*) as workers, count(*) filter (
    where (in_force ->> 'slots')::int = $3
       or coalesce(in_force -> 'paused', '[]') ?| array['queue ' || queue, 'node ' || node]) as obeying
from workers
where state <> 'stopped' and heartbeat_at > now() - make_interval(secs => $4)
  and queue = $1
  and (node = $2 or $2 = '' and not exists (
        select from queue_slots own where own.queue = workers.queue and own.node = workers.node))
"""


class Obeyed(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers go by it."""

    workers: int
    """Live ones that it concerns."""
    obeying: int
    after_s: float

    def __str__(self) -> str:
        if not self.workers:
            return "No worker lives that it concerns."
        if self.obeying == self.workers:
            noun = "the worker obeys" if self.workers == 1 else f"all {self.workers} workers obey"
            return f"{noun.capitalize()}{'' if self.after_s < 0.1 else f' (after {self.after_s:.1f} s)'}."
        return f"Only {self.obeying} of {self.workers} workers obey so far: `askpro status` shows how they are."


async def pause_obeyed(
    connection: Connection, kind: PauseKind, name: str, *, paused: bool = True, patience_s: float = PATIENCE_S
) -> Obeyed:
    """Wait until every worker that a pause (or, unless `paused`, its end) concerns goes by it; it is only read.

    Of a schedule no worker knows anything: it is the publisher that leaves its jobs out.
    """
    if kind is PauseKind.SCHEDULE:
        return Obeyed(workers=0, obeying=0, after_s=0.0)
    queue = name if kind is PauseKind.QUEUE else None
    node = name if kind is PauseKind.NODE else None
    return await _wait(connection, _PAUSED, (queue, node, f"{kind} {name}", paused, LIVE_S), patience_s)


async def slots_obeyed(
    connection: Connection, queue: str, node: str, slots: int, *, patience_s: float = PATIENCE_S
) -> Obeyed:
    """Wait until the queue's workers have so many slots; it is only read.

    Those of one node or, with an empty one, of all nodes without a number of their own.
    """
    return await _wait(connection, _SLOTS, (queue, node, slots, LIVE_S), patience_s)


async def _wait(connection: Connection, statement: str, asked: tuple[object, ...], patience_s: float) -> Obeyed:
    began = time.monotonic()
    while True:
        row = await connection.fetchrow(statement, *asked)
        assert row is not None
        after_s = time.monotonic() - began
        if row["obeying"] == row["workers"] or after_s > patience_s:
            return Obeyed(workers=row["workers"], obeying=row["obeying"], after_s=after_s)
        await asyncio.sleep(LOOK_S)
