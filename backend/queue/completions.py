"""Writes that jobs are done, many with one statement, and goes on trying while the database is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from backend.queue.claims import Claims
from backend.queue.outages import insist

logger = logging.getLogger(__name__)

LARGEST_WRITE = 256
"""Jobs in one statement at most."""

GATHER_S = 0.002
"""The first to finish waits so long for company."""


class Completions:
    """Jobs that are done and not yet written off."""

    def __init__(self, claims: Claims, enough: int, written: Callable[[int], None]) -> None:
        """`enough` jobs are written without waiting for more; `written` is told each job's id afterwards."""
        self._claims = claims
        self._enough = enough
        self._written = written
        self._waiting: list[tuple[int, float]] = []
        self._filled = asyncio.Event()
        self._full = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, job_id: int, seconds: float) -> None:
        """This job is done and ran for so long."""
        self._waiting.append((job_id, seconds))
        self._empty.clear()
        self._filled.set()
        if len(self._waiting) >= self._enough:
            self._full.set()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._filled.wait()
            try:
                async with asyncio.timeout(GATHER_S):
                    await self._full.wait()
            except TimeoutError:
                pass
            batch = self._waiting[:LARGEST_WRITE]
            lost = await insist("writing off jobs", partial(self._claims.done, batch))
            for job_id in lost:
                logger.warning("job %d was another worker's when it was done here", job_id)
            del self._waiting[: len(batch)]
            self._full.clear()
            for job_id, _ in batch:
                self._written(job_id)
            if not self._waiting:
                self._filled.clear()
                self._empty.set()

    async def drained(self) -> None:
        """Wait until nothing is left to write."""
        await self._empty.wait()
