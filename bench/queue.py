"""How fast our worker works off a queue beside the bare engine, and how late jobs start; both in the same run.

`python -m bench.queue [--jobs 6000] [--rounds 3] [--seconds 10]` starts a durable PostgreSQL of its own in a scratch
directory. "Bare" is pgqueuer as its documentation sets it up (its own run loop, trigger and pool), which notes no runs,
has no fence and no time limits. The two take turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import msgspec
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.domain.models import Job
from pgqueuer.domain.settings import DBSettings
from pgqueuer.queries import Queries

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import connect
from backend.queue.context import JobContext
from backend.queue.policies import DEQUEUE_WAIT_S, HEARTBEAT_S, POLICIES
from backend.queue.port import JobQueue, NewJob
from backend.queue.worker import Worker, WorkerConfig
from bench.server import durable_server

RESULTS = Path(__file__).parent / "results"
POLICY = POLICIES[QueueName.WEBHOOKS]
ENTRYPOINT = "webhooks.nothing"
BARE_CONNECTIONS = 7
"""As many as our worker opens: two for the engine, four for jobs, one to listen."""
PER_S = (50, 200)
WARM_UP = 100

Ran = Callable[[bytes], None]
"""Told each job's payload when its handler starts."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two."""

    what: str
    drained_per_s: float
    """No-op jobs, median of the rounds."""
    rounds_per_s: list[float]
    start_p50_ms: dict[int, float]
    """From the beginning of the enqueueing transaction to the handler, warm, by jobs put in each second."""
    start_p99_ms: dict[int, float]
    enqueued_per_s: float
    """Jobs put in with statements of 1,000."""


class Engine:
    """A way to put jobs in and to work them off."""

    what = ""

    async def put(self, payloads: list[bytes]) -> None:
        """Put jobs in with one statement."""
        raise NotImplementedError

    def working(self, ran: Ran) -> contextlib.AbstractAsyncContextManager[None]:
        """Work within the block."""
        raise NotImplementedError

    async def left(self) -> int:
        """Jobs that are not written off yet."""
        raise NotImplementedError


