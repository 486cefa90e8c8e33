"""A worker obeys what is said about its queue while it runs, and leaves jobs alone that are at work."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest

from backend.domain.vocabulary import PauseKind, Provider, QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.providers.breaker import BreakerOpen, BreakerState
from backend.providers.clients import ProviderConfig
from backend.queue.context import Handler, JobContext
from backend.queue.held import retry_held
from backend.queue.parking import PARK_WAITING, PARKED_FOR
from backend.queue.policies import BUILT_IN, Told
from backend.queue.port import NewJob
from backend.queue.worker import Worker, WorkerConfig
from backend.services.operating.audit import By
from backend.services.operating.pauses import pause, resume
from tests.databases import OpenConnection
from tests.queue.scenes import QUICK, OwnConnection, config_for, empty, job, put, until, working

ANNA = By("anna", "here")
NEVER_S = 3_600.0


class Bench:
    """A worker whose jobs end when they are told to."""

    def __init__(self, connection: OwnConnection) -> None:
        self.connection = connection
        self.at_work: list[JobContext] = []
        self.done: Counter[str] = Counter()
        self._may_end = 0
        self._ends = asyncio.Semaphore(0)
        self.worker: Worker

    async def handle(self, context: JobContext) -> None:
        """Work until a job may end."""
        self.at_work.append(context)
        await self._ends.acquire()
        self.at_work.remove(context)
        self.done[context.entrypoint] += 1

    def end(self, jobs: int) -> None:
        """So many jobs may end."""
        self._may_end += jobs
        for _ in range(jobs):
            self._ends.release()

    async def working_on(self, jobs: int) -> None:
        """Wait until those that may end have ended and exactly so many are at work; a look later still are."""

        async def are_at_work() -> bool:
            is_over = self.done.total() >= self._may_end
            return is_over and len(self.at_work) == jobs and self.worker._starting == 0

        await until(are_at_work, f"{jobs} jobs are at work")
        self.worker._doorbell.rung.set()
        self.worker._slot_freed.set()
        await self.connection.fetchval("select pg_sleep(0.02)")
        await until(are_at_work, f"still {jobs} jobs are at work")

    async def in_force(self, key: str) -> object:
        """What the roster tells."""
        told = await self.connection.fetchval("select in_force from workers where id = $1", self.worker.id)
        return json.loads(told).get(key)


@asynccontextmanager
async def at_the_bench(
    config: WorkerConfig, connection: OwnConnection, *types: str, elsewhere: tuple[str, ...] = ()
) -> AsyncIterator[Bench]:
    """A worker that hears of everything by the bell: it does not look by itself."""
    bench = Bench(connection)
    handlers: dict[str, Handler] = dict.fromkeys(types or ("webhooks.a",), bench.handle)
    patient = replace(QUICK, queue=config.queue, timeout_s=60.0)
    deaf = replace(config, look_s=NEVER_S, policy=patient)
    async with working(deaf, handlers, dict.fromkeys(elsewhere, bench.handle)) as bench.worker:
        await asyncio.wait_for(bench.worker._doorbell.listening.wait(), 10)
        yield bench
        bench.end(1_000)


async def test_slots_go_up_and_down_while_jobs_run_and_no_job_is_interrupted(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    await put(connection, *[job("webhooks.a") for _ in range(30)])
    scale = """
        insert into queue_slots (queue, node, slots, is_pinned, decided_by) values ('webhooks', $2, $1, true, 'anna')
        on conflict (queue, node) do update set slots = excluded.slots
    """
    async with at_the_bench(config_for(database), connection) as bench:
        await bench.working_on(QUICK.concurrency)
        await connection.execute(scale, 12, "")
        await bench.working_on(12)
        await connection.execute(scale, 3, "test")
        await until(lambda: is_told(connection, 3), "the roster tells of three slots")
        await bench.working_on(12)
        bench.end(10)
        await bench.working_on(3)
        assert bench.done.total() == 10
        await connection.execute("delete from queue_slots where node = 'test'")
        await bench.working_on(12)
        bench.end(20)
        await until(lambda: empty(connection), "all are done")
    assert bench.done.total() == 30
    assert await connection.fetchval("select count(*) from job_runs where outcome = 'done'") == 30


async def is_told(connection: OwnConnection, slots: int) -> bool:
    """Whether the roster tells of so many slots."""
    row = await connection.fetchrow("select concurrency, (in_force ->> 'slots')::int as slots from workers")
    return row is not None and tuple(row) == (slots, slots)


async def test_a_paused_queue_takes_nothing_and_goes_on_when_it_is_resumed(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    async with at_the_bench(config_for(database), connection) as bench:
        await put(connection, job("webhooks.a"))
        await bench.working_on(1)
        await pause(connection, ANNA, PauseKind.QUEUE, "webhooks", reason="night shift")
        await until(lambda: is_told(connection, 0), "the roster tells of no slots")
        assert await bench.in_force("paused") == ["queue webhooks"]
        await put(connection, *[job("webhooks.a") for _ in range(20)])
        await bench.working_on(1)
        await resume(connection, ANNA, PauseKind.QUEUE, "webhooks", ramp_s=8_000)
        # One slot for a long while.
        bench.end(1)
        await bench.working_on(1)
        await connection.execute("update pauses set ramp_s = 0")
        await bench.working_on(QUICK.concurrency)
        bench.end(20)
        await until(lambda: empty(connection), "all are done")
    assert bench.done.total() == 21


async def test_a_pause_that_ends_by_itself_does_so_on_time_though_nobody_says_anything(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    await connection.execute(
        """insert into pauses (kind, name, paused_by, until)
           values ('node', 'test', 'anna', now() + '1 h'), ('node', 'another', 'anna', null)"""
    )
    await put(connection, job("webhooks.a"))
    async with at_the_bench(config_for(database), connection) as bench:
        await until(lambda: is_waiting(bench), "the worker knows of the pause")
        # The last that is said about it; its end comes by itself.
        await connection.execute("update pauses set until = clock_timestamp() + '1 s' where until is not null")
        await bench.working_on(1)
    over = "select bool_and(started_at >= until) from job_runs, pauses where until is not null"
    assert await connection.fetchval(over)


async def test_other_job_types_go_on_while_a_type_or_the_provider_that_it_needs_is_paused(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    policies = BUILT_IN.laid_over(
        [Told(subject="webhooks.synced", name="provider", value=Provider.CALCOM, source="test")]
    )
    config = config_for(database, policies=policies, providers=ProviderConfig())
    await pause(connection, ANNA, PauseKind.JOB_TYPE, "webhooks.retell_call", reason="broken")
    await pause(connection, ANNA, PauseKind.PROVIDER, "calcom", reason="they are down")
    types = ("webhooks.retell_call", "webhooks.a", "webhooks.synced")
    async with at_the_bench(config, connection, *types) as bench:
        assert bench.worker.providers is not None
        breaker = bench.worker.providers.client(Provider.CALCOM).breaker
        with pytest.raises(BreakerOpen, match="is paused"):
            breaker.permit()
        await put(connection, *[job(kind) for kind in types])
        await bench.working_on(1)
        assert bench.at_work[0].entrypoint == "webhooks.a"
        await resume(connection, ANNA, PauseKind.JOB_TYPE, "webhooks.retell_call")
        await bench.working_on(2)
        assert breaker.state is BreakerState.OPEN
        await resume(connection, ANNA, PauseKind.PROVIDER, "calcom")
        await bench.working_on(3)
        probe = breaker.permit()
        assert probe.is_probe
        probe.failed()
        assert breaker.state.value == BreakerState.OPEN
        await connection.execute("insert into breaker_resets (provider, reset_by) values ('calcom', 'anna')")
        await until(lambda: asyncio.sleep(0, breaker.state.value == BreakerState.CLOSED), "the breaker is closed")
    assert bench.done == Counter(types)


async def test_jobs_of_a_paused_company_are_parked_as_if_they_had_not_been_tried_and_start_when_it_is_resumed(
    database: PostgresAddress, open_connection: OpenConnection, delivery: tuple[UUID, UUID]
) -> None:
    company, _ = delivery
    connection = await open_connection(Role.WORKER)
    await pause(connection, ANNA, PauseKind.COMPANY, "salon", reason="they asked")
    parked = await put(connection, *[job("webhooks.a", number, company) for number in range(12)])
    await put(connection, job("webhooks.a", "of nobody"))
    async with at_the_bench(config_for(database), connection) as bench:
        are_parked = "select count(*) = 12 from parked_jobs where kind = 'company' and name = 'salon'"
        await until(lambda: connection.fetchval(are_parked), "all of its jobs are parked")
        await bench.working_on(1)
        assert [context.read(str) for context in bench.at_work] == ["of nobody"]
        rows = await connection.fetch(
            """select status::text, attempts, queue_manager_id is null as is_free,
                      execute_after > now() + '50 min' as is_late
               from pgqueuer where id = any($1)""",
            parked,
        )
        assert {tuple(row) for row in rows} == {("queued", 0, True, True)}
        runs = await connection.fetch("select outcome, attempt, error from job_runs where job_id = any($1)", parked)
        assert {tuple(run) for run in runs} == {("postponed", 1, "salon is paused")}
        # The first that came up were taken; with them the others were put off that were still to come.
        assert len(runs) < 12
        async with connection.transaction():
            assert (await resume(connection, ANNA, PauseKind.COMPANY, "salon")).released == 12
        await bench.working_on(QUICK.concurrency)
        assert await connection.fetchval("select count(*) from parked_jobs") == 0
        bench.end(13)
        await until(lambda: empty(connection), "all are done")
    assert await connection.fetchval("select bool_and(attempt = 1) from job_runs")


async def test_jobs_of_a_paused_company_are_looked_for_among_the_next_ones_only(
    open_connection: OpenConnection, delivery: tuple[UUID, UUID]
) -> None:
    company, _ = delivery
    connection = await open_connection(Role.WORKER)
    await pause(connection, ANNA, PauseKind.COMPANY, "salon", reason="they asked")
    first, *_ = await put(connection, *[job("webhooks.a") for _ in range(10)], job("webhooks.a", None, company))
    one = (str(company), "webhooks.a", PARKED_FOR, 1)
    assert await connection.fetchval(PARK_WAITING, *one) == 0
    await connection.execute("delete from pgqueuer where id = $1", first)
    assert await connection.fetchval(PARK_WAITING, *one) == 1


async def test_a_pause_that_is_just_being_ended_parks_nothing(
    database: PostgresAddress, open_connection: OpenConnection, delivery: tuple[UUID, UUID]
) -> None:
    company, _ = delivery
    connection, operator = await open_connection(Role.WORKER), await open_connection(Role.WORKER)
    await pause(connection, ANNA, PauseKind.COMPANY, "salon", reason="they asked")
    async with at_the_bench(config_for(database), connection) as bench:
        await until(lambda: is_waiting(bench), "the worker knows of the pause")
        async with operator.transaction():
            await resume(operator, ANNA, PauseKind.COMPANY, "salon")
            await put(connection, job("webhooks.a", 1, company))
            taken = "select exists (select from pgqueuer where status = 'picked')"
            await until(lambda: connection.fetchval(taken), "the job is taken")
        await bench.working_on(1)
        assert await connection.fetchval("select count(*) from parked_jobs") == 0


async def is_waiting(bench: Bench) -> bool:
    """Whether the worker has read that something is paused."""
    return not await is_quiet(bench)


async def is_quiet(bench: Bench) -> bool:
    """Whether nothing is in force, as far as the worker has read."""
    return bench.worker._gate.control.is_quiet


async def test_quarantined_jobs_are_held_before_they_run_with_the_quarantines_cause_until_it_is_lifted(
    database: PostgresAddress, open_connection: OpenConnection, delivery: tuple[UUID, UUID]
) -> None:
    company, inbox = delivery
    connection, console = await open_connection(Role.WORKER), await open_connection(Role.CONSOLE)
    await connection.execute(
        """insert into quarantines (entrypoint, company_id, contains, fingerprint, reason, made_by)
           values ('webhooks.a', $1, 'POISON', 'f00', 'kills its worker', 'anna')""",
        company,
    )
    *poison, _, _ = await put(
        connection,
        job("webhooks.a", {"inbox_id": str(inbox), "text": "some poison here"}, company),
        NewJob("webhooks.a", b'{"text": "Poison"}', company, dedupe_key="k"),
        job("webhooks.a", {"text": "harmless"}, company),
        job("webhooks.a", {"text": "poison of somebody else"}),
    )
    async with at_the_bench(config_for(database), connection) as bench:
        await bench.working_on(2)
        are_held = "select count(*) = 2 from held_jobs where state = 'held'"
        await until(lambda: connection.fetchval(are_held), "two are held")
        rows = await connection.fetch(
            "select job_id, fingerprint, error_type, message, attempts, dedupe_key from held_jobs order by job_id"
        )
        cause = ("f00", "Quarantined", "held before it ran by quarantine 1 of anna: kills its worker", 0)
        assert [tuple(row) for row in rows] == [(poison[0], *cause, None), (poison[1], *cause, "k")]
        assert await connection.fetchval("select count(*) from job_runs where job_id = any($1)", poison) == 0
        assert await console.fetchval("select state from webhook_inbox") == "held"
        await connection.execute("update quarantines set lifted_at = now(), lifted_by = 'anna'")
        await until(lambda: is_quiet(bench), "the worker knows that it is lifted")
        async with connection.transaction():
            await retry_held(connection, poison, by="anna")
        await bench.working_on(4)


async def test_a_job_type_that_was_moved_is_done_by_the_workers_of_the_queue_it_was_moved_to(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    config = config_for(database, QueueName.NOTIFICATIONS)
    async with at_the_bench(config, connection, "notifications.a", elsewhere=("webhooks.b",)) as bench:
        await put(connection, job("notifications.webhooks.b"), job("notifications.webhooks.unknown"))
        await bench.working_on(0)
        await connection.execute(
            "insert into moved_job_types values ('notifications', 'webhooks.b'), ('notifications', 'webhooks.unknown')"
        )
        await bench.working_on(1)
        assert bench.at_work[0].entrypoint == "notifications.webhooks.b"

        async def tells() -> bool:
            return await bench.in_force("moved") == ["webhooks.b"]

        await until(tells, "the roster tells of it")


async def test_what_is_in_force_stays_so_while_nothing_can_be_read(
    database: PostgresAddress, open_connection: OpenConnection, caplog: pytest.LogCaptureFixture
) -> None:
    connection, migrate = await open_connection(Role.WORKER), await open_connection(Role.MIGRATE)
    await connection.execute("insert into queue_slots values ('webhooks', '', 3, true, 'anna')")
    async with at_the_bench(config_for(database), connection) as bench:
        await put(connection, *[job("webhooks.a") for _ in range(5)])
        await bench.working_on(3)
        await migrate.execute("set role askpro_owner; alter table askpro.queue_slots rename to somewhere_else")
        await migrate.execute("notify askpro_control")
        await until(lambda: asyncio.sleep(0, "cannot be read" in caplog.text), "the worker has tried")
        await bench.working_on(3)
        ended = """
            select count(pg_terminate_backend(pid)) from pg_stat_activity
            where application_name like 'askpro webhooks %' and datname = current_database()
        """
        assert await connection.fetchval(ended) >= 6
        bench.end(1)
        await bench.working_on(3)


async def test_a_job_type_on_its_ramp_has_its_share_of_the_slots_and_never_more_than_all_are_taken(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)
    await connection.execute(
        """insert into pauses (kind, name, paused_by, paused_at, resumed_by, resumed_at, ramp_s)
           values ('job_type', 'webhooks.b', 'a', now() - interval '2 h', 'a', now() - interval '50 min', 13000)"""
    )
    async with at_the_bench(config_for(database), connection, "webhooks.a", "webhooks.b") as bench:
        await put(connection, *[job(kind) for kind in ("webhooks.a", "webhooks.b") for _ in range(10)])
        await bench.working_on(QUICK.concurrency)
        kinds = Counter(context.entrypoint for context in bench.at_work)
        assert kinds == {"webhooks.a": 6, "webhooks.b": 2}
        bench.end(16)
        await until(lambda: asyncio.sleep(0, bench.done["webhooks.a"] == 10), "all of the other type are done")
        await bench.working_on(2)
        assert bench.done["webhooks.b"] == 6
