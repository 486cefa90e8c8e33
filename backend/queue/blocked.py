"""What a worker whose event loop is blocked still tells of itself: in the watchdog's thread, on an own connection.

The job that blocks is named while it blocks. Before the process ends it is held, for it is known who did it, and the
other jobs that were running are relieved of the suspicion of having brought the process down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

from backend.domain.vocabulary import TroubleKind
from backend.postgres.address import Role
from backend.postgres.pools import Pool, open_pool
from backend.queue.claims import Claim, Claims
from backend.queue.executor import Run
from backend.queue.failures import WorkerBlocked, describe
from backend.queue.troubles import Trouble, write_troubles
from backend.queue.watchdog import Block
from backend.queue.worker_config import WorkerConfig

LIMIT_S = 4.0
"""Longest time that telling may take."""


class BlockTeller:
    """Tells of the blocks of one worker."""

    def __init__(self, config: WorkerConfig, worker_id: UUID, running: Mapping[int, Run]) -> None:
        self._config = config
        self._worker_id = worker_id
        self._running = running

    def tell(self, block: Block) -> None:
        """Name the job that blocks; when that is not known, every job type that runs."""
        asyncio.run(self._bounded(self._troubles(block), block, None))

    def give_up(self, block: Block) -> None:
        """Tell once more, for how long; hold the job when it is known which one blocks."""
        asyncio.run(self._bounded(self._troubles(block), block, self._culprit(block)))

    def _culprit(self, block: Block) -> Run | None:
        return next((run for run in list(self._running.values()) if run.name == block.task), None)

    def _troubles(self, block: Block) -> tuple[Trouble, ...]:
        culprit = self._culprit(block)
        suspects = [culprit] if culprit is not None else list(self._running.values())
        detail = f"has held up its worker for {block.seconds:.0f} s in {block.place}"
        if culprit is None:
            detail = f"was running when its worker stood still for {block.seconds:.0f} s in {block.place}"
        by_type = {run.claim.entrypoint: run.claim.job_id for run in suspects}
        return tuple(Trouble(TroubleKind.BLOCKS, kind, job_id, detail) for kind, job_id in by_type.items())

    async def _bounded(self, troubles: tuple[Trouble, ...], block: Block, culprit: Run | None) -> None:
        config = self._config
        async with asyncio.timeout(LIMIT_S):
            pool = await open_pool(
                config.postgres, Role.WORKER, application=f"askpro {config.queue} blocked", size=1, min_size=1
            )
            try:
                await write_troubles(pool, config.node, config.queue, troubles)
                if culprit is not None:
                    await self._hold(pool, culprit.claim, block)
            finally:
                pool.terminate()

    async def _hold(self, pool: Pool, claim: Claim, block: Block) -> None:
        error = WorkerBlocked(f"held up its worker for {block.seconds:.0f} s in {block.place}")
        claims = Claims(pool, self._worker_id, self._config.queue, lease_s=self._config.lease_s, suspect_from=1)
        if await claims.hold(claim, describe(error, claim.entrypoint)):
            await claims.relieve(claim.job_id, f"job {claim.job_id} held up its worker")
