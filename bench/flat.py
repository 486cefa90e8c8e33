"""Whether the queue costs the same after millions of jobs: `python -m bench.flat [--jobs 5000000] [--every 500000]`.

A durable PostgreSQL of its own, as the product sets it up, with the product's worker, its claims and its counting by
the minute. Jobs pass through while at most 10,000 wait. After the first 10,000 and then ever so often the worker
pauses, and 10,000 jobs are taken, started and written off with the same statements, a batch in the old database and a
batch in one through which nothing has passed, in turn: what the machine does meanwhile counts for both. Told are the
times of both, and how large the queue's table is in both while those 10,000 wait, once it has been swept. Nothing is
deleted that is younger than its time, so the engine's log and the runs grow; what they may not do is make a dequeue
dearer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import msgspec
import uvloop

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import Connection, Pool, connect, open_pool
from backend.queue.claims import Claims
from backend.queue.context import JobContext
from backend.queue.counting import Counting
from backend.queue.policies import HEARTBEAT_S, POLICIES
from backend.queue.port import JobQueue, NewJob
from backend.queue.upkeep import LOOK_S
from backend.queue.worker import Worker, WorkerConfig
from bench.server import durable_server
from tests.databases import connect_superuser

RESULTS = Path(__file__).parent / "results"
ENTRYPOINT = "webhooks.nothing"
FIRST = 10_000
"""The jobs after which the cost is the measure of what comes later."""
PROBED = 10_000
WAITING = 10_000
"""As many wait at most while jobs pass through."""
POLICY = replace(POLICIES[QueueName.WEBHOOKS], concurrency=100, batch=50)
PROBE_BATCH = 15
LIMIT = 1.5
"""Allowed growth."""

DEAD = 2_000
"""Dead rows after which autovacuum comes, see migration 0015."""
VACUUM_S = 20.0

QUIET_S = 3 * LOOK_S
"""After so long a worker has swept what a rush left behind."""

PRISTINE = "pristine"
"""A copy of the database as it is at first."""

TABLES = ("pgqueuer", "pgqueuer_log", "job_runs", "job_minutes")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Of one database at one look; times of its batches in milliseconds."""

    dequeue_p50: float
    dequeue_p95: float
    all_three_p50: float
    """Dequeue, note of the start and writing off."""
    table_mib: float
    """The queue's table with 10,000 jobs that wait."""
    indexes_mib: float


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the costs."""

    passed: int
    """Jobs that had passed through before."""
    passed_per_s: float
    """Since the look before."""
    old: Cost
    fresh: Cost
    """In the same minute, where nothing has passed through."""
    other_mib: dict[str, float]
    """The other tables with their indexes."""


async def sizes_of(connection: Connection) -> dict[str, tuple[float, float]]:
    """Each table and its indexes, MiB."""
    rows = await connection.fetch(
        "select name, pg_relation_size(name::regclass) as heap, pg_indexes_size(name::regclass) as indexes "
        "from unnest($1::text[]) name",
        TABLES,
    )
    return {row["name"]: (row["heap"] / 2**20, row["indexes"] / 2**20) for row in rows}


async def vacuumed(connection: Connection) -> None:
    """Wait until autovacuum has come after the last jobs, as it does within seconds."""
    end = time.monotonic() + VACUUM_S
    while time.monotonic() < end:
        dead = await connection.fetchval("select n_dead_tup from pg_stat_user_tables where relname = 'pgqueuer'")
        if dead <= DEAD:
            return
        await asyncio.sleep(0.2)
    print(f"autovacuum did not come within {VACUUM_S:.0f} s", flush=True)


async def put_in(connection: Connection, count: int) -> None:
    """Put so many jobs in, a thousand with each statement."""
    for first in range(0, count, 1_000):
        await JobQueue().enqueue(connection, [NewJob(ENTRYPOINT, b"{}")] * min(1_000, count - first))


class Batches:
    """Works jobs off in one database, batch by batch, with the worker's own statements."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._claims = Claims(pool, uuid4(), QueueName.WEBHOOKS, lease_s=HEARTBEAT_S, suspect_from=2)
        self._dequeues: list[float] = []
        self._all_three: list[float] = []
        self.sizes: dict[str, tuple[float, float]] = {}

    async def prepare(self) -> None:
        """Let vacuum come, put the jobs in, and look how large everything is."""
        async with self._pool.acquire() as connection:
            await vacuumed(connection)
            await put_in(connection, PROBED)
            self.sizes = await sizes_of(connection)

    async def work(self) -> bool:
        """One batch; whether there was one."""
        began = time.perf_counter()
        taken = await self._claims.take(PROBE_BATCH, (ENTRYPOINT,))
        dequeued = time.perf_counter()
        if not taken.claims:
            return False
        await self._claims.note_starts(taken.claims)
        await self._claims.done([(claim.job_id, 0.001) for claim in taken.claims])
        self._dequeues.append(1000 * (dequeued - began))
        self._all_three.append(1000 * (time.perf_counter() - began))
        return True

    def cost(self) -> Cost:
        """Of all batches."""
        ordered = sorted(self._dequeues)
        table, indexes = self.sizes["pgqueuer"]
        return Cost(
            dequeue_p50=round(statistics.median(ordered), 3),
            dequeue_p95=round(ordered[int(len(ordered) * 0.95)], 3),
            all_three_p50=round(statistics.median(self._all_three), 3),
            table_mib=round(table, 2),
            indexes_mib=round(indexes, 2),
        )


@contextlib.asynccontextmanager
async def fresh_database(address: PostgresAddress, superuser: Superuser) -> AsyncIterator[PostgresAddress]:
    """A database like the old one was at first."""
    server = await connect_superuser(superuser, "postgres")
    await server.execute(f"create database fresh template {PRISTINE}")
    try:
        yield replace(address, database="fresh")
    finally:
        await server.execute("drop database fresh with (force)")
        await server.close()


