"""Keeps the queue's table and its indexes small while jobs rush through: a worker that ended many has them swept away.

Autovacuum looks every few seconds; at thousands of jobs a second their dead rows are tens of thousands by then, and
what they took of the indexes is never given back (five times as much, measured). Who ends the jobs knows sooner, and
while nothing happens nobody asks the database anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backend.postgres.pools import Pool
from backend.queue.outages import TRANSIENT, Patience

LOOK_S = 1.0

SWEPT_AFTER = 1_000
"""Jobs after which it is worth while."""

DEAD = 2 * SWEPT_AFTER
"""Each leaves so many rows; with fewer somebody else has swept just now."""

_DEAD = "select pg_stat_get_dead_tuples('pgqueuer'::regclass)"

# Pages at the end are given back only when nothing goes on: that needs a lock that a busy queue does not leave.
_SWEEP = "vacuum (skip_locked, truncate off, index_cleanup on, parallel 0) pgqueuer"
_GIVE_BACK = "vacuum (skip_locked, truncate on, index_cleanup on, parallel 0) pgqueuer"


class Upkeep:
    """Of one worker."""

    def __init__(self, done: Callable[[], int]) -> None:
        """`done`: the jobs that it has done so far."""
        self._done = done
        self._looked = 0
        """Done at the last look."""
        self._swept = 0
        """Done when swept last."""
        self._given_back = 0
        """Done when the table's end was given back last."""

    async def run(self, pool: Pool) -> None:
        """Sweep for ever."""
        patience = Patience("sweeping the queue")
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look(pool)
            except TRANSIENT as error:
                await patience.wait(error)
                continue
            patience.over()

    async def look(self, pool: Pool) -> None:
        """Sweep if it is worth while; to be called once a second. Raises asyncpg's errors."""
        done = self._done()
        is_quiet, self._looked = done == self._looked, done
        if is_quiet:
            if done - self._given_back >= SWEPT_AFTER:
                await pool.execute(_GIVE_BACK)
                self._given_back = self._swept = done
        elif done - self._swept >= SWEPT_AFTER:
            if await pool.fetchval(_DEAD) >= DEAD:
                await pool.execute(_SWEEP)
            self._swept = done
