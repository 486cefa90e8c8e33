"""The workers' roster: each worker process has a row in `workers` and renews it while it lives.

The engine knows only workers that hold jobs; an idle or a dead one can be seen here alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import psutil

from backend.domain.vocabulary import QueueName
from backend.postgres.pools import Pool

BEAT_S = 2.0
"""Time between two renewals."""

_SIGN = """
insert into workers (id, node, queue, pid, version, concurrency, busy, done, rss_bytes, state)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (id) do update
set busy = excluded.busy, done = excluded.done, rss_bytes = excluded.rss_bytes, state = excluded.state,
    heartbeat_at = now()
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a worker tells about itself."""

    busy: int
    """Jobs in work."""
    done: int
    """Jobs that succeeded since it started."""
    state: str
    """running, draining, stopped"""


class Roster:
    """One worker's row."""

    def __init__(
        self,
        pool: Pool,
        worker_id: UUID,
        *,
        node: str,
        queue: QueueName,
        version: str,
        concurrency: int,
        figures: Callable[[], Figures],
    ) -> None:
        self._pool = pool
        self._fixed = (worker_id, node, queue.value, os.getpid(), version, concurrency)
        self._figures = figures
        self._process = psutil.Process()

    async def sign(self) -> None:
        """Write or renew the row. Raises asyncpg's errors, OSError or TimeoutError."""
        now = self._figures()
        await self._pool.execute(
            _SIGN, *self._fixed, now.busy, now.done, self._process.memory_info().rss, now.state, timeout=5.0
        )
