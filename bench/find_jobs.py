"""How long it takes to find a few jobs among many: `python -m bench.find_jobs [--jobs 700000] [--rounds 60]`.

Half of the jobs are held, half are finished; a waiting few are put on top. Each kind of question is asked in turn as a
person types it; told are p50 and p99 of the answers, and as the anchor the same rows by LIKE without an index.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import connect
from backend.queue.search import JobQuestion, find_jobs
from bench.server import durable_server
from tests.databases import connect_superuser

RESULTS = Path(__file__).parent / "results"

HELD = """
with known as (
    insert into companies (slug, name)
    select 'company-' || i, 'Company ' || i from generate_series(0, 199) i returning id
), companies_by_place as (select array_agg(id) as ids from known)
insert into held_jobs (job_id, queue, entrypoint, company_id, fingerprint, error_type, message, traceback, payload,
                       attempts, enqueued_at, held_at)
select i, 'webhooks', 'webhooks.retell_call', ids[1 + i % 200], 'f' || i % 50,
       (array['ValueError', 'TimeoutError', 'Refused'])[1 + i % 3],
       'the calendar of branch ' || i % 1000 || ' has no room for caller ' || md5(i::text), 'traceback',
       convert_to('{"inbox_id": "' || gen_random_uuid() || '", "subject": "call_' || md5('c' || i) || '"}', 'UTF8'),
       4, now() - make_interval(secs => $1 - i), now() - make_interval(secs => $1 - i)
from generate_series(1, $1) i, companies_by_place
"""

RUNS = """
insert into job_runs (job_id, attempt, entrypoint, worker_id, started_at, ended_at, waited_ms, outcome)
select $1 + i, 1, 'webhooks.retell_call', gen_random_uuid(), now() - make_interval(secs => $1 - i), now(), 3, 'done'
from generate_series(1, $1) i
"""

QUESTIONS = {
    "a caller's key in the error": "{rare}",
    "a call id in the payload": "call_{call}",
    "its first letters, as typed": "call_{start}",
    "one branch of a thousand": "branch {branch} has",
    "what every second job has": "calendar no room",
    "two common words": "timeouterror room",
    "a number": "{number}",
    "what none has": "zzyzx {start}",
    "common words that none has together": "timeouterror refused",
    "a few letters": "{letters}",
    "one company of two hundred": "",
}
COMPANY = "one company of two hundred"


async def measure(address: PostgresAddress, superuser: Superuser, jobs: int, rounds: int) -> dict[str, object]:
    """Fill, ask, tell."""
    dice = random.Random(7)
    half = jobs // 2
    server = await connect_superuser(superuser, address.database)
    await server.execute("set search_path = askpro")
    await server.execute(HELD, half, timeout=900)
    await server.execute(RUNS, half, timeout=900)
    for table in ("held_jobs", "held_texts", "job_runs"):
        await server.execute(f"vacuum analyze askpro.{table}", timeout=900)
    reader = await connect(address, Role.CONSOLE, application="bench")
    answers: dict[str, object] = {}
    for name, form in QUESTIONS.items():
        times: list[float] = []
        count = 0
        for _ in range(rounds):
            number = dice.randrange(1, half)
            call = hashlib.md5(f"c{number}".encode()).hexdigest()
            text = form.format(
                rare=hashlib.md5(f"{number}".encode()).hexdigest(),
                call=call,
                start=call[:6],
                branch=number % 1000,
                number=number,
                letters=call[:3],
            )
            question = JobQuestion(text=text, company=f"company-{number % 200}" if name == COMPANY else None)
            begun = time.perf_counter()
            count = len(await find_jobs(reader, question))
            times.append(1000 * (time.perf_counter() - begun))
        times.sort()
        answers[name] = {
            "p50_ms": round(statistics.median(times), 1),
            "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 1),
            "found": count,
        }
    begun = time.perf_counter()
    await reader.fetch("select job_id from held_texts where searched || '' like '%call_abcdef0%'", timeout=60)
    answers["anchor: LIKE without the index"] = {"ms": round(1000 * (time.perf_counter() - begun), 1)}
    size = await reader.fetchval("select pg_relation_size('held_texts_searched')")
    return {"jobs": jobs, "answers": answers, "index_mib": round(size / 2**20)}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=700_000)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="askpro-bench-") as scratch, durable_server(Path(scratch)) as (address, superuser):
        result = asyncio.run(measure(address, superuser, options.jobs, options.rounds))
    print(json.dumps(result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "find_jobs.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
