"""The console over a real database with held jobs, on the screen that a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection, connect
from backend.services.held_jobs.selecting import CauseCount, Preview
from backend.stack.status import Status
from backend.watch.snapshots import HeldGroup
from screens.base import ConsoleScreen
from tests.screens.consoles import Console, GivenReader, console
from tests.watch.well import queues

Result = TypeVar("Result")

GROUP = HeldGroup(
    fingerprint="cause-1",
    queue="webhooks",
    entrypoint="webhooks.a",
    error_type="ValueError",
    message="no room in branch 1",
    companies=1,
    held_1h=12,
    held_24h=12,
    held_total=12,
    first_at=1_800_000_000.0,
    last_at=1_800_000_600.0,
    held_7d=12,
    trend=(0, 0, 3, 0, 0, 0, 4, 5, 0, 0, 0, 0),
    top_companies=(("nord", 12),),
)


class DatabaseStack:
    """A system of which there is a database and nothing else."""

    def __init__(self, database: PostgresAddress) -> None:
        self.started_here = False
        self._database = database

    async def bring_up(self) -> AsyncIterator[Status]:
        """It is there already."""
        return
        yield

    async def take_down(self) -> AsyncIterator[Status]:
        """It stays."""
        return
        yield

    async def reader(self) -> GivenReader:
        """Nothing to read."""
        return GivenReader()

    async def log_tail(self, process: str = "") -> list[str]:
        """No logs."""
        return []

    async def restart(self, process: str) -> None:
        """Nothing to restart."""

    def postgres(self) -> PostgresAddress:
        """The test's database."""
        return self._database


@asynccontextmanager
async def held_console(
    database: PostgresAddress,
    screen: ConsoleScreen,
    *,
    group: HeldGroup = GROUP,
    size: tuple[int, int] = (120, 40),
    read_only: bool = False,
) -> AsyncIterator[Console]:
    """The console with `screen` over Queues."""
    reader = GivenReader(queues(held=(group,)))
    stack = DatabaseStack(database)
    async with console(reader, first="queues", size=size, read_only=read_only, stack=stack) as shown:
        await shown.app.push_screen(screen)
        yield shown


async def asked(database: PostgresAddress, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """What `work` finds on a connection of the worker's role."""
    connection = await connect(database, Role.WORKER, application="test-look")
    try:
        return await work(connection)
    finally:
        await connection.close()


async def value(database: PostgresAddress, statement: str, *arguments: object) -> object:
    """One value of the database."""
    return await asked(database, lambda connection: connection.fetchval(statement, *arguments))


PREVIEW = Preview(
    matched=200,
    by_type=(("default.calendar_sync", 200),),
    by_company=(("nord", 190), ("süd", 6), ("", 2), ("west", 1), ("ost", 1)),
    by_cause=(
        CauseCount(fingerprint="c", error_type="TooManyRequests", message="HTTP 429 Too Many Requests", jobs=200),
    ),
    companies=5,
    causes=1,
    oldest_at=datetime(2027, 1, 15, 8, 0, tzinfo=UTC),
    newest_at=datetime(2027, 1, 15, 9, 0, tzinfo=UTC),
    providers=("calcom",),
    queue_paused=("provider calcom",),
    ahead=12,
    deliveries=0,
    would_skip=5,
    seconds_at_rate=None,
    sample=(),
)
"""What a dry run found."""
