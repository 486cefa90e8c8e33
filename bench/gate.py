"""What the gate does for whom when four times as much is asked as can be answered.

`python -m bench.gate [--seconds 8] [--rounds 3]` starts a PostgreSQL, a Valkey and API processes of its own. It
measures how many requests of the mix can be answered (the anchor), then sends four times that at fixed moments,
whatever comes back, to a process with its gate and to one whose gate is wide open, in turns. An answer in time is one
within a second that is no 5xx; a client gives up after five.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import msgspec

from backend.domain.vocabulary import TokenScope
from backend.postgres.address import PostgresAddress, Role, Superuser
from backend.postgres.pools import connect
from backend.providers.retell.signature import sign
from backend.services.companies.applying import apply_company
from backend.services.tokens import create_token
from bench.api_process import KEY, OpenConnection, api, exchange, request
from bench.server import durable_server, valkey_server
from tests.databases import connect_superuser
from tests.voice_agent import LINE, SALON, at

RESULTS = Path(__file__).parent / "results"

IN_TIME_S = 1.0
GIVES_UP_S = 5.0
OVERLOAD = 4.0
CUSTOMERS = 20_000

UNLIMITED = {
    "token_reads_per_minute": 100_000_000,
    "token_reports_per_minute": 100_000_000,
    "company_per_minute": 100_000_000,
    "company_reports_per_minute": 100_000_000,
}
OPEN = {"concurrency_start": 1_000_000, "concurrency_least": 1_000_000, "concurrency_most": 1_000_000}
"""A gate that never refuses anybody."""

SHARES = {"call": 0.05, "delivery": 0.10, "booking": 0.35, "report": 0.50}
"""Of the requests, by class."""


@dataclass
class Seen:
    """What became of the requests of one class."""

    sent: int = 0
    durations: list[float] = field(default_factory=list)
    """Of those that were answered without a 5xx, seconds."""
    refused: int = 0
    """503, with the time to come back after."""
    given_up: int = 0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One class in one run."""

    what: str
    kind: str
    sent_per_s: float
    in_time_per_s: float
    in_time_ratio: float
    p50_ms: float
    p99_ms: float
    refused_per_s: float
    given_up_per_s: float


class Mix:
    """Makes requests of all classes."""

    def __init__(self, token: str) -> None:
        self._dice = random.Random(1)
        self._token = {"authorization": f"Bearer {token}"}
        self._number = 0
        self.make: Mapping[str, Callable[[], bytes]] = {
            "call": self._call,
            "delivery": self._delivery,
            "booking": self._booking,
            "report": self._report,
        }

    def kind(self) -> str:
        """A class, as often as its share says."""
        return self._dice.choices(list(SHARES), list(SHARES.values()))[0]

    def _signed(self, path: str, content: object) -> bytes:
        body = json.dumps(content).encode()
        headers = {"content-type": "application/json", "x-retell-signature": sign(body, KEY, int(time.time() * 1000))}
        return request("POST", path, headers, body)

    def _about(self) -> dict[str, object]:
        self._number += 1
        return {"call_id": f"call_g{self._number}_{time.time_ns()}", "agent_id": "agent_salon", "to_number": LINE}

    def _call(self) -> bytes:
        arguments = {"service": "schnitt", "days": 7, "limit": 3}
        return self._signed(
            "/api/retell/function", {"name": "check_availability", "call": self._about(), "args": arguments}
        )

    def _delivery(self) -> bytes:
        call = self._about() | {"call_status": "ongoing", "direction": "inbound", "from_number": "+4915112345678"}
        return self._signed("/api/retell/webhook", {"event": "call_started", "call": call})

    def _booking(self) -> bytes:
        day = at(self._dice.randint(1, 20), 0)[:10]
        return request("GET", f"/api/availability?service=schnitt&branch=mitte&from={day}&days=7", self._token)

    def _report(self) -> bytes:
        return request("GET", "/api/customers?limit=100", self._token)


async def add_company(address: PostgresAddress, superuser: Superuser) -> str:
    """The salon with its customers; a partner's token."""
    connection = await connect(address, Role.SETUP, application="bench")
    company = (await apply_company(connection, SALON)).company_id
    made = await create_token(connection, SALON.slug, name="bench", scopes=tuple(TokenScope), life=timedelta(days=1))
    await connection.close()
    administrator = await connect_superuser(superuser, address.database)
    await administrator.execute(
        "insert into askpro.customers (company_id, last_name, name_key, phone) "
        "select $1, 'Kunde ' || n, 'kunde ' || n, '+4915' || (100000000 + n) from generate_series(1, $2) n",
        company,
        CUSTOMERS,
    )
    await administrator.execute("analyze")
    await administrator.close()
    return made.token


