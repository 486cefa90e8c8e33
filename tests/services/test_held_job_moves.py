"""What a preview says of a move is what the move then does: it is about the queue that jobs are moved to."""

from __future__ import annotations

import pytest

from backend.domain.vocabulary import BulkAction, BulkState, QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.queue.port import JobQueue, NewJob
from backend.services.held_jobs.bulk import EQUAL_WAITS, STANDS_THERE, run_bulk
from backend.services.held_jobs.selecting import HeldFilter, preview
from tests.databases import OpenConnection
from tests.services.held_scenes import ANNA, OwnConnection, hold, states, worker_at


@pytest.fixture
async def worker(open_connection: OpenConnection) -> OwnConnection:
    """Held jobs of two queues, of which some share a key with each other or with a job that waits."""
    worker = await open_connection(Role.WORKER)
    await hold(worker, 4)
    await hold(worker, 3, key="twins")
    await hold(worker, 2, key="waits #")
    await hold(worker, 2, entrypoint="default.webhooks.a")
    await hold(worker, 1, entrypoint="default.webhooks.a", key="twins")
    await hold(worker, 1, entrypoint="default.webhooks.a", key="waits 1")
    await JobQueue().enqueue(
        worker,
        [
            NewJob("webhooks.a", dedupe_key="waits 1"),
            NewJob("webhooks.a"),
            NewJob("default.b", dedupe_key="waits 2"),
            NewJob("default.b"),
            NewJob("default.b"),
        ],
    )
    return worker


@pytest.mark.parametrize("queue", list(QueueName))
async def test_a_move_leaves_as_many_as_its_preview_said(
    database: PostgresAddress, open_connection: OpenConnection, worker: OwnConnection, queue: QueueName
) -> None:
    would = await preview(await open_connection(Role.CONSOLE), HeldFilter(), to=queue)
    result = await run_bulk(worker_at(database), ANNA, BulkAction.MOVE, HeldFilter(), queue=queue)
    assert result.state is BulkState.DONE
    assert (result.matched, result.skipped) == (would.matched, would.would_skip)
    assert result.done == would.matched - result.skipped
    there = {QueueName.WEBHOOKS: 9, QueueName.DEFAULT: 4}.get(queue, 0)
    assert result.why_skipped.get(STANDS_THERE, 0) == would.standing == there
    assert (await states(worker))["replaced"] == result.done


async def test_a_move_is_about_the_queue_it_goes_to_and_a_retry_about_the_one_it_stands_in(
    open_connection: OpenConnection, worker: OwnConnection
) -> None:
    console = await open_connection(Role.CONSOLE)
    await worker.execute(
        "insert into pauses (kind, name, paused_by) values ('queue', 'webhooks', 'anna'), ('queue', 'default', 'anna'),"
        " ('job_type', 'webhooks.a', 'anna')"
    )
    await worker.execute("insert into quarantines (entrypoint, contains, made_by) values ('webhooks.a', 'x', 'anna')")
    both = ("job type webhooks.a", "queue default", "queue webhooks")
    for chosen, to, ahead, paused in (
        (None, None, 5, both),
        (None, QueueName.DEFAULT, 3, ("job type webhooks.a", "queue default")),
        (None, QueueName.APPOINTMENTS, 0, ("job type webhooks.a",)),
        (QueueName.DEFAULT, None, 3, ("job type webhooks.a", "queue default")),
        (QueueName.DEFAULT, QueueName.WEBHOOKS, 2, ("job type webhooks.a", "queue webhooks")),
    ):
        would = await preview(console, HeldFilter(queue=chosen), to=to)
        assert (would.ahead, tuple(sorted(would.queue_paused))) == (ahead, paused)
        assert would.quarantined == ("quarantine 1 of webhooks.a",)


async def test_a_retry_leaves_as_many_as_its_preview_said(
    database: PostgresAddress, open_connection: OpenConnection, worker: OwnConnection
) -> None:
    would = await preview(await open_connection(Role.CONSOLE), HeldFilter())
    result = await run_bulk(worker_at(database), ANNA, BulkAction.RETRY, HeldFilter())
    assert (result.done, result.skipped) == (7, would.would_skip)
    assert result.why_skipped == {EQUAL_WAITS: 6}
