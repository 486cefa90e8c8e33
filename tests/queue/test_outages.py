"""A worker whose PostgreSQL goes away: it waits, comes back, and nothing is lost."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.bootstrap import bootstrap
from backend.postgres.migrate import migrate
from backend.postgres.pools import Connection, connect
from backend.queue.context import JobContext
from backend.queue.doorbell import Doorbell
from backend.stack.postgres_server import PostgresServer
from tests.databases import OpenConnection, address_of
from tests.engines import layout_below, running
from tests.queue.scenes import config_for, empty, job, put, until, working


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server of the test's own, initialised and not running."""
    base = Path(tempfile.mkdtemp(prefix="askpro-"))
    for directory in (base, base / "data", base / "run"):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
    server = PostgresServer(layout_below(base), secrets.token_hex(16))
    server.initialise()
    yield server
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGQUIT], ids=["fast shutdown", "immediate shutdown"])
async def test_a_worker_outlives_a_restart_of_its_database_and_loses_no_job(
    own_server: PostgresServer, tmp_path: Path, stop: signal.Signals
) -> None:
    passwords = {role.value: secrets.token_hex(8) for role in Role}
    address = address_of(own_server.superuser, "askpro", passwords)
    done: set[int] = set()

    async def work(context: JobContext) -> None:
        async with context.housekeeping() as connection:
            await connection.fetchval("select pg_sleep(0.05)")
        done.add(context.job_id)

    with running(own_server.command(), tmp_path / "log", own_server.ready, stop):
        await bootstrap(own_server.superuser, passwords)
        await migrate(address)
        ids = await fill(address, 150)
        worker = working(config_for(address), {"webhooks.a": work})
        running_worker = await worker.__aenter__()
        await until(lambda: asyncio.sleep(0, len(done) >= 20), "some jobs are done")
    assert len(done) < len(ids)
    with running(own_server.command(), tmp_path / "log", own_server.ready, signal.SIGINT):
        connection = await connect(address, Role.WORKER, application="test")
        await until(lambda: empty(connection), "all jobs are done")
        assert done == set(ids)
        assert await connection.fetchval("select count(*) from held_jobs") == 0
        again = await fill(address, 1)
        await until(lambda: asyncio.sleep(0, done >= set(again)), "a job put in later is done as well")
        await until(lambda: asyncio.sleep(0, running_worker.unfinished == 0), "it has let go of every job")
        await worker.__aexit__(None, None, None)
        await connection.close()


async def fill(address: PostgresAddress, count: int) -> list[int]:
    """Put jobs in."""
    connection = await connect(address, Role.WORKER, application="test")
    try:
        return await put(connection, *[job("webhooks.a") for _ in range(count)])
    finally:
        await connection.close()


async def test_an_outage_is_over_only_when_what_is_in_force_could_be_read(
    database: PostgresAddress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "backend.queue.outages")
    tried, read = [], asyncio.Event()

    async def fail_twice(_connection: Connection) -> None:
        tried.append(len(caplog.records))
        if len(tried) < 3:
            raise TimeoutError
        read.set()

    listening = asyncio.create_task(Doorbell(database, "webhooks", "askpro test", fail_twice).run())
    await asyncio.wait_for(read.wait(), 10)
    listening.cancel()
    await asyncio.wait({listening}, timeout=10)
    assert tried == [0, 1, 1], "told once that it is away, and not that it is back"
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == [
        "the database is away (TimeoutError)",
        "the database is back",
    ]


async def test_a_worker_whose_connections_are_all_ended_goes_on(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    done: list[int] = []

    async def work(context: JobContext) -> None:
        async with context.housekeeping() as inside:
            await inside.fetchval("select pg_sleep(0.02)")
        done.append(context.job_id)

    ids = await put(connection, *[job("webhooks.a") for _ in range(100)])
    async with working(config_for(database), {"webhooks.a": work}):
        await until(lambda: asyncio.sleep(0, len(done) >= 10), "some jobs are done")
        ended = """
            select count(pg_terminate_backend(pid)) from pg_stat_activity
            where application_name like 'askpro webhooks %' and datname = current_database()
        """
        assert await connection.fetchval(ended) >= 6
        await until(lambda: empty(connection), "all jobs are done")
    assert set(done) == set(ids)
