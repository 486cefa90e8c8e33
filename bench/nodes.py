"""One of three machines loses its power with jobs in its hands: how soon that is noticed, and when they have run again.

`python -m bench.nodes [--jobs 30] [--rounds 2]` starts a whole system and two nodes that join it, all by the command
line, in three homes. The third gets all the jobs (the others are drained, a lock keeps the jobs from ending), then
every one of its processes is killed at once. Noticed is when a console's reader shows the node as vanished.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec

from askpro_console.system import System
from backend.domain.vocabulary import NodeState, PauseKind, QueueName
from backend.postgres.address import Role, Superuser
from backend.postgres.pools import Connection, connect
from backend.queue.port import JobQueue, NewJob
from backend.services.operating.audit import By
from backend.services.operating.pauses import pause, resume
from backend.stack.client import ControlClient
from backend.stack.postgres_server import PORT
from backend.watch.reader import SnapshotReader
from backend.watch.snapshots import FleetSnapshot
from bench.intake import RESULTS
from tests.databases import connect_superuser

NAMES = ("node-1", "node-2", "node-3")
BENCH = By("bench", "bench")
NOTICED_BUDGET_S = 10.0
RERUN_BUDGET_S = 20.0
LIMIT_S = 60.0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One loss of power; times are seconds since it."""

    jobs: int
    noticed_s: float
    first_again_s: float
    all_done_s: float
    lost: int
    done_twice: int
    back_s: float
    """From the start of the node to its being up again in the fleet."""


class Homes:
    """Three homes below one directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        for directory in (base, base / "node-1", base / "node-1/data", base / "node-1/run"):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)

    def environment(self, name: str) -> dict[str, str]:
        """The environment of one home."""
        own = {"ASKPRO_HOME": str(self.base / name), "ASKPRO_STACK_NODE": name, "ASKPRO_API_PORT": "0"}
        return {**os.environ, **own, "ASKPRO_SECRETS_KEYRING": "off"}

    def askpro(self, name: str, *arguments: str) -> str:
        """Run a command in one home. Raises CalledProcessError."""
        done = subprocess.run(
            [sys.executable, "-m", "askpro_console", *arguments],
            env=self.environment(name), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{name}: {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def system(self, name: str) -> System:
        """One home's system."""
        return System.load(self.environment(name))


async def superuser_of(system: System) -> asyncpg.Connection[asyncpg.Record]:
    """The administrator's connection, for a lock that no role of ours could take."""
    password = json.loads(system.layout.credentials_file.read_bytes())["postgres"]
    return await connect_superuser(Superuser(host=str(system.layout.sockets), port=PORT, password=password), "askpro")


async def lose_power(homes: Homes, count: int) -> Round:
    """Give the third node the jobs, kill it, and see what becomes of them."""
    system = homes.system("node-1")
    worker = await connect(system.postgres(), Role.WORKER, application="bench")
    superuser = await superuser_of(system)
    reader = system.reader()
    try:
        for name in NAMES[:2]:
            await pause(worker, BENCH, PauseKind.NODE, name, reason="the third shall have the jobs")
        await _until_drained(worker, 2)
        lock = superuser.transaction()
        await lock.start()
        await superuser.execute("lock table askpro.webhook_inbox in access exclusive mode")
        payloads = [json.dumps({"inbox_id": str(uuid4()), "subject": secrets.token_hex(8)}) for _ in range(count)]
        new = [NewJob("webhooks.retell_call", payload.encode(), uuid4()) for payload in payloads]
        jobs = [job for job in await JobQueue().enqueue(worker, new) if job is not None]
        started = "select count(distinct job_id) from job_runs where job_id = any($1)"
        await _until(lambda: _counts(worker, started, jobs, len(jobs)), "the third has all of them")

        async with ControlClient(homes.system("node-3").layout) as client:
            status = await client.status()
        for pid in (status.supervisor_pid, *(process.pid for process in status.processes)):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        await lock.rollback()
        for name in NAMES[:2]:
            await resume(worker, BENCH, PauseKind.NODE, name)

        async def noticed() -> float:
            await _until(lambda: _state_is(reader, NodeState.VANISHED), "it is missed")
            return time.monotonic() - began

        async def first_again() -> float:
            again = "select count(*) from askpro.job_runs where job_id = any($1) and ended_at is not null"
            await _until(lambda: _counts(superuser, again, jobs, 1), "the first runs again")
            return time.monotonic() - began

        async def all_done() -> float:
            ended = "select count(distinct job_id) from job_runs where job_id = any($1) and ended_at is not null"
            await _until(lambda: _counts(worker, ended, jobs, len(jobs)), "all are done")
            return time.monotonic() - began

        noticed_s, first_s, done_s = await asyncio.gather(noticed(), first_again(), all_done())
        ends = """
            select job_id, count(*) filter (where outcome in ('done', 'held')) as ends from job_runs
            where job_id = any($1) group by job_id
        """
        done = {row["job_id"]: row["ends"] for row in await worker.fetch(ends, jobs)}
        start = time.monotonic()
        await asyncio.to_thread(homes.askpro, "node-3", "serve")
        await _until(lambda: _state_is(reader, NodeState.UP), "it is back")
        return Round(
            jobs=len(jobs), noticed_s=noticed_s, first_again_s=first_s, all_done_s=done_s,
            lost=sum(not done.get(job) for job in jobs), done_twice=sum(done.get(job, 0) > 1 for job in jobs),
            back_s=time.monotonic() - start,
        )  # fmt: skip
    finally:
        await reader.aclose()
        await worker.close()
        await superuser.close()


