"""What it costs to count by the minute what queues do, and to read it: `python -m bench.counting [--per-s 2000]`.

A durable PostgreSQL of its own. Five minutes of runs of four job types at this rate stand in it with their log, and
seven days of counts of sixteen job types, each with a wide spread of times. Told are the seconds that counting one
minute takes (as a share of that minute), and how long a history of an hour, a day and a week takes to read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import connect
from backend.queue.counting import Counting
from backend.watch.history import read_history, steps_for
from bench.server import durable_server
from tests.databases import connect_superuser

RESULTS = Path(__file__).parent / "results"
MINUTES = 5

RUNS = """
with run as (
    select i, date_trunc('minute', now()) - interval '10 minutes' + make_interval(secs => i / $1::float8) as at,
           'webhooks.kind_' || i % 4 as entrypoint, exp(-4 + 1.5 * random()) as took
    from generate_series(0, $2::int - 1) i
), noted as (
    insert into pgqueuer_log (created, job_id, status, priority, entrypoint)
    select at, i, status::pgqueuer_status, 0, entrypoint
    from run, unnest(array['queued', 'picked', 'successful']) status
)
insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at, ended_at, waited_ms, outcome)
select i, 1, entrypoint, gen_random_uuid(), at - make_interval(secs => took), at, (random() * 300)::int,
       case when i % 50 = 0 then 'retry' else 'done' end
from run
"""

COUNTS = """
insert into job_minutes (minutes, at, entrypoint, put_in, done, failed, held, run_total_s,
                         wait_buckets, wait_counts, run_buckets, run_counts)
select minutes, date_bin(make_interval(mins => minutes), now(), timestamptz 'epoch')
                - make_interval(mins => minutes * i), 'webhooks.kind_' || kind, 6000, 5990, 9, 1, 120,
       buckets, counts, buckets, counts
from (values (1, 2880), (10, 1152), (60, 240)) length (minutes, rows), generate_series(1, rows) i,
     generate_series(1, 16) kind,
     (select array_agg(-300 + 5 * b order by b) as buckets, array_agg(100 order by b) as counts
      from generate_series(1, 45) b) cell
on conflict do nothing
"""

MARK = """
update job_minutes_mark set (counted_until, settled_until) = (moment, moment)
from (select date_trunc('minute', now()) - $1::interval as moment) as at
"""


async def measure(address: PostgresAddress, superuser: Superuser, per_s: int, rounds: int) -> dict[str, object]:
    """Fill, count, read."""
    server = await connect_superuser(superuser, address.database)
    await server.execute("set search_path = askpro")
    await server.execute(RUNS, float(per_s), per_s * 60 * MINUTES, timeout=900)
    await server.execute("vacuum analyze job_runs, pgqueuer_log")
    await server.execute(MARK, timedelta(minutes=15))
    worker = await connect(address, Role.WORKER, application="bench")
    counting, took = Counting(), []
    began = time.perf_counter()
    behind = True
    while behind:
        began = time.perf_counter()
        counted = await counting.count(worker)
        took.append((time.perf_counter() - began) / max(1, counted.minutes))
        behind = bool(counted.behind)
    a_minute = max(took)
    counted_runs = await worker.fetchval("select sum(done + failed) from job_minutes where minutes = 1")
    await server.execute(COUNTS, timeout=300)
    await server.execute("vacuum analyze job_minutes")
    await server.execute(MARK, timedelta(minutes=0))
    reader = await connect(address, Role.CONSOLE, application="bench")
    reading = {}
    for name, span in (("1 h", timedelta(hours=1)), ("24 h", timedelta(hours=24)), ("7 d", timedelta(days=7))):
        for of, entrypoint in (("all", None), ("one job type", "webhooks.kind_3")):
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                await read_history(reader, span=span, step_s=steps_for(span), entrypoint=entrypoint)
                times.append(1000 * (time.perf_counter() - began))
            reading[f"{name}, {of}"] = {"p50_ms": round(statistics.median(times), 1), "most_ms": round(max(times), 1)}
    size = await server.fetchval("select pg_total_relation_size('job_minutes')")
    return {
        "runs_per_s": per_s,
        "runs_counted": counted_runs,
        "counting_a_minute_s": round(a_minute, 3),
        "share_of_a_core_counted_twice_and_settled": round(3 * a_minute / 60, 4),
        "reading": reading,
        "counts_mib": round(size / 2**20, 1),
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-s", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="askpro-bench-") as base,
        durable_server(Path(base)) as (address, superuser),
    ):
        result = asyncio.run(measure(address, superuser, args.per_s, args.rounds))
    print(json.dumps(result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "counting.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
