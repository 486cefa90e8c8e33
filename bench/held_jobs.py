"""Working among many held jobs: `python -m bench.held_jobs [--jobs 700000] [--retried 10000] [--rounds 5]`.

Half of the jobs are held, half are finished. Told are: the causes with their windows, trends and companies (and as the
anchor the same counts by reading the jobs, in the same run), what a decision would touch, what a cause and a job show,
and a bulk retry with the longest silence between two of its reports and the longest that a key would have waited.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from backend.domain.vocabulary import BulkAction
from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import connect
from backend.services.held_jobs.bulk import Progress, run_bulk
from backend.services.held_jobs.selecting import HeldFilter, preview
from backend.services.operating.audit import By
from backend.watch.collect.held_groups import held_groups
from backend.watch.details import Details
from bench.find_jobs import HELD, RUNS
from bench.server import durable_server
from tests.databases import connect_superuser

RESULTS = Path(__file__).parent / "results"

ENGINE = """
insert into pgqueuer (id, priority, status, entrypoint, payload, headers, attempts)
select job_id, 0, 'failed', entrypoint, payload, jsonb_build_object('company', company_id), 3 from held_jobs
"""

BY_READING = """
select fingerprint, (array_agg(left(message, 500) order by held_at desc))[1], count(distinct company_id),
       count(*) filter (where held_at > now() - interval '1 hour'),
       count(*) filter (where held_at > now() - interval '24 hours'),
       count(*) filter (where held_at > now() - interval '7 days'), count(*), min(held_at), max(held_at)
from held_jobs where state = 'held' group by fingerprint
"""

BEAT_S = 0.005


async def timed(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    """The median of `rounds` in ms, after one that is not counted."""
    await work()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        await work()
        times.append(1000 * (time.perf_counter() - begun))
    return round(statistics.median(times), 1)


async def retry(address: PostgresAddress, jobs: int) -> dict[str, object]:
    """A bulk retry of so many, and how it felt."""
    late = [0.0]
    reports: list[float] = []

    async def beat() -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(BEAT_S)
            late.append(time.perf_counter() - begun - BEAT_S)

    def reported(_progress: Progress) -> None:
        reports.append(time.perf_counter())

    beating = asyncio.create_task(beat())
    result = await run_bulk(
        lambda: connect(address, Role.WORKER, application="bench"),
        By("bench", "bench"),
        BulkAction.RETRY,
        HeldFilter(job_ids=tuple(range(1, jobs + 1))),
        on_progress=reported,
    )
    beating.cancel()
    return {
        "retried": result.done,
        "seconds": round(result.elapsed_s, 2),
        "jobs_per_s": round(result.done / result.elapsed_s),
        "longest_between_reports_ms": round(1000 * max(b - a for a, b in itertools.pairwise(reports)), 1),
        "longest_loop_lag_ms": round(1000 * max(late), 1),
    }


async def measure(address: PostgresAddress, superuser: Superuser, options: argparse.Namespace) -> dict[str, object]:
    """Fill, look, retry, tell."""
    half, rounds = options.jobs // 2, options.rounds
    server = await connect_superuser(superuser, address.database)
    await server.execute("set search_path = askpro")
    for statement in (HELD, RUNS):
        await server.execute(statement, half, timeout=1_800)
    await server.execute(ENGINE, timeout=900)
    for table in ("held_jobs", "held_texts", "job_runs", "pgqueuer"):
        await server.execute(f"vacuum analyze askpro.{table}", timeout=900)
    reader = await connect(address, Role.CONSOLE, application="bench")
    details = Details(address)
    causes = await timed(lambda: held_groups(reader), rounds)
    anchor = await timed(lambda: reader.fetch(BY_READING), rounds)
    told = {
        "jobs": options.jobs,
        "causes_ms": causes,
        "anchor_by_reading_ms": anchor,
        "causes_to_anchor": round(causes / anchor, 2),
        "preview_of_all_ms": await timed(lambda: preview(reader, HeldFilter()), rounds),
        "preview_of_a_cause_ms": await timed(lambda: preview(reader, HeldFilter(fingerprint="f7")), rounds),
        "list_of_a_cause_ms": await timed(lambda: details.held_jobs("f7"), rounds),
        "one_job_ms": await timed(lambda: details.job(half // 2), rounds),
        "bulk": await retry(address, options.retried),
    }
    await details.aclose()
    return told


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=700_000)
    parser.add_argument("--retried", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="askpro-bench-") as scratch, durable_server(Path(scratch)) as (address, superuser):
        result = asyncio.run(measure(address, superuser, options))
    print(json.dumps(result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "held_jobs.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
