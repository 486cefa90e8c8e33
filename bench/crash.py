"""A webhooks worker is killed (-9) with 30 jobs in flight: when do they run again, is any lost, is any done twice.

`python -m bench.crash` starts a durable PostgreSQL and the product's worker with the product's lease and slots; its
jobs take a second and leave a trace when they begin and when they end. The next worker starts at once: on the same
machine, as its supervisor starts it, with 60 more jobs waiting and with nothing else to do; then on another machine,
which does not know whether the first one's processes live.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections import Counter
from pathlib import Path

import asyncpg
import msgspec

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import connect
from backend.queue.policies import POLICIES
from backend.queue.port import JobQueue, NewJob
from bench.intake import RESULTS
from bench.server import durable_server
from bench.workers import ONE_SECOND, TRACES, worker
from tests.databases import connect_superuser

SLOTS = POLICIES[QueueName.WEBHOOKS].concurrency
BUDGET_S = 20.0
LIMIT_S = 90.0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One crash."""

    what: str
    jobs: int
    in_flight: int
    """When the worker was killed."""
    again_s: float
    """From the kill until the last of them has begun again."""
    all_done_s: float
    """From the kill until every job is done."""
    lost: int
    """Jobs that did not end."""
    twice: int
    """Jobs that ended more than once and were not in flight."""
    twice_in_flight: int

    @property
    def is_right(self) -> bool:
        """Whether it is as it must be."""
        return self.again_s < BUDGET_S and self.lost == 0 and self.twice == 0


async def crash(
    address: PostgresAddress,
    connection: asyncpg.Connection[asyncpg.Record],
    what: str,
    log: Path,
    *,
    jobs: int = SLOTS,
    node: str = "bench",
) -> Line:
    """Kill a worker of so many jobs; the next one is on this node."""
    await connection.execute("delete from traces")
    put = await JobQueue().enqueue(connection, [NewJob(ONE_SECOND)] * jobs)
    begun = "select count(*) from traces where what = 'begun'"
    in_flight = "select job_id from traces group by 1 having bool_and(what = 'begun')"
    with worker(address, QueueName.WEBHOOKS, log) as first:
        while await connection.fetchval(begun) < min(jobs, SLOTS):  # noqa: ASYNC110 - the database tells nobody here
            await asyncio.sleep(0.01)
        first.kill()
        first.wait()
    killed = await connection.fetchval("select clock_timestamp()")
    flying = [row["job_id"] for row in await connection.fetch(in_flight)]
    with worker(address, QueueName.WEBHOOKS, log, node):
        async with asyncio.timeout(LIMIT_S):
            while await connection.fetchval("select exists (select from pgqueuer)"):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
    again = await connection.fetchval(
        """select extract(epoch from max(first) - $2)::float8
           from (select min(at) as first from traces where what = 'begun' and at > $2 and job_id = any($1)
                 group by job_id) again""",
        flying,
        killed,
    )
    done = await connection.fetchval("select extract(epoch from max(at) - $1)::float8 from traces", killed)
    ended = Counter(row["job_id"] for row in await connection.fetch("select job_id from traces where what = 'ended'"))
    twice = {job_id for job_id, times in ended.items() if times > 1}
    return Line(
        what=what,
        jobs=jobs,
        in_flight=len(flying),
        again_s=again,
        all_done_s=done,
        lost=len(set(put) - set(ended)),
        twice=len(twice - set(flying)),
        twice_in_flight=len(twice & set(flying)),
    )


async def measure(address: PostgresAddress, superuser: Superuser, scratch: Path) -> list[Line]:
    """All crashes."""
    async with contextlib.AsyncExitStack() as stack:
        server = await connect_superuser(superuser, address.database)
        await server.execute(TRACES)
        await server.close()
        connection = await connect(address, Role.WORKER, application="bench")
        stack.push_async_callback(connection.close)
        return [
            await crash(address, connection, "60 more wait", scratch / "busy.log", jobs=SLOTS + 60),
            await crash(address, connection, "nothing else to do", scratch / "idle.log"),
            await crash(address, connection, "on another machine", scratch / "other.log", node="other"),
        ]


def table(lines: list[Line]) -> str:
    """The lines for people."""
    heads = f"{'again after':>12} {'all done':>9} {'lost':>5} {'twice':>6} {'of those in flight':>19}"
    rows = [f"{'':20} {'in flight':>9} {heads}"]
    rows += [
        f"{line.what:20} {line.in_flight:9} {line.again_s:10.1f} s {line.all_done_s:7.1f} s"
        f" {line.lost:5} {line.twice:6} {line.twice_in_flight:19}"
        for line in lines
    ]
    rows.append(f"\nbudget: again within {BUDGET_S:.0f} s, none lost, none twice but those in flight")
    return "\n".join(rows)


def main() -> int:
    """Measure, print, keep; 1 when it is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch,
        durable_server(Path(scratch)) as (address, superuser),
    ):
        lines = asyncio.run(measure(address, superuser, Path(scratch)))
    print(table(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "crash.json").write_bytes(msgspec.json.format(msgspec.json.encode(lines)))
    return 0 if all(line.is_right for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
