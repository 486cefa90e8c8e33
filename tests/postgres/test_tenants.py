"""Row-level security: a transaction sees the one company it names, and nothing when it names none."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import tenant
from tests.databases import OpenConnection, OpenPool


@pytest.fixture
async def two_companies(open_connection: OpenConnection) -> tuple[UUID, UUID]:
    """Two companies with one branch each."""
    setup = await open_connection(Role.SETUP)
    ids: list[UUID] = []
    for slug in ("salon-anna", "praxis-bode"):
        company: UUID = await setup.fetchval("insert into companies (slug, name) values ($1, $1) returning id", slug)
        await setup.execute("insert into branches (company_id, slug, name) values ($1, 'mitte', 'Mitte')", company)
        ids.append(company)
    return ids[0], ids[1]


@pytest.mark.parametrize("role", [Role.API, Role.WORKER])
async def test_a_transaction_without_a_tenant_sees_no_row(
    two_companies: tuple[UUID, UUID], open_connection: OpenConnection, role: Role
) -> None:
    connection = await open_connection(role)
    assert await connection.fetchval("select count(*) from branches") == 0
    assert await connection.fetchval("select count(*) from companies") == 0


async def test_a_tenant_sees_its_own_rows_only(two_companies: tuple[UUID, UUID], open_role_pool: OpenPool) -> None:
    pool = await open_role_pool(Role.API)
    for company in two_companies:
        async with tenant(pool, company) as connection:
            assert await connection.fetchval("select array_agg(company_id) from branches") == [company]
            assert await connection.fetchval("select array_agg(id) from companies") == [company]


async def test_the_tenant_is_forgotten_at_the_end_of_its_transaction(
    two_companies: tuple[UUID, UUID], open_role_pool: OpenPool
) -> None:
    pool = await open_role_pool(Role.WORKER, size=1)
    async with tenant(pool, two_companies[0]) as connection:
        assert await connection.fetchval("select count(*) from branches") == 1
    assert await pool.fetchval("select count(*) from branches") == 0


async def test_a_row_for_another_company_is_refused(two_companies: tuple[UUID, UUID], open_role_pool: OpenPool) -> None:
    pool = await open_role_pool(Role.WORKER)
    mine, other = two_companies
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with tenant(pool, mine) as connection:
            await connection.execute("insert into customers (company_id, last_name) values ($1, 'Bode')", other)
    async with tenant(pool, mine) as connection:
        await connection.execute("insert into customers (company_id, last_name) values ($1, 'Bode')", mine)
    async with tenant(pool, other) as connection:
        assert await connection.fetchval("select count(*) from customers") == 0


async def test_an_error_rolls_the_tenants_transaction_back_and_frees_the_connection(
    two_companies: tuple[UUID, UUID], open_role_pool: OpenPool
) -> None:
    pool = await open_role_pool(Role.WORKER, size=1)
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with tenant(pool, two_companies[0]) as connection:
            await connection.execute(f"insert into customers (company_id) values ('{two_companies[0]}'); select 1 / 0")
    async with tenant(pool, two_companies[0]) as connection:
        assert await connection.fetchval("select count(*) from customers") == 0


async def test_watch_and_console_see_every_company_and_change_nothing(
    two_companies: tuple[UUID, UUID], open_connection: OpenConnection
) -> None:
    for role in (Role.WATCH, Role.CONSOLE):
        connection = await open_connection(role)
        assert await connection.fetchval("select count(*) from branches") == 2
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
            await connection.execute("update branches set name = 'X'")


async def test_the_owner_itself_sees_no_tenant_row(
    two_companies: tuple[UUID, UUID], open_connection: OpenConnection
) -> None:
    migrator = await open_connection(Role.MIGRATE)
    await migrator.execute("set role askpro_owner")
    assert await migrator.fetchval("select count(*) from branches") == 0


async def test_a_pool_waits_only_so_long_for_a_connection(
    database: PostgresAddress, two_companies: tuple[UUID, UUID], open_role_pool: OpenPool
) -> None:
    pool = await open_role_pool(Role.API, size=1)
    async with tenant(pool, two_companies[0]):
        with pytest.raises(TimeoutError):
            async with tenant(pool, two_companies[1], timeout=0.05):
                raise AssertionError("there is no second connection")
