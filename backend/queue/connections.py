"""A worker's connections, opened once and kept for its life."""

from __future__ import annotations

from contextlib import AsyncExitStack

from backend.postgres.address import Role
from backend.postgres.pools import Pool, open_pool
from backend.queue.outages import insist
from backend.queue.worker_config import WorkerConfig


async def worker_pool(config: WorkerConfig, stack: AsyncExitStack, purpose: str, size: int) -> Pool:
    """A pool of so many connections, all of them open; waits for the database. It ends with the stack."""
    pool = await insist(
        "opening connections",
        lambda: open_pool(
            config.postgres, Role.WORKER, application=f"askpro {config.queue} {purpose}", size=size, min_size=size
        ),
    )
    stack.callback(pool.terminate)
    return pool
