"""What queues did is counted by the minute: as often as one likes, later than one likes, and nothing is lost by it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from backend.postgres.address import Role
from backend.queue.counting import LONGEST_PIECE, SHORTEST_PIECE, Counting
from backend.watch.histogram import Histogram
from backend.watch.history import History, Percentiles, read_history, steps_for
from tests.databases import OpenConnection, OwnConnection

BEGIN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CALL, BOOK = "webhooks.retell_call", "appointments.book"


async def ran(
    connection: OwnConnection,
    at: datetime,
    outcome: str = "done",
    *,
    entrypoint: str = CALL,
    took_s: float = 0.01,
    waited_ms: int = 4,
) -> None:
    """A run that ended at this moment."""
    await connection.execute(
        "insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at, ended_at, waited_ms, outcome) "
        "values ((select count(*) from job_runs), 1, $1, gen_random_uuid(), $2, $3, $4, $5)",
        entrypoint,
        at - timedelta(seconds=took_s),
        at,
        waited_ms,
        outcome,
    )


async def put_in(connection: OwnConnection, at: datetime, entrypoint: str = CALL, traceback: str | None = None) -> None:
    """An entry in the engine's log: a job was put in at this moment."""
    await connection.execute(
        "insert into pgqueuer_log (created, job_id, status, priority, entrypoint, traceback) "
        "values ($1, 0, 'queued', 0, $2, $3::jsonb)",
        at,
        entrypoint,
        traceback,
    )


@pytest.fixture
async def worker(open_connection: OpenConnection) -> OwnConnection:
    """A connection of a worker, with counting about to begin at 8 o'clock."""
    connection = await open_connection(Role.WORKER)
    await connection.execute("update job_minutes_mark set counted_until = $1, settled_until = $1", BEGIN)
    return connection


async def count_up(connection: OwnConnection, now: datetime, counting: Counting | None = None) -> None:
    """Count until nothing is left to count at this moment."""
    counting = counting or Counting()
    while (await counting.count(connection, now)).behind:
        pass


async def history(connection: OwnConnection, hours: float = 1, **asked: str) -> History:
    """The history of so many hours."""
    span = timedelta(hours=hours)
    return await read_history(connection, span=span, step_s=steps_for(span), **asked)


async def test_a_minute_tells_what_was_put_in_and_what_became_of_it(worker: OwnConnection) -> None:
    for second, outcome in enumerate(("done", "done", "retry", "held", "released", "postponed")):
        await ran(worker, BEGIN + timedelta(seconds=second), outcome)
    await ran(worker, BEGIN + 2 * MINUTE, entrypoint=BOOK, took_s=2.0, waited_ms=250)
    await put_in(worker, BEGIN + timedelta(seconds=59.9))
    await put_in(worker, BEGIN + timedelta(seconds=30), traceback="{}")
    await count_up(worker, BEGIN + timedelta(minutes=3, seconds=4))
    told = await history(worker)
    assert len(told.steps) == 60
    assert (told.steps[-1].at, told.until) == ((BEGIN + 2 * MINUTE).timestamp(), (BEGIN + 3 * MINUTE).timestamp())
    first, empty, last = (step.tally for step in told.steps[-3:])
    assert (first.put_in, first.done, first.failed, first.held) == (1, 2, 1, 1)
    assert (first.ended, first.failure_share) == (4, 0.5)
    assert (empty.ended, empty.wait, empty.failure_share) == (0, Percentiles(), None)
    assert last.run.p50_s == pytest.approx(2.0, rel=0.055)
    assert last.wait.p99_s == pytest.approx(0.25, rel=0.055)
    assert [(line.queue, line.entrypoint, line.tally.done) for line in told.lines] == [
        ("appointments", BOOK, 1),
        ("webhooks", CALL, 2),
    ]
    assert told.total.done == 3
    assert (await history(worker, queue="webhooks")).total.done == 2
    assert (await history(worker, entrypoint=BOOK)).total.run_total_s == pytest.approx(2.0)


