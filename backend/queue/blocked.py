"""What a worker whose event loop is blocked still tells of itself: in the watchdog's thread, on an own connection.

The job that blocks is named while it blocks. Before the process ends, the other jobs that were running are relieved of
the suspicion of having brought it down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from uuid import UUID

from backend.domain.vocabulary import TroubleKind
from backend.postgres.address import Role
from backend.postgres.pools import connect
from backend.queue.executor import Run
from backend.queue.troubles import Trouble, write_troubles
from backend.queue.watchdog import Block
from backend.queue.worker_config import WorkerConfig

logger = logging.getLogger(__name__)

LIMIT_S = 4.0
"""Longest time that telling may take."""

_RELIEVE = """
update job_runs
set ended_at = greatest(started_at, clock_timestamp()), outcome = 'released', error = $3
where worker_id = $1 and ended_at is null and job_id <> $2
"""


class BlockTeller:
    """Tells of the blocks of one worker."""

    def __init__(self, config: WorkerConfig, worker_id: UUID, running: Mapping[int, Run]) -> None:
        self._config = config
        self._worker_id = worker_id
        self._running = running

    def tell(self, block: Block) -> None:
        """Name the job that blocks; when that is not known, every job type that runs."""
        asyncio.run(self._bounded(self._troubles(block), relieve=None))

    def give_up(self, block: Block) -> None:
        """Tell once more, for how long; relieve the others of suspicion when it is known who blocks."""
        culprit = self._culprit(block)
        asyncio.run(self._bounded(self._troubles(block), relieve=None if culprit is None else culprit.claim.job_id))

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

    async def _bounded(self, troubles: tuple[Trouble, ...], *, relieve: int | None) -> None:
        async with asyncio.timeout(LIMIT_S):
            connection = await connect(
                self._config.postgres, Role.WORKER, application=f"askpro {self._config.queue} blocked"
            )
            try:
                await write_troubles(connection, self._config.node, self._config.queue, troubles)
                if relieve is not None:
                    await connection.execute(_RELIEVE, self._worker_id, relieve, f"job {relieve} held up its worker")
            finally:
                connection.terminate()