async def probe(address: PostgresAddress, superuser: Superuser, passed: int, passed_per_s: float) -> Probe:
    """Work jobs off in the old and in a fresh database, in turn."""
    async with contextlib.AsyncExitStack() as stack:
        both = []
        for database in (address, await stack.enter_async_context(fresh_database(address, superuser))):
            pool = await open_pool(database, Role.WORKER, application="bench probe", size=1, min_size=1)
            stack.push_async_callback(pool.close)
            both.append(Batches(pool))
            await both[-1].prepare()
        old, fresh = both
        while await old.work():
            await fresh.work()
    return Probe(
        passed=passed,
        passed_per_s=round(passed_per_s, 1),
        old=old.cost(),
        fresh=fresh.cost(),
        other_mib={table: round(sum(old.sizes[table]), 1) for table in TABLES[1:]},
    )


async def pass_through(address: PostgresAddress, connection: Connection, count: int) -> float:
    """Put so many jobs in and let a worker do them, at most `WAITING` waiting; jobs a second."""
    ran = 0

    async def handler(context: JobContext) -> None:
        nonlocal ran
        ran += 1

    config = WorkerConfig(
        queue=QueueName.WEBHOOKS, postgres=address, valkey_url=None, node="bench", version="bench", policy=POLICY
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(Worker(config, {ENTRYPOINT: handler}).run(stop, ready.set))
    await ready.wait()
    began, put = time.perf_counter(), 0
    while ran < count:
        if put < count and put - ran <= WAITING - 1_000:
            more = min(1_000, count - put)
            await put_in(connection, more)
            put += more
        elif task.done():
            task.result()
        else:
            await asyncio.sleep(0.005)
    rate = count / (time.perf_counter() - began)
    # As at the end of any rush: the worker sweeps when nothing goes on.
    await asyncio.sleep(QUIET_S)
    stop.set()
    await task
    return rate


async def keep_counting(address: PostgresAddress) -> None:
    """What the elected publisher does beside it."""
    connection = await connect(address, Role.WORKER, application="bench counting")
    counting = Counting()
    rest_s = 0.1
    while True:
        await asyncio.sleep(rest_s)
        rest_s = max(0.1, (await counting.count(connection)).rest_s)


async def measure(address: PostgresAddress, superuser: Superuser, jobs: int, every: int) -> list[Probe]:
    """Let jobs pass, looking at the costs ever so often."""
    server = await connect_superuser(superuser, "postgres")
    await server.execute(f"create database {PRISTINE} template {address.database}")
    await server.close()
    connection = await connect(address, Role.WORKER, application="bench")
    counting = asyncio.create_task(keep_counting(address))
    probes: list[Probe] = []
    passed = 0
    try:
        while passed < jobs:
            more = FIRST if not probes else min(every, jobs - passed)
            rate = await pass_through(address, connection, more)
            passed += more
            probes.append(await probe(address, superuser, passed, rate))
            passed += PROBED
            print(line(probes[-1]), flush=True)
    finally:
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
        await connection.close()
    return probes


HEAD = (
    f"{'passed':>10} {'jobs/s':>7} {'dequeue p50 / fresh':>21} {'p95 / fresh':>17} {'all three / fresh':>19} "
    f"{'table / fresh':>17} {'indexes / fresh':>17}  others"
)


def line(one: Probe) -> str:
    """One row of the table."""
    old, fresh = one.old, one.fresh
    others = ", ".join(f"{table} {size:,.0f}" for table, size in one.other_mib.items())
    return (
        f"{one.passed:10,} {one.passed_per_s:7,.0f} {old.dequeue_p50:9.2f} / {fresh.dequeue_p50:6.2f} ms "
        f"{old.dequeue_p95:6.2f} / {fresh.dequeue_p95:5.2f} ms "
        f"{old.all_three_p50:8.2f} / {fresh.all_three_p50:5.2f} ms "
        f"{old.table_mib:5.1f} / {fresh.table_mib:5.1f} MiB {old.indexes_mib:5.1f} / {fresh.indexes_mib:5.1f} MiB  "
        f"{others} MiB"
    )


def verdict(first: Probe, last: Probe) -> str:
    """The last look beside a fresh database; its indexes beside those of the first look."""
    old, fresh = last.old, last.fresh
    ratios = {
        "dequeue p50": old.dequeue_p50 / fresh.dequeue_p50,
        "dequeue, start and end": old.all_three_p50 / fresh.all_three_p50,
        "table": old.table_mib / fresh.table_mib,
    }
    both, at_first = old.table_mib + old.indexes_mib, first.old.table_mib + first.old.indexes_mib
    ratios[f"table with its indexes, beside the first {first.passed:,} jobs"] = both / at_first
    told = [f"after {last.passed:,} jobs, beside a database through which none has passed:"]
    told += [f"{name}: {ratio:.2f}" + ("" if ratio <= LIMIT else f"  (> {LIMIT})") for name, ratio in ratios.items()]
    told.append(f"indexes: {old.indexes_mib} MiB, pages included that vacuum has freed and that are used again")
    return "\n".join(told)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--every", type=int, default=500_000)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch,
        durable_server(Path(scratch)) as (address, superuser),
    ):
        print(HEAD, flush=True)
        probes = uvloop.run(measure(address, superuser, args.jobs, args.every))
    print(f"\n{verdict(probes[0], probes[-1])}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "flat.json").write_bytes(msgspec.json.format(msgspec.json.encode(probes)))


if __name__ == "__main__":
    main()
