"""Jobs that misbehave, one after the other, beside good ones: when is each named, when held, how long do others wait.

`python -m bench.bad_jobs [KIND …]` starts a durable PostgreSQL and the product's worker with the product's limits; when
its process ends it is started again within half a second, as the supervisor does. The snapshot of queues is taken once
a second, as the publisher does; "named" is when a finding tells job type and number, counted from when the job begins
to misbehave (one that ignores cancellation: from its time limit; one that raises: from its first failure).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import msgspec
import uvloop

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect
from backend.providers.calling import ProviderClient, Retries
from backend.queue.context import Handler, JobContext
from backend.queue.policies import POLICIES
from backend.queue.port import JobQueue, NewJob
from backend.queue.worker import Worker, WorkerConfig
from backend.stack.child import stop_event
from backend.watch.collect import Sources
from backend.watch.collect.queues import collect
from backend.watch.findings import find
from bench.intake import RESULTS
from bench.server import durable_server

BUDGET_S = 15.0
CEILING = 512 * 2**20
KINDS = {
    "raises": 25.0,
    "crashes": 60.0,
    "grows": 60.0,
    "blocks": 40.0,
    "freezes": 60.0,
    "ignores": 55.0,
    "hangs": 25.0,
}
"""With the longest look at each; those that are retried over minutes are not looked at until they are held."""

HELD_AT_ONCE = ("blocks", "freezes")
"""It is known which job it was, so that no second try is needed."""

EXCUSED_S = {"ignores": POLICIES[QueueName.WEBHOOKS].timeout_s}
"""Until it begins to misbehave."""


async def misbehave(context: JobContext) -> None:
    """Do what the payload says."""
    told = json.loads(context.payload)
    match told["kind"]:
        case "raises":
            raise ValueError("no such room")
        case "crashes":
            os._exit(3)
        case "blocks":
            time.sleep(600)  # noqa: ASYNC251 - that is the fault
        case "freezes":
            re.match("(a+)+$", "a" * 80 + "b")
        case "grows":
            kept = []
            while True:
                kept.append(b"x" * 16 * 2**20)
                await asyncio.sleep(0.05)
        case "ignores":
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
        case "hangs":
            await ProviderClient("calcom", told["address"], retries=Retries(attempts=1)).call("GET", "/", endpoint="x")


async def succeed(_context: JobContext) -> None:
    """Take no time."""


HANDLERS: dict[str, Handler] = {**{f"webhooks.{kind}": misbehave for kind in KINDS}, "webhooks.good": succeed}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    kind: str
    named_s: float | None
    held_s: float | None
    """From when it was put in; None: not while it was looked at."""
    restarts: int
    good: int
    """Good jobs meanwhile."""
    longest_wait_s: float
    lost: int
    """Good jobs that were not done at the end."""

    @property
    def is_right(self) -> bool:
        """Whether it is as it must be."""
        is_held = self.kind not in HELD_AT_ONCE or (self.held_s is not None and self.held_s < BUDGET_S)
        return self.named_s is not None and self.named_s < BUDGET_S and is_held and not self.lost


async def work(address: PostgresAddress, stacks: Path) -> None:
    """Be the worker's process, as `backend.queue.worker.run_worker`."""
    config = WorkerConfig(
        queue=QueueName.WEBHOOKS,
        postgres=address,
        valkey_url=None,
        node="bench",
        version="bench",
        memory_ceiling=CEILING,
        stacks=stacks,
    )
    worker = Worker(config, HANDLERS)
    with worker.guard.watching(worker.names_running):
        await worker.run(stop_event())
    os._exit(0)


class Keeper:
    """Starts the worker again whenever it ends."""

    def __init__(self, address: PostgresAddress, log: Path) -> None:
        self.starts = 0
        self._told = msgspec.json.encode(address)
        self._log = log
        self._child: asyncio.subprocess.Process | None = None

    async def keep(self) -> None:
        """Until cancelled."""
        try:
            while True:
                with self._log.open("ab") as errors:
                    self._child = await asyncio.create_subprocess_exec(
                        sys.executable,
                        "-m",
                        "bench.bad_jobs",
                        "--worker",
                        self._log.parent / "stacks",
                        stdin=asyncio.subprocess.PIPE,
                        stderr=errors,
                    )
                self.starts += 1
                await self._child.communicate(self._told)
                await asyncio.sleep(random.uniform(0.0, 0.5))
        finally:
            if self._child is not None and self._child.returncode is None:
                self._child.kill()