async def test_a_minute_is_counted_when_it_is_over_and_counting_again_changes_nothing(worker: OwnConnection) -> None:
    await ran(worker, BEGIN + timedelta(seconds=10))
    counting = Counting()
    await counting.count(worker, BEGIN + timedelta(seconds=61))
    assert await worker.fetchval("select count(*) from job_minutes") == 0
    rows = "select md5(array_agg(m order by minutes, at, entrypoint)::text) from job_minutes m"
    await counting.count(worker, BEGIN + timedelta(seconds=64))
    once = await worker.fetchval(rows)
    again = await counting.count(worker, BEGIN + timedelta(seconds=90))
    assert (again.minutes, again.rest_s) == (0, 33.0)
    await Counting().count(worker, BEGIN + timedelta(seconds=124))
    assert await worker.fetchval(rows) == once
    assert (await history(worker)).total.done == 1


async def test_what_is_written_late_is_counted_before_its_minute_is_settled(worker: OwnConnection) -> None:
    counting = Counting()
    await count_up(worker, BEGIN + timedelta(minutes=20), counting)
    await ran(worker, BEGIN + timedelta(minutes=5))
    await count_up(worker, BEGIN + timedelta(minutes=25), counting)
    assert (await history(worker)).total.done == 0
    await count_up(worker, BEGIN + timedelta(minutes=40), counting)
    assert (await history(worker)).total.done == 1
    assert await worker.fetchval("select settled_until from job_minutes_mark") == BEGIN + timedelta(minutes=10)


async def test_an_outage_is_caught_up_with_and_nothing_settles_before_workers_had_their_say(
    worker: OwnConnection,
) -> None:
    for hour in range(20):
        await ran(worker, BEGIN + timedelta(hours=hour, seconds=1))
    counting, after = Counting(), BEGIN + timedelta(hours=20)
    pieces = 1
    while (await counting.count(worker, after)).behind:
        pieces += 1
    assert pieces < 20 * 60 / LONGEST_PIECE + 10, "an idle time is passed quickly"
    assert await worker.fetchval("select settled_until from job_minutes_mark") == BEGIN
    await ran(worker, BEGIN + timedelta(hours=3, minutes=3))
    await count_up(worker, after + 3 * MINUTE, counting)
    for _ in range(20):
        await counting.count(worker, after + 3 * MINUTE)
    assert (await history(worker, hours=24)).total.done == 21
    assert await worker.fetchval("select settled_until from job_minutes_mark") == after - timedelta(minutes=27)
    busy_again = await counting.count(worker, after + timedelta(hours=9))
    assert busy_again.until == after + timedelta(minutes=2 + SHORTEST_PIECE), "who catches up begins with little"


async def test_percentiles_of_hours_are_those_of_all_their_runs(worker: OwnConnection) -> None:
    dice = random.Random(4)
    took = Histogram()
    for minute in range(0, 180, 3):
        for _ in range(4):
            seconds = dice.lognormvariate(-3, 1.5)
            took.add(seconds)
            await ran(worker, BEGIN + minute * MINUTE + timedelta(seconds=30), took_s=seconds)
    await count_up(worker, BEGIN + timedelta(hours=3, minutes=1))
    for hours in (3, 24, 168):
        told = await history(worker, hours=hours)
        assert told.total.done == 240
        assert sum(step.tally.done for step in told.steps) == 240
        for quantile, value in (
            (0.5, told.total.run.p50_s),
            (0.95, told.total.run.p95_s),
            (0.99, told.total.run.p99_s),
        ):
            assert value == pytest.approx(took.quantile(quantile), rel=0.07)
    assert len((await history(worker, hours=168)).steps) == 168


async def test_a_step_for_which_nothing_is_kept_is_refused(worker: OwnConnection) -> None:
    with pytest.raises(ValueError, match="multiple of 60 s"):
        await read_history(worker, span=timedelta(hours=1), step_s=90)
    with pytest.raises(ValueError, match="more than"):
        await read_history(worker, span=timedelta(days=7), step_s=60)
