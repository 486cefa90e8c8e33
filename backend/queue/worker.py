"""A worker process: works off one queue, and nothing another queue does can hold it up.

It takes jobs in batches, runs as many at once as the policy allows, renews their leases, and writes off what is done
in batches. When PostgreSQL goes away it waits: running jobs finish or fail as attempts of their own, what is done is
written off when the server is back. When it is told to stop it takes nothing more, lets running jobs finish, and gives
back what does not finish in time, so that another worker starts it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from backend.domain.vocabulary import RunOutcome
from backend.postgres.pools import Connection, Pool
from backend.providers.clients import ProviderConfig, Providers
from backend.queue.claims import Claim, Claims
from backend.queue.completions import Completions
from backend.queue.connections import worker_pool
from backend.queue.context import Handler, JobContext
from backend.queue.control import Control, ControlUnreadable, Work, moved_name, read_control
from backend.queue.doorbell import Doorbell
from backend.queue.executor import Ending, Executor, Recall, Run
from backend.queue.gate import Gate
from backend.queue.guard import Guard
from backend.queue.outages import TRANSIENT, Patience, insist
from backend.queue.provider_reports import ProviderReports
from backend.queue.roster import BEAT_S, Figures, Roster
from backend.queue.upkeep import Upkeep
from backend.queue.worker_config import WorkerConfig
from backend.valkey.notices import Notices

__all__ = ["Worker", "WorkerConfig", "run_worker"]

logger = logging.getLogger(__name__)

JOB_CONNECTIONS = 4
"""For the handlers' transactions."""

ENGINE_CONNECTIONS = 3
"""For taking, starting, keeping and ending jobs, so that handlers which hold all their connections cannot starve
leases, and taking does not wait for ending."""

ROOM_WAIT_S = 0.005
"""With a backlog, a worker waits so long for room for a whole batch before it takes a smaller one."""

UNWRITTEN_BATCHES = 10
"""No more jobs are taken while so many batches of finished ones wait to be written off."""


async def run_worker(config: WorkerConfig) -> None:
    """Work until told to stop. Raises when it cannot go on; its supervisor then starts another."""
    from backend.queue.jobs import HANDLERS, handlers_of
    from backend.stack.child import announce_ready, stop_event

    worker = Worker(config, handlers_of(config.queue), HANDLERS)
    with worker.guard.watching(worker.names_running):
        await worker.run(stop_event(), announce_ready)
    if worker.unfinished:
        # Their handlers ignore cancellation; an orderly end of the loop would wait for them for ever.
        logging.shutdown()
        os._exit(0)


