"""Workers in processes of their own: killed, stopped, suspended, crashed by a job, blocked by one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.queue.policies import DEQUEUE_WAIT_S, HEARTBEAT_S, POLICIES
from tests.databases import OpenConnection, SuperuserConnection
from tests.queue.scenes import (
    QUICK,
    OwnConnection,
    WorkerProcess,
    config_for,
    empty,
    job,
    put,
    until,
    worker_process,
)
from tests.queue.worker_process import TRACES


@pytest.fixture
async def connection(open_connection: OpenConnection, superuser_connection: SuperuserConnection) -> OwnConnection:
    """A worker's connection to a database in which jobs can leave traces."""
    await (await superuser_connection()).execute("set search_path = askpro; " + TRACES)
    return await open_connection(Role.WORKER)


async def traces(connection: OwnConnection, what: str) -> int:
    """How many traces of this kind there are."""
    count: int = await connection.fetchval("select count(*) from traces where what = $1", what)
    return count


def has_traced(connection: OwnConnection, what: str, at_least: int = 1) -> Callable[[], Awaitable[bool]]:
    """The condition that so many traces of a kind are there."""

    async def condition() -> bool:
        return await traces(connection, what) >= at_least

    return condition


def test_what_a_dead_worker_held_is_taken_again_within_twenty_seconds() -> None:
    assert HEARTBEAT_S + DEQUEUE_WAIT_S < 20


async def test_jobs_of_a_killed_worker_run_again_when_their_lease_is_over(
    database: PostgresAddress, connection: OwnConnection, tmp_path: Path
) -> None:
    config = config_for(database, lease_s=3.0, look_s=0.5)
    ids = await put(connection, *[job("webhooks.one_second") for _ in range(24)])
    async with worker_process(config, tmp_path / "first.log") as first:
        await until(has_traced(connection, "begun", QUICK.concurrency), "all slots are busy")
        first.kill()
        in_flight = await connection.fetchval("select array_agg(id) from pgqueuer where status = 'picked'")
        assert len(in_flight) >= QUICK.concurrency / 2
    # On the same machine the next worker sees that the first one is dead; from elsewhere only its silence tells.
    async with worker_process(replace(config, node="elsewhere"), tmp_path / "second.log"):
        await until(lambda: empty(connection), "all jobs are done", limit_s=60.0)
    ended = await connection.fetch("select job_id, count(*) from traces where what = 'ended' group by job_id")
    assert {row["job_id"] for row in ended} == set(ids)
    assert {row["job_id"] for row in ended if row["count"] > 1} <= set(in_flight)
    done = await connection.fetchval("select count(*) from pgqueuer_log where status = 'successful'")
    assert done == len(ids)


async def test_a_worker_that_is_told_to_stop_finishes_what_it_can_and_loses_nothing(
    database: PostgresAddress, connection: OwnConnection, tmp_path: Path
) -> None:
    await put(connection, *[job("webhooks.one_second") for _ in range(20)])
    async with worker_process(config_for(database), tmp_path / "log") as worker:
        await until(has_traced(connection, "begun", QUICK.concurrency), "all slots are busy")
        os.kill(worker.pid, signal.SIGTERM)
        assert await worker.ended() == 0
        assert "drained" in worker.log()
    assert await traces(connection, "begun") == await traces(connection, "ended")
    left = await connection.fetch("select status::text, attempts, count(*) from pgqueuer group by 1, 2")
    assert [(row["status"], row["attempts"]) for row in left] == [("queued", 0)]
    assert left[0]["count"] + await traces(connection, "ended") == 20
    assert await connection.fetchval("select count(*) from job_runs where ended_at is null") == 0
    assert await connection.fetchval("select state from workers") == "stopped"


async def test_a_worker_that_slept_past_its_lease_has_no_effect_on_what_another_took(
    database: PostgresAddress, connection: OwnConnection, tmp_path: Path
) -> None:
    config = config_for(database, lease_s=0.6, look_s=0.1, policy=replace(QUICK, timeout_s=30.0))
    (job_id,) = await put(connection, job("webhooks.one_second"))
    async with worker_process(config, tmp_path / "sleeper.log") as sleeper:
        await until(has_traced(connection, "begun"), "the job runs")
        os.kill(sleeper.pid, signal.SIGSTOP)
        hanging = "update pgqueuer set entrypoint = 'webhooks.hang' where id = $1"
        await connection.execute(hanging, job_id)
        async with worker_process(config, tmp_path / "other.log") as other:
            await until(has_traced(connection, "begun", 2), "the other one runs the job")
            os.kill(sleeper.pid, signal.SIGCONT)
            closed = "select exists (select from job_runs where error = 'another worker has the job')"
            await until(lambda: connection.fetchval(closed), "the sleeper has noticed")
            assert await traces(connection, "ended") == 0
            owner = (
                "select status = 'picked' and queue_manager_id = (select id from workers where pid = $1) from pgqueuer"
            )
            assert await connection.fetchval(owner, other.pid)


async def test_a_job_that_crashes_its_worker_three_times_is_held_and_its_neighbours_are_done(
    database: PostgresAddress, connection: OwnConnection, tmp_path: Path
) -> None:
    config = config_for(database, lease_s=0.6, look_s=0.1)
    neighbours = await put(connection, *[job("webhooks.one_second") for _ in range(3)])
    (poison,) = await put(connection, job("webhooks.crash"))
    for number in range(3):
        async with worker_process(config, tmp_path / f"{number}.log") as worker:
            assert await worker.ended() == 3
    async with worker_process(config, tmp_path / "last.log"):
        held = "select exists (select from held_jobs)"
        await until(lambda: connection.fetchval(held), "the poison is held")
        await until(has_traced(connection, "ended", 3), "the neighbours are done")
        await until(
            lambda: connection.fetchval("select not exists (select from pgqueuer where status <> 'failed')"), "the rest"
        )
    row = await connection.fetchrow("select job_id, error_type, message from held_jobs")
    assert row is not None
    assert tuple(row) == (poison, "WorkerCrashed", "crashed its worker 3×")
    assert await connection.fetchval("select count(*) from traces where job_id = $1", poison) == 3
    outcomes = "select array_agg(outcome order by started_at) from job_runs where job_id = $1"
    assert await connection.fetchval(outcomes, poison) == ["retry", "retry", "held"]
    done = await connection.fetch("select distinct job_id from traces where what = 'ended'")
    assert {row["job_id"] for row in done} == set(neighbours)


async def test_a_worker_with_a_wrong_password_says_so_and_ends(database: PostgresAddress, tmp_path: Path) -> None:
    wrong = replace(database, passwords={Role.WORKER.value: "wrong"})
    process = WorkerProcess(config_for(wrong), tmp_path / "log")
    assert await asyncio.wait_for(process.ended(), 30) == 1
    assert "InvalidPasswordError" in process.log()


def test_every_queue_runs_two_batches_at_once() -> None:
    assert {policy.concurrency >= 2 * policy.batch for policy in POLICIES.values()} == {True}
