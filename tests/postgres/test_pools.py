"""Transactions on a link that is lost: the error that happened comes out, and the pool heals."""

from __future__ import annotations

import asyncio

import pytest

from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import DATABASE_ERRORS, tenant
from tests.databases import OpenConnection, OpenPool, SuperuserConnection
from tests.queue.scenes import until


async def test_a_backend_that_dies_within_a_transaction_costs_that_transaction_only(
    open_role_pool: OpenPool, open_connection: OpenConnection, superuser_connection: SuperuserConnection
) -> None:
    setup = await open_connection(Role.SETUP)
    company = await setup.fetchval("insert into companies (slug, name) values ('a', 'A') returning id")
    superuser = await superuser_connection()
    pool = await open_role_pool(Role.WORKER, size=1)

    async def write_when_it_is_gone() -> None:
        async with tenant(pool, company) as connection:
            await superuser.execute("select pg_terminate_backend($1, 10000)", connection.get_server_pid())
            await connection.execute("insert into customers (company_id) values ($1)", company)

    with pytest.raises(DATABASE_ERRORS, match=r"terminating|closed|in progress|lost"):
        await write_when_it_is_gone()
    async with tenant(pool, company) as connection:
        assert await connection.fetchval("select count(*) from customers") == 0


async def test_a_transaction_that_is_cancelled_is_rolled_back(
    open_role_pool: OpenPool, open_connection: OpenConnection
) -> None:
    setup = await open_connection(Role.SETUP)
    company = await setup.fetchval("insert into companies (slug, name) values ('a', 'A') returning id")
    pool = await open_role_pool(Role.WORKER, size=1)
    has_written = asyncio.Event()

    async def write_and_wait() -> None:
        async with tenant(pool, company) as connection:
            await connection.execute("insert into customers (company_id) values ($1)", company)
            has_written.set()
            await connection.execute("select pg_sleep(60)")

    watch = await open_connection(Role.WATCH)
    sleeps = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    task = asyncio.create_task(write_and_wait())
    await asyncio.wait_for(has_written.wait(), 30)
    # What is cancelled before the server has begun with it goes on there until its time limit.
    await until(lambda: watch.fetchval(sleeps), "the server sleeps")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with tenant(pool, company, timeout=30) as connection:
        assert await connection.fetchval("select count(*) from customers") == 0


def test_the_passwords_do_not_show() -> None:
    address = PostgresAddress("host", 5432, "askpro", {"askpro_api": "hunter2"})
    assert "hunter2" not in repr(address)
    assert "hunter2" not in repr(Superuser("host", password="hunter2"))
