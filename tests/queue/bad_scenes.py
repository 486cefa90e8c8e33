"""Scenes with bad jobs: a worker process that is started again when it ends, a provider that never answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from backend.queue.worker_config import WorkerConfig
from tests.queue.scenes import WorkerProcess


@asynccontextmanager
async def silent_provider() -> AsyncIterator[str]:
    """The address of a server that takes connections and never says a word."""
    taken: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in taken:
            writer.close()


@asynccontextmanager
async def kept_alive(config: WorkerConfig, directory: Path) -> AsyncIterator[list[int]]:
    """A worker process that is started again whenever it ends; the exit codes so far."""
    ended: list[int] = []
    current: list[WorkerProcess] = []

    async def keep() -> None:
        while True:
            current[:] = [WorkerProcess(config, directory / f"{len(ended)}.log")]
            ended.append(await asyncio.to_thread(current[0].process.wait))

    task = asyncio.create_task(keep())
    try:
        yield ended
    finally:
        task.cancel()
        for process in current:
            process.kill()
