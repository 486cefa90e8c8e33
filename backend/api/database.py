"""The database as a request uses it: a connection soon or never, and trouble as 503."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

import asyncpg

from backend.api.problems import Problem
from backend.api.resources import Resources
from backend.postgres.pools import DATABASE_ERRORS, Connection, tenant_transaction

log = logging.getLogger(__name__)

ACQUIRE_S = 1.0
"""Longest wait for a free connection of the pool; then 503."""

ANSWER_S = 2.5
"""The database has answered a request by then, all its statements together; else 503."""

RETRY_AFTER_S = (1, 3)
"""After trouble a client is asked to come back after so many seconds, from and to: not all at once."""

PASSING = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidTransactionStateError,
)
"""What the server refuses now and may well do in a moment. Its other refusals are mistakes of ours: 500."""


@asynccontextmanager
async def borrowed(resources: Resources) -> AsyncIterator[Connection]:
    """A connection out of the pool. Raises a 503 `Problem` when there is none within a second, or it fails.

    A request that holds it for too long loses it: ending a silent link is the one way out of it that takes no time.
    """
    pool = resources.running.pool
    with trouble_as_problem():
        async with pool.acquire(timeout=ACQUIRE_S) as connection:
            end = asyncio.get_running_loop().call_later(ANSWER_S, connection.terminate)
            try:
                yield connection
            finally:
                end.cancel()


@asynccontextmanager
async def in_company(resources: Resources, company_id: UUID) -> AsyncIterator[Connection]:
    """A transaction of one company: committed at the end, rolled back on any error. Raises a 503 `Problem`."""
    async with borrowed(resources) as connection, tenant_transaction(connection, company_id):
        yield connection


@contextmanager
def trouble_as_problem() -> Iterator[None]:
    """The database's failures that pass by themselves, as 503 with the time to come back after."""
    try:
        yield
    except DATABASE_ERRORS as error:
        if isinstance(error, asyncpg.PostgresError) and not isinstance(error, PASSING):
            raise
        log.warning("the database failed a request: %s", type(error).__name__)
        raise Problem(
            503,
            "the database is not available",
            retry_after_s=random.randint(*RETRY_AFTER_S),  # noqa: S311 -- jitter
        ) from error
