"""What the routes work with: made when the process starts, closed when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from backend.api.config import ApiConfig
from backend.api.limits.limiting import Guard
from backend.api.loop_lag import LoopLag
from backend.api.problems import Problem
from backend.api.timings import Timings
from backend.postgres.address import Role
from backend.postgres.pools import ACQUIRE_TIMEOUT_S, DATABASE_ERRORS, Pool, open_pool
from backend.queue.port import JobQueue
from backend.services.calls.callers import Callers
from backend.services.functions.answering import Functions
from backend.services.functions.warm_up import warm_up
from backend.services.intake.accepting import Intake, Limits
from backend.services.intake.inbox import release
from backend.services.intake.rejects import Rejects
from backend.services.intake.seal import Seal
from backend.valkey.notices import Notices
from backend.watch.reader import SnapshotReader

log = logging.getLogger(__name__)

RELEASE_EVERY_S = 5.0
"""Time between two looks for quarantined deliveries whose tenant is known by now."""

RELEASE_AT_ONCE = 500

APPLICATION = "askpro-api"


@dataclass(frozen=True, slots=True)
class Running:
    """The parts that need a running event loop."""

    pool: Pool
    intake: Intake
    rejects: Rejects
    callers: Callers
    functions: Functions
    reader: SnapshotReader


@dataclass(slots=True)
class Resources:
    """What every route of one application shares."""

    config: ApiConfig
    timings: Timings
    guard: Guard
    lag: LoopLag = field(default_factory=LoopLag)
    draining: bool = False
    """The process was told to stop: it finishes what it has and is no longer ready."""
    _running: Running | None = None

    @property
    def running(self) -> Running:
        """The running parts. Raises a 503 `Problem` before the start and after the end."""
        if self._running is None:
            raise Problem(503, "not running", retry_after_s=1)
        return self._running

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Run the parts within the block. Raises OSError, TimeoutError or asyncpg's errors without a database."""
        config = self.config
        async with AsyncExitStack() as stack:
            pool = await open_pool(config.postgres, Role.API, application=APPLICATION, size=config.pool_size)
            stack.push_async_callback(_close_pool, pool)
            reader = SnapshotReader(config.valkey_url, config.postgres, application=APPLICATION)
            stack.push_async_callback(reader.aclose)
            callers = Callers(pool, answer_s=config.lookup_s)
            stack.push_async_callback(callers.close)
            functions = await stack.enter_async_context(_functions(config))
            rejects = Rejects(pool, Seal(config.reject_key))
            await rejects.start()
            stack.push_async_callback(rejects.close)
            queue = JobQueue()
            limits = Limits(patience_s=config.patience_s)
            intake = Intake.at(config.postgres, application=APPLICATION, limits=limits)
            intake.start()
            stack.push_async_callback(intake.close)
            await stack.enter_async_context(_in_background(_release_quarantined(pool, queue), "quarantine-release"))
            await stack.enter_async_context(_in_background(self.lag.measure(), "loop-lag"))
            await self.guard.rates.start()
            stack.push_async_callback(self.guard.rates.aclose)
            if config.valkey_url is not None:
                await stack.enter_async_context(_in_background(self.timings.publish(config.valkey_url), "timings"))
            self._running = Running(
                pool=pool, intake=intake, rejects=rejects, callers=callers, functions=functions, reader=reader
            )
            try:
                yield
            finally:
                self.draining = True
        self._running = None


async def _release_quarantined(pool: Pool, queue: JobQueue) -> None:
    """Release what can be released, for ever; a dead database only means that it is tried again."""
    while True:
        await asyncio.sleep(RELEASE_EVERY_S)
        try:
            released = RELEASE_AT_ONCE
            while released == RELEASE_AT_ONCE:
                async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection, connection.transaction():
                    released = await release(connection, queue, at_most=RELEASE_AT_ONCE)
                if released:
                    log.info("released %d quarantined deliveries whose tenant is known now", released)
        except DATABASE_ERRORS as error:
            log.debug("quarantined deliveries were not looked at: %s", error)


@asynccontextmanager
async def _functions(config: ApiConfig) -> AsyncIterator[Functions]:
    """The in-call functions with their own connections; what takes time to load is loaded before anybody calls."""
    await asyncio.to_thread(warm_up)
    size = config.function_pool_size
    pool = await open_pool(
        config.postgres, Role.API, application=f"{APPLICATION}-functions", size=size, min_size=min(2, size)
    )
    notices = None if config.valkey_url is None else Notices(config.valkey_url)

    async def changed() -> None:
        if notices is not None:
            await notices.changed("appointments", "calls")

    functions = Functions(pool, answer_s=config.function_s, changed=changed)
    try:
        yield functions
    finally:
        await functions.close()
        await _close_pool(pool)
        if notices is not None:
            await notices.aclose()


@asynccontextmanager
async def _in_background(work: Coroutine[None, None, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _close_pool(pool: Pool) -> None:
    """Close politely, but not longer than two seconds."""
    try:
        await asyncio.wait_for(pool.close(), 2.0)
    except DATABASE_ERRORS:
        pool.terminate()
