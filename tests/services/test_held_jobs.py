"""Decisions about many held jobs: what they would touch, what they do, and what is left when something happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from backend.domain.vocabulary import BulkAction, BulkState, QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.queue.port import JobQueue, NewJob
from backend.services.held_jobs.bulk import DECIDED, EQUAL_WAITS, GONE, BulkResult, Progress, run_bulk
from backend.services.held_jobs.recorded import FELL_SILENT, ask_cancel, latest_actions
from backend.services.held_jobs.selecting import HeldFilter, held_lines, preview
from backend.services.operating.refusals import NotPossible
from tests.databases import OpenConnection, SuperuserConnection
from tests.queue.scenes import until
from tests.services.held_scenes import ANNA, OwnConnection, actions, hold, states, worker_at

CAUSE = HeldFilter(fingerprint="cause-1")


async def retried(database: PostgresAddress, held: HeldFilter = CAUSE) -> BulkResult:
    """Retry them all, without haste or witnesses."""
    return await run_bulk(worker_at(database), ANNA, BulkAction.RETRY, held)


async def test_all_that_match_are_retried_in_batches_and_the_record_says_so(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker, console = await open_connection(Role.WORKER), await open_connection(Role.CONSOLE)
    await hold(worker, 250)
    await hold(worker, 5, cause="cause-2")
    told: list[Progress] = []
    for statement in (
        "insert into pauses (kind, name, paused_by) values ('queue', 'webhooks', 'anna'), ('queue', 'default', 'anna')",
        "insert into quarantines (entrypoint, contains, made_by) values ('webhooks.a', 'x', 'anna')",
    ):
        await worker.execute(statement)
    would = await preview(console, CAUSE)
    assert (would.matched, would.queue_paused) == (250, ("queue webhooks",))
    assert would.quarantined == ("quarantine 1 of webhooks.a",)
    result = await run_bulk(
        worker_at(database), ANNA, BulkAction.RETRY, CAUSE, reason="calendar\n is back", on_progress=told.append
    )
    assert (result.state, result.matched, result.done, result.skipped) == (BulkState.DONE, 250, 250, 0)
    assert [progress.done for progress in told] == [0, 100, 200, 250, 250]
    assert await states(worker) == {"retried": 250, "held": 5}
    assert await worker.fetchval("select count(*) from pgqueuer where status = 'queued' and attempts = 0") == 250
    (line,) = await latest_actions(console)
    assert (line.state, line.done, line.started_by, line.reason) == ("done", 250, "anna", "calendar is back")
    assert await actions(worker) == ["held.retry", "held.retry_ended"]


async def test_two_who_retry_the_same_at_once_run_each_job_once(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker, 300)
    both = await asyncio.gather(retried(database), retried(database))
    assert sum(result.done for result in both) == 300
    assert all(result.done + result.skipped <= result.matched for result in both)
    assert {why for result in both for why in result.why_skipped} <= {DECIDED}
    assert await worker.fetchval("select count(*) from pgqueuer_log where status = 'queued'") == 300


async def test_what_has_an_equal_job_waiting_is_skipped_also_when_that_comes_in_at_the_same_moment(
    database: PostgresAddress, open_connection: OpenConnection, superuser_connection: SuperuserConnection
) -> None:
    worker, console, server = (
        await open_connection(Role.WORKER),
        await open_connection(Role.CONSOLE),
        await superuser_connection(),
    )
    await hold(worker, 3, key="key #")
    await hold(worker, 2, key="twin")
    await JobQueue().enqueue(worker, [NewJob("webhooks.a", dedupe_key="key 1")])
    assert (await preview(console, CAUSE)).would_skip == 2
    intruder = worker.transaction()
    await intruder.start()
    await JobQueue().enqueue(worker, [NewJob("webhooks.a", dedupe_key="key 2")])
    task = asyncio.create_task(retried(database))
    waits = (
        "select exists (select from pg_stat_activity where application_name = 'test-bulk' and wait_event_type = 'Lock')"
    )
    await until(lambda: server.fetchval(waits), "the retry meets the other transaction")
    await intruder.commit()
    result = await task
    assert (result.state, result.done, result.skipped) == (BulkState.DONE, 2, 3)
    assert result.why_skipped == {EQUAL_WAITS: 3}
    waiting = await worker.fetch("select dedupe_key from pgqueuer where status = 'queued' order by 1")
    assert [row["dedupe_key"] for row in waiting] == ["key 1", "key 2", "key 3", "twin"]


async def test_a_job_whose_row_the_engine_lost_comes_back_unless_it_was_done_after_all(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    lost, finished, binary, gone = await hold(worker, 4, key="key #", payload="\x01 not JSON #")
    await worker.execute("delete from pgqueuer where id = any($1::bigint[])", [lost, finished, gone])
    await worker.execute(
        "insert into job_runs (job_id, attempt, entrypoint, worker_id, ended_at, outcome)"
        " values ($1, 1, 'webhooks.a', gen_random_uuid(), now(), 'done')",
        finished,
    )
    ended = await run_bulk(worker_at(database), ANNA, BulkAction.DISCARD, HeldFilter(job_ids=(gone,)))
    assert ended.done == 1
    result = await retried(database)
    assert (result.done, result.skipped) == (2, 1)
    rows = await worker.fetch("select id, payload, dedupe_key from pgqueuer where status = 'queued' order by id")
    assert [tuple(row) for row in rows] == [(lost, b"\x01 not JSON 1", "key 1"), (binary, b"\x01 not JSON 3", "key 3")]


async def test_the_deliveries_of_every_company_follow_their_jobs(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker, setup = await open_connection(Role.WORKER), await open_connection(Role.SETUP)
    for slug in ("nord", "sued"):
        row = await setup.fetchrow(
            """with company as (insert into companies (slug, name) values ($1, $1) returning id)
               insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state, error)
               select 'retell', $1, 'call_ended', $1, id, '{}', 'held', 'x' from company returning company_id, id""",
            slug,
        )
        assert row is not None
        payload = f'{{"inbox_id": "{row["id"]}"}}'
        await hold(worker, payload=payload, company=row["company_id"], cause="both")
    console = await open_connection(Role.CONSOLE)
    would = await preview(console, HeldFilter(fingerprint="both"), per_s=4.0)
    assert (would.deliveries, would.seconds_at_rate) == (2, 0.5)
    assert dict(would.by_company) == {"nord": 1, "sued": 1}
    wrong = HeldFilter(company="west")
    with pytest.raises(NotPossible, match="no company west"):
        await preview(console, wrong)
    await run_bulk(worker_at(database), ANNA, BulkAction.DISCARD, HeldFilter(company="sued"))
    await retried(database, HeldFilter(company="nord", text="INBOX_id"))
    rows = await setup.fetch("select subject, state, error from webhook_inbox order by subject")
    assert [tuple(row) for row in rows] == [("nord", "accepted", None), ("sued", "ignored", "x")]


async def test_a_database_that_goes_away_is_waited_for_and_every_job_is_counted_once(
    database: PostgresAddress, open_connection: OpenConnection, superuser_connection: SuperuserConnection
) -> None:
    worker, server = await open_connection(Role.WORKER), await superuser_connection()
    await hold(worker, 450)
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'test-bulk'"
    cuts: list[asyncio.Task[object]] = []
    waited: list[str] = []

    def cut_now_and_then(progress: Progress) -> None:
        waited.append(progress.waiting_for)
        if progress.done in {100, 300} and not progress.waiting_for and len(cuts) < 2:
            cuts.append(asyncio.create_task(server.execute(cut)))

    # At this rate a cut lands in the pause between two batches.
    result = await run_bulk(
        worker_at(database), ANNA, BulkAction.RETRY, CAUSE, per_s=100.0, on_progress=cut_now_and_then, patience_s=30.0
    )
    await asyncio.gather(*cuts)
    assert (result.state, result.done, result.skipped) == (BulkState.DONE, 450, 0)
    assert await states(worker) == {"retried": 450}
    assert any(waited)


async def test_what_its_worker_gave_up_is_told_as_failed_and_goes_on_with_the_same_filter(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker, console = await open_connection(Role.WORKER), await open_connection(Role.CONSOLE)
    await hold(worker, 250)
    opened: list[OwnConnection] = []

    async def once() -> OwnConnection:
        if opened:
            raise ConnectionRefusedError("no server")
        opened.append(await worker_at(database)())
        return opened[0]

    def lose(progress: Progress) -> None:
        if progress.done == 100:
            opened[0].terminate()

    result = await run_bulk(once, ANNA, BulkAction.RETRY, CAUSE, on_progress=lose, patience_s=0.0)
    assert (result.state, result.done) == (BulkState.FAILED, 100)
    assert result.error.startswith(GONE)
    (line,) = await latest_actions(console)
    assert line.state == "running"
    # Whoever worked on it cannot say any more that it ended.
    await worker.execute("update bulk_actions set seen_at = now() - interval '31 seconds'")
    (line,) = await latest_actions(console)
    assert (line.state, line.done, line.error) == ("failed", 100, FELL_SILENT)
    again = await retried(database)
    assert (again.matched, again.done) == (150, 150)
    kept = await worker.fetch("select state, error from bulk_actions order by started_at")
    assert [tuple(row) for row in kept] == [("failed", FELL_SILENT), ("done", "")]


async def ask_elsewhere(connection: OwnConnection, bulk_id: UUID) -> None:
    """Ask for its end, as another console would."""
    async with connection.transaction():
        assert await ask_cancel(connection, ANNA, bulk_id, reason="wrong cause")


Ending = Callable[[OwnConnection, Progress, "asyncio.Task[BulkResult]", asyncio.Event], Awaitable[None]]


async def by_asking(connection: OwnConnection, progress: Progress, _task: object, _stop: asyncio.Event) -> None:
    await ask_elsewhere(connection, progress.bulk_id)


async def by_stopping(_connection: OwnConnection, _progress: Progress, _task: object, stop: asyncio.Event) -> None:
    stop.set()


async def by_cancelling(
    _connection: OwnConnection, _progress: Progress, task: asyncio.Task[BulkResult], _stop: asyncio.Event
) -> None:
    task.cancel()


@pytest.mark.parametrize("end", [by_asking, by_stopping, by_cancelling])
async def test_it_ends_when_asked_to_and_what_was_done_stays_done(
    database: PostgresAddress, open_connection: OpenConnection, end: Ending
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker, 150)
    stop, first = asyncio.Event(), asyncio.Event()
    seen: list[Progress] = []

    def look(progress: Progress) -> None:
        seen.append(progress)
        if progress.done:
            first.set()

    task = asyncio.create_task(
        run_bulk(worker_at(database), ANNA, BulkAction.RETRY, CAUSE, per_s=0.05, on_progress=look, stop=stop)
    )
    await asyncio.wait_for(first.wait(), 30)
    await end(worker, seen[-1], task, stop)
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if end is by_cancelling:
        assert isinstance(outcome, asyncio.CancelledError)
    else:
        assert isinstance(outcome, BulkResult)
        assert outcome.cancelled
    row = await worker.fetchrow("select state, done, skipped from bulk_actions")
    assert row is not None
    assert tuple(row) == ("cancelled", 1, 0)
    assert await states(worker) == {"retried": 1, "held": 149}


async def test_jobs_are_moved_to_another_queue_and_back_and_impossible_actions_are_refused(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker, console = await open_connection(Role.WORKER), await open_connection(Role.CONSOLE)
    (first, _) = await hold(worker, 2)

    async def moved(queue: QueueName, held: HeldFilter) -> BulkResult:
        return await run_bulk(worker_at(database), ANNA, BulkAction.MOVE, held, queue=queue, reason="crashes others")

    assert (await moved(QueueName.DEFAULT, CAUSE)).done == 2
    assert (await moved(QueueName.DEFAULT, CAUSE)).matched == 0
    rows = await worker.fetch("select id, entrypoint, priority from pgqueuer order by id")
    assert [tuple(row)[1:] for row in rows] == [("default.webhooks.a", 3)] * 2
    taken = await worker.fetch("select queue, entrypoint from moved_job_types")
    assert [tuple(row) for row in taken] == [("default", "webhooks.a")]
    lineage = await worker.fetchrow("select job_id, how, made_by from job_lineage where came_of = $1", first)
    assert lineage is not None
    assert tuple(lineage) == (rows[0]["id"], "moved", "anna")
    # It fails there as well, and goes back to where it came from.
    await worker.execute("delete from pgqueuer")
    (again,) = await hold(worker, entrypoint="default.webhooks.a", cause="cause-2")
    assert (await moved(QueueName.WEBHOOKS, HeldFilter(job_ids=(again,)))).done == 1
    assert await worker.fetchval("select entrypoint from pgqueuer") == "webhooks.a"
    assert await held_lines(console, HeldFilter(), limit=10) == []
    for action, queue, per_s in (
        (BulkAction.EDIT, None, None),
        (BulkAction.MOVE, None, None),
        (BulkAction.RETRY, QueueName.DEFAULT, None),
        (BulkAction.RETRY, None, 0.0),
    ):
        with pytest.raises(NotPossible):
            await run_bulk(worker_at(database), ANNA, action, CAUSE, queue=queue, per_s=per_s)
