"""Whether workers go by what was said: each tells in its row of the roster what is in force with it."""

from __future__ import annotations

import asyncio
import time

import msgspec

from backend.domain.vocabulary import PauseKind
from backend.postgres.pools import Connection

PATIENCE_S = 2.0
"""A worker that lives and hears has said so by then."""

LOOK_S = 0.05

_PAUSED = """
select count(*) as workers, count(*) filter (where coalesce(in_force -> 'paused', '[]') ? $3 = $4) as obeying
from workers
where state <> 'stopped' and heartbeat_at > now() - interval '10 seconds'
  and ($1::text is null or queue = $1) and ($2::text is null or node = $2)
"""

_SLOTS = """
select count(*) as workers, count(*) filter (where (in_force ->> 'slots')::int = $3) as obeying
from workers
where state <> 'stopped' and heartbeat_at > now() - interval '10 seconds'
  and queue = $1 and ($2 = '' or node = $2)
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
    return await _wait(connection, _PAUSED, (queue, node, f"{kind} {name}", paused), patience_s)


async def slots_obeyed(
    connection: Connection, queue: str, node: str, slots: int, *, patience_s: float = PATIENCE_S
) -> Obeyed:
    """Wait until the queue's workers (of one node, or all) have so many slots; it is only read."""
    return await _wait(connection, _SLOTS, (queue, node, slots), patience_s)


async def _wait(connection: Connection, statement: str, asked: tuple[object, ...], patience_s: float) -> Obeyed:
    began = time.monotonic()
    while True:
        row = await connection.fetchrow(statement, *asked)
        assert row is not None
        after_s = time.monotonic() - began
        if row["obeying"] == row["workers"] or after_s > patience_s:
            return Obeyed(workers=row["workers"], obeying=row["obeying"], after_s=after_s)
        await asyncio.sleep(LOOK_S)
