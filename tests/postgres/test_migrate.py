"""Migrations: killed anywhere and run again, two at once, changed, or older than the database."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path

import asyncpg
import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.bootstrap import bootstrap
from backend.postgres.migrate import (
    DIRECTORY,
    LOCK,
    MigrationChanged,
    MigrationError,
    MigrationFailed,
    SchemaTooNew,
    discover,
    migrate,
    pending,
)
from backend.postgres.pools import connect
from backend.stack.postgres_server import PostgresServer
from tests.databases import OwnConnection, connect_superuser

FINGERPRINT = """
    select string_agg(line, e'\\n' order by line) from (
        select 'column ' || attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod)
               || ' ' || attnotnull || ' ' || coalesce(pg_get_expr(adbin, adrelid), '') as line
        from pg_attribute join pg_class on pg_class.oid = attrelid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where relnamespace = 'askpro'::regnamespace and attnum > 0 and not attisdropped
        union all
        select 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
        from pg_constraint where connamespace = 'askpro'::regnamespace
        union all
        select 'index ' || pg_get_indexdef(indexrelid)
        from pg_index join pg_class on pg_class.oid = indexrelid where relnamespace = 'askpro'::regnamespace
        union all
        select 'function ' || pg_get_functiondef(oid) || ' ' || coalesce(proacl::text, '') || ' ' || proowner::regrole
        from pg_proc where pronamespace = 'askpro'::regnamespace
        union all
        select 'grant ' || oid::regclass || ' ' || coalesce(relacl::text, '') || relrowsecurity || relforcerowsecurity
        from pg_class where relnamespace = 'askpro'::regnamespace
        union all
        select 'policy ' || polrelid::regclass || ' ' || polname || ' ' || polroles::text || ' '
               || coalesce(pg_get_expr(polqual, polrelid), '') || coalesce(pg_get_expr(polwithcheck, polrelid), '')
        from pg_policy
        union all
        select 'trigger ' || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
        union all
        select 'migration ' || number || ' ' || checksum from askpro.schema_migrations
    ) lines
"""

KILLER = """
    create schema trap;
    grant usage on schema trap to public;
    create sequence trap.steps;
    create table trap.at (step bigint);
    insert into trap.at values (null);
    grant select on trap.at to public;
    grant usage on sequence trap.steps to public;
    create function trap.maybe_kill() returns event_trigger language plpgsql security definer as $$
    begin
        if nextval('trap.steps') = (select step from trap.at) then
            perform pg_terminate_backend(pg_backend_pid());
        end if;
    end $$;
    create event trigger killer on ddl_command_end execute function trap.maybe_kill();
