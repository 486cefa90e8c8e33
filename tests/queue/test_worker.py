"""A worker in this process: it does all jobs, retries, holds, times out, gives back, and keeps to its own queue."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.queue.context import JobContext, TransactionAborted
from backend.queue.failures import Later, Permanent
from backend.queue.held import retry_held
from backend.queue.port import NewJob
from tests.databases import OpenConnection
from tests.queue.scenes import QUICK, config_for, empty, job, put, until, working


async def nothing(_context: JobContext) -> None:
    """Succeed."""


async def test_a_flood_is_done_completely_and_each_job_once(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    ids = await put(connection, *[job("webhooks.a", number) for number in range(1_500)])
    seen: list[int] = []

    async def note(context: JobContext) -> None:
        seen.append(context.read(int))

    async with working(config_for(database), {"webhooks.a": note}) as worker:
        await until(lambda: empty(connection), "the queue is empty")
        assert sorted(seen) == list(range(1_500))
        row = await connection.fetchrow("select queue, node, state, concurrency from workers where id = $1", worker.id)
        assert row is not None
        assert tuple(row) == ("webhooks", "test", "running", QUICK.concurrency)
    runs = await connection.fetch("select job_id, outcome, ended_at >= started_at as ended from job_runs")
    assert {(run["job_id"], run["outcome"], run["ended"]) for run in runs} == {(job_id, "done", True) for job_id in ids}
    assert len(runs) == len(ids)
    assert await connection.fetchval("select state from workers") == "stopped"
    done = "select count(*) from pgqueuer_log where status = 'successful'"
    assert await connection.fetchval(done) == len(ids)


async def test_a_job_put_into_an_idle_queue_starts_without_waiting_for_the_next_look(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    started = asyncio.Event()

    async def note(_context: JobContext) -> None:
        started.set()

    patient = config_for(database, look_s=3_600.0)
    async with working(patient, {"webhooks.a": note}) as worker:
        await asyncio.wait_for(worker._doorbell.listening.wait(), 10)
        await put(connection, job("webhooks.a"))
        await asyncio.wait_for(started.wait(), 10)


async def test_a_failing_job_is_tried_four_times_then_held_with_its_delivery_and_can_be_retried(
    database: PostgresAddress, open_connection: OpenConnection, delivery: tuple[UUID, UUID]
) -> None:
    company, inbox = delivery
    connection = await open_connection(Role.WORKER)
    console = await open_connection(Role.CONSOLE)
    mended = False

    async def fail(_context: JobContext) -> None:
        if not mended:
            raise ValueError("no room 12 for 'Ann\0\ud800' at 3")

    (job_id,) = await put(connection, job("webhooks.a", {"inbox_id": str(inbox), "subject": "c"}, company))
    async with working(config_for(database), {"webhooks.a": fail}):
        held = "select exists (select from held_jobs where state = 'held')"
        await until(lambda: connection.fetchval(held), "the job is held")
        row = await connection.fetchrow("select * from held_jobs")
        assert row is not None
        assert (row["job_id"], row["queue"], row["attempts"], row["error_type"]) == (
            job_id,
            "webhooks",
            4,
            "ValueError",
        )
        assert row["company_id"] == company
        assert row["message"] == "no room 12 for 'Ann\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}' at 3"
        assert "raise ValueError" in row["traceback"]
        assert str(inbox).encode() in row["payload"]
        outcomes = await connection.fetch("select outcome, attempt from job_runs order by started_at")
        assert [tuple(run) for run in outcomes] == [("retry", 1), ("retry", 2), ("retry", 3), ("held", 4)]
        inbox_row = await console.fetchrow("select state, error from webhook_inbox")
        assert inbox_row is not None
        assert inbox_row["state"] == "held"
        assert inbox_row["error"].startswith("ValueError: no room")

        mended = True
        async with connection.transaction():
            assert await retry_held(connection, [job_id, job_id + 1_000], by="anna") == [job_id]
        await until(lambda: empty(connection), "the retried job is done")
    assert await connection.fetchval("select state from held_jobs") == "retried"
    assert await console.fetchval("select state from webhook_inbox") == "accepted"


async def test_a_permanent_error_is_held_at_the_first_attempt(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)

    async def refuse(context: JobContext) -> None:
        context.read(int)

    await put(connection, job("webhooks.a", "text"))
    async with working(config_for(database), {"webhooks.a": refuse}):
        await until(lambda: connection.fetchval("select exists (select from held_jobs)"), "the job is held")
    assert await connection.fetchval("select error_type from held_jobs") == Permanent.__qualname__
    assert await connection.fetchval("select count(*) from job_runs") == 1


async def test_a_suspect_starts_only_when_the_end_of_the_one_before_is_written(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    ids = await put(connection, *[job("webhooks.a") for _ in range(6)])
    crashed = "insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at) values ($1, 1, 'a', $2, now())"
    for job_id in ids:
        for _ in range(QUICK.crash_starts - 1):
            await connection.execute(crashed, job_id, uuid4())
    open_beside: list[int] = []

    async def look(context: JobContext) -> None:
        async with context.housekeeping() as own:
            count = "select count(*) from job_runs where worker_id = $1 and ended_at is null and job_id <> $2"
            open_beside.append(await own.fetchval(count, worker.id, context.job_id))

    async with working(config_for(database), {"webhooks.a": look}) as worker:
        await until(lambda: empty(connection), "all are done")
    assert open_beside == [0] * len(ids)


async def test_a_job_that_runs_too_long_fails_and_is_tried_again(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    attempts: list[int] = []

    async def dawdle(context: JobContext) -> None:
        attempts.append(context.attempt)
        if context.attempt == 1:
            await asyncio.Event().wait()

    await put(connection, job("webhooks.a"))
    hasty = config_for(database, policy=replace(QUICK, timeout_s=0.05))
    async with working(hasty, {"webhooks.a": dawdle}):
        await until(lambda: empty(connection), "the second attempt is done")
    assert attempts == [1, 2]
    error = await connection.fetchval("select error from job_runs where outcome = 'retry'")
    assert error == "JobTimeout: ran longer than 0.05 s"


async def test_a_handler_that_ignores_its_cancellation_keeps_its_slot_but_not_the_job(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    release = asyncio.Event()

    async def stubborn(context: JobContext) -> None:
        while context.attempt == 1 and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    await put(connection, job("webhooks.a"))
    hasty = config_for(database, policy=replace(QUICK, timeout_s=0.05), unwind_s=0.05)
    async with working(hasty, {"webhooks.a": stubborn}) as worker:
        await until(lambda: empty(connection), "the second attempt is done")
        await until(lambda: asyncio.sleep(0, worker.unfinished == 1), "only the first attempt is left")
        release.set()
        await until(lambda: asyncio.sleep(0, worker.unfinished == 0), "the first attempt has ended")


async def test_a_handler_that_cancels_itself_has_failed(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)

    async def cancel(context: JobContext) -> None:
        if context.attempt == 1:
            raise asyncio.CancelledError

    await put(connection, job("webhooks.a"))
    async with working(config_for(database), {"webhooks.a": cancel}):
        await until(lambda: empty(connection), "the second attempt is done")
    assert await connection.fetchval("select count(*) from job_runs where outcome = 'retry'") == 1


async def test_one_queue_does_not_wait_for_another(database: PostgresAddress, open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WORKER)
    gate, started = asyncio.Event(), asyncio.Event()

    async def hang(_context: JobContext) -> None:
        await gate.wait()

    async def note(_context: JobContext) -> None:
        started.set()

    async with (
        working(config_for(database), {"webhooks.hang": hang}) as flooded,
        working(config_for(database, QueueName.APPOINTMENTS, look_s=3_600.0), {"appointments.note": note}) as free,
    ):
        await put(connection, *[job("webhooks.hang") for _ in range(100)])
        await until(lambda: asyncio.sleep(0, flooded.names_running().count("hang") == QUICK.concurrency), "it is full")
        await asyncio.wait_for(free._doorbell.listening.wait(), 10)
        await put(connection, job("appointments.note"))
        await asyncio.wait_for(started.wait(), 10)
        gate.set()
        await until(lambda: empty(connection), "both queues are empty")


async def test_a_stopping_worker_gives_back_what_does_not_finish_and_another_takes_it_at_once(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    starts: list[int] = []
    started = asyncio.Event()

    async def first_forever(context: JobContext) -> None:
        starts.append(context.attempt)
        started.set()
        if len(starts) == 1:
            await asyncio.Event().wait()

    # The second one looks only when the bell rings: what it gets, it gets because the first one gave it back.
    patient = config_for(database, look_s=3_600.0, drain_s=0.5)
    async with AsyncExitStack() as second, AsyncExitStack() as first:
        await first.enter_async_context(working(patient, {"webhooks.a": first_forever}))
        await put(connection, job("webhooks.a"))
        await asyncio.wait_for(started.wait(), 10)
        other = await second.enter_async_context(working(patient, {"webhooks.a": first_forever}))
        await asyncio.wait_for(other._doorbell.listening.wait(), 10)
        await first.aclose()
        await until(lambda: empty(connection), "the second worker has done it")
    assert starts == [1, 1]
    runs = await connection.fetch("select outcome, attempt from job_runs order by started_at")
    assert [tuple(run) for run in runs] == [("released", 1), ("done", 1)]


async def test_a_worker_without_valkey_does_its_jobs(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)

    async def change(context: JobContext) -> None:
        context.changed("calls")

    await put(connection, *[job("webhooks.a") for _ in range(20)])
    async with working(config_for(database, valkey_url="unix:///nowhere/valkey"), {"webhooks.a": change}):
        await until(lambda: empty(connection), "the queue is empty")


async def test_a_transaction_sees_the_jobs_company_only(
    database: PostgresAddress, open_connection: OpenConnection, delivery: tuple[UUID, UUID]
) -> None:
    company, _ = delivery
    connection = await open_connection(Role.WORKER)
    seen: list[tuple[UUID, int]] = []

    async def look(context: JobContext) -> None:
        async with context.tenant() as inside:
            name = await inside.fetchval("select current_company()")
            seen.append((name, await inside.fetchval("select count(*) from webhook_inbox")))

    await put(connection, job("webhooks.a", None, company), job("webhooks.a", None, uuid4()))
    async with working(config_for(database), {"webhooks.a": look}):
        await until(lambda: empty(connection), "both jobs are done")
    assert sorted(count for _, count in seen) == [0, 1]
    assert (company, 1) in seen


async def test_a_job_without_a_company_cannot_open_a_tenants_transaction(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)

    async def look(context: JobContext) -> None:
        async with context.tenant():
            raise AssertionError("never reached")

    await put(connection, job("webhooks.a"))
    async with working(config_for(database), {"webhooks.a": look}):
        await until(lambda: connection.fetchval("select exists (select from held_jobs)"), "the job is held")
    assert await connection.fetchval("select message from held_jobs") == "the job names no company"


async def test_a_handler_that_swallows_a_failed_statement_does_not_pass_for_done(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)

    async def careless(context: JobContext) -> None:
        if context.attempt == 1:
            async with context.housekeeping() as inside:
                with pytest.raises(asyncpg.DivisionByZeroError):
                    await inside.fetchval("select 1 / 0")

    await put(connection, job("webhooks.a"))
    async with working(config_for(database), {"webhooks.a": careless}):
        await until(lambda: empty(connection), "the second attempt is done")
    error = await connection.fetchval("select error from job_runs where outcome = 'retry'")
    assert error.startswith(TransactionAborted.__qualname__)


async def test_a_later_job_waits_for_its_time(database: PostgresAddress, open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WORKER)
    begun: list[datetime] = []

    async def note(context: JobContext) -> None:
        async with context.housekeeping() as inside:
            begun.append(await inside.fetchval("select now()"))

    await put(connection, NewJob("webhooks.a", delay=timedelta(seconds=0.5)))
    due = await connection.fetchval("select execute_after from pgqueuer")
    async with working(config_for(database), {"webhooks.a": note}):
        await until(lambda: empty(connection), "the job is done")
    assert begun[0] >= due


async def test_a_job_that_has_to_wait_for_somebody_may_do_so_any_number_of_times_without_using_up_its_attempts(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    attempts: list[int] = []

    async def wait_for_the_provider(context: JobContext) -> None:
        attempts.append(context.attempt)
        if len(attempts) <= 6:
            raise Later(0.05, "the provider asked to wait 0 s")
        if len(attempts) == 7:
            raise ValueError("something else")

    await put(connection, job("webhooks.a"))
    async with working(config_for(database), {"webhooks.a": wait_for_the_provider}):
        await until(lambda: empty(connection), "the job is done")
    assert attempts == [1] * 7 + [2]
    runs = await connection.fetch("select outcome, error from job_runs order by started_at")
    assert [run["outcome"] for run in runs] == ["postponed"] * 6 + ["retry", "done"]
    assert runs[0]["error"] == "the provider asked to wait 0 s"
    assert await connection.fetchval("select count(*) from held_jobs") == 0


async def test_a_job_that_waits_for_somebody_is_not_started_before_its_time(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)

    async def wait(_context: JobContext) -> None:
        raise Later(3_600, "later")

    await put(connection, job("webhooks.a"))
    async with working(config_for(database), {"webhooks.a": wait}) as worker:
        await until(
            lambda: connection.fetchval("select exists (select from job_runs where outcome = 'postponed')"), "it waits"
        )
        await until(lambda: asyncio.sleep(0, worker.names_running() == "nothing"), "its slot is free")
    row = await connection.fetchrow(
        "select status::text, attempts, execute_after > now() + '50 min' as late from pgqueuer"
    )
    assert row is not None
    assert tuple(row) == ("queued", 0, True)
