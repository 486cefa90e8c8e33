"""Fixtures of the watching tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.valkey.client import open_valkey
from backend.watch.connection import Connection, open_watch_connection
from tests.databases import OpenConnection
from tests.watch.links import Link, linked
from tests.watch.scenery import Scenery, company_scenery

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.fixture
async def scenery(open_connection: OpenConnection) -> Scenery:
    return await company_scenery(open_connection)


@pytest.fixture
async def watch(database: PostgresAddress) -> AsyncIterator[Connection]:
    connection = await open_watch_connection(database, Role.WATCH, application="test-watch")
    yield connection
    await connection.close()


@pytest.fixture
async def valkey(valkey_url: str) -> AsyncIterator[Redis]:
    client = open_valkey(valkey_url, size=4)
    await client.flushdb()
    yield client
    await client.aclose()


@dataclass(slots=True)
class Wires:
    """Both stores, each behind a link that can fail."""

    address: PostgresAddress
    postgres: Link
    valkey_url: str
    valkey: Link


@pytest.fixture
async def wires(database: PostgresAddress, valkey: Redis, valkey_url: str) -> AsyncIterator[Wires]:
    """Links to this test's database and to an empty Valkey."""
    directory = Path(tempfile.mkdtemp(prefix="askpro-"))
    name = f".s.PGSQL.{database.port}"
    try:
        async with (
            linked(directory / name, Path(database.host) / name) as postgres,
            linked(directory / "valkey", Path(valkey_url.removeprefix("unix://"))) as cache,
        ):
            address = replace(database, host=str(directory))
            yield Wires(address, postgres, f"unix://{directory / 'valkey'}", cache)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