@contextlib.asynccontextmanager
async def silent_provider() -> AsyncIterator[str]:
    """The address of a server that takes connections and never says a word."""
    taken: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for writer in taken:
        writer.close()


async def look(kind: str, provider: str, keeper: Keeper, address: PostgresAddress) -> Line:
    """One kind: from its job to its end, and five seconds more."""
    connection = await connect(address, Role.WORKER, application="bench")
    watch = await connect(address, Role.WATCH, application="bench")
    payload = json.dumps({"kind": kind, "address": provider}).encode()
    (job_id,) = await put(connection, NewJob(f"webhooks.{kind}", payload))
    began, starts = time.monotonic(), keeper.starts
    named = held = None
    good: dict[int, float] = {}
    longest, done, ends = 0.0, 0, began + KINDS[kind]
    for step in itertools.count():
        if (now := time.monotonic()) > ends:
            break
        if step % 2 == 0 and now < ends - 3:
            (number,) = await put(connection, NewJob("webhooks.good"))
            good[number] = now
        left = await connection.fetch("select id from pgqueuer where id = any($1)", list(good))
        for number in set(good) - {row["id"] for row in left}:
            longest, done = max(longest, time.monotonic() - good.pop(number)), done + 1
        if step % 4 == 0 and named is None:
            findings = find({"queues": await collect(watch, Sources())})
            if any(f"job {job_id} " in finding.text for finding in findings):
                named = time.monotonic() - began
        if held is None and await connection.fetchval(
            "select exists (select from held_jobs where job_id = $1)", job_id
        ):
            held = time.monotonic() - began
            ends = min(ends, time.monotonic() + 5)
        await asyncio.sleep(0.25)
    await connection.close()
    await watch.close()
    excused = EXCUSED_S.get(kind, 0.0)
    return Line(
        kind=kind,
        named_s=None if named is None else max(0.0, named - excused),
        held_s=held,
        restarts=keeper.starts - starts,
        good=done,
        longest_wait_s=longest,
        lost=len(good),
    )


async def warm_up(address: PostgresAddress) -> None:
    """Wait until the worker has done something."""
    connection = await connect(address, Role.WORKER, application="bench")
    await put(connection, NewJob("webhooks.good"))
    for _ in range(600):
        if not await connection.fetchval("select exists (select from pgqueuer)"):
            break
        await asyncio.sleep(0.1)
    else:
        raise SystemExit("the worker does not start")
    await connection.close()


async def put(connection: asyncpg.Connection[asyncpg.Record], *jobs: NewJob) -> list[int]:
    """Put jobs in; their ids."""
    return [job_id for job_id in await JobQueue().enqueue(connection, jobs) if job_id is not None]


async def bench(kinds: list[str], address: PostgresAddress, log: Path) -> list[Line]:
    """Each of them."""
    keeper = Keeper(address, log)
    keeping = asyncio.create_task(keeper.keep())
    try:
        async with silent_provider() as provider:
            await warm_up(address)
            return [await look(kind, provider, keeper, address) for kind in kinds]
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def report(lines: list[Line]) -> None:
    """Print the table."""
    print("job      named after    held after  restarts  good jobs  longest wait  lost")
    for line in lines:
        named = "never" if line.named_s is None else f"{line.named_s:.1f} s"
        held = "not yet" if line.held_s is None else f"{line.held_s:.1f} s"
        mark = "" if line.is_right else "   NOT AS IT MUST BE"
        print(
            f"{line.kind:8} {named:>11} {held:>13} {line.restarts:>9} {line.good:>10} {line.longest_wait_s:>11.1f} s"
            f" {line.lost:>5}{mark}"
        )


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m bench.bad_jobs", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all when none is named")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        uvloop.run(work(msgspec.json.decode(sys.stdin.buffer.read(), type=PostgresAddress), args.worker))
    with tempfile.TemporaryDirectory(prefix="askpro-bench-") as directory, durable_server(Path(directory)) as place:
        lines = uvloop.run(bench(args.kinds or list(KINDS), place[0], Path(directory) / "worker.log"))
    report(lines)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bad_jobs.json").write_bytes(msgspec.json.format(msgspec.json.encode(lines)))
    return 0 if all(line.is_right for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
