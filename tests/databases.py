"""Database fixtures: an empty, migrated database for each test, copied from one that is migrated once.

`database` yields the address with every role's password. `open_connection(Role.WATCH)` and `open_role_pool(Role.API)`
log in to it and are closed at the end of the test; `superuser_connection()` sets scenes that no role of ours could.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

import asyncpg
import pytest

from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.bootstrap import bootstrap, ensure_database, quote_identifier
from backend.postgres.migrate import migrate
from backend.postgres.pools import Pool, connect, open_pool
from backend.stack.postgres_server import PostgresServer

OwnConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
OpenConnection: TypeAlias = "Callable[[Role], Awaitable[OwnConnection]]"
OpenPool: TypeAlias = "Callable[..., Awaitable[Pool]]"
SuperuserConnection: TypeAlias = "Callable[[], Awaitable[OwnConnection]]"

TEMPLATE = "askpro_template"


def address_of(superuser: Superuser, database: str, passwords: dict[str, str]) -> PostgresAddress:
    """The address of one database of the test server."""
    return PostgresAddress(host=superuser.host, port=superuser.port, database=database, passwords=passwords)


async def connect_superuser(superuser: Superuser, database: str) -> OwnConnection:
    """A connection as the server's administrator."""
    return await asyncpg.connect(
        host=superuser.host,
        port=superuser.port,
        user=superuser.user,
        password=superuser.password,
        database=database,
        timeout=5,
        command_timeout=60,
    )


async def drop_database(server: OwnConnection, name: str) -> None:
    """Drop a database and end what is still connected to it."""
    await server.execute(f"drop database if exists {quote_identifier(name)} with (force)")


@pytest.fixture(scope="session")
def role_passwords() -> dict[str, str]:
    """One password for each login role."""
    return {role.value: secrets.token_hex(8) for role in Role}


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresServer, role_passwords: dict[str, str]) -> str:
    """The name of a migrated, empty database that nobody connects to."""

    async def make() -> None:
        await bootstrap(postgres_server.superuser, role_passwords, database=TEMPLATE)
        await migrate(address_of(postgres_server.superuser, TEMPLATE, role_passwords))

    asyncio.run(make())
    return TEMPLATE


@pytest.fixture
async def database(
    postgres_server: PostgresServer, template_database: str, role_passwords: dict[str, str]
) -> AsyncIterator[PostgresAddress]:
    """A migrated, empty database of this test's own."""
    superuser = postgres_server.superuser
    name = f"askpro_test_{secrets.token_hex(6)}"
    server = await connect_superuser(superuser, "postgres")
    try:
        await ensure_database(server, name, template=template_database)
        yield address_of(superuser, name, role_passwords)
        await drop_database(server, name)
    finally:
        await server.close()


@pytest.fixture
async def bare_database(
    postgres_server: PostgresServer, role_passwords: dict[str, str]
) -> AsyncIterator[PostgresAddress]:
    """A database with roles and schema but without any migration."""
    superuser = postgres_server.superuser
    name = f"askpro_bare_{secrets.token_hex(6)}"
    await bootstrap(superuser, role_passwords, database=name)
    yield address_of(superuser, name, role_passwords)
    server = await connect_superuser(superuser, "postgres")
    try:
        await drop_database(server, name)
    finally:
        await server.close()


@pytest.fixture
async def open_connection(database: PostgresAddress) -> AsyncIterator[OpenConnection]:
    """`await open_connection(role)`: a connection to this test's database."""
    async with AsyncExitStack() as stack:

        async def opened(role: Role) -> OwnConnection:
            connection = await connect(database, role, application=f"test-{role}")
            stack.push_async_callback(connection.close)
            return connection

        yield opened


@pytest.fixture
async def open_role_pool(database: PostgresAddress) -> AsyncIterator[OpenPool]:
    """`await open_role_pool(role, size=4)`: a pool of connections to this test's database."""
    async with AsyncExitStack() as stack:

        async def opened(role: Role, size: int = 4) -> Pool:
            pool = await open_pool(database, role, application=f"test-{role}", size=size)
            stack.push_async_callback(pool.close)
            return pool

        yield opened


@pytest.fixture
async def superuser_connection(
    postgres_server: PostgresServer, database: PostgresAddress
) -> AsyncIterator[SuperuserConnection]:
    """`await superuser_connection()`: a connection to this test's database that may do everything."""
    async with AsyncExitStack() as stack:

        async def opened() -> OwnConnection:
            connection = await connect_superuser(postgres_server.superuser, database.database)
            stack.push_async_callback(connection.close)
            return connection

        yield opened
