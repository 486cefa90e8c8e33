"""Whether the queue costs the same after millions of jobs: `python -m bench.flat [--jobs 5000000] [--every 500000]`.

A durable PostgreSQL of its own, as the product sets it up, with the product's worker, its claims and its counting by
the minute. Jobs pass through while at most 10,000 wait. After the first 10,000 and then ever so often the worker
pauses, and 10,000 jobs are taken, started and written off with the same statements one batch after the other: told are
the time of a dequeue, of all three, and how large the tables are. Nothing is deleted meanwhile that is younger than its
time, so the engine's log and the runs grow; what they may not do is make a dequeue dearer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import msgspec
import uvloop

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection, connect, open_pool
from backend.queue.claims import Claims
from backend.queue.context import JobContext
from backend.queue.counting import Counting
from backend.queue.policies import HEARTBEAT_S, POLICIES
from backend.queue.port import JobQueue, NewJob
from backend.queue.worker import Worker, WorkerConfig
from bench.server import durable_server

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

TABLES = ("pgqueuer", "pgqueuer_log", "job_runs", "job_minutes")


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the costs."""

    passed: int
    """Jobs that had passed through before."""
    passed_per_s: float
    """Since the look before."""
    dequeue_p50_ms: float
    dequeue_p95_ms: float
    all_three_p50_ms: float
    """Dequeue, note of the start and writing off."""
    table_mib: float
    """The queue's table without its indexes."""
    indexes_mib: float
    other_mib: dict[str, float]
    """The other tables with their indexes."""


async def size_of(connection: Connection) -> tuple[float, float, dict[str, float]]:
    """The queue's table, its indexes, and the other tables, MiB."""
    rows = await connection.fetch(
        "select name, pg_relation_size(name::regclass) as heap, pg_indexes_size(name::regclass) as indexes "
        "from unnest($1::text[]) name",
        TABLES,
    )
    heaps = {row["name"]: row["heap"] / 2**20 for row in rows}
    indexes = {row["name"]: row["indexes"] / 2**20 for row in rows}
    others = {table: heaps[table] + indexes[table] for table in TABLES[1:]}
    return heaps["pgqueuer"], indexes["pgqueuer"], others


async def put_in(connection: Connection, count: int) -> None:
    """Put so many jobs in, a thousand with each statement."""
    for first in range(0, count, 1_000):
        await JobQueue().enqueue(connection, [NewJob(ENTRYPOINT, b"{}")] * min(1_000, count - first))


async def probe(address: PostgresAddress, connection: Connection, passed: int, passed_per_s: float) -> Probe:
    """Work jobs off with the worker's own statements, one batch after the other."""
    await put_in(connection, PROBED)
    pool = await open_pool(address, Role.WORKER, application="bench probe", size=1, min_size=1)
    claims = Claims(pool, uuid4(), QueueName.WEBHOOKS, lease_s=HEARTBEAT_S, suspect_from=2)
    dequeues, all_three = [], []
    try:
        while True:
            began = time.perf_counter()
            taken = await claims.take(PROBE_BATCH, (ENTRYPOINT,))
            dequeued = time.perf_counter()
            if not taken.claims:
                break
            await claims.note_starts(taken.claims)
            await claims.done([(claim.job_id, 0.001) for claim in taken.claims])
            dequeues.append(1000 * (dequeued - began))
            all_three.append(1000 * (time.perf_counter() - began))
    finally:
        await pool.close()
    heap, indexes, others = await size_of(connection)
    dequeues.sort()
    return Probe(
        passed=passed,
        passed_per_s=round(passed_per_s, 1),
        dequeue_p50_ms=round(statistics.median(dequeues), 3),
        dequeue_p95_ms=round(dequeues[int(len(dequeues) * 0.95)], 3),
        all_three_p50_ms=round(statistics.median(all_three), 3),
        table_mib=round(heap, 2),
        indexes_mib=round(indexes, 2),
        other_mib={table: round(size, 1) for table, size in others.items()},
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
    stop.set()
    await task
    return count / (time.perf_counter() - began)


async def keep_counting(address: PostgresAddress) -> None:
    """What the elected publisher does beside it."""
    connection = await connect(address, Role.WORKER, application="bench counting")
    counting = Counting()
    rest_s = 0.1
    while True:
        await asyncio.sleep(rest_s)
        rest_s = max(0.1, (await counting.count(connection)).rest_s)


async def measure(address: PostgresAddress, jobs: int, every: int) -> list[Probe]:
    """Let jobs pass, looking at the costs ever so often."""
    connection = await connect(address, Role.WORKER, application="bench")
    counting = asyncio.create_task(keep_counting(address))
    probes: list[Probe] = []
    passed = 0
    try:
        while passed < jobs:
            more = FIRST if not probes else min(every, jobs - passed)
            rate = await pass_through(address, connection, more)
            passed += more
            probes.append(await probe(address, connection, passed, rate))
            passed += PROBED
            print(line(probes[-1]), flush=True)
    finally:
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
        await connection.close()
    return probes


HEAD = (
    f"{'passed':>10} {'jobs/s':>7} {'dequeue p50':>12} {'p95':>8} {'all three':>10} {'table':>9} {'indexes':>9}  others"
)


def line(one: Probe) -> str:
    """One row of the table."""
    others = ", ".join(f"{table} {size:,.0f}" for table, size in one.other_mib.items())
    return (
        f"{one.passed:10,} {one.passed_per_s:7,.0f} {one.dequeue_p50_ms:9.2f} ms {one.dequeue_p95_ms:5.2f} ms "
        f"{one.all_three_p50_ms:7.2f} ms {one.table_mib:5.1f} MiB {one.indexes_mib:5.1f} MiB  {others} MiB"
    )


def verdict(probes: list[Probe]) -> str:
    """The last look beside the first."""
    first, last = probes[0], probes[-1]
    ratios = {
        "dequeue p50": last.dequeue_p50_ms / first.dequeue_p50_ms,
        "dequeue, start and end": last.all_three_p50_ms / first.all_three_p50_ms,
        "table": last.table_mib / first.table_mib,
        "table with indexes": (last.table_mib + last.indexes_mib) / (first.table_mib + first.indexes_mib),
    }
    return "\n".join(
        f"{name}, after {last.passed:,} / after {first.passed:,}: {ratio:.2f}"
        + ("" if ratio <= LIMIT else f"  (more than {LIMIT})")
        for name, ratio in ratios.items()
    )


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--every", type=int, default=500_000)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch,
        durable_server(Path(scratch)) as (address, _superuser),
    ):
        print(HEAD, flush=True)
        probes = uvloop.run(measure(address, args.jobs, args.every))
    print(f"\n{verdict(probes)}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "flat.json").write_bytes(msgspec.json.format(msgspec.json.encode(probes)))


if __name__ == "__main__":
    main()
