"""Fixtures of the watching tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.valkey.client import open_valkey
from backend.watch.connection import Connection, open_watch_connection
from tests.databases import OpenConnection
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