async def at_capacity(port: int, mix: Mix, seconds: float) -> float:
    """Requests of the mix that are answered in a second when eight clients always have one under way."""
    end = time.perf_counter() + seconds
    answered = 0

    async def client() -> None:
        nonlocal answered
        idle: list[OpenConnection] = []
        while time.perf_counter() < end:
            status = await exchange(port, idle, mix.make[mix.kind()](), GIVES_UP_S)
            assert status in {200, 204}, f"the mix is wrong: {status}"
            answered += 1

    await asyncio.gather(*(client() for _ in range(8)))
    return answered / seconds


async def flood(port: int, mix: Mix, per_s: float, seconds: float) -> dict[str, Seen]:
    """Requests at fixed moments, whatever comes back."""
    seen = {kind: Seen() for kind in SHARES}
    idle: list[OpenConnection] = []

    async def one(kind: str) -> None:
        of_kind = seen[kind]
        of_kind.sent += 1
        sent = mix.make[kind]()
        started = time.perf_counter()
        status = await exchange(port, idle, sent, GIVES_UP_S)
        if status == 0:
            of_kind.given_up += 1
        elif status >= 500:
            of_kind.refused += 1
        else:
            of_kind.durations.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as requests:
        began = time.perf_counter()
        for number in range(int(per_s * seconds)):
            early = began + number / per_s - time.perf_counter()
            if early > 0:
                await asyncio.sleep(early)
            elif number % 16 == 0:
                await asyncio.sleep(0)
            requests.create_task(one(mix.kind()))
    for _, writer in idle:
        writer.close()
    return seen


def lines_of(what: str, seen: Mapping[str, Seen], seconds: float) -> list[Line]:
    """The table's lines of one run."""
    lines = []
    for kind, of_kind in seen.items():
        ordered = sorted(of_kind.durations) or [float("nan")]
        in_time = sum(took <= IN_TIME_S for took in of_kind.durations)
        lines.append(
            Line(
                what=what,
                kind=kind,
                sent_per_s=of_kind.sent / seconds,
                in_time_per_s=in_time / seconds,
                in_time_ratio=in_time / max(1, of_kind.sent),
                p50_ms=ordered[len(ordered) // 2] * 1000,
                p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
                refused_per_s=of_kind.refused / seconds,
                given_up_per_s=of_kind.given_up / seconds,
            )
        )
    return lines


def measure(seconds: float, rounds: int) -> tuple[float, list[list[Line]]]:
    """The anchor, and the lines of every run."""
    runs: list[list[Line]] = []
    with tempfile.TemporaryDirectory(prefix="askpro-g-") as name:
        base = Path(name)
        with durable_server(base) as (address, superuser), valkey_server(base) as valkey_url:
            mix = Mix(asyncio.run(add_company(address, superuser)))
            with api(address, valkey_url, base / "anchor.log", limits=UNLIMITED | OPEN) as (port, _):
                asyncio.run(at_capacity(port, mix, 1.0))
                capacity = asyncio.run(at_capacity(port, mix, min(seconds, 4.0)))
            for _ in range(rounds):
                for what, limits in (("with the gate", UNLIMITED), ("gate wide open", UNLIMITED | OPEN)):
                    with api(address, valkey_url, base / "api.log", limits=limits) as (port, _):
                        seen = asyncio.run(flood(port, mix, capacity * OVERLOAD, seconds))
                        runs.append(lines_of(what, seen, seconds))
    return capacity, runs


def in_time(run: list[Line]) -> float:
    """Answers in time a second, of all classes."""
    return sum(line.in_time_per_s for line in run)


def medians(runs: list[list[Line]]) -> list[list[Line]]:
    """For each kind of run the one that is the median by answers in time."""
    chosen = []
    for what in dict.fromkeys(run[0].what for run in runs):
        of_what = sorted((run for run in runs if run[0].what == what), key=in_time)
        chosen.append(of_what[len(of_what) // 2])
    return chosen


def table(capacity: float, runs: list[list[Line]]) -> str:
    """The lines for people."""
    rows = [
        f"answered without overload: {capacity:,.0f}/s; sent: {capacity * OVERLOAD:,.0f}/s",
        f"{'':16} {'class':9} {'sent/s':>8} {'in time/s':>10} {'':>6} {'p50 ms':>8} {'p99 ms':>8} {'503/s':>8} "
        f"{'gave up/s':>10}",
    ]
    for run in runs:
        for line in run:
            share = f"{line.in_time_ratio:.0%}"
            figures = (
                f"{line.sent_per_s:8.0f} {line.in_time_per_s:10.0f} {share:>6} {line.p50_ms:8.0f} {line.p99_ms:8.0f}"
            )
            rows.append(f"{line.what:16} {line.kind:9} {figures} {line.refused_per_s:8.0f} {line.given_up_per_s:10.0f}")
        rows.append(f"{'':16} {'all':9} {'':8} {in_time(run):10.0f}")
    return "\n".join(rows)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    capacity, runs = measure(args.seconds, args.rounds)
    print(table(capacity, medians(runs)))
    RESULTS.mkdir(exist_ok=True)  # git-ignored
    (RESULTS / "gate.json").write_bytes(msgspec.json.format(msgspec.json.encode([capacity, runs])))


if __name__ == "__main__":
    main()
