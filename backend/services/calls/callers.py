"""Who is calling, asked while the phone still rings."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from backend.postgres.pools import Pool

log = logging.getLogger(__name__)

LOOKUP = "select company_name, branch_name, first_name, last_name from intake_caller($1, $2, $3)"

ANSWER_S = 0.4
"""The provider has its answer by then, whatever the database does: the caller hears ringing meanwhile."""

MAX_LOOKUPS = 64
"""Lookups at once, those included that nobody waits for any more."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What the voice agent may know before it says hello."""

    company: str
    branch: str
    """Empty when the company has none for this line."""
    first_name: str
    """Empty, like the last name, unless exactly one customer of the company has the caller's number."""
    last_name: str

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()


class Callers:
    """Looks callers up, and would rather know nothing than be late."""

    def __init__(self, pool: Pool, *, answer_s: float = ANSWER_S) -> None:
        self._pool = pool
        self._answer_s = answer_s
        self._lookups: set[asyncio.Task[Caller | None]] = set()

    async def find(self, dialled: str | None, agent: str | None, caller: str | None) -> Caller | None:
        """Who calls the number `dialled` (E.164); None when its tenant is unknown or on any trouble. Never raises.

        A lookup that is late goes on without its asker: cancelling it could wait for a dead database itself.
        """
        if len(self._lookups) >= MAX_LOOKUPS:
            return None
        task = asyncio.create_task(self._look_up(dialled, agent, caller), name="caller-lookup")
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)
        done, _ = await asyncio.wait({task}, timeout=self._answer_s)
        return task.result() if done else None

    async def close(self) -> None:
        """End what is still looking."""
        for task in self._lookups:
            task.cancel()
        await asyncio.gather(*self._lookups, return_exceptions=True)

    async def _look_up(self, dialled: str | None, agent: str | None, caller: str | None) -> Caller | None:
        try:
            async with self._pool.acquire(timeout=self._answer_s) as connection:
                row = await connection.fetchrow(LOOKUP, dialled, agent, caller)
        except Exception as error:  # the phone must be answered, whatever went wrong
            log.warning("a caller was not looked up: %s: %s", type(error).__name__, error)
            return None
        if row is None:
            return None
        return Caller(
            company=row["company_name"],
            branch=row["branch_name"],
            first_name=row["first_name"],
            last_name=row["last_name"],
        )