class Worker:
    """One worker of one queue with these handlers."""

    def __init__(
        self, config: WorkerConfig, handlers: Mapping[str, Handler], elsewhere: Mapping[str, Handler] | None = None
    ) -> None:
        """`handlers`: the queue's own job types. `elsewhere`: all that it can do if jobs are moved to its queue."""
        self.id: UUID = uuid4()
        self.policies = config.all_policies()
        self.policy = self.policies.queue(config.queue)
        self._config = config
        self._handlers = dict(handlers)
        self._elsewhere = elsewhere or {}
        work = Work(
            queue=config.queue,
            slots=self.policy.concurrency,
            ceiling=self.policy.ceiling,
            types=tuple(handlers),
            provider_of=lambda entrypoint: self.policies.job(entrypoint).provider,
        )
        self._gate = Gate(work, self._let_go)
        self._mine: dict[int, Run] = {}
        """Jobs whose lease is this worker's: in work, or done and not yet written off."""
        self.guard = Guard(
            config, self.id, self._mine, lambda: (len(self._executor.stuck), self._gate.control.full(work))
        )
        self._executor = Executor(self.policies, self._handlers, config.unwind_s, self.guard.tell)
        self._runs: dict[asyncio.Task[None], Run] = {}
        self._starting = 0
        """Jobs taken whose start is being noted."""
        self._starts: set[asyncio.Task[None]] = set()
        self._slot_freed = asyncio.Event()
        self._news = asyncio.Event()
        """Something else is in force."""
        self._suspects = asyncio.Lock()
        self._stopping = False
        self._done = 0
        self._state = "running"
        self._trouble: asyncio.Future[None] | None = None
        self._providers: Providers | None = None

    @property
    def unfinished(self) -> int:
        """Handlers that did not end though they were told to."""
        return len(self._runs) + len(self._executor.stuck)

    @property
    def providers(self) -> Providers | None:
        """The providers that its jobs call; None before it runs, or when it was told of none."""
        return self._providers

    def names_running(self) -> str:
        """The jobs in work, for a report."""
        return ", ".join(run.name for run in list(self._runs.values())) or "nothing"

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is set, then drain. Calls `ready` when it takes jobs."""
        self._trouble = asyncio.get_running_loop().create_future()
        async with AsyncExitStack() as stack:
            self._engine_pool = engine_pool = await worker_pool(self._config, stack, "engine", ENGINE_CONNECTIONS)
            self._job_pool = await worker_pool(self._config, stack, "jobs", JOB_CONNECTIONS)
            self._notices = Notices(self._config.valkey_url) if self._config.valkey_url else None
            if self._notices is not None:
                stack.push_async_callback(self._notices.aclose)
            self._reports = ProviderReports(self._config.providers or ProviderConfig(), engine_pool, self.id)
            stack.push_async_callback(self._reports.aclose)
            self._providers = None if self._config.providers is None else self._reports.providers
            self._channel = self._config.channel()
            if self._channel is not None:
                stack.push_async_callback(self._channel.close)
            self._claims = Claims(
                engine_pool,
                self.id,
                self._config.queue,
                lease_s=self._config.lease_s,
                suspect_from=self._suspect_from(),
            )
            self._completions = Completions(self._claims, self.policy.batch, self._written)
            application = f"askpro {self._config.queue} listen"
            self._doorbell = Doorbell(self._config.postgres, self._config.queue, application, self._read_control)
            roster = self._roster(engine_pool)
            await insist("warming up", partial(self._warm, engine_pool, roster))
            await insist("taking over", partial(self.guard.begin, engine_pool, self.policies))
            background = [
                self._in_background(work)
                for work in (
                    self._completions.run(),
                    self._doorbell.run(),
                    self._keep_leases(),
                    self._sign(roster),
                    self._reports.run(),
                    self.guard.run(engine_pool),
                    Upkeep(lambda: self._done).run(engine_pool),
                )
            ]
            try:
                ready()
                await self._work(stop)
                await self._drain()
                await self._quietly(self.guard.troubles.write(engine_pool))
                self._state = "stopped"
                await self._quietly(roster.sign())
            finally:
                for task in background:
                    task.cancel()
                await asyncio.wait(background, timeout=1.0)

    async def _warm(self, engine_pool: Pool, roster: Roster) -> None:
        """Use each connection once, so that the first jobs don't wait for types to be looked up and plans be made."""
        for pool in (engine_pool, self._job_pool):
            connections = [await pool.acquire(timeout=2.0) for _ in range(pool.get_max_size())]
            for connection in connections:
                await connection.fetch("select $1::uuid[], $2::bigint[], $3::text[], $4::jsonb", [], [], [], "{}")
                await pool.release(connection)
        for _ in range(engine_pool.get_max_size()):
            await asyncio.gather(self._claims.keep([]), self._claims.done([]))
        async with engine_pool.acquire(timeout=2.0) as connection:
            await self._read_control(connection)
        await roster.sign()

    def _suspect_from(self) -> int:
        """With so many crashes one more may make a job poison, whatever its type."""
        of_types = (self.policies.job(name).crash_starts for name in (*self._handlers, *self._elsewhere))
        return max(1, min(self.policy.crash_starts, *of_types) - 1)

    def _roster(self, pool: Pool) -> Roster:
        return Roster(
            pool,
            self.id,
            node=self._config.node,
            queue=self._config.queue,
            version=self._config.version,
            policies=self.policies.published(self._config.queue),
            figures=lambda: Figures(
                busy=len(self._runs),
                slots=self._gate.plan().slots,
                done=self._done,
                state=self._state,
                in_force=self._gate.told(),
            ),
        )

    # Obeying -----------------------------------------------------------------------------------------------------

    async def _read_control(self, connection: Connection) -> None:
        try:
            control = await read_control(connection, self._config.node, self._config.queue)
        except ControlUnreadable as error:
            logger.error("what is in force cannot be read, so what was stays in force: %s", error)
            return
        self._heed(replace(control, moved=tuple(name for name in control.moved if name in self._elsewhere)))

    def _heed(self, control: Control) -> None:
        """Obey this from now on; jobs at work are left alone."""
        for name in control.moved:
            self._handlers[moved_name(self._config.queue, name)] = self._elsewhere[name]
        if self._gate.heed(control):
            self._news.set()
            self._slot_freed.set()
            self._doorbell.rung.set()
        self._reports.heed(control)

    # Taking ------------------------------------------------------------------------------------------------------

    async def _work(self, stop: asyncio.Event) -> None:
        stopped = asyncio.create_task(stop.wait())
        looking = self._in_background(self._look_for_jobs())
        assert self._trouble is not None
        worn_out = asyncio.create_task(self.guard.worn_out.wait())
        ends: set[asyncio.Future[Any]] = {stopped, worn_out, self._trouble}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._trouble.done():
                self._trouble.result()
            self._stopping = True
            self._slot_freed.set()
            self._doorbell.rung.set()
            # A look in progress ends by itself: what it takes is given back.
            limit_s = self._config.drain_s / 10
            await asyncio.wait({looking}, timeout=limit_s)
            if self._starts:
                await asyncio.wait(self._starts, timeout=limit_s)
        finally:
            self._stopping = True
            for task in (stopped, worn_out, looking):
                task.cancel()

    async def _look_for_jobs(self) -> None:
        patience = Patience("taking jobs")
        while not self._stopping:
            wanted = min(await self._room(), self.policy.batch)
            if self._stopping:
                break
            if wanted <= 0:
                continue
            self._doorbell.rung.clear()
            is_more = False
            try:
                for types, most in self._gate.plan().lanes(wanted, self._types_at_work):
                    if (fitting := min(most, self._free())) > 0:
                        is_more |= await self._take(fitting, types)
            except TRANSIENT as error:
                await patience.wait(error)
                continue
            patience.over()
            if not is_more and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._gate.lasts_s(self._config.look_s)):
                        await self._doorbell.rung.wait()

    async def _take(self, most: int, types: tuple[str, ...]) -> bool:
        """Take up to so many jobs of these types and start them; whether there may be more."""
        taken = await self._claims.take(most, types, tuple(self._mine))
        if taken.claims:
            self._mine.update((claim.job_id, Run(claim)) for claim in taken.claims)
            self._starting += len(taken.claims)
            starting = self._in_background(self._start(taken.claims))
            self._starts.add(starting)
            starting.add_done_callback(self._starts.discard)
        return taken.count >= most

    async def _room(self) -> int:
        """Wait until there is room for a job, and a moment longer for room for a batch; how many fit."""
        while (room := self._free()) <= 0 and not self._stopping:
            self._slot_freed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._gate.lasts_s()):
                    await self._slot_freed.wait()
        if room < min(self.policy.batch, self._gate.plan().slots):
            await asyncio.sleep(ROOM_WAIT_S)
        return self._free()

    def _free(self) -> int:
        if len(self._completions) > UNWRITTEN_BATCHES * self.policy.batch:
            return 0
        return self._gate.plan().slots - self._starting - len(self._runs) - len(self._executor.stuck)

    def _types_at_work(self) -> Iterable[str]:
        return (run.claim.entrypoint for run in self._mine.values())

    async def _start(self, claims: Sequence[Claim]) -> None:
        """Note the starts, then start: meanwhile the next look at the queue is under way."""
        try:
            may_start = await self._gate.let_through(claims, self._claims)
            noted = await insist("noting starts", partial(self._claims.note_starts, may_start))
        finally:
            self._starting -= len(claims)
        if len(may_start) < len(claims):
            self._slot_freed.set()
        for claim in noted.fresh:
            self._spawn(claim, self._run)
        for claim, crashes in noted.suspects:
            self._spawn(claim, partial(self._run_suspect, crashes))

    def _spawn(self, claim: Claim, work: Callable[[Run], Coroutine[None, None, None]]) -> None:
        run = self._mine[claim.job_id]
        if self._stopping:
            run.recall(Recall.STOPPING)
        task = asyncio.create_task(work(run), name=f"{claim.entrypoint} {claim.job_id}")
        self._runs[task] = run
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        run = self._runs.pop(task)
        self._slot_freed.set()
        if self._gate.plan().ramped:
            # Nobody rings for the next one.
            self._doorbell.rung.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._let_go(run.claim.job_id)
            self._fail(error)

    # Running -----------------------------------------------------------------------------------------------------

    async def _run(self, run: Run) -> None:
        run.began = time.monotonic()
        context = JobContext(
            run.claim,
            self.id,
            self._job_pool,
            outbox=self._config.outbox,
            channel=self._channel,
            providers=self._providers,
            policies=self.policies,
        )
        ending = await self._executor.execute(run, context)
        if ending.outcome is RunOutcome.DONE:
            self._done += 1
            self._completions.add(run.claim.job_id, time.monotonic() - run.began)
            if context.domains and self._notices is not None:
                await self._notices.changed(*context.domains)
        else:
            await self._settle(run.claim, ending)

    async def _run_suspect(self, crashes: int, run: Run) -> None:
        """Run a job that one more crash would make poison: one such job at a time, so that the next crash is its own.

        Jobs that only stood beside the one that crashes would else be held with it.
        """
        if (poison := self._executor.poisoned(run.claim, crashes)) is not None:
            await self._settle(run.claim, poison)
            return
        async with self._suspects:
            if run.recalled is None:
                await insist("noting a start", partial(self._claims.note_suspect_start, run.claim))
            await self._run(run)
            # Until its end is written the next one's crash would count for this one too.
            await run.settled.wait()

    async def _settle(self, claim: Claim, ending: Ending) -> None:
        """Write what became of a job that is not done."""
        failure, kept = ending.failure, True
        cause = f"{claim.entrypoint} {claim.job_id}"
        if ending.is_crash:
            kept = await self.guard.give_up(self._engine_pool, claim, ending.delay_s)
        elif ending.outcome is RunOutcome.RELEASED:
            kept = await insist("giving a job back", partial(self._claims.release, claim))
        elif ending.outcome is RunOutcome.POSTPONED:
            logger.info("%s waits %.0f s: %s", cause, ending.delay_s, ending.reason)
            kept = await insist(
                "postponing a job", partial(self._claims.postpone, claim, ending.delay_s, ending.reason)
            )
        elif ending.outcome is RunOutcome.RETRY and failure is not None:
            logger.warning("%s failed (%s), next attempt in %.0f s", cause, failure.error_type, ending.delay_s)
            kept = await insist("giving a job back", partial(self._claims.retry, claim, ending.delay_s, failure))
        elif ending.outcome is RunOutcome.HELD and failure is not None:
            logger.error("%s is held: %s (%s)", cause, failure.error_type, failure.fingerprint)
            kept = await insist("holding a job", partial(self._claims.hold, claim, failure))
            if self._notices is not None:
                await self._notices.changed("queues")
        if not kept or ending.outcome is None:
            logger.warning("%s was another worker's when it ended here", cause)
            await self._quietly(self._claims.forsake(claim))
        self._let_go(claim.job_id)

    def _written(self, job_id: int) -> None:
        self._let_go(job_id)
        self._slot_freed.set()

    def _let_go(self, job_id: int) -> None:
        if (run := self._mine.pop(job_id, None)) is not None:
            run.settled.set()

    # Beside the jobs ---------------------------------------------------------------------------------------------

    async def _keep_leases(self) -> None:
        patience = Patience("renewing leases")
        while True:
            await asyncio.sleep(self._config.lease_s / 3)
            try:
                lost = await self._claims.keep(tuple(self._mine)) if self._mine else set()
            except TRANSIENT as error:
                await patience.wait(error)
                continue
            patience.over()
            for job_id in lost:
                if (run := self._mine.get(job_id)) is not None:
                    run.recall(Recall.LOST)

    async def _sign(self, roster: Roster) -> None:
        patience = Patience("signing the roster")
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._news.wait()
            self._news.clear()
            try:
                await roster.sign()
            except TRANSIENT as error:
                await patience.wait(error)
            else:
                patience.over()

    def _in_background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._background_ended)
        return task

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._trouble is not None and not self._trouble.done():
            self._trouble.set_exception(error)

    async def _quietly(self, action: Awaitable[object]) -> None:
        """Do it if it can be done at once; nothing depends on it."""
        try:
            async with asyncio.timeout(2.0):
                await action
        except TRANSIENT as error:
            logger.info("left undone: %s", type(error).__name__)

    # Ending ------------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Finish what runs, give back what doesn't finish in time, write everything."""
        self._state = "draining"
        logger.info("draining %d jobs", len(self._runs))
        drain_s = self._config.drain_s
        await self._all_ended(drain_s * 0.5)
        for run in list(self._runs.values()):
            run.recall(Recall.STOPPING)
        await self._all_ended(drain_s * 0.2)
        for run in list(self._runs.values()):
            logger.error("%s %d does not end: given back", run.claim.entrypoint, run.claim.job_id)
            grew = run.recalled is Recall.GREW
            await self._quietly(
                self.guard.give_up(self._engine_pool, run.claim, 0.0) if grew else self._claims.release(run.claim)
            )
        try:
            async with asyncio.timeout(drain_s * 0.1):
                await self._completions.drained()
        except TimeoutError:
            logger.error("%d finished jobs are not written off: they run again", len(self._completions))

    async def _all_ended(self, limit_s: float) -> None:
        # Suspects wait for each other, so their runs are asked again when one ends.
        deadline = time.monotonic() + limit_s
        while self._runs and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(set(self._runs), timeout=left, return_when=asyncio.FIRST_COMPLETED)
