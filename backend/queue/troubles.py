"""What jobs do to their workers, written down for whoever watches: one row for each job type, kind and node.

Whoever notices a trouble notes it here without waiting; equal ones are counted together, and written at most twice a
second. A job that fails a thousand times costs a row, not a thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from backend.domain.vocabulary import QueueName, TroubleKind
from backend.postgres.pools import Connection, Pool
from backend.queue.failures import storable
from backend.queue.outages import TRANSIENT, Patience

GATHER_S = 0.5
"""Troubles that come within so long after a write are written together."""

DETAIL_LIMIT = 500
"""Longest detail kept, in characters."""

_WRITE = """
insert into job_troubles as known (queue, node, entrypoint, kind, job_id, detail, count)
select $1, $2, entrypoint, kind, job_id, detail, count
from unnest($3::text[], $4::text[], $5::bigint[], $6::text[], $7::integer[])
    as told (entrypoint, kind, job_id, detail, count)
order by entrypoint, kind
on conflict (queue, entrypoint, kind, node) do update
set at = clock_timestamp(), job_id = excluded.job_id, detail = excluded.detail,
    since = case when known.at > clock_timestamp() - interval '15 minutes' then known.since else clock_timestamp() end,
    count = excluded.count + case when known.at > clock_timestamp() - interval '15 minutes' then known.count else 0 end
"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that a job does to its worker."""

    kind: TroubleKind
    entrypoint: str
    job_id: int | None
    detail: str
    """What exactly, in a few words."""
    count: int = 1


class Troubles:
    """The troubles of one worker."""

    def __init__(self, node: str, queue: QueueName) -> None:
        self._node = node
        self._queue = queue
        self._noted: dict[tuple[str, TroubleKind], Trouble] = {}
        self._news = asyncio.Event()

    def note(self, kind: TroubleKind, entrypoint: str, job_id: int | None, detail: str) -> None:
        """Note a trouble; it is written soon. Costs nothing that a job would wait for."""
        before = self._noted.get((entrypoint, kind))
        count = 1 if before is None else before.count + 1
        self._noted[entrypoint, kind] = Trouble(kind, entrypoint, job_id, detail, count)
        self._news.set()

    async def run(self, pool: Pool) -> None:
        """Write until cancelled; what cannot be written while the database is away is written afterwards."""
        patience = Patience("telling of troubles")
        while True:
            await self._news.wait()
            try:
                await self.write(pool)
            except TRANSIENT as error:
                await patience.wait(error)
                continue
            patience.over()
            await asyncio.sleep(GATHER_S)

    async def write(self, by: Pool | Connection) -> None:
        """Write what was noted. Raises asyncpg's errors; then it stays noted."""
        told = dict(self._noted)
        self._news.clear()
        try:
            await write_troubles(by, self._node, self._queue, tuple(told.values()))
        except BaseException:
            self._news.set()
            raise
        for key, trouble in told.items():
            if self._noted.get(key) is trouble:
                del self._noted[key]


async def write_troubles(by: Pool | Connection, node: str, queue: QueueName, troubles: Sequence[Trouble]) -> None:
    """Write these down. Needs the worker's role; raises asyncpg's errors."""
    if not troubles:
        return
    await by.execute(
        _WRITE,
        queue.value,
        node,
        [trouble.entrypoint for trouble in troubles],
        [trouble.kind.value for trouble in troubles],
        [trouble.job_id for trouble in troubles],
        [storable(trouble.detail)[:DETAIL_LIMIT] for trouble in troubles],
        [trouble.count for trouble in troubles],
        timeout=5.0,
    )
