"""Decisions about held jobs: what they would touch, what they do, and what is left of them when something happens."""

from __future__ import annotations

import asyncio

from backend.domain.vocabulary import BulkAction, BulkState
from backend.postgres.address import PostgresAddress, Role
from backend.services.held_jobs.bulk import Progress, run_bulk
from backend.services.held_jobs.selecting import HeldFilter, preview
from tests.databases import OpenConnection
from tests.services.held_scenes import ANNA, actions, hold, states, worker_at


async def test_all_that_match_are_retried_in_batches_and_the_record_says_so(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker, console = await open_connection(Role.WORKER), await open_connection(Role.CONSOLE)
    await hold(worker, 250)
    await hold(worker, 5, cause="cause-2")
    told: list[Progress] = []
    wanted = HeldFilter(fingerprint="cause-1")
    assert (await preview(console, wanted)).matched == 250
    result = await run_bulk(
        worker_at(database), ANNA, BulkAction.RETRY, wanted, reason="calendar is back", on_progress=told.append
    )
    assert (result.state, result.matched, result.done, result.skipped) == (BulkState.DONE, 250, 250, 0)
    assert [progress.done for progress in told] == [0, 100, 200, 250, 250]
    assert await states(worker) == {"retried": 250, "held": 5}
    assert await worker.fetchval("select count(*) from pgqueuer where status = 'queued' and attempts = 0") == 250
    row = await worker.fetchrow("select * from bulk_actions")
    assert row is not None
    assert (row["state"], row["done"], row["started_by"], row["reason"]) == ("done", 250, "anna", "calendar is back")
    assert await actions(worker) == ["held.retry", "held.retry_ended"]


async def test_two_who_retry_the_same_at_once_run_each_job_once(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    await hold(worker, 300)
    both = await asyncio.gather(
        *(run_bulk(worker_at(database), ANNA, BulkAction.RETRY, HeldFilter(fingerprint="cause-1")) for _ in range(2))
    )
    assert sum(result.done for result in both) == 300
    assert all(result.done + result.skipped <= result.matched for result in both)
    assert await worker.fetchval("select count(*) from pgqueuer_log where status = 'queued'") == 300