async def _until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not await condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {LIMIT_S:.0f} s in vain until {what}")
        await asyncio.sleep(0.05)


async def _counts(connection: Connection, statement: str, jobs: list[int], wanted: int) -> bool:
    return bool(await connection.fetchval(statement, jobs) >= wanted)


async def _until_drained(connection: Connection, nodes: int) -> None:
    """Until the workers of so many nodes say that they take nothing."""
    statement = """
        select count(distinct node) from workers
        where queue = $1 and concurrency = 0 and heartbeat_at > now() - interval '5 s'
    """

    async def drained() -> bool:
        return bool(await connection.fetchval(statement, QueueName.WEBHOOKS.value) >= nodes)

    await _until(drained, "the others are drained")


async def _state_is(reader: SnapshotReader, state: NodeState) -> bool:
    snapshot = (await reader.read("fleet")).of(FleetSnapshot)
    return snapshot is not None and any(node.node == NAMES[2] and node.state is state for node in snapshot.nodes)


def main() -> int:
    """Run, print a table, keep the figures; 1 when a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    homes = Homes(Path(tempfile.mkdtemp(prefix="askpro-")))
    try:
        homes.askpro("node-1", "up")
        homes.askpro("node-1", "node", "invite", str(homes.base / "join.json"))
        for name in NAMES[1:]:
            homes.askpro(name, "serve", "--join", str(homes.base / "join.json"))
        rounds = [asyncio.run(lose_power(homes, args.jobs)) for _ in range(args.rounds)]
    finally:
        for name in reversed(NAMES):
            subprocess.run(
                [sys.executable, "-m", "askpro_console", "down"],
                env=homes.environment(name), capture_output=True, check=False,
            )  # fmt: skip
        shutil.rmtree(homes.base, ignore_errors=True)
    print("jobs  noticed  first again  all done  lost  twice  back in the fleet")
    for one in rounds:
        print(
            f"{one.jobs:4}  {one.noticed_s:5.1f} s  {one.first_again_s:9.1f} s  {one.all_done_s:6.1f} s"
            f"  {one.lost:4}  {one.done_twice:5}  {one.back_s:15.1f} s"
        )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "nodes.json").write_bytes(msgspec.json.format(msgspec.json.encode(rounds)))
    right = all(
        one.noticed_s < NOTICED_BUDGET_S and one.all_done_s < RERUN_BUDGET_S and not one.lost and not one.done_twice
        for one in rounds
    )
    verdict = "kept" if right else "MISSED"
    print(f"budgets: noticed < {NOTICED_BUDGET_S:.0f} s, all done again < {RERUN_BUDGET_S:.0f} s: {verdict}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
