"""Connections: pools by role, single connections, and the transaction of one tenant.

Every wait has a bound: connecting, waiting for a free connection, and each statement (twice: the server's
`statement_timeout` of the role, then asyncpg's `command_timeout` in case the link itself is dead).
`json`/`jsonb` values travel as text; the functions that run a statement encode and decode them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from backend.postgres.address import PostgresAddress, Role

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
"""A connection of its own or one out of a pool: either will do for running statements."""

DATABASE_ERRORS: tuple[type[Exception], ...] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asyncpg's word for a link that is lost just when a statement is to be sent
    OSError,
    TimeoutError,
    EOFError,
)
"""All that a statement can raise: the server's refusals, and every way in which a link can fail."""

CONNECT_TIMEOUT_S = 2.0
"""Also bounds asyncpg's cancel connection, which is why it is short."""

REMEMBERED = 64 * 1024
"""Characters of the longest statement that a connection of its own plans once only; asyncpg's 15 KiB are too few for
what collects all queues at once."""

ACQUIRE_TIMEOUT_S = 2.0
"""Longest wait for a free connection; then TimeoutError, which the API answers with 503."""

COMMAND_TIMEOUT_S: dict[Role, float] = {
    Role.MIGRATE: 660.0,
    Role.SETUP: 660.0,
    Role.API: 6.0,
    Role.WORKER: 35.0,
    Role.WATCH: 3.0,
    Role.CONSOLE: 6.0,
}
"""A little above the role's `statement_timeout`, so that the server normally speaks first."""


async def open_pool(
    address: PostgresAddress, role: Role, *, application: str, size: int = 4, min_size: int = 1
) -> Pool:
    """A pool of at most `size` connections that log in as `role`; close it with `await pool.close()`.

    A connection goes back without the usual reset round trip: nobody may leave session state behind
    (the tenant is set per transaction, listeners and session locks live on connections of their own).
    Raises OSError, TimeoutError or asyncpg.PostgresError when the server can't be reached or refuses.
    """
    return await asyncpg.create_pool(
        host=address.host,
        port=address.port,
        database=address.database,
        user=role.value,
        password=address.passwords.get(role.value),
        min_size=min(min_size, size),
        max_size=size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S[role],
        server_settings={"application_name": application},
        reset=_no_reset,
    )


async def connect(
    address: PostgresAddress, role: Role, *, application: str, command_timeout: float | None = None
) -> asyncpg.Connection[asyncpg.Record]:
    """One connection that logs in as `role`; close it with `await connection.close()`.

    Raises OSError, TimeoutError or asyncpg.PostgresError when the server can't be reached or refuses.
    """
    return await asyncpg.connect(
        host=address.host,
        port=address.port,
        database=address.database,
        user=role.value,
        password=address.passwords.get(role.value),
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S[role] if command_timeout is None else command_timeout,
        max_cacheable_statement_size=REMEMBERED,
        server_settings={"application_name": application},
    )


@asynccontextmanager
async def tenant(pool: Pool, company_id: UUID, *, timeout: float = ACQUIRE_TIMEOUT_S) -> AsyncIterator[Connection]:
    """A transaction in which exactly one company's rows exist: committed at the end, rolled back on any error.

    Begins and names the tenant in one round trip and commits in another. For a savepoint inside, use SQL;
    asyncpg's own `connection.transaction()` refuses to nest in it.
    Raises TimeoutError when no connection becomes free within `timeout` seconds.
    """
    async with pool.acquire(timeout=timeout) as connection, tenant_transaction(connection, company_id):
        yield connection


@asynccontextmanager
async def tenant_transaction(connection: Connection, company_id: UUID) -> AsyncIterator[None]:
    """As `tenant`, on a connection that the caller holds already."""
    # A UUID prints as hex digits and dashes, so it can stand in the text of a multi-statement query.
    named = f"select set_config('app.company_id', '{UUID(str(company_id))}', true)"
    async with transaction(connection, named):
        yield


@asynccontextmanager
async def transaction(connection: Connection, first: str) -> AsyncIterator[None]:
    """A transaction whose beginning and first statements are one round trip.

    Unlike asyncpg's own it ends with the error that happened even when the connection is gone by then.
    """
    await connection.execute(f"begin; {first}")
    try:
        yield
    except BaseException:
        await _roll_back(connection)
        raise
    await connection.execute("commit")


async def _roll_back(connection: Connection) -> None:
    """End the transaction; on a link that does not answer any more, by ending the link (the server then rolls back)."""
    if connection.is_closed():
        return
    try:
        await connection.execute("rollback")
    except DATABASE_ERRORS:
        connection.terminate()


async def _no_reset(_connection: Connection) -> None:
    """Nothing to undo between two users of a pooled connection; asyncpg still ends a forgotten transaction."""
