"""A run may begin while the database is on its way back."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.simulate.businesses import TRIAL, businesses
from backend.simulate.patience import AWAY
from backend.simulate.run import alone
from backend.simulate.settle import settle
from tests.databases import OpenConnection


class AwayServer:
    """A socket of a server that hangs up on everybody, until it lets them through to the real one."""

    def __init__(self, directory: Path, real: PostgresAddress) -> None:
        self._socket = f".s.PGSQL.{real.port}"
        self._directory, self._real = directory, real
        self.address = replace(real, host=str(directory))
        self.refused = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begin to hang up."""
        self._server = await asyncio.start_unix_server(self._hang_up, self._directory / self._socket)

    def come_back(self) -> None:
        """From now on the real server answers."""
        assert self._server is not None
        self._server.close()
        (self._directory / self._socket).unlink(missing_ok=True)
        (self._directory / self._socket).symlink_to(Path(self._real.host) / self._socket)

    def _hang_up(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        self.refused.set()


@pytest.fixture
def short_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="askpro-"))
    yield directory
    shutil.rmtree(directory)


async def test_a_patient_run_waits_for_the_database_before_it_begins(
    database: PostgresAddress, short_directory: Path, open_connection: OpenConnection
) -> None:
    server = AwayServer(short_directory, database)
    await server.open()

    async def begin() -> None:
        async with alone(server.address, patience_s=30):
            await settle(server.address, businesses(TRIAL), patience_s=30)

    beginning = asyncio.create_task(begin())
    await asyncio.wait_for(server.refused.wait(), 10)
    server.come_back()
    await asyncio.wait_for(beginning, 30)
    connection = await open_connection(Role.WATCH)
    assert await connection.fetchval("select count(*) from companies") == len(businesses(TRIAL))


async def test_another_run_is_told_at_once_that_the_database_is_away(
    database: PostgresAddress, short_directory: Path
) -> None:
    server = AwayServer(short_directory, database)
    await server.open()
    with pytest.raises(AWAY):
        async with alone(server.address):
            raise AssertionError("began without a database")
