"""The pieces that tell which job harms its worker: memory laid to accounts, crashes, blocks, silent providers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from typing import cast
from uuid import uuid4

from backend.domain.vocabulary import PauseKind, Provider, QueueName, RunOutcome, TroubleKind
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Pool
from backend.providers.calling import Retries, Timeouts
from backend.providers.clients import ProviderConfig, Providers
from backend.queue.claims import Claim
from backend.queue.context import JobContext
from backend.queue.control import Control, Pause
from backend.queue.executor import Executor, Recall, Run
from backend.queue.memory_watch import CEILING_SHARE, Accused, Grown, MemoryWatch
from backend.queue.policies import BUILT_IN, Told
from backend.queue.predecessors import NOBODY, LeftBehind, accused
from backend.queue.troubles import Troubles
from backend.queue.worker import Worker
from backend.watch.collect import Sources
from backend.watch.collect.queues import collect
from backend.watch.details import Details
from backend.watch.findings import find
from tests.databases import OpenConnection
from tests.queue.bad_scenes import silent_provider
from tests.queue.scenes import config_for, empty, job, put, until, working

MB = 2**20


def claim(job_id: int, entrypoint: str = "webhooks.a", attempt: int = 1) -> Claim:
    """A job that was taken."""
    return Claim(job_id, entrypoint, b"{}", None, attempt, 0)


def test_growth_is_laid_to_the_job_that_runs_while_it_happens() -> None:
    resident, running = 80 * MB, [claim(1, "webhooks.small")]
    watch = MemoryWatch(500 * MB, lambda: resident, lambda: running)
    resident += 10 * MB
    assert watch.look() is None
    running = [claim(2, "webhooks.large")]
    resident = 470 * MB

    assert watch.look() == Grown(470 * MB, (Accused("webhooks.large", 2, 380 * MB),), None)
    running = []
    assert watch.look() is None  # told once


def test_what_jobs_that_have_ended_left_behind_is_laid_to_their_type() -> None:
    resident, running = 80 * MB, [claim(1, "webhooks.leaks")]
    watch = MemoryWatch(500 * MB, lambda: resident, lambda: running)
    for job_id in range(2, 6):
        resident += 100 * MB
        assert watch.look() is None or job_id == 5
        running = [claim(job_id, "webhooks.leaks")]
    running = [claim(6, "webhooks.innocent")]
    watch = MemoryWatch(500 * MB, lambda: resident, lambda: running)
    assert watch.look() == Grown(480 * MB, (), Accused("webhooks.innocent", 6, 0))


def test_a_worker_is_warned_before_the_supervisor_recycles_it() -> None:
    assert CEILING_SHARE < 1


def test_the_jobs_that_were_there_at_most_crashes_are_accused() -> None:
    left = (LeftBehind(1, "webhooks.a", 1), LeftBehind(2, "webhooks.b", 2), LeftBehind(3, "webhooks.c", 2))

    assert accused(left) == {"webhooks.b": (left[1], 2), "webhooks.c": (left[2], 2)}
    assert accused(()) == {}


def test_a_process_in_which_no_thread_runs_any_more_is_ended_all_the_same() -> None:
    # A regular expression that goes astray keeps the interpreter to itself.
    script = (
        "import asyncio, re\n"
        "from backend.queue.watchdog import Watchdog\n"
        "async def main():\n"
        "    with Watchdog(2.0, lambda: '', tick_s=0.1, report_s=2.0, frozen_s=1.0):\n"
        "        await asyncio.sleep(1.0)\n"
        "        re.match('(a+)+$', 'a' * 60 + 'b')\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 1
    assert "in main" in ended.stderr
    assert "Timeout" in ended.stderr


async def test_equal_troubles_are_counted_in_one_row(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection, watch = await open_connection(Role.WORKER), await open_connection(Role.WATCH)
    troubles = Troubles("here", QueueName.WEBHOOKS)
    for job_id in range(1_000):
        troubles.note(TroubleKind.RAISES, "webhooks.a", job_id, f"\0{job_id}" * 200)
    await troubles.write(connection)
    troubles.note(TroubleKind.RAISES, "webhooks.a", 1_000, "the last")
    await troubles.write(connection)

    (row,) = (await collect(watch, Sources())).troubles
    assert (row.kind, row.job_id, row.detail, row.count, row.node) == ("raises", 1_000, "the last", 1_001, "here")


async def test_jobs_of_a_worker_that_has_fallen_silent_are_named(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection, watch = await open_connection(Role.WORKER), await open_connection(Role.WATCH)
    (job_id,) = await put(connection, job("webhooks.a"))
    worker = uuid4()
    await connection.execute(
        "insert into workers (id, node, queue, pid, version, concurrency, busy, done, rss_bytes, state, heartbeat_at)"
        " values ($1, 'there', 'webhooks', 1, '0', 1, 1, 0, 0, 'running', now() - interval '9 seconds')",
        worker,
    )
    await connection.execute("update pgqueuer set status = 'picked', queue_manager_id = $1", worker)

    snapshot = await collect(watch, Sources())
    (row,) = snapshot.troubles
    assert (row.kind, row.job_id, row.node) == ("silent", job_id, "there")
    assert any(f"job {job_id} runs in a worker that is silent" in found.text for found in find({"queues": snapshot}))


async def test_jobs_of_a_dead_worker_on_this_node_do_not_wait_for_their_lease(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    (job_id,) = await put(connection, job("webhooks.a"))
    dead = await asyncio.create_subprocess_exec("true")
    await dead.wait()
    worker = uuid4()
    await connection.execute(
        "insert into workers (id, node, queue, pid, version, concurrency, busy, done, rss_bytes, state)"
        " values ($1, 'test', 'webhooks', $2, '0', 1, 1, 0, 0, 'running')",
        worker,
        dead.pid,
    )
    await connection.execute("update pgqueuer set status = 'picked', queue_manager_id = $1, heartbeat = now()", worker)
    await connection.execute(
        "insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at)"
        " values ($1, 1, 'webhooks.a', $2, now())",
        job_id,
        worker,
    )

    async def nothing(_context: JobContext) -> None:
        """Succeed."""

    async with working(config_for(database, lease_s=3_600.0), {"webhooks.a": nothing}):
        await until(lambda: empty(connection), "the job is done")
    assert await connection.fetchval("select state from workers where id = $1", worker) == "stopped"
    row = await connection.fetchrow("select kind, entrypoint, job_id, node from job_troubles")
    assert row is not None
    assert tuple(row) == ("crash", "webhooks.a", job_id, "test")


async def test_a_job_whose_provider_gives_no_answer_is_named_while_it_waits() -> None:
    told: list[tuple[TroubleKind, int, str]] = []

    async def ask(context: JobContext) -> None:
        client = context.providers.client(Provider.CALCOM)
        await client.call("GET", "/", endpoint="anything")

    async with silent_provider() as url:
        config = ProviderConfig(calcom_url=url, timeouts=Timeouts(total_s=1.0), retries=Retries(attempts=1))
        providers = Providers(config)
        executor = Executor(
            BUILT_IN,
            {"default.calendar_sync": ask},
            tell=lambda kind, of, detail: told.append((kind, of.job_id, detail)),
            hangs_s=0.5,
        )
        run = Run(claim(7, "default.calendar_sync"))
        context = JobContext(run.claim, uuid4(), cast("Pool", None), providers=providers)
        ending = await executor.execute(run, context)
        await providers.aclose()

    assert ending.outcome is RunOutcome.RETRY
    assert told[0][:2] == (TroubleKind.PROVIDER_HANGS, 7)
    assert "has been waiting for calcom" in told[0][2]


async def test_that_a_job_made_its_worker_grow_is_not_forgotten_when_the_same_worker_ends_it_later(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    (job_id,) = await put(connection, job("webhooks.a"))
    begun = asyncio.Event()

    async def grow_once(context: JobContext) -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()

    async with working(config_for(database), {"webhooks.a": grow_once}) as worker:
        await asyncio.wait_for(begun.wait(), 30)
        worker._mine[job_id].recall(Recall.GREW)
        await until(lambda: empty(connection), "the job is done")
    details = Details(database)
    detail = await details.job(job_id)
    await details.aclose()
    assert detail is not None
    assert [(run.outcome, run.error, run.node) for run in detail.runs] == [
        ("crashed", "it was stopped before it brought its worker down", ""),
        ("done", "", "test"),
    ]
    rows = await connection.fetch("select outcome, worker_id from job_runs order by started_at")
    assert [tuple(row) for row in rows] == [(None, NOBODY), ("done", worker.id)]


async def test_a_job_types_own_limit_of_crashes_holds_where_it_is_below_its_queues(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    (job_id,) = await put(connection, job("webhooks.a"))
    await connection.execute(
        "insert into job_runs (job_id, attempt, entrypoint, worker_id) values ($1, 1, 'webhooks.a', $2)", job_id, NOBODY
    )

    async def nothing(_context: JobContext) -> None:
        """Succeed."""

    once = BUILT_IN.laid_over([Told(subject="webhooks.a", name="crash_starts", value=1, source="test")])
    async with working(config_for(database, policies=once), {"webhooks.a": nothing}):
        is_settled = "select not exists (select from pgqueuer where status <> 'failed')"
        await until(lambda: connection.fetchval(is_settled), "it is held")
    assert await connection.fetchval("select error_type from held_jobs") == "WorkerCrashed"


async def test_a_pause_does_not_make_one_lost_slot_too_many() -> None:
    nowhere = PostgresAddress("nowhere", 1, "nowhere", {})
    worker = Worker(config_for(nowhere), {})
    worker._gate.heed(Control(pauses=(Pause(PauseKind.QUEUE, "webhooks"),)))
    assert worker._gate.plan().slots == 0

    def lose_slots(slots: int) -> None:
        worker._executor.stuck.update(asyncio.ensure_future(asyncio.sleep(60)) for _ in range(slots))
        worker.guard.tell(TroubleKind.IGNORES_CANCELLATION, claim(1), "goes on")

    lose_slots(1)
    assert not worker.guard.worn_out.is_set()
    lose_slots(1)
    assert worker.guard.worn_out.is_set(), "two of eight"
    for task in worker._executor.stuck:
        task.cancel()


async def test_a_job_that_grows_and_cannot_be_stopped_counts_as_one_that_brought_its_worker_down(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    (job_id,) = await put(connection, job("webhooks.a"))
    begun, over = asyncio.Event(), asyncio.Event()

    async def go_on(_context: JobContext) -> None:
        """End when the test is over, whatever one is told."""
        begun.set()
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await over.wait()

    async with working(config_for(database, drain_s=1.0), {"webhooks.a": go_on}) as worker:
        await asyncio.wait_for(begun.wait(), 30)
        worker._mine[job_id].recall(Recall.GREW)
    over.set()
    assert await connection.fetchval("select status::text from pgqueuer where id = $1", job_id) == "queued"
    assert await connection.fetchval("select count(*) from job_runs where ended_at is null") == 1
