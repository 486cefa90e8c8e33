"""The wall between companies, in every table that the catalogue says belongs to one, for the roles that serve requests.

The rows are made without any constraint, so that a table needs no case of its own here; what is tried is row-level
security and grants alone.
"""

from __future__ import annotations

from collections.abc import Awaitable
from uuid import UUID, uuid4

import asyncpg
import pytest

from backend.postgres.address import Role
from backend.postgres.pools import Connection
from tests.databases import OpenConnection, OwnConnection, SuperuserConnection

TABLES = """
    select c.relname as name, case when c.relname = 'companies' then 'id' else 'company_id' end as key
    from pg_class c
    where c.relnamespace = 'askpro'::regnamespace and c.relkind in ('r', 'p') and (
        c.relname = 'companies'
        or exists (select from pg_attribute a
                   where a.attrelid = c.oid and a.attname = 'company_id' and not a.attisdropped))
    order by c.relname
"""

OURS = frozenset({"audit_log", "job_runs", "held_jobs", "held_texts", "pauses", "quarantines"})
"""Records of the queue's own work and of its operators: their company is a note, and no API may look at them."""

CONSTRAINTS = """
    select c.conrelid::regclass::text as owner, c.conname as name from pg_constraint c
    where c.connamespace = 'askpro'::regnamespace and c.contype <> 't' and c.conrelid::regclass::text = any ($1)
    order by c.contype = 'f' desc, c.contype = 'n', c.contype = 'p'
"""


@pytest.fixture
async def superuser(superuser_connection: SuperuserConnection) -> OwnConnection:
    connection = await superuser_connection()
    await connection.execute("set search_path = askpro, public; set session_replication_role = replica")
    return connection


@pytest.fixture
async def tables(superuser: OwnConnection, companies: tuple[UUID, UUID]) -> dict[str, str]:
    """Every tenant's table with its key, each with one row of either company."""
    found = {row["name"]: row["key"] for row in await superuser.fetch(TABLES) if row["name"] not in OURS}
    for row in await superuser.fetch(CONSTRAINTS, list(found)):
        await superuser.execute(f"alter table {row['owner']} drop constraint if exists {row['name']} cascade")
    for name, key in found.items():
        for company in companies:
            await superuser.execute(f"insert into {name} ({key}) values ($1)", company)
    return found


@pytest.fixture
def companies() -> tuple[UUID, UUID]:
    return uuid4(), uuid4()


async def rows(query: Awaitable[str]) -> int | None:
    """How many rows a command touched; None when it was refused."""
    try:
        return int((await query).rsplit(" ", 1)[-1])
    except asyncpg.InsufficientPrivilegeError:
        return None


@pytest.mark.parametrize("role", [Role.API, Role.WORKER])
async def test_a_role_that_serves_requests_sees_and_touches_its_transaction_s_company_only(
    role: Role, tables: dict[str, str], companies: tuple[UUID, UUID], open_connection: OpenConnection
) -> None:
    own, other = companies
    connection = await open_connection(role)
    seen = 0
    for name, key in tables.items():
        await set_company(connection, None)
        assert not await rows(connection.execute(f"select from {name}")), name
        await set_company(connection, own)
        visible = await rows(connection.execute(f"select from {name}"))
        assert visible in {None, 1}, name
        seen += visible or 0
        assert not await rows(connection.execute(f"select from {name} where {key} = '{other}'")), name
        assert await rows(connection.execute(f"insert into {name} ({key}) values ('{other}')")) is None, name
        for change in (
            f"update {name} set {key} = '{other}'",
            f"update {name} set {key} = {key} where {key} = '{other}'",
            f"delete from {name} where {key} = '{other}'",
        ):
            assert not await rows(connection.execute(change)), change
    assert seen > len(tables) // 2, "the role sees its own company, or nothing was tried"


async def test_what_belongs_to_a_company_stays_where_it_is(
    tables: dict[str, str], companies: tuple[UUID, UUID], superuser: OwnConnection, open_connection: OpenConnection
) -> None:
    for role in (Role.API, Role.WORKER):
        connection = await open_connection(role)
        await set_company(connection, companies[0])
        for name in tables:
            await rows(connection.execute(f"delete from {name}"))
    for name, key in tables.items():
        count = await superuser.fetchval(f"select count(*) from {name} where {key} = $1", companies[1])
        assert count == 1, name


async def set_company(connection: Connection, company: UUID | None) -> None:
    await connection.execute("select set_config('app.company_id', $1, false)", "" if company is None else str(company))
