"""Keeps one worker going whatever its jobs do: names what they do to it, stops those that grow, gives up when worn out.

What a job does is told through `Troubles`; what is done about it: a job that makes its worker grow is stopped and
counts as one that brought it down; a worker whose handlers ignore cancellation ends when too many slots are lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from uuid import UUID

import psutil

from backend.domain.vocabulary import TroubleKind
from backend.postgres.pools import Pool
from backend.queue.blocked import BlockTeller
from backend.queue.claims import Claim
from backend.queue.executor import Recall, Run
from backend.queue.frozen import hold_frozen, stack_file
from backend.queue.memory_watch import LOOK_S, MemoryWatch
from backend.queue.outages import insist
from backend.queue.policies import Policies
from backend.queue.predecessors import LONGEST_WAIT_S, LeftBehind, accused, give_up, others_of, take_over
from backend.queue.priorities import write_priorities
from backend.queue.troubles import Troubles
from backend.queue.watchdog import FROZEN_S, TICK_S, Watchdog
from backend.queue.worker_config import WorkerConfig

logger = logging.getLogger(__name__)

BLOCKED_S = 8.0
"""A process whose loop is blocked for so long is ended: no handler may hold it up at all."""

BLOCK_TOLD_S = 3.0
"""A job that blocks the loop for so long is named."""

WORN_OUT_SHARE = 0.25
"""A worker ends when so large a part of its slots is held by handlers that ignore their cancellation."""


class Guard:
    """Guards one worker."""

    def __init__(
        self,
        config: WorkerConfig,
        worker_id: UUID,
        running: Mapping[int, Run],
        slots: Callable[[], tuple[int, int]],
    ) -> None:
        """`running`: the jobs that are this worker's, by id; followed as it changes.

        `slots`: those held by handlers that ignore their cancellation, and all, however few a pause leaves.
        """
        self.blocked = BlockTeller(config, worker_id, running)
        self.troubles = Troubles(config.node, config.queue)
        self.worn_out = asyncio.Event()
        """Set when the worker had better end and be started afresh."""
        self._config = config
        self._worker_id = worker_id
        self._running = running
        self._slots = slots

    def tell(self, kind: TroubleKind, claim: Claim, detail: str) -> None:
        """A job does this."""
        self.troubles.note(kind, claim.entrypoint, claim.job_id, detail)
        stuck, slots = self._slots()
        if stuck >= max(1.0, WORN_OUT_SHARE * slots) and not self.worn_out.is_set():
            logger.error("%d of %d slots are held by handlers that ignore their cancellation: ending", stuck, slots)
            self.worn_out.set()

    @contextmanager
    def watching(
        self,
        names: Callable[[], str],
        *,
        limit_s: float = BLOCKED_S,
        report_s: float = BLOCK_TOLD_S,
        tick_s: float = TICK_S,
        frozen_cpu_s: float = FROZEN_S,
    ) -> Iterator[None]:
        """Watch this process's loop, in whose thread it is called: what blocks it is named, then the process ends.

        `names` tells the jobs in work, for a report.
        """
        with (
            stack_file(self._config.stacks, self._config.queue, self._worker_id) as stacks,
            Watchdog(
                limit_s,
                names,
                report_s=report_s,
                tick_s=tick_s,
                tell=self.blocked.tell,
                give_up=self.blocked.give_up,
                stacks=stacks,
                frozen_cpu_s=frozen_cpu_s,
            ),
        ):
            yield

    async def begin(self, pool: Pool, policies: Policies) -> None:
        """Take over what dead workers left, and write down what others need to know of this one's policies."""

        def wait_s(one: LeftBehind) -> float:
            return min(LONGEST_WAIT_S * one.crashes, policies.job(one.entrypoint).wait_s(one.crashes))

        others = await others_of(pool, self._worker_id, self._config.node, self._config.queue)
        living = {self._worker_id, *others.living}
        for trouble in await hold_frozen(pool, self._config.stacks, self._config.queue, others.dead, living):
            self.troubles.note(trouble.kind, trouble.entrypoint, trouble.job_id, trouble.detail)
        left = await take_over(pool, others.dead, wait_s)
        for kind, (one, suspected) in accused(left).items():
            beside = f" with {suspected - 1} others" if suspected > 1 else ""
            again = f", {one.crashes}× by now" if one.crashes > 1 else ""
            detail = f"was running when its worker ended{beside}{again}"
            logger.warning("%s %d %s", kind, one.job_id, detail)
            self.troubles.note(TroubleKind.CRASH, kind, one.job_id, detail)
        await self.troubles.write(pool)
        await write_priorities(pool, policies, self._config.queue)

    async def run(self, pool: Pool) -> None:
        """Watch and tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.troubles.run(pool))
            if self._config.memory_ceiling is not None:
                tasks.create_task(self._watch_memory(self._config.memory_ceiling))

    async def give_up(self, pool: Pool, claim: Claim, delay_s: float) -> bool:
        """Queue a job again as if it had brought the worker down; False when it is this worker's no more."""
        return await insist("giving a job up", partial(give_up, pool, self._worker_id, claim, delay_s))

    async def _watch_memory(self, ceiling: int) -> None:
        process = psutil.Process()
        watch = MemoryWatch(
            ceiling,
            lambda: int(process.memory_info().rss),
            lambda: [run.claim for run in self._running.values() if run.handler is not None and not run.handler.done()],
        )
        while True:
            await asyncio.sleep(LOOK_S)
            if (grown := watch.look()) is None:
                continue
            size = f"{grown.rss_bytes / 2**20:.0f} MB"
            beside = f", with {len(grown.running) - 1} others" if len(grown.running) > 1 else ""
            for one in reversed((*grown.running, *((grown.ended,) if grown.ended is not None else ()))):
                detail = f"its worker grew to {size}, {one.grown_bytes / 2**20:.0f} MB of it while it ran{beside}"
                logger.error("%s %d: %s", one.entrypoint, one.job_id, detail)
                self.troubles.note(TroubleKind.MEMORY, one.entrypoint, one.job_id, detail)
            for one in grown.running:
                if (run := self._running.get(one.job_id)) is not None:
                    run.recall(Recall.GREW)
