"""The fence: a worker that has lost a job without knowing it cannot change anything, nor end what another one runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.queue.context import Handler, JobContext
from backend.queue.failures import Permanent
from tests.databases import OpenConnection
from tests.queue.scenes import OwnConnection, config_for, job, put, until, working

ANOTHER = uuid4()


@asynccontextmanager
async def robbed(
    database: PostgresAddress, connection: OwnConnection, then: Handler
) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A job whose worker loses it while it runs, and does not look at its leases: its id, set when `then` is over."""
    taken, given, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(context: JobContext) -> None:
        taken.set()
        await given.wait()
        try:
            await then(context)
        finally:
            over.set()

    (job_id,) = await put(connection, job("webhooks.a"))
    async with working(config_for(database, lease_s=3_600.0), {"webhooks.a": handler}):
        await asyncio.wait_for(taken.wait(), 10)
        await connection.execute("update pgqueuer set queue_manager_id = $1", ANOTHER)
        given.set()
        await asyncio.wait_for(over.wait(), 10)
        released = "select exists (select from job_runs where outcome = 'released')"
        await until(lambda: connection.fetchval(released), "the loss is noted")
        yield job_id, over


async def finish(_context: JobContext) -> None:
    """Succeed."""


async def fail(_context: JobContext) -> None:
    """Fail so that it could be tried again."""
    raise ValueError("no")


async def refuse(_context: JobContext) -> None:
    """Fail for good."""
    raise Permanent("no")


async def write(context: JobContext) -> None:
    """Change something."""
    async with context.housekeeping() as inside:
        await inside.execute("delete from pgqueuer_log")


@pytest.mark.parametrize("then", [finish, fail, refuse, write])
async def test_whatever_the_former_owner_does_the_job_stays_the_new_owners(
    database: PostgresAddress, open_connection: OpenConnection, then: Handler
) -> None:
    connection = await open_connection(Role.WORKER)
    async with robbed(database, connection, then) as (job_id, _):
        row = await connection.fetchrow("select id, status::text, queue_manager_id, attempts from pgqueuer")
        assert row is not None
        assert tuple(row) == (job_id, "picked", ANOTHER, 0)
        assert await connection.fetchval("select count(*) from held_jobs") == 0
        log = await connection.fetch("select status::text from pgqueuer_log order by id")
        assert [entry["status"] for entry in log] == ["queued", "picked"]


async def test_while_a_jobs_transaction_is_open_nobody_can_take_it_and_its_lease_can_be_renewed(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    inside, leave = asyncio.Event(), asyncio.Event()

    async def handler(context: JobContext) -> None:
        async with context.housekeeping():
            inside.set()
            await leave.wait()

    (job_id,) = await put(connection, job("webhooks.a"))
    claim = "select id from pgqueuer for update skip locked"
    async with working(config_for(database, lease_s=3_600.0), {"webhooks.a": handler}):
        await asyncio.wait_for(inside.wait(), 10)
        assert await connection.fetch(claim) == []
        assert await connection.execute("update pgqueuer set heartbeat = now()") == "UPDATE 1"
        await connection.execute("update pgqueuer set entrypoint = 'webhooks.b'")
        leave.set()
        await until(lambda: connection.fetchval("select not exists (select from pgqueuer)"), "it is done")
    assert await connection.fetchval("select job_id from job_runs where outcome = 'done'") == job_id
