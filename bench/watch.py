"""What watching costs and how late a change is shown; all in one run against a durable PostgreSQL of its own.

`python -m bench.watch [--calls 200000] [--seconds 10]`. First each collector, with a tenth of the history and with all
of it: the wait for the answer, PostgreSQL's CPU for it, and ours. Then the publisher as a process of its own: without
traffic, then with ten calls a second, whose way from commit to the notice of a new snapshot is timed. The anchor is
`select 1` over the same connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import msgspec
import psutil
import uvloop

from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import connect
from backend.valkey.client import open_valkey
from backend.valkey.notices import Notices
from backend.valkey.store import SnapshotStore, encode
from backend.watch.collect import Sources
from backend.watch.collect.take import take
from backend.watch.connection import Connection, open_watch_connection
from backend.watch.publisher import PublisherConfig, run_publisher
from backend.watch.snapshots import DOMAINS, CallsSnapshot, Snapshot
from bench.history import fill
from bench.server import durable_server, valkey_server

if TYPE_CHECKING:
    from redis.asyncio import Redis

RESULTS = Path(__file__).parent / "results"
LOOKS = 100
PER_S = 10
"""Calls a second in the run with traffic."""

TICKS = os.sysconf("SC_CLK_TCK")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One collector."""

    domain: str
    calls: int
    """Calls in the database."""
    whole_ms: float
    """Wait for everything, median."""
    changes_ms: float
    """Wait for what changed since the snapshot before, median."""
    server_ms: float
    """PostgreSQL's CPU for a second's or two seconds' share: nine of changes and one of everything, divided by ten."""
    own_ms: float
    """This process's CPU for the same."""
    bytes: int
    """The snapshot in the store."""


class Publishing(msgspec.Struct, frozen=True, kw_only=True):
    """The publisher over a while."""

    traffic_per_s: int
    own_cpu: float
    """Of one core."""
    server_cpu: float
    """Of one core, PostgreSQL's backends that the publisher talks to."""
    shown_p50_ms: float | None
    """From a call's commit to the notice of the snapshot that has it."""
    shown_p99_ms: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run."""

    anchor_ms: float
    """`select 1`, median."""
    costs: list[Cost]
    publishing: list[Publishing]


def server_cpu_s(pids: list[int]) -> float:
    """CPU seconds of these backends so far."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


async def cost_of(domain: str, connection: Connection, valkey: Redis, calls: int) -> Cost:
    """Measure one collector."""
    pids = [connection.get_server_pid()]
    snapshot: Snapshot = await take(domain, connection, Sources(valkey=valkey))

    async def looks(count: int, previous: bool) -> tuple[list[float], float, float]:
        nonlocal snapshot
        waits = []
        server, own = server_cpu_s(pids), time.process_time()
        for _ in range(count):
            # The clock of the snapshot before is kept within the present ten seconds, so that only changes are asked.
            before = msgspec.structs.replace(snapshot, taken_at=time.time()) if previous else None
            started = time.perf_counter()
            snapshot = await take(domain, connection, Sources(valkey=valkey, previous=before))
            waits.append((time.perf_counter() - started) * 1000)
        return waits, (server_cpu_s(pids) - server) * 1000 / count, (time.process_time() - own) * 1000 / count

    await looks(10, previous=True)
    whole, whole_server, whole_own = await looks(LOOKS, previous=False)
    changes, changes_server, changes_own = await looks(LOOKS, previous=True)
    return Cost(
        domain=domain,
        calls=calls,
        whole_ms=statistics.median(whole),
        changes_ms=statistics.median(changes),
        server_ms=0.1 * whole_server + 0.9 * changes_server,
        own_ms=0.1 * whole_own + 0.9 * changes_own,
        bytes=len(encode(snapshot)),
    )


def publish(config: PublisherConfig) -> None:
    """The publisher's process."""
    uvloop.run(run_publisher(config))


