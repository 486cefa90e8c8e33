"""When PostgreSQL is away: which errors mean that, and how a worker waits for it to come back."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

T = TypeVar("T")

logger = logging.getLogger(__name__)

TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says of a connection that is lost while it is being used
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The statement itself is right: it will succeed once the server is there, is the primary, or has room again."""

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 2.0


class Patience:
    """Growing waits with full jitter, from one outage to its end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0

    async def wait(self, error: BaseException) -> None:
        """Wait a little longer than the last time; says once that there is an outage."""
        if self._failures == 0:
            logger.warning("%s: the database is away (%s)", self._what, type(error).__name__)
        limit = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        await asyncio.sleep(random.uniform(limit / 2, limit))  # noqa: S311 - spreads load, guards nothing

    def over(self) -> None:
        """The database answered."""
        if self._failures:
            logger.info("%s: the database is back", self._what)
        self._failures = 0


async def insist(what: str, action: Callable[[], Awaitable[T]]) -> T:
    """Do it, again and again while the database is away. Raises whatever is not an outage."""
    patience = Patience(what)
    while True:
        try:
            result = await action()
        except TRANSIENT as error:
            await patience.wait(error)
        else:
            patience.over()
            return result
