"""The workers' roster: each worker process has a row in `workers` and renews it while it lives.

The engine knows only workers that hold jobs; an idle or a dead one can be seen here alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import psutil

from backend.domain.vocabulary import QueueName
from backend.postgres.pools import Pool

BEAT_S = 2.0
"""Time between two renewals."""

LIVE_S = 5 * BEAT_S
"""A worker that has been silent for longer does not count."""

_RENEW = """
update workers
set concurrency = $2, busy = $3, done = $4, rss_bytes = $5, state = $6, in_force = $7::jsonb, heartbeat_at = now()
where id = $1
"""

_SIGN = """
insert into workers (id, concurrency, busy, done, rss_bytes, state, in_force, node, queue, pid, version, policies)
values ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10, $11, $12::jsonb)
on conflict (id) do nothing
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a worker tells about itself."""

    busy: int
    """Jobs in work."""
    slots: int
    """Jobs at once, just now."""
    done: int
    """Jobs that succeeded since it started."""
    state: str
    """running, draining, stopped"""
    in_force: Mapping[str, object]
    """What it obeys, see `Control.told`."""


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
        policies: str,
        figures: Callable[[], Figures],
    ) -> None:
        """`policies`: those that it works by, JSON."""
        self._pool = pool
        self._id = worker_id
        self._fixed = (node, queue.value, os.getpid(), version, policies)
        self._figures = figures
        self._process = psutil.Process()

    async def sign(self) -> None:
        """Write or renew the row. Raises asyncpg's errors, OSError or TimeoutError."""
        now = self._figures()
        figures = (
            now.slots,
            now.busy,
            now.done,
            self._process.memory_info().rss,
            now.state,
            json.dumps(now.in_force),
        )
        if await self._pool.execute(_RENEW, self._id, *figures, timeout=5.0) == "UPDATE 0":
            await self._pool.execute(_SIGN, self._id, *figures, *self._fixed, timeout=5.0)
