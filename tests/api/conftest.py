"""A running API with a real database behind it, and clients that sign like the providers do."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import httpx
import pytest
from retell.lib.webhook_auth import symmetric

from backend.api.config import ApiConfig
from backend.api.limits.table import LimitFigures
from backend.api.server import serve
from backend.postgres.address import PostgresAddress, Role
from backend.providers.calcom.signature import sign as sign_calcom
from backend.valkey.rates import Rates
from tests.databases import OpenConnection, OwnConnection, SuperuserConnection

RETELL_KEY = "key_tests_0123456789abcdef"
CALCOM_SECRET = "calcom-tests-secret"
REJECT_KEY = bytes(range(32))

NUMBER = "+493012345678"
"""The company's number."""

UNLIMITED = LimitFigures(
    address_per_minute=1_000_000,
    failed_auth_per_minute=1_000_000,
    token_reads_per_minute=1_000_000,
    token_writes_per_minute=1_000_000,
    token_reports_per_minute=1_000_000,
    company_per_minute=1_000_000,
    company_reports_per_minute=1_000_000,
)
"""Limits that no test reaches by accident; tests of limits set their own."""

STARTED_MS = 1_767_607_199_000

_calls = itertools.count(1)


def call_event(event: str = "call_started", call_id: str | None = None, **fields: object) -> dict[str, object]:
    """A call event as Retell sends it, about a call to the company's number unless `fields` say otherwise."""
    call: dict[str, object] = {
        "call_id": call_id or f"call_{next(_calls)}",
        "call_type": "phone_call",
        "agent_id": "agent_1",
        "call_status": "ongoing",
        "direction": "inbound",
        "from_number": "+4915112345678",
        "to_number": NUMBER,
        "start_timestamp": STARTED_MS,
    }
    return {"event": event, "call": call | fields}


def encoded(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def retell_headers(body: bytes, *, key: str = RETELL_KEY, at_ms: int | None = None) -> dict[str, str]:
    """Headers signed by the vendor's own code."""
    moment = int(time.time() * 1000) if at_ms is None else at_ms
    return {
        "content-type": "application/json",
        "x-retell-signature": symmetric["sign"](body.decode(), key, moment),
    }


@dataclass(frozen=True)
class Api:
    """A running API."""

    url: str
    client: httpx.AsyncClient
    config: ApiConfig

    async def deliver(self, content: object, **how: object) -> httpx.Response:
        """Send a call event, signed unless `headers` are given."""
        body = content if isinstance(content, bytes) else encoded(content)
        headers = how.pop("headers", None)
        assert not how
        assert headers is None or isinstance(headers, dict)
        return await self.client.post(
            "/api/retell/webhook", content=body, headers=retell_headers(body) if headers is None else headers
        )

    async def deliver_calcom(self, content: object) -> httpx.Response:
        """Send a booking event, signed."""
        body = encoded(content)
        return await self.client.post(
            "/api/calcom/webhook", content=body, headers={"x-cal-signature-256": sign_calcom(body, CALCOM_SECRET)}
        )

    async def ask_inbound(self, **call: object) -> httpx.Response:
        """Ask who is calling, signed."""
        body = encoded({"event": "call_inbound", "call_inbound": call})
        return await self.client.post("/api/retell/inbound", content=body, headers=retell_headers(body))


StartApi: TypeAlias = "Callable[..., Awaitable[Api]]"


@asynccontextmanager
async def running_api(config: ApiConfig, *, stop: asyncio.Event | None = None) -> AsyncIterator[Api]:
    """The API, served on a free port within the block."""
    stop = stop or asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(config, stop=stop, on_ready=ready.set_result))
    try:
        first: set[asyncio.Future[Any]] = {serving, ready}
        await asyncio.wait(first, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        async with httpx.AsyncClient(base_url=ready.result(), timeout=20, limits=limits, trust_env=False) as client:
            yield Api(ready.result(), client, config)
    finally:
        stop.set()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(serving, 20)


@pytest.fixture
def api_config(database: PostgresAddress) -> ApiConfig:
    """The API's configuration for this test's database, without Valkey."""
    return ApiConfig(
        host="127.0.0.1",
        port=0,
        postgres=database,
        valkey_url=None,
        retell_keys=(RETELL_KEY,),
        calcom_secrets=(CALCOM_SECRET,),
        reject_key=REJECT_KEY,
        version="0.0.0-test",
        node="test-node",
        dashboard_token="dashboard-tests-token",
        lookup_s=10.0,
        limits=UNLIMITED,
    )


@pytest.fixture
async def start_api(api_config: ApiConfig) -> AsyncIterator[StartApi]:
    """`await start_api(**changes)`: a running API whose configuration has the changes."""
    async with AsyncExitStack() as stack:

        async def started(**changes: object) -> Api:
            return await stack.enter_async_context(running_api(replace(api_config, **changes)))  # type: ignore[arg-type]

        yield started


@pytest.fixture
async def api(start_api: StartApi, company: UUID) -> Api:
    """A running API whose company has a number."""
    return await start_api()


@pytest.fixture
async def setup(open_connection: OpenConnection) -> OwnConnection:
    """A connection that may set up companies and read every delivery."""
    return await open_connection(Role.SETUP)


@pytest.fixture
async def company(setup: OwnConnection) -> UUID:
    """A company with one branch and one number."""
    company_id: UUID = await setup.fetchval(
        "insert into companies (slug, name) values ('praxis', 'Praxis Ost') returning id"
    )
    branch_id = await setup.fetchval(
        "insert into branches (company_id, slug, name) values ($1, 'mitte', 'Mitte') returning id", company_id
    )
    await setup.execute("insert into phone_numbers values ($1, $2, $3)", NUMBER, company_id, branch_id)
    return company_id


@pytest.fixture
async def superuser(superuser_connection: SuperuserConnection) -> OwnConnection:
    """A connection that may do everything."""
    connection = await superuser_connection()
    await connection.execute("set search_path = askpro, public")
    return connection


@pytest.fixture
def still_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For limits that no Valkey shares, time stands still: nothing refills, however slow the machine is."""
    monkeypatch.setattr(Rates, "_now_us", lambda _rates: 10**15)


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float = 10.0) -> None:
    """Wait for a condition, at most for `limit_s`."""
    async with asyncio.timeout(limit_s):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


async def inbox(connection: OwnConnection) -> list[asyncpg.Record]:
    """Every delivery in the inbox, oldest first."""
    return await connection.fetch("select * from webhook_inbox order by id")


async def jobs(connection: OwnConnection) -> list[asyncpg.Record]:
    """Every queued job, oldest first."""
    return await connection.fetch("select id, entrypoint, payload, headers from pgqueuer order by id")