"""
"""Ends the backend that runs the n-th schema statement, right after that statement. Sequences survive its rollback."""

STRIDE = 9
"""Every so many statements one kill; the first is drawn anew each time, so that in time all are hit."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may add to."""
    return Path(shutil.copytree(DIRECTORY, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__")))


async def fingerprint(server: PostgresServer, database: PostgresAddress) -> str:
    connection = await connect_superuser(server.superuser, database.database)
    try:
        found: str = await connection.fetchval(FINGERPRINT)
        return found
    finally:
        await connection.close()


async def test_a_second_run_has_nothing_to_do(bare_database: PostgresAddress) -> None:
    assert [applied.number for applied in await migrate(bare_database)] == [m.number for m in discover()]
    assert await migrate(bare_database) == ()


async def test_two_at_once_apply_each_migration_once(
    bare_database: PostgresAddress, postgres_server: PostgresServer
) -> None:
    runs = await asyncio.gather(*(migrate(bare_database) for _ in range(4)))
    assert sorted(applied.number for run in runs for applied in run) == [m.number for m in discover()]


async def test_killed_at_any_statement_and_run_again_the_schema_is_the_same(
    bare_database: PostgresAddress, database: PostgresAddress, postgres_server: PostgresServer
) -> None:
    expected = await fingerprint(postgres_server, database)
    superuser = await connect_superuser(postgres_server.superuser, bare_database.database)
    kills = 0
    try:
        await superuser.execute(KILLER)
        step, recorded = 1 + secrets.randbelow(STRIDE), 0
        while True:
            await superuser.execute(f"select setval('trap.steps', 1, false); update trap.at set step = {step}")
            try:
                await migrate(bare_database)
                break
            except (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.InternalClientError, OSError):
                kills += 1
            before, recorded = recorded, await count_recorded(superuser)
            step = step + STRIDE if recorded == before else 1 + secrets.randbelow(STRIDE)
        await superuser.execute("drop event trigger killer; drop schema trap cascade")
    finally:
        await superuser.close()
    assert kills >= len(discover())
    assert await fingerprint(postgres_server, bare_database) == expected


async def count_recorded(superuser: OwnConnection) -> int:
    """How many migrations are done, also when not even their table is there."""
    if await superuser.fetchval("select to_regclass('askpro.schema_migrations')") is None:
        return 0
    found: int = await superuser.fetchval("select count(*) from askpro.schema_migrations")
    return found


async def test_a_changed_migration_is_refused_by_name(database: PostgresAddress, directory: Path) -> None:
    first = directory / "0001_foundation.sql"
    first.write_text(first.read_text() + "-- edited\n")
    with pytest.raises(MigrationChanged, match=r"0001_foundation\.sql has changed since it was applied"):
        await migrate(database, directory=directory)


async def test_a_database_of_a_newer_program_is_refused(database: PostgresAddress, directory: Path) -> None:
    new = directory / "9001_future.sql"
    new.write_text("create table future (id integer);")
    await migrate(database, directory=directory)
    with pytest.raises(SchemaTooNew, match=r"9001_future\.sql, which this version of the program does not know"):
        await migrate(database)


async def test_a_migration_that_fails_names_its_line_and_leaves_nothing(
    database: PostgresAddress, directory: Path
) -> None:
    (directory / "9001_broken.sql").write_text("create table half (id integer);\n\nselect nothing_like_this();\n")
    with pytest.raises(MigrationFailed, match=r"9001_broken\.sql, line 3: function nothing_like_this"):
        await migrate(database, directory=directory)
    connection = await connect(database, Role.WATCH, application="test")
    try:
        assert await connection.fetchval("select to_regclass('half')") is None
        assert await pending(connection, directory=directory) == ("9001_broken.sql",)
        assert await pending(connection) == ()
    finally:
        await connection.close()


async def test_a_migration_may_be_a_python_module(database: PostgresAddress, directory: Path) -> None:
    (directory / "9001_module.py").write_text(
        "async def apply(connection):\n    await connection.execute('create table made_by_python (id integer)')\n"
    )
    assert [applied.name for applied in await migrate(database, directory=directory)] == ["9001_module.py"]
    connection = await connect(database, Role.WATCH, application="test")
    try:
        owner = "select tableowner from pg_tables where tablename = 'made_by_python'"
        assert await connection.fetchval(owner) == "askpro_owner"
    finally:
        await connection.close()


async def test_a_migrator_that_finds_another_at_work_gives_up_with_a_sentence(database: PostgresAddress) -> None:
    other = await connect(database, Role.MIGRATE, application="test")
    try:
        await other.execute(f"select pg_advisory_lock({LOCK})")
        with pytest.raises(MigrationError, match="Another migrator is at work"):
            await migrate(database, lock_timeout_s=0.05)
    finally:
        await other.close()


def test_two_migrations_with_one_number_are_refused(directory: Path) -> None:
    (directory / "0001_again.sql").write_text("select 1;")
    with pytest.raises(MigrationError, match="have the same number"):
        discover(directory)


async def test_bootstrap_again_keeps_everything_and_takes_new_passwords(
    bare_database: PostgresAddress, postgres_server: PostgresServer, role_passwords: dict[str, str]
) -> None:
    await migrate(bare_database)
    changed = {**role_passwords, Role.API.value: "another"}
    try:
        await bootstrap(postgres_server.superuser, changed, database=bare_database.database)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(bare_database, Role.API, application="test")
    finally:
        await bootstrap(postgres_server.superuser, role_passwords, database=bare_database.database)
    connection = await connect(bare_database, Role.API, application="test")
    await connection.close()
    assert await migrate(bare_database) == ()


async def test_bootstrap_without_all_passwords_says_whose_is_missing(postgres_server: PostgresServer) -> None:
    with pytest.raises(KeyError, match="askpro_console"):
        await bootstrap(postgres_server.superuser, {role.value: "x" for role in Role if role is not Role.CONSOLE})
