"""How many webhooks a second are accepted, how late they are answered, and how near that is to what is possible here.

`python -m bench.intake [--seconds 5]` starts a durable PostgreSQL and an API process of its own in a scratch directory.
Anchors of the same run: the same rows put into PostgreSQL without any HTTP, in batches and singly; and the same HTTP
requests, verified and validated but not stored.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import msgspec

from backend.api.config import ApiConfig
from backend.api.server import serve
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect
from backend.providers.retell.signature import sign
from backend.services.intake.accepting import Intake
from backend.services.intake.inbox import Stored
from bench.load import Orders, Outcome
from bench.server import durable_server

KEY = "key_bench_0123456789"
NUMBER = "+493012345678"
RESULTS = Path(__file__).parent / "results"

CONNECTIONS = (1, 50, 500)

_numbers = itertools.count()


class Place(msgspec.Struct, frozen=True):
    """What the API process of a benchmark is told."""

    host: str
    port: int
    database: str
    passwords: dict[str, str]
    stores: bool


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    connections: int
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def body_of(call_id: str) -> str:
    """A finished call's analysis, about 3 kB, as the provider would send it."""
    words = [{"word": "Guten", "start": step * 0.4, "end": step * 0.4 + 0.3} for step in range(8)]
    call = {
        "call_id": call_id,
        "call_type": "phone_call",
        "agent_id": "agent_bench",
        "call_status": "ended",
        "direction": "inbound",
        "from_number": "+4915112345678",
        "to_number": NUMBER,
        "start_timestamp": 1767607199000,
        "end_timestamp": 1767607299000,
        "duration_ms": 100000,
        "disconnection_reason": "user_hangup",
        "transcript": "Agent: Guten Tag, Praxis Ost, was kann ich tun?\nUser: Einen Termin bitte.\n" * 14,
        "transcript_object": [{"role": "agent", "content": "Guten Tag", "words": words}],
        "latency": {
            part: {"p50": 612.5, "p90": 1204.0, "p95": 1400.25, "p99": 1900.0, "max": 2000.0, "min": 301.0, "num": 9}
            for part in ("e2e", "asr", "llm", "tts")
        },
        "call_cost": {"combined_cost": 14.2, "product_costs": [{"product": "voice", "unit_price": 0.1, "cost": 9.8}]},
        "call_analysis": {
            "call_successful": True,
            "call_summary": "Die Anruferin bucht einen Termin zur Prophylaxe am Dienstag um zehn Uhr.",
            "user_sentiment": "Positive",
            "custom_analysis_data": {"customer_name": "Anna Müller", "outcome": "enquiry"},
        },
    }
    return json.dumps({"event": "call_analyzed", "call": call}, separators=(",", ":"), ensure_ascii=False)


def signed_requests(count: int) -> list[tuple[dict[str, str], str]]:
    """Deliveries about calls that were never told of before."""
    now = int(time.time() * 1000)
    requests = []
    for _ in range(count):
        body = body_of(f"call_bench_{next(_numbers):08d}_{secrets.token_hex(4)}")
        headers = {"content-type": "application/json", "x-retell-signature": sign(body.encode(), KEY, now)}
        requests.append((headers, body))
    return requests


async def add_company(address: PostgresAddress) -> None:
    """One company with a number."""
    connection = await connect(address, Role.SETUP, application="bench")
    company = await connection.fetchval("insert into companies (slug, name) values ('bench', 'Bench') returning id")
    branch = await connection.fetchval(
        "insert into branches (company_id, slug, name) values ($1, 'mitte', 'Mitte') returning id", company
    )
    await connection.execute("insert into phone_numbers values ($1, $2, $3)", NUMBER, company, branch)
    await connection.close()


@contextmanager
def api(address: PostgresAddress, *, stores: bool) -> Iterator[int]:
    """An API process; yields its port."""
    place = Place(address.host, address.port, address.database, dict(address.passwords), stores)
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.intake", "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(msgspec.json.encode(place))
        child.stdin.close()
        line = child.stdout.readline()
        if not line:
            raise SystemExit("the API did not start")
        yield int(line)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)


def serve_place() -> None:
    """The API process: told on stdin, says its port on stdout."""
    import uvloop

    place = msgspec.json.decode(sys.stdin.buffer.read(), type=Place)
    if not place.stores:

        async def forget(_self: Intake, _delivery: object) -> Stored:
            return Stored.ACCEPTED

        Intake.accept = forget  # type: ignore[method-assign, assignment] # the anchor: everything but storing
    config = ApiConfig(
        host="127.0.0.1",
        port=0,
        postgres=PostgresAddress(place.host, place.port, place.database, place.passwords),
        valkey_url=None,
        retell_keys=(KEY,),
        calcom_secrets=(),
        reject_key=bytes(32),
        version="bench",
    )

    def say_port(url: str) -> None:
        print(url.rsplit(":", 1)[1], flush=True)

    uvloop.run(serve(config, on_ready=say_port))


