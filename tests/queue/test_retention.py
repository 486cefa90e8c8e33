"""What has been kept for long enough goes, as the policies say, in short transactions and not before it is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from backend.postgres.address import Role
from backend.queue.policies import BUILT_IN, Told
from backend.queue.retention import PRUNERS, prune_all, prune_held, prune_runs
from tests.databases import OpenConnection, OwnConnection

CALL, SWEEP = "webhooks.retell_call", "default.release_holds"
POLICIES = BUILT_IN.laid_over([Told(subject="default.sync", name="keep_done_minutes", value=600, source="test")])


class Batches:
    """Transactions for batches, counted."""

    def __init__(self, connection: OwnConnection) -> None:
        self._connection = connection
        self.count = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[OwnConnection]:
        self.count += 1
        async with self._connection.transaction():
            yield self._connection


@pytest.fixture
async def worker(open_connection: OpenConnection) -> OwnConnection:
    """A connection of a worker; minutes are settled up to half an hour ago."""
    connection = await open_connection(Role.WORKER)
    await settle(connection, timedelta(minutes=30))
    return connection


async def settle(connection: OwnConnection, ago: timedelta) -> None:
    """Say that minutes are counted for the last time up to this long ago."""
    await connection.execute("update job_minutes_mark set settled_until = now() - $1::interval", ago)


async def ran(connection: OwnConnection, kind: str, outcome: str, ago: timedelta, number: int = 1) -> None:
    """So many runs that ended this long ago."""
    await connection.execute(
        "insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at, ended_at, outcome) "
        "select i + (select count(*) from job_runs), 1, $1, gen_random_uuid(), now() - $3::interval - interval '1 s', "
        "now() - $3::interval, $2 "
        "from generate_series(1, $4::int) i",
        kind,
        outcome,
        ago,
        number,
    )


async def left(connection: OwnConnection) -> set[tuple[str, str]]:
    """Job types and outcomes of the runs that are there."""
    return {tuple(row) for row in await connection.fetch("select entrypoint, outcome from job_runs")}


def never() -> bool:
    """There is time for everything."""
    return False


async def test_finished_runs_go_after_an_hour_and_failed_ones_after_a_week(worker: OwnConnection) -> None:
    hour, week = timedelta(minutes=61), timedelta(minutes=10_081)
    for outcome in ("done", "released", "postponed", "retry", "held"):
        await ran(worker, CALL, outcome, hour)
    await ran(worker, CALL, "done", timedelta(minutes=59), number=2)
    await ran(worker, "gone.away", "done", hour)
    await ran(worker, "default.sync", "done", hour)
    await ran(worker, SWEEP, "done", hour)
    assert await prune_runs(Batches(worker), POLICIES, scheduled={SWEEP}, is_over=never) == 4
    assert await left(worker) == {
        (CALL, "done"), (CALL, "retry"), (CALL, "held"), ("default.sync", "done"), (SWEEP, "done"),
    }  # fmt: skip
    await worker.execute("update job_runs set started_at = now() - $1::interval, ended_at = now() - $1::interval", week)
    await worker.execute("update job_runs set ended_at = null, outcome = null where outcome = 'held'")
    await prune_runs(Batches(worker), POLICIES, scheduled={SWEEP}, is_over=never)
    assert await left(worker) == set()


async def test_a_run_that_is_not_counted_for_the_last_time_stays(worker: OwnConnection) -> None:
    await settle(worker, timedelta(hours=5))
    await ran(worker, CALL, "done", timedelta(hours=4))
    await ran(worker, CALL, "retry", timedelta(days=8))
    assert await prune_runs(Batches(worker), is_over=never) == 1
    assert await left(worker) == {(CALL, "done")}
    await worker.execute(
        "insert into pgqueuer_log (created, job_id, status, priority, entrypoint) "
        "values (now() - interval '8 days', 1, 'queued', 0, 'a')"
    )
    await settle(worker, timedelta(days=9))
    for prune in PRUNERS:
        await prune_all(Batches(worker), prune, is_over=never)
    assert await worker.fetchval("select count(*) from pgqueuer_log") == 1


async def test_many_runs_go_in_batches_past_those_that_stay(worker: OwnConnection) -> None:
    await ran(worker, CALL, "retry", timedelta(hours=3), number=15)
    await ran(worker, CALL, "done", timedelta(hours=2), number=25)
    batches = Batches(worker)
    assert await prune_runs(batches, is_over=lambda: batches.count > 2, at_most=10) == 20
    batches = Batches(worker)
    assert await prune_runs(batches, is_over=never, at_most=10) == 5
    assert batches.count == 4, "one to name the job types, one each for what finished, failed and was lost"
    assert await worker.fetchval("select count(*) from job_runs") == 15


async def test_held_jobs_go_a_week_after_they_were_decided_about_and_not_before(worker: OwnConnection) -> None:
    await worker.execute(
        """
        insert into held_jobs (job_id, queue, entrypoint, fingerprint, error_type, message, traceback, attempts,
                               enqueued_at, held_at, state, decided_at)
        select n, 'default', 'default.' || n, '', '', '', '', 1, now(), now() - interval '20 days', state,
               now() - make_interval(days => days)
        from (values (1, 'held', null), (2, 'retried', 8), (3, 'discarded', 6), (4, 'replaced', null),
                     (5, 'retried', 2)) as held (n, state, days)
        """
    )
    shorter = BUILT_IN.laid_over([Told(subject="default.5", name="keep_held_minutes", value=60, source="test")])
    assert await prune_held(Batches(worker), shorter, is_over=never) == 3
    rows = await worker.fetch("select job_id from held_jobs order by job_id")
    assert [row["job_id"] for row in rows] == [1, 3]


async def test_each_table_has_its_turn_however_long_those_before_it_took(worker: OwnConnection) -> None:
    await worker.execute(
        """
        insert into held_jobs (job_id, queue, entrypoint, fingerprint, error_type, message, traceback, attempts,
                               enqueued_at, state, decided_at)
        values (1, 'default', 'default.a', '', '', '', '', 1, now(), 'retried', now() - interval '8 days');
        insert into slot_changes (at, queue, node, before, after, decided_by, why)
        select now() - interval '31 days', 'default', '', 1, 2, 'balancer', '' from generate_series(1, 1001);
        """
    )
    gone = [await prune_all(Batches(worker), prune, is_over=lambda: True) for prune in PRUNERS]
    assert sum(gone) == 1_000, "a batch of it, and the rest another time"
    assert await prune_held(Batches(worker), is_over=lambda: True) == 1


async def test_quarantines_that_ended_by_themselves_and_old_troubles_go_as_well(worker: OwnConnection) -> None:
    await worker.execute(
        """
        insert into quarantines (entrypoint, reason, made_by, made_at, until, lifted_at, lifted_by)
        select 'default.a', name, 'anna', now() - interval '40 days', now() + until::interval,
               now() + lifted_at::interval, case when lifted_at is not null then 'anna' end
        from (values ('over', '-31 days', null), ('lifted', null, '-31 days'), ('lately', '-29 days', null),
                     ('in force', '1 day', null), ('for good', null, null)) made (name, until, lifted_at);
        insert into job_troubles (queue, node, entrypoint, kind, detail, count, at)
        select 'default', '', 'default.' || days, 'crash', '', 1, now() - make_interval(days => days)
        from (values (29), (31)) age (days);
        """
    )
    for prune in PRUNERS:
        await prune_all(Batches(worker), prune, is_over=never)
    rows = await worker.fetch("select reason from quarantines")
    assert {row["reason"] for row in rows} == {"lately", "in force", "for good"}
    assert await worker.fetchval("select string_agg(entrypoint, ' ') from job_troubles") == "default.29"


async def test_counts_go_by_their_length(worker: OwnConnection) -> None:
    await worker.execute(
        """
        insert into job_minutes (minutes, at, entrypoint)
        select minutes, date_trunc('hour', now()) - make_interval(days => days), 'a'
        from (values (1), (10), (60)) length (minutes), (values (1), (3), (9), (31)) age (days);
        insert into slot_changes (at, queue, node, before, after, decided_by, why)
        select now() - make_interval(days => days), 'default', '', 1, 2, 'balancer', ''
        from (values (1), (31)) age (days);
        insert into pauses (kind, name, paused_by, paused_at, resumed_at, resumed_by)
        values ('queue', 'default', 'anna', now() - interval '40 days', null, null),
               ('queue', 'webhooks', 'anna', now() - interval '40 days', now() - interval '39 days', 'anna');
        """
    )
    for prune in PRUNERS:
        await prune_all(Batches(worker), prune, is_over=never)
    rows = await worker.fetch("select minutes, count(*)::int from job_minutes group by 1 order by 1")
    assert [tuple(row) for row in rows] == [(1, 1), (10, 2), (60, 3)]
    assert await worker.fetchval("select count(*) from slot_changes") == 1
    assert await worker.fetchval("select name from pauses") == "default"
