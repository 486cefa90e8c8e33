"""Does any body make the API answer 5xx, fail inside, or grow? 100,000 hostile ones, correctly signed, tell.

`python -m bench.bodies [--count 100000] [--seed 1]` starts a PostgreSQL, a Valkey and an API process of its own and
sends bodies to the webhook, inbound, function and calendar routes (see `tests.hostile_bodies`). Told are the answers by
route and status, the warnings and errors in the log, and the process's memory on the way. Ends with 1 for any 5xx,
anything logged, or growth.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec
import psutil

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect
from backend.services.companies.applying import apply_company
from bench.api_process import KEY, LOGGED, SECRET, OpenConnection, api, exchange, request
from bench.server import durable_server, valkey_server
from tests.hostile_bodies import HostileBodies
from tests.voice_agent import SALON

RESULTS = Path(__file__).parent / "results"

MIB = 1024 * 1024
GROWTH = 1.10
"""Memory at the end against a tenth of the way: more is growth."""

CONNECTIONS = 8
ANSWER_S = 30.0


class Report(msgspec.Struct, kw_only=True):
    """What came of it."""

    seed: int
    count: int
    seconds: float = 0.0
    bytes_sent: int = 0
    answers: dict[str, dict[int, int]]
    """By path and status."""
    kinds: dict[str, int]
    broken: int = 0
    """Connections that ended without an answer."""
    logged: int = 0
    """Warnings and errors."""
    rss_mib: dict[str, float]
    """By the part of the bodies that were sent."""
    first_failures: list[str]


async def attack(port: int, process: psutil.Process, report: Report) -> None:
    """Send them all."""
    bodies = HostileBodies(report.seed, retell_key=KEY, calcom_secret=SECRET)
    marks = {max(1, report.count * part // 100): f"{part} %" for part in (1, 10, 25, 50, 75, 100)}
    sent = 0

    async def sender() -> None:
        nonlocal sent
        idle: list[OpenConnection] = []
        while sent < report.count:
            sent += 1
            hostile = bodies.next()
            mark = marks.get(sent)
            sent_bytes = request("POST", hostile.path, hostile.headers, hostile.body)
            status = await exchange(port, idle, sent_bytes, ANSWER_S)
            report.bytes_sent += len(hostile.body)
            report.kinds[hostile.kind] = report.kinds.get(hostile.kind, 0) + 1
            by_status = report.answers.setdefault(hostile.path, {})
            by_status[status] = by_status.get(status, 0) + 1
            report.broken += status == 0
            if (status >= 500 or status == 0) and len(report.first_failures) < 5:
                report.first_failures.append(f"{status} {hostile.path} {hostile.kind}: {hostile.body[:300]!r}")
            if mark:
                report.rss_mib[mark] = process.memory_info().rss / MIB

    started = time.monotonic()
    await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
    report.seconds = time.monotonic() - started


async def add_salon(address: PostgresAddress) -> None:
    """The company whose phone rings."""
    connection = await connect(address, Role.SETUP, application="bench")
    await apply_company(connection, SALON)
    await connection.close()


def run(count: int, seed: int) -> Report:
    """One run on a system of its own."""
    report = Report(seed=seed, count=count, answers={}, kinds={}, rss_mib={}, first_failures=[])
    with tempfile.TemporaryDirectory(prefix="askpro-b-") as name:
        base = Path(name)
        with durable_server(base) as (address, _), valkey_server(base) as valkey_url:
            asyncio.run(add_salon(address))
            log = base / "api.log"
            with api(address, valkey_url, log) as (port, process):
                asyncio.run(attack(port, process, report))
            logged = [line for line in log.read_text(errors="replace").splitlines() if line.startswith(LOGGED)]
            report.logged = len(logged)
            report.first_failures += [f"{count} × {line[:300]}" for line, count in Counter(logged).most_common(5)]
    return report


def failures(report: Report) -> list[str]:
    """What is not as it must be."""
    found = []
    fives = sum(count for answers in report.answers.values() for status, count in answers.items() if status >= 500)
    if fives:
        found.append(f"{fives} answers begin with a 5")
    if report.broken:
        found.append(f"{report.broken} requests had no answer")
    if report.logged:
        found.append(f"{report.logged} warnings or errors were logged")
    if report.rss_mib["100 %"] > report.rss_mib["10 %"] * GROWTH:
        found.append("memory grew")
    return found


def table(report: Report) -> str:
    """The report for people."""
    rate = report.count / report.seconds
    rows = [f"{report.count:,} bodies, seed {report.seed}, {report.bytes_sent / MIB:,.0f} MiB, {rate:,.0f}/s", ""]
    for path, answers in sorted(report.answers.items()):
        told = "  ".join(f"{status}: {count:,}" for status, count in sorted(answers.items()))
        rows.append(f"{path:24} {told}")
    rows.append("memory MiB               " + "  ".join(f"{part}: {mib:.1f}" for part, mib in report.rss_mib.items()))
    return "\n".join([*rows, *report.first_failures])


def main() -> int:
    """Send, tell, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    report = run(args.count, args.seed)
    print(table(report))
    RESULTS.mkdir(exist_ok=True)  # git-ignored
    (RESULTS / "bodies.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    for failure in failures(report):
        print(f"FAILED: {failure}")
    return 1 if failures(report) else 0


if __name__ == "__main__":
    sys.exit(main())