def load(port: int, connections: int, seconds: float, expected_per_s: float) -> Outcome:
    """One run of the load generator."""
    requests = signed_requests(int(expected_per_s * (seconds + 0.5) * 1.3))
    orders = Orders(port=port, connections=connections, seconds=seconds, path="/api/retell/webhook", requests=requests)
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=msgspec.json.encode(orders), stdout=subprocess.PIPE, check=True
    )
    return msgspec.json.decode(done.stdout, type=Outcome)


def line_of(what: str, connections: int, outcome: Outcome) -> Line:
    """The outcome as a line of the table."""
    errors = outcome.broken + sum(count for status, count in outcome.statuses.items() if status != 204)
    return Line(
        what=what,
        connections=connections,
        per_s=outcome.per_s,
        p50_ms=outcome.p50_ms,
        p99_ms=outcome.p99_ms,
        errors=errors,
    )


RAW_INSERT = """
    with rows as (
        insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, headers, state)
        select 'retell', key, 'call_analyzed', key, $3, body, '{}', 'accepted'
        from unnest($1::text[], $2::bytea[]) as item (key, body)
        returning id
    )
    insert into pgqueuer (priority, entrypoint, payload, execute_after, status)
    select 0, 'webhooks.retell_call', id::text::bytea, now(), 'queued' from rows
"""


async def raw(address: PostgresAddress, *, writers: int, batch: int, seconds: float) -> Line:
    """Rows and jobs straight into PostgreSQL: what the store can take without any HTTP."""
    connections = [await connect(address, Role.SETUP, application="bench") for _ in range(writers)]
    company = await connections[0].fetchval("select id from companies")
    body = body_of("call_raw_0000000000").encode()
    durations: list[float] = []
    end = time.perf_counter() + seconds

    async def write(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        while (started := time.perf_counter()) < end:
            keys = [secrets.token_hex(12) for _ in range(batch)]
            await connection.execute(RAW_INSERT, keys, [body] * batch, company)
            durations.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(write(connection) for connection in connections))
    took = time.perf_counter() - started
    for connection in connections:
        await connection.close()
    ordered = sorted(durations)
    return Line(
        what=f"PostgreSQL alone, {batch} in a transaction",
        connections=writers,
        per_s=len(ordered) * batch / took,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        errors=0,
    )


def measure(seconds: float, rounds: int) -> list[Line]:
    """All lines of the table, each the median (by rate) of its rounds; the rounds take turns."""
    taken: dict[tuple[str, int], list[Line]] = {}

    def take(line: Line) -> None:
        taken.setdefault((line.what, line.connections), []).append(line)

    with tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch, durable_server(Path(scratch)) as (address, _):
        asyncio.run(add_company(address))
        with api(address, stores=False) as unstored, api(address, stores=True) as stored:
            for _ in range(rounds):
                take(asyncio.run(raw(address, writers=2, batch=128, seconds=min(seconds, 2))))
                take(asyncio.run(raw(address, writers=8, batch=1, seconds=min(seconds, 2))))
                take(line_of("HTTP, verified, not stored", 50, load(unstored, 50, seconds, 9_000)))
                for connections in CONNECTIONS:
                    expected = 1_500 if connections == 1 else 8_000
                    take(line_of("webhook accepted", connections, load(stored, connections, seconds, expected)))
    return [sorted(lines, key=lambda line: line.per_s)[len(lines) // 2] for lines in taken.values()]


def table(lines: list[Line]) -> str:
    """The lines for people."""
    rows = [f"{'':42} {'conns':>6} {'per s':>9} {'p50 ms':>8} {'p99 ms':>8} {'errors':>7}"]
    for line in lines:
        figures = f"{line.per_s:9,.0f} {line.p50_ms:8.2f} {line.p99_ms:8.2f} {line.errors:7d}"
        rows.append(f"{line.what:42} {line.connections:6d} {figures}")
    ceiling = next(line for line in lines if line.what.startswith("HTTP"))
    store = lines[0]
    accepted = {line.connections: line for line in lines if line.what == "webhook accepted"}
    at_50, at_500 = accepted[50], accepted[500]
    rows += [
        "",
        f"at 50 connections, of what is verified but not stored: {at_50.per_s / ceiling.per_s:.2f} (budget 0.50)",
        f"at 50 connections, of what PostgreSQL alone takes:     {at_50.per_s / store.per_s:.2f}",
        f"at 50 connections, per second: {at_50.per_s:,.0f} (budget 4,500), p99 {at_50.p99_ms:.0f} ms (budget 50)",
        f"at 500 connections, errors: {at_500.errors} (budget 0), p99 {at_500.p99_ms:.0f} ms (budget 200)",
    ]
    return "\n".join(rows)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve_place()
        return
    lines = measure(args.seconds, args.rounds)
    print(table(lines))
    RESULTS.mkdir(exist_ok=True)  # git-ignored
    (RESULTS / "intake.json").write_bytes(msgspec.json.format(msgspec.json.encode(lines)))


if __name__ == "__main__":
    main()
