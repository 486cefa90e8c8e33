"""The schedule: each job comes round once in its time, whoever asks, and never piles up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time, timedelta

from backend.postgres.address import Role
from backend.queue.jobs import HANDLERS
from backend.queue.periodic import SCHEDULE, Periodic, enqueue_due
from tests.databases import OpenConnection

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MINUTELY = Periodic("default.minutely", timedelta(minutes=1))
HOURLY = Periodic("default.hourly", timedelta(hours=1))
BOTH = (MINUTELY, HOURLY)


def test_everything_on_the_schedule_is_a_job_type() -> None:
    assert {item.entrypoint for item in SCHEDULE} <= set(HANDLERS)


def test_how_often_a_job_comes_round_is_told_in_the_largest_unit_that_fits() -> None:
    half_a_minute = Periodic("a", timedelta(seconds=30))
    told = [half_a_minute.rhythm, MINUTELY.rhythm, HOURLY.rhythm]
    told += [Periodic("a", timedelta(minutes=minutes)).rhythm for minutes in (10, 90, 120)]
    assert told == ["every 30 s", "every min", "every hour", "every 10 min", "every 90 min", "every 2 hours"]
    assert Periodic("a", timedelta(days=1), time(2, 30)).rhythm == "daily at 02:30 UTC"


async def test_a_job_comes_round_in_its_time_and_not_before(open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WORKER)
    assert sorted(await enqueue_due(connection, NOW, BOTH)) == ["default.hourly", "default.minutely"]
    await connection.execute("delete from pgqueuer")
    assert await enqueue_due(connection, NOW + timedelta(seconds=59), BOTH) == []
    assert await enqueue_due(connection, NOW + timedelta(seconds=60), BOTH) == ["default.minutely"]
    await connection.execute("delete from pgqueuer")
    assert sorted(await enqueue_due(connection, NOW + timedelta(hours=5), BOTH)) == [
        "default.hourly",
        "default.minutely",
    ]


async def test_two_publishers_that_ask_at_once_put_a_job_in_once(open_connection: OpenConnection) -> None:
    first, second = await open_connection(Role.WORKER), await open_connection(Role.WORKER)
    put_in = await asyncio.gather(enqueue_due(first, NOW, BOTH), enqueue_due(second, NOW, BOTH))
    assert sorted(name for names in put_in for name in names) == ["default.hourly", "default.minutely"]
    assert await first.fetchval("select count(*) from pgqueuer") == 2


async def test_a_job_that_is_not_done_yet_does_not_pile_up(open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WORKER)
    for minute in range(5):
        await enqueue_due(connection, NOW + timedelta(minutes=minute), (MINUTELY,))
    assert await connection.fetchval("select count(*) from pgqueuer") == 1


async def test_asking_when_nothing_is_due_writes_nothing(open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WORKER)
    await enqueue_due(connection, NOW, BOTH)
    version = "select array_agg(xmin::text || xmax::text order by entrypoint) from pgqueuer_schedules"
    before = await connection.fetchval(version)
    await enqueue_due(connection, NOW + timedelta(seconds=1), BOTH)
    assert await connection.fetchval(version) == before


async def test_a_nightly_job_comes_round_at_its_time_of_day(open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WORKER)
    nightly = Periodic("default.nightly", timedelta(days=1), time(2, 30))
    assert await enqueue_due(connection, NOW, (nightly,)) == ["default.nightly"], "a new system begins with one"
    await connection.execute("delete from pgqueuer")
    before = datetime(2026, 3, 3, 2, 29, tzinfo=UTC)
    assert await enqueue_due(connection, before, (nightly,)) == []
    assert await enqueue_due(connection, before + timedelta(minutes=1), (nightly,)) == ["default.nightly"]
    assert nightly.next_after(before + timedelta(minutes=1)) == datetime(2026, 3, 4, 2, 30, tzinfo=UTC)