@contextlib.asynccontextmanager
async def publisher(config: PublisherConfig, store: SnapshotStore) -> AsyncIterator[psutil.Process]:
    """A publisher at work in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=publish, args=(config,))
    process.start()
    try:
        while await store.get("business") is None:  # noqa: ASYNC110 - the process tells nobody here
            await asyncio.sleep(0.05)
        await asyncio.sleep(3.0)
        assert process.pid is not None
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        await asyncio.to_thread(process.join, 20)


async def publishing(
    address: PostgresAddress, valkey_url: str, company: UUID, seconds: float, traffic_per_s: int
) -> Publishing:
    """Watch a publisher for so many seconds."""
    store = SnapshotStore(open_valkey(valkey_url))
    await store.client.flushdb()
    config = PublisherConfig(postgres=address, valkey_url=valkey_url, node="bench", version="bench")
    setup = await connect(address, Role.SETUP, application="bench")
    late: list[float] = []
    async with publisher(config, store) as process:
        pids = await setup.fetch("select pid from pg_stat_activity where application_name like 'askpro-publisher%'")
        backends = [row["pid"] for row in pids]
        own, server = cpu_s(process), server_cpu_s(backends)
        started = time.perf_counter()
        if traffic_per_s:
            notices = Notices(valkey_url)
            late = await shown_late(setup, store, notices, company, count=int(seconds * traffic_per_s))
            await notices.aclose()
        else:
            await asyncio.sleep(seconds)
        lasted = time.perf_counter() - started
        figures = Publishing(
            traffic_per_s=traffic_per_s,
            own_cpu=(cpu_s(process) - own) / lasted,
            server_cpu=(server_cpu_s(backends) - server) / lasted,
            shown_p50_ms=late[len(late) // 2] if late else None,
            shown_p99_ms=late[int(len(late) * 0.99)] if late else None,
        )
    await setup.close()
    await store.aclose()
    return figures


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def shown_late(
    setup: asyncpg.Connection[asyncpg.Record], store: SnapshotStore, notices: Notices, company: UUID, *, count: int
) -> list[float]:
    """Milliseconds from each call's commit to the notice of the first snapshot that has it, ascending."""
    committed: dict[str, float] = {}
    late: list[float] = []
    all_written = asyncio.Event()

    async def listen() -> None:
        async with contextlib.aclosing(store.subscribe()) as domains:
            async for domain in domains:
                heard = time.perf_counter()
                if domain == "calls":
                    stored = await store.get("calls")
                    assert stored is not None
                    assert isinstance(stored.snapshot, CallsSnapshot)
                    shown = [row.id for row in stored.snapshot.rows if row.id in committed]
                    late.extend((heard - committed.pop(call)) * 1000 for call in shown)
                if all_written.is_set() and not committed:
                    return

    listening = asyncio.create_task(listen())
    started = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0.0, started + number / PER_S - time.perf_counter()))
        call = await setup.fetchval(
            "insert into calls (company_id, provider, provider_call_id, status, started_at)"
            " values ($1, 'retell', $2, 'ongoing', now()) returning id",
            company,
            f"bench_{time.time_ns()}",
        )
        committed[str(call)] = time.perf_counter()
        await notices.changed("calls")
    all_written.set()
    async with asyncio.timeout(30):
        await listening
    return sorted(late)


async def measure(address: PostgresAddress, superuser: Superuser, valkey_url: str, args: argparse.Namespace) -> Figures:
    """Everything, in order."""
    company = await fill(address, superuser, 0, args.calls // 10)
    connection = await open_watch_connection(address, Role.WATCH, application="bench")
    valkey = open_valkey(valkey_url)
    waits = []
    for _ in range(500):
        started = time.perf_counter()
        await connection.fetchval("select 1")
        waits.append((time.perf_counter() - started) * 1000)
    costs = [await cost_of(domain, connection, valkey, args.calls // 10) for domain in DOMAINS]
    await fill(address, superuser, args.calls // 10, args.calls)
    costs += [await cost_of(domain, connection, valkey, args.calls) for domain in DOMAINS]
    await connection.close()
    await valkey.aclose()
    return Figures(
        anchor_ms=statistics.median(waits),
        costs=costs,
        publishing=[
            await publishing(address, valkey_url, company, args.seconds, 0),
            await publishing(address, valkey_url, company, args.seconds, PER_S),
        ],
    )


def table(figures: Figures) -> str:
    """The figures for people."""
    rows = [f"select 1: {figures.anchor_ms:.2f} ms", ""]
    rows.append(f"{'':14} {'calls':>8} {'whole ms':>9} {'changes':>9} {'PG cpu ms':>10} {'own ms':>8} {'kB':>6}")
    rows += [
        f"{cost.domain:14} {cost.calls:8,} {cost.whole_ms:9.2f} {cost.changes_ms:9.2f} {cost.server_ms:10.2f}"
        f" {cost.own_ms:8.2f} {cost.bytes / 1000:6.0f}"
        for cost in figures.costs
    ]
    half = len(figures.costs) // 2
    grown = [
        f"{more.domain} {more.whole_ms / less.whole_ms:.2f}"
        for less, more in zip(figures.costs[:half], figures.costs[half:], strict=True)
    ]
    rows += ["", f"ten times the history costs, whole: {', '.join(grown)}", ""]
    for line in figures.publishing:
        shown = (
            f", shown p50 {line.shown_p50_ms:.0f} ms, p99 {line.shown_p99_ms:.0f} ms"
            if line.shown_p50_ms is not None and line.shown_p99_ms is not None
            else ""
        )
        rows.append(
            f"publisher, {line.traffic_per_s} calls/s: own {line.own_cpu * 100:.2f} %,"
            f" PostgreSQL {line.server_cpu * 100:.2f} % of a core{shown}"
        )
    return "\n".join(rows)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch,
        durable_server(Path(scratch)) as (address, superuser),
        valkey_server(Path(scratch)) as valkey_url,
    ):
        figures = uvloop.run(measure(address, superuser, valkey_url, args))
    print(table(figures))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "watch.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))


if __name__ == "__main__":
    main()
