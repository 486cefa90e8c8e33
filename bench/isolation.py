"""How late appointments start while 50,000 webhooks wait and are being drained, beside an idle system in the same run.

`python -m bench.isolation [--backlog 50000] [--per-s 20] [--seconds 20]` starts a durable PostgreSQL and the product's
workers of both queues. Wishes for appointments come at a steady rate, each handled as the product does (here each ends
as a request to call back); told is from before a job is put in until its start is noted. The three parts: nothing
waits; the backlog waits in a paused queue; the queue is resumed and drains.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import secrets
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import uvloop

from backend.domain.vocabulary import PauseKind, Provider, QueueName
from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import connect
from backend.providers.delivery import Delivery
from backend.queue.port import JobQueue, NewJob
from backend.services.booking import BookingRequest
from backend.services.intake.inbox import store
from backend.services.operating.audit import By
from backend.services.operating.pauses import pause, resume
from bench.intake import NUMBER, RESULTS, add_company, body_of
from bench.server import durable_server
from bench.workers import worker
from tests.databases import connect_superuser

BATCH = 128
WARM_UP = 300
BUDGET_MS = 250.0
BUDGET_RATIO = 3.0
BENCH = By("bench", "bench")

IDLE, WAITING, DRAINING = "nothing waits", "the backlog waits, paused", "the backlog drains"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the run."""

    what: str
    jobs: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    drained_per_s: float
    """Webhooks."""
    left: int
    """Webhooks that still wait at its end."""


class Scene:
    """The connections, and wishes that are put in."""

    def __init__(self, setup: asyncpg.Connection[asyncpg.Record], own: asyncpg.Connection[asyncpg.Record]) -> None:
        self._setup = setup
        self.connection = own
        self._numbers = itertools.count()
        self._company: UUID

    async def open(self) -> None:
        """Learn whose wishes they are."""
        self._company = await self._setup.fetchval("select id from companies")

    async def wish(self) -> tuple[int, float]:
        """Put a wish in: its job, and when that was begun (Unix time)."""
        wish = BookingRequest(
            key=f"bench:{next(self._numbers)}:{secrets.token_hex(4)}",
            company_id=self._company,
            service="unknown",
            starts_at=datetime.now(UTC),
            asked_at=datetime.now(UTC),
            attendee_name="Anna Müller",
            attendee_phone="+4915112345678",
        )
        begun = time.time()
        (job_id,) = await JobQueue().enqueue(
            self.connection, [NewJob("appointments.book", wish.encode(), self._company)]
        )
        assert job_id is not None
        return job_id, begun

    async def waiting(self) -> int:
        """Webhooks that are not done."""
        left: int = await self.connection.fetchval("select count(*) from pgqueuer where entrypoint like 'webhooks.%'")
        return left

    async def measure(self, what: str, per_s: float, seconds: float) -> Line:
        """Put wishes in for so long, and see when they start."""
        before, started = await self.waiting(), time.perf_counter()
        put: dict[int, float] = {}
        for number in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, started + number / per_s - time.perf_counter()))
            job_id, begun = await self.wish()
            put[job_id] = begun
        took, after = time.perf_counter() - started, await self.waiting()
        wishes = "select exists (select from pgqueuer where entrypoint = 'appointments.book')"
        while await self.connection.fetchval(wishes):  # noqa: ASYNC110 - the database tells nobody here
            await asyncio.sleep(0.02)
        runs = await self.connection.fetch(
            """select job_id, extract(epoch from min(started_at))::float8
               from job_runs where job_id = any($1) group by job_id""",
            list(put),
        )
        late = sorted((noted - put[job_id]) * 1000 for job_id, noted in runs)
        assert len(late) == len(put)
        return Line(
            what=what,
            jobs=len(late),
            p50_ms=late[len(late) // 2],
            p99_ms=late[int(len(late) * 0.99)],
            longest_ms=late[-1],
            drained_per_s=(before - after) / took,
            left=after,
        )


async def fill(address: PostgresAddress, count: int) -> float:
    """So many deliveries, each about a call of its own; seconds."""
    connection = await connect(address, Role.API, application="bench")
    started = time.perf_counter()
    for first in range(0, count, BATCH):
        calls = [f"call_bench_{secrets.token_hex(8)}" for _ in range(min(BATCH, count - first))]
        deliveries = [
            Delivery(Provider.RETELL, "call_analyzed", call, f"{call}:call_analyzed", NUMBER, None, body.encode(), {})
            for call, body in ((call, body_of(call)) for call in calls)
        ]
        await store(connection, deliveries)
    await connection.close()
    return time.perf_counter() - started


async def measure(
    address: PostgresAddress, superuser: Superuser, scratch: Path, args: argparse.Namespace
) -> list[Line]:
    """The three parts."""
    await add_company(address)
    async with contextlib.AsyncExitStack() as stack:
        setup = await connect(address, Role.SETUP, application="bench")
        own = await connect(address, Role.WORKER, application="bench")
        for connection in (setup, own):
            stack.push_async_callback(connection.close)
        for queue in (QueueName.WEBHOOKS, QueueName.APPOINTMENTS):
            stack.enter_context(worker(address, queue, scratch / f"{queue}.log"))
        scene = Scene(setup, own)
        await scene.open()
        await fill(address, WARM_UP)
        await scene.measure("warm-up", 50, WARM_UP / 50)
        # As in a system that has been at work for more than a minute: no plan was made for empty tables.
        server = await connect_superuser(superuser, address.database)
        await server.execute("vacuum analyze")
        await server.close()
        lines = [await scene.measure(IDLE, args.per_s, args.seconds)]
        await pause(own, BENCH, PauseKind.QUEUE, QueueName.WEBHOOKS.value, reason="bench")
        await fill(address, args.backlog)
        lines.append(await scene.measure(WAITING, args.per_s, args.seconds / 2))
        await resume(own, BENCH, PauseKind.QUEUE, QueueName.WEBHOOKS.value)
        lines.append(await scene.measure(DRAINING, args.per_s, args.seconds))
        return lines


def table(lines: list[Line]) -> str:
    """The lines for people."""
    rows = [f"{'':28} {'jobs':>6} {'p50 ms':>8} {'p99 ms':>8} {'longest':>8} {'webhooks/s':>11} {'left':>7}"]
    rows += [
        f"{line.what:28} {line.jobs:6,} {line.p50_ms:8.1f} {line.p99_ms:8.1f} {line.longest_ms:8.1f}"
        f" {line.drained_per_s:11,.0f} {line.left:7,}"
        for line in lines
    ]
    idle, loaded = lines[0], lines[-1]
    rows.append(
        f"\nappointments' p99 while the backlog drains: {loaded.p99_ms:.0f} ms (budget {BUDGET_MS:.0f}),"
        f" {loaded.p99_ms / idle.p99_ms:.1f} × unloaded (budget {BUDGET_RATIO:.0f})"
    )
    return "\n".join(rows)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=50_000)
    parser.add_argument("--per-s", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch,
        durable_server(Path(scratch)) as (address, superuser),
    ):
        lines = uvloop.run(measure(address, superuser, Path(scratch), args))
    print(table(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "isolation.json").write_bytes(msgspec.json.format(msgspec.json.encode(lines)))


if __name__ == "__main__":
    main()