class Ours(Engine):
    """The product's worker with the policy of the webhooks queue."""

    what = "our worker"

    def __init__(self, address: PostgresAddress, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._address = address
        self._connection = connection

    async def put(self, payloads: list[bytes]) -> None:
        """Put jobs in with one statement."""
        await JobQueue().enqueue(self._connection, [NewJob(ENTRYPOINT, payload) for payload in payloads])

    @asynccontextmanager
    async def working(self, ran: Ran) -> AsyncIterator[None]:
        """Work within the block."""

        async def handler(context: JobContext) -> None:
            ran(context.payload)

        config = WorkerConfig(
            queue=QueueName.WEBHOOKS, postgres=self._address, valkey_url=None, node="bench", version="bench"
        )
        stop, ready = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(Worker(config, {ENTRYPOINT: handler}).run(stop, ready.set))
        await ready.wait()
        try:
            yield
        finally:
            stop.set()
            await task

    async def left(self) -> int:
        """Jobs that are not written off yet."""
        left: int = await self._connection.fetchval("select count(*) from pgqueuer")
        return left


class Bare(Engine):
    """pgqueuer alone, in a database of its own."""

    what = "bare pgqueuer"

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._queries = Queries.from_asyncpg_pool(pool)

    async def put(self, payloads: list[bytes]) -> None:
        """Put jobs in with one statement."""
        await self._queries.enqueue([ENTRYPOINT] * len(payloads), list(payloads), [0] * len(payloads))

    @asynccontextmanager
    async def working(self, ran: Ran) -> AsyncIterator[None]:
        """Work within the block."""
        engine = PgQueuer.from_asyncpg_pool(self._pool)

        @engine.entrypoint(ENTRYPOINT, on_failure="hold")
        async def handler(job: Job) -> None:
            ran(job.payload or b"")

        task = asyncio.create_task(
            engine.run(
                dequeue_timeout=timedelta(seconds=DEQUEUE_WAIT_S),
                batch_size=POLICY.batch,
                max_concurrent_tasks=POLICY.concurrency,
                heartbeat_timeout=timedelta(seconds=HEARTBEAT_S),
            )
        )
        try:
            yield
        finally:
            engine.shutdown.set()
            await task

    async def left(self) -> int:
        """Jobs that are not written off yet."""
        left: int = await self._pool.fetchval("select count(*) from pgqueuer")
        return left


async def fill(engine: Engine, count: int) -> float:
    """Put jobs in, a thousand with each statement; jobs a second."""
    started = time.perf_counter()
    for first in range(0, count, 1_000):
        await engine.put([b"{}"] * min(1_000, count - first))
    return count / (time.perf_counter() - started)


async def drain(engine: Engine, count: int) -> float:
    """Work off so many waiting jobs; jobs a second, from the first one's start until all are written off."""
    ran = 0
    first = 0.0
    everything = asyncio.Event()

    def count_one(_payload: bytes) -> None:
        nonlocal ran, first
        first = first or time.perf_counter()
        ran += 1
        if ran == count:
            everything.set()

    async with engine.working(count_one):
        await everything.wait()
        await wait_for(engine.left)
        return count / (time.perf_counter() - first)


async def wait_for(left: Callable[[], Awaitable[int]]) -> None:
    """Wait until nothing is left."""
    while await left():  # noqa: ASYNC110 - the database tells nobody here
        await asyncio.sleep(0.002)


async def lateness(engine: Engine, per_s: int, seconds: float) -> list[float]:
    """How late jobs start, in milliseconds, when so many a second are put in singly; the first ones don't count."""
    late: list[float] = []

    def note(payload: bytes) -> None:
        if payload != b"{}":
            late.append((time.perf_counter_ns() - int(payload)) / 1e6)

    async with engine.working(note):
        for number in range(WARM_UP):
            await engine.put([b"{}"])
            if number % 10 == 0:
                await wait_for(engine.left)
        started = time.perf_counter()
        for number in range(int(seconds * per_s)):
            await asyncio.sleep(max(0.0, started + number / per_s - time.perf_counter()))
            await engine.put([b"%d" % time.perf_counter_ns()])
        await wait_for(engine.left)
    return late


async def measure(address: PostgresAddress, superuser: Superuser, args: argparse.Namespace) -> list[Figures]:
    """Both, taking turns."""
    async with contextlib.AsyncExitStack() as stack:
        connection = await connect(address, Role.WORKER, application="bench")
        stack.push_async_callback(connection.close)
        pool = await bare_pool(superuser)
        stack.push_async_callback(pool.close)
        engines: list[Engine] = [Ours(address, connection), Bare(pool)]
        drained: dict[str, list[float]] = {engine.what: [] for engine in engines}
        enqueued: dict[str, list[float]] = {engine.what: [] for engine in engines}
        for round_number in range(args.rounds + 1):
            for engine in engines:
                filled = await fill(engine, args.jobs)
                rate = await drain(engine, args.jobs)
                if round_number:
                    enqueued[engine.what].append(filled)
                    drained[engine.what].append(rate)
        lates: dict[str, dict[int, list[float]]] = {engine.what: {per_s: [] for per_s in PER_S} for engine in engines}
        for _ in range(args.rounds):
            for per_s in PER_S:
                for engine in engines:
                    lates[engine.what][per_s] += await lateness(engine, per_s, args.seconds / args.rounds)
        figures = []
        for engine in engines:
            late = {per_s: sorted(times) for per_s, times in lates[engine.what].items()}
            figures.append(
                Figures(
                    what=engine.what,
                    drained_per_s=statistics.median(drained[engine.what]),
                    rounds_per_s=drained[engine.what],
                    start_p50_ms={per_s: times[len(times) // 2] for per_s, times in late.items()},
                    start_p99_ms={per_s: times[int(len(times) * 0.99)] for per_s, times in late.items()},
                    enqueued_per_s=statistics.median(enqueued[engine.what]),
                )
            )
        return figures


async def bare_pool(superuser: Superuser) -> asyncpg.Pool[asyncpg.Record]:
    """A database with nothing but the engine, as its own installer leaves it."""

    def address_of(name: str) -> str:
        return f"postgresql://{superuser.user}:{superuser.password}@/{name}?host={superuser.host}&port={superuser.port}"

    server = await asyncpg.connect(address_of("postgres"))
    await server.execute("create database bare template template0")
    await server.close()
    pool = await asyncpg.create_pool(address_of("bare"), min_size=BARE_CONNECTIONS, max_size=BARE_CONNECTIONS)
    queries = Queries.from_asyncpg_pool(pool)
    assert queries.qbe.settings == DBSettings()
    await queries.install()
    await queries.optimize_autovacuum()
    return pool


def table(figures: list[Figures]) -> str:
    """The figures for people."""
    heads = [f"p50/p99 at {per_s}/s" for per_s in PER_S]
    rows = [f"{'':14} {'drained/s':>10} {'enqueued/s':>11} " + " ".join(f"{head:>20}" for head in heads)]
    for line in figures:
        starts = [f"{line.start_p50_ms[per_s]:.1f} / {line.start_p99_ms[per_s]:.1f} ms" for per_s in PER_S]
        rows.append(
            f"{line.what:14} {line.drained_per_s:10,.0f} {line.enqueued_per_s:11,.0f} "
            + " ".join(f"{start:>20}" for start in starts)
        )
    ours, bare = figures
    rows.append(f"\ndrained, our worker / bare: {ours.drained_per_s / bare.drained_per_s:.2f}")
    return "\n".join(rows)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch,
        durable_server(Path(scratch)) as (address, superuser),
    ):
        figures = uvloop.run(measure(address, superuser, args))
    print(table(figures))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "queue.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))


if __name__ == "__main__":
    main()
