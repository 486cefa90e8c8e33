"""One running API for all tests of the partners' resources, in a thread of its own with a database of its own.

Each test has companies of its own in it, so that none sees what another did; starting an API and a database for each
would take a second a test.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from backend.api.config import ApiConfig
from backend.api.server import serve
from backend.domain.vocabulary import TokenScope
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.bootstrap import ensure_database
from backend.postgres.pools import connect
from backend.stack.postgres_server import PostgresServer
from tests.api.conftest import CALCOM_SECRET, REJECT_KEY, RETELL_KEY, UNLIMITED
from tests.api.partner import Partner, partner_of, salon
from tests.databases import OwnConnection, address_of, connect_superuser, drop_database

_numbers = itertools.count(1)


@dataclass(frozen=True)
class SharedApi:
    """A running API and the database behind it."""

    url: str
    database: PostgresAddress
    server: PostgresServer


@contextmanager
def served(config: ApiConfig) -> Iterator[str]:
    """The API's base URL; it runs in a thread within the block."""
    ready: list[str] = []
    began, failed = threading.Event(), list[BaseException]()
    stopping: list[Callable[[], object]] = []

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        stopping.append(lambda: loop.call_soon_threadsafe(stop.set))

        def up(url: str) -> None:
            ready.append(url)
            began.set()

        await serve(config, stop=stop, on_ready=up)

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
        finally:
            began.set()

    thread = threading.Thread(target=work, name="shared-api")
    thread.start()
    try:
        assert began.wait(30)
        assert ready, failed
        yield ready[0]
    finally:
        stopping[0]()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def shared_api(
    postgres_server: PostgresServer, template_database: str, role_passwords: dict[str, str]
) -> Iterator[SharedApi]:
    """The API that these tests share."""
    name = f"askpro_shared_{secrets.token_hex(6)}"

    async def make() -> None:
        server = await connect_superuser(postgres_server.superuser, "postgres")
        await ensure_database(server, name, template=template_database)
        await server.close()

    async def drop() -> None:
        server = await connect_superuser(postgres_server.superuser, "postgres")
        await drop_database(server, name)
        await server.close()

    asyncio.run(make())
    database = address_of(postgres_server.superuser, name, role_passwords)
    config = ApiConfig(
        host="127.0.0.1",
        port=0,
        postgres=database,
        valkey_url=None,
        retell_keys=(RETELL_KEY,),
        calcom_secrets=(CALCOM_SECRET,),
        reject_key=REJECT_KEY,
        version="0.0.0-test",
        dashboard_token="dashboard-tests-token",
        limits=UNLIMITED,
    )
    with served(config) as url:
        yield SharedApi(url, database, postgres_server)
    asyncio.run(drop())


@pytest.fixture
async def declaring(shared_api: SharedApi) -> AsyncIterator[OwnConnection]:
    """A connection that may declare companies and make tokens."""
    connection = await connect(shared_api.database, Role.SETUP, application="test-setup")
    yield connection
    await connection.close()


@pytest.fixture
async def administrator(shared_api: SharedApi) -> AsyncIterator[OwnConnection]:
    """A connection that may do everything."""
    connection = await connect_superuser(shared_api.server.superuser, shared_api.database.database)
    await connection.execute("set search_path = askpro, public")
    yield connection
    await connection.close()


Partners: TypeAlias = "Callable[..., Awaitable[Partner]]"


@pytest.fixture
async def partners(shared_api: SharedApi, declaring: OwnConnection) -> AsyncIterator[Partners]:
    """`await partners(scopes=…, of=PARTNER)`: a partner of a company of its own, or of another one's."""
    async with AsyncExitStack() as stack:

        async def made(scopes: Sequence[TokenScope] = tuple(TokenScope), of: Partner | None = None) -> Partner:
            number = next(_numbers) if of is None else of.number
            declaration = salon(f"salon-{number}", f"+4930123{number:06}")
            return await stack.enter_async_context(
                partner_of(shared_api.url, declaring, declaration, scopes, number=number)
            )

        yield made


@pytest.fixture
async def partner(partners: Partners) -> Partner:
    """A partner with every scope."""
    return await partners()
