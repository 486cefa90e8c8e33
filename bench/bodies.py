"""Does any body make the API answer 5xx, fail inside, or grow? 100,000 hostile ones, correctly signed, tell.

`python -m bench.bodies [--count 100000] [--seed 1]` starts a PostgreSQL, a Valkey and an API process of its own and
sends bodies to the webhook, inbound, function and calendar routes (see `tests.hostile_bodies`). Told are the answers by
route and status, the warnings and errors in the log, and the process's memory on the way. Ends with 1 for any 5xx,
anything logged, or growth.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec
import psutil

from backend.api.config import ApiConfig
from backend.api.server import serve
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect
from backend.services.companies import apply_company
from bench.server import durable_server, valkey_server
from tests.hostile_bodies import Hostile, HostileBodies
from tests.voice_agent import SALON

KEY = "key_bodies_0123456789"
SECRET = "calcom-bodies-secret"
RESULTS = Path(__file__).parent / "results"

MIB = 1024 * 1024
GROWTH = 1.10
"""Memory at the end against a tenth of the way: more is growth."""

CONNECTIONS = 8

OpenConnection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Place(msgspec.Struct, frozen=True):
    """What the API process is told."""

    host: str
    port: int
    database: str
    passwords: dict[str, str]
    valkey_url: str


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


@contextmanager
def api(address: PostgresAddress, valkey_url: str, log: Path) -> Iterator[tuple[int, psutil.Process]]:
    """An API process; yields its port."""
    place = Place(address.host, address.port, address.database, dict(address.passwords), valkey_url)
    with log.open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.bodies", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(msgspec.json.encode(place))
        child.stdin.close()
        line = child.stdout.readline()
        if not line:
            raise SystemExit(f"the API did not start:\n{log.read_text()}")
        yield int(line), psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)


def serve_place() -> None:
    """The API process: told on stdin, says its port on stdout, logs to stderr."""
    import logging

    import uvloop

    logging.basicConfig(level=logging.WARNING, format="LOGGED %(levelname)s %(name)s %(message)s")
    place = msgspec.json.decode(sys.stdin.buffer.read(), type=Place)
    config = ApiConfig(
        host="127.0.0.1",
        port=0,
        postgres=PostgresAddress(place.host, place.port, place.database, place.passwords),
        valkey_url=place.valkey_url,
        retell_keys=(KEY,),
        calcom_secrets=(SECRET,),
        reject_key=bytes(32),
        version="bench",
    )

    def say_port(url: str) -> None:
        print(url.rsplit(":", 1)[1], flush=True)

    uvloop.run(serve(config, on_ready=say_port))


async def send(port: int, idle: list[OpenConnection], hostile: Hostile) -> int:
    """The status of the answer; 0 for none. Leaves its connection among the idle ones while that is possible."""
    reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port, limit=2 * MIB)
    lines = "".join(f"{name}: {value}\r\n" for name, value in hostile.headers.items())
    head = f"POST {hostile.path} HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(hostile.body)}\r\n\r\n"
    try:
        writer.write(head.encode() + hostile.body)
        start = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        status = int(start.split(b" ", 2)[1])
        length, closes = 0, False
        for line in start.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
            closes |= line == b"connection: close"
        if length:
            await asyncio.wait_for(reader.readexactly(length), 30)
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        writer.close()
        return 0
    if closes:
        writer.close()
    else:
        idle.append((reader, writer))
    return status


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
            status = await send(port, idle, hostile)
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
            logged = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("LOGGED")]
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
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve_place()
        return 0
    report = run(args.count, args.seed)
    print(table(report))
    RESULTS.mkdir(exist_ok=True)  # git-ignored
    (RESULTS / "bodies.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    for failure in failures(report):
        print(f"FAILED: {failure}")
    return 1 if failures(report) else 0


if __name__ == "__main__":
    sys.exit(main())
