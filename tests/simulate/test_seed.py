"""The demo's history: believable, whole, and written once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.verify import verify
from backend.simulate.job_history import seed_jobs
from backend.simulate.seed import PREFIX, seed_demo
from backend.watch.history import read_history
from tests.databases import OpenConnection


@pytest.fixture
async def seeded(database: PostgresAddress) -> int:
    return await seed_demo(database, days=56, calls_per_minute=12)


async def test_the_history_is_whole_believable_and_written_once(
    database: PostgresAddress, seeded: int, open_connection: OpenConnection
) -> None:
    assert 6_000 <= seeded <= 10_000
    assert await seed_demo(database, days=56, calls_per_minute=12) == 0
    watch = await open_connection(Role.WATCH)
    checks = {check.name: check for check in await verify(watch)}
    assert [check for check in checks.values() if check.broken] == []
    assert checks["appointments equal their events"].looked_at > 2_000
    row = await watch.fetchrow(
        """
        select (select count(*) from calls where provider_call_id ^@ $1) as calls,
               (select count(*) from calls where started_at > now() - interval '1 hour') as last_hour,
               (select count(*) from calls where started_at between now() - interval '7 days 15 minutes'
                                                             and now() - interval '7 days') as last_week,
               (select count(*) from appointments where starts_at > now()) as ahead,
               (select count(*) from appointments where status = 'completed') as completed,
               (select count(*) from appointments where status = 'no_show') as no_shows,
               (select sum(no_show_count) from customers) as counted_no_shows,
               (select count(*) from webhook_inbox where received_at > now() - interval '1 hour') as deliveries,
               (select count(*) from calls where started_at > now() or ended_at > now()) as in_future
    """,
        PREFIX,
    )
    assert row is not None
    assert row["calls"] == seeded
    assert 600 < row["last_hour"] < 840
    assert 130 < row["last_week"] < 240
    assert row["ahead"] > 300
    assert row["completed"] > 5 * row["no_shows"] > 0
    assert row["counted_no_shows"] <= row["no_shows"]
    assert row["deliveries"] > 1_500
    assert row["in_future"] == 0


async def test_a_week_of_jobs_is_counted_before_anybody_looks_and_only_once(
    database: PostgresAddress, seeded: int, open_connection: OpenConnection
) -> None:
    watch, worker = await open_connection(Role.WATCH), await open_connection(Role.WORKER)
    whole = "select count(*), sum(done) from job_minutes"
    before = await watch.fetchrow(whole)
    await seed_demo(database, days=56, calls_per_minute=12)
    assert await watch.fetchrow(whole) == before
    for days, step_s, steps in ((7, 3_600, 160), (1, 600, 140), (1 / 24, 60, 58)):
        span = timedelta(days=days)
        history = await read_history(watch, span=span, step_s=step_s)
        busy = [step for step in history.steps if step.tally.ended]
        assert len(busy) >= steps
        assert history.total.put_in == history.total.ended > 0
        assert {line.entrypoint for line in history.lines} >= {"webhooks.retell_call", "default.retention"}
        for line in history.lines:
            run, wait = line.tally.run, line.tally.wait
            assert None not in (run.p50_s, run.p99_s, wait.p50_s, wait.p99_s)
            assert 0.001 < (run.p50_s or 0) <= (run.p99_s or 0) < 2
    nightly = await watch.fetchval(
        "select sum(done) from job_minutes where minutes = 60 and entrypoint = 'default.reconcile_nightly'"
    )
    assert 6 <= nightly <= 7
    calls, jobs = await watch.fetchrow(
        """
        with day as (select date_bin('1 hour', counted_until, timestamptz 'epoch') as until from job_minutes_mark)
        select (select count(*) from calls, day where started_at >= until - interval '1 day' and started_at < until),
               (select sum(done + failed) from job_minutes, day
                where minutes = 60 and entrypoint = 'webhooks.retell_call' and at >= until - interval '1 day')
        """
    ) or (0, 0)
    assert jobs == 3 * calls > 0
    # What really runs is counted beside it: nothing seeded stands at or after the mark.
    assert await watch.fetchval("select max(at) < (select counted_until from job_minutes_mark) from job_minutes")
    assert not await seed_jobs(worker, [])


async def test_a_demo_without_history_has_its_companies(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    assert await seed_demo(database, days=0) == 0
    watch = await open_connection(Role.WATCH)
    assert await watch.fetchval("select count(*) from companies") == 6
    assert await watch.fetchval("select count(*) from job_minutes") == 0
    assert await watch.fetchval("select count(*) from calls") == 0


async def test_of_two_seeders_at_once_one_writes(database: PostgresAddress) -> None:
    written = await asyncio.gather(*(seed_demo(database, days=2, calls_per_minute=1) for _ in range(2)))
    assert sorted(bool(count) for count in written) == [False, True]
