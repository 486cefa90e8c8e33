"""Scenes for the queue's tests: quick policies, workers in this process and in processes of their own, waiting."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import asyncpg

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress
from backend.queue.context import Handler
from backend.queue.policies import QueuePolicy
from backend.queue.port import JobQueue, NewJob
from backend.queue.worker import Worker, WorkerConfig

OwnConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

QUICK = QueuePolicy(
    queue=QueueName.WEBHOOKS, concurrency=8, batch=4, timeout_s=5.0, backoff_s=(0.02, 0.02, 0.02), jitter=0.2
)
"""As the real ones, with waits that a test can afford."""

LIMIT_S = 30.0
"""Longest wait for a condition; reaching it is a failure."""


def config_for(database: PostgresAddress, queue: QueueName = QueueName.WEBHOOKS, **changes: object) -> WorkerConfig:
    """A worker's configuration with quick waits."""
    quick = WorkerConfig(
        queue=queue,
        postgres=database,
        valkey_url=None,
        node="test",
        version="0",
        policy=replace(QUICK, queue=queue),
        lease_s=2.0,
        look_s=0.1,
        drain_s=10.0,
    )
    return replace(quick, **changes)  # type: ignore[arg-type]  # a test names fields of the record


async def until(condition: Callable[[], Awaitable[object]], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until the condition holds; fails with `what` after the limit."""
    end = time.monotonic() + limit_s
    while not await condition():
        if time.monotonic() > end:
            raise AssertionError(f"still waiting after {limit_s:g} s: {what}")
        await asyncio.sleep(0.01)


@asynccontextmanager
async def working(
    config: WorkerConfig, handlers: Mapping[str, Handler], elsewhere: Mapping[str, Handler] | None = None
) -> AsyncIterator[Worker]:
    """A worker in this process that takes jobs within the block and drains at its end."""
    stop, ready = asyncio.Event(), asyncio.Event()
    worker = Worker(config, handlers, elsewhere)
    task = asyncio.create_task(worker.run(stop, ready.set))
    started = asyncio.create_task(ready.wait())
    await asyncio.wait({task, started}, timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            task.result()
        yield worker
    finally:
        stop.set()
        started.cancel()
        await asyncio.wait_for(task, LIMIT_S)


class WorkerProcess:
    """A worker in a process of its own, with the handlers of tests/queue/worker_process.py."""

    def __init__(self, config: WorkerConfig, log: Path) -> None:
        postgres = asdict(config.postgres) | {"passwords": dict(config.postgres.passwords)}
        fields = asdict(config) | {"postgres": postgres, "queue": config.queue.value}
        del fields["policies"]
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.queue.worker_process", json.dumps(fields, default=str)],
                stdout=output,
                stderr=output,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def kill(self) -> None:
        """End it without a chance to react."""
        self.process.kill()
        self.process.wait(LIMIT_S)

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        return await asyncio.to_thread(self.process.wait, LIMIT_S)

    def log(self) -> str:
        """What it printed."""
        return self._log.read_text(errors="replace")


@asynccontextmanager
async def worker_process(config: WorkerConfig, log: Path) -> AsyncIterator[WorkerProcess]:
    """A worker process that exists at most as long as the block."""
    process = WorkerProcess(config, log)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.kill()


async def put(connection: OwnConnection, *jobs: NewJob) -> list[int]:
    """Put jobs in; their ids."""
    ids = await JobQueue().enqueue(connection, jobs)
    assert None not in ids
    return [job_id for job_id in ids if job_id is not None]


def job(name: str, payload: object = None, company_id: UUID | None = None) -> NewJob:
    """A job with a JSON payload."""
    return NewJob(name, json.dumps(payload).encode(), company_id)


async def empty(connection: OwnConnection) -> bool:
    """Whether no job waits, runs or is held."""
    return not await connection.fetchval("select exists (select from pgqueuer)")
