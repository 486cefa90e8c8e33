"""Forward migrations: numbered files, each in one transaction, recorded with its checksum.

A file is `NNNN_name.sql`, or `NNNN_name.py` with `async def apply(connection) -> None`. Each runs as the owner role
and is recorded in the transaction that applies it, so a run that dies anywhere leaves a whole number of migrations
behind and the next run goes on from there. One migrator works at a time (a transaction-level advisory lock).
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.bootstrap import OWNER
from backend.postgres.pools import Connection, connect, transaction

DIRECTORY = Path(__file__).parent / "migrations"

LOCK = 7_236_002
"""Advisory lock: one migrator at a time, in this database."""

_NAME = re.compile(r"(?P<number>[0-9]{4})_[a-z0-9_]+\.(sql|py)")


class MigrationError(Exception):
    """The schema can't be brought to where this program needs it; the message says why, in a sentence."""


class MigrationChanged(MigrationError):
    """A migration that was applied has another content now."""


class SchemaTooNew(MigrationError):
    """The database has migrations that this program does not know: a newer version has been here."""

    def __init__(self, migration: str) -> None:
        super().__init__(
            f"The database has the migration {migration}, which this version of the program does not know: "
            "a newer version has been here. Start that version, or restore a backup."
        )
        self.migration = migration


class MigrationFailed(MigrationError):
    """A migration's statement was refused; nothing of that migration was kept."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of the migrations directory."""

    number: int
    name: str
    """The file's name."""
    checksum: str
    """SHA-256 of the file, hex."""
    path: Path


@dataclass(frozen=True, slots=True)
class Applied:
    """One migration that this run applied."""

    number: int
    name: str
    seconds: float


def discover(directory: Path = DIRECTORY) -> tuple[Migration, ...]:
    """The migrations of `directory` by number. Raises MigrationError when two share a number."""
    found: dict[int, Migration] = {}
    for path in sorted(directory.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        number = int(match["number"])
        if number in found:
            raise MigrationError(f"{found[number].name} and {path.name} have the same number.")
        found[number] = Migration(number, path.name, hashlib.sha256(path.read_bytes()).hexdigest(), path)
    return tuple(found[number] for number in sorted(found))


async def migrate(
    address: PostgresAddress, *, directory: Path = DIRECTORY, lock_timeout_s: float = 10.0
) -> tuple[Applied, ...]:
    """Apply what is missing, in the order of the numbers; returns what was applied (nothing when up to date).

    Waits at most `lock_timeout_s` for another migrator, and for each lock that a statement needs.
    Raises MigrationChanged, SchemaTooNew, MigrationFailed; OSError or asyncpg.PostgresError when the server fails.
    """
    known = discover(directory)
    connection = await connect(address, Role.MIGRATE, application="askpro-migrate")
    try:
        await connection.execute(
            f"set client_min_messages = 'warning'; set lock_timeout = {round(lock_timeout_s * 1000)}"
        )
        await _prepare(connection)
        done: list[Applied] = []
        for migration in known:
            started = time.monotonic()
            if await _apply(connection, migration, known):
                done.append(Applied(migration.number, migration.name, time.monotonic() - started))
        return tuple(done)
    finally:
        await connection.close()


async def pending(connection: Connection, *, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Names of the migrations that this program has and the database has not; for readiness checks.

    Any role may ask. Raises MigrationChanged or SchemaTooNew as `migrate` does.
    """
    known = discover(directory)
    recorded: dict[int, tuple[str, str]] = {}
    if await connection.fetchval("select to_regclass('schema_migrations') is not null"):
        recorded = await _recorded(connection)
    _check(known, recorded)
    return tuple(migration.name for migration in known if migration.number not in recorded)


async def _prepare(connection: Connection) -> None:
    async with _alone(connection):
        await connection.execute(
            """
            create table if not exists schema_migrations (
                number     integer primary key,
                name       text not null,
                checksum   text not null,
                applied_at timestamptz not null default now()
            );
            grant select on schema_migrations to askpro_api, askpro_worker, askpro_watch, askpro_console, askpro_setup;
            """
        )


async def _apply(connection: Connection, migration: Migration, known: Sequence[Migration]) -> bool:
    """Apply one migration unless it is recorded; whether it was applied."""
    async with _alone(connection):
        recorded = await _recorded(connection)
        _check(known, recorded)
        if migration.number in recorded:
            return False
        try:
            if migration.path.suffix == ".py":
                await _function(migration)(connection)
            else:
                await connection.execute(migration.path.read_text(encoding="utf-8"))
        except asyncpg.PostgresError as error:
            if isinstance(error, asyncpg.PostgresConnectionError | asyncpg.OperatorInterventionError):
                raise
            raise MigrationFailed(f"{migration.name}{_line(migration, error)}: {error}") from error
        await connection.execute(
            "insert into schema_migrations (number, name, checksum) values ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.checksum,
        )
        return True


@asynccontextmanager
async def _alone(connection: Connection) -> AsyncIterator[None]:
    """A transaction as the owner and the only migrator."""
    try:
        async with transaction(connection, f"set local role {OWNER}; select pg_advisory_xact_lock({LOCK})"):
            yield
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(
            "Another migrator is at work on this database, or somebody holds a lock for long; try again later."
        ) from error


async def _recorded(connection: Connection) -> dict[int, tuple[str, str]]:
    rows = await connection.fetch("select number, name, checksum from schema_migrations")
    return {row["number"]: (row["name"], row["checksum"]) for row in rows}


def _check(known: Sequence[Migration], recorded: dict[int, tuple[str, str]]) -> None:
    by_number = {migration.number: migration for migration in known}
    for number, (name, checksum) in sorted(recorded.items()):
        migration = by_number.get(number)
        if migration is None:
            raise SchemaTooNew(name)
        if migration.checksum != checksum:
            raise MigrationChanged(
                f"The migration {migration.name} has changed since it was applied (as {name}). "
                "Applied migrations are never edited: put the change into a new one."
            )


def _function(migration: Migration) -> Callable[[Connection], Awaitable[None]]:
    """The `apply` function of a Python migration, which is imported by its path."""
    spec = importlib.util.spec_from_file_location(f"backend.postgres.migrations.m{migration.path.stem}", migration.path)
    if spec is None or spec.loader is None:
        raise MigrationError(f"{migration.name} can't be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function: Callable[[Connection], Awaitable[None]] = module.apply
    return function


def _line(migration: Migration, error: asyncpg.PostgresError) -> str:
    """`, line 12` when the server said where in the file it stopped."""
    position = getattr(error, "position", None)
    if migration.path.suffix != ".sql" or position is None:
        return ""
    text = migration.path.read_text(encoding="utf-8")
    return f", line {text.count(chr(10), 0, int(position) - 1) + 1}"
