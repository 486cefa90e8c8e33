"""What it costs to put a delivery and its job in with one transaction, against writing the delivery's row alone.

`python -m bench.enqueue [--seconds 2] [--rounds 5]` starts a durable PostgreSQL of its own. The anchor of the same run
is a plain INSERT of the same row into the same table: its tenant known, no job, no log. Both take turns: one after the
other, by 128 in a transaction from two connections, and from 50 senders at once (the anchor with 8 connections, a row
in each transaction; ours through the intake, which gathers what comes at once). Told are medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import asyncpg
import msgspec
import uvloop

from backend.domain.vocabulary import Provider
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect
from backend.providers.delivery import Delivery
from backend.services.intake.accepting import Intake
from backend.services.intake.inbox import store
from bench.intake import NUMBER, RESULTS, add_company, body_of
from bench.server import durable_server

BUDGET = 0.5
SENDERS = 50
ALONE, GATHERED, AT_ONCE = "one after the other", "128 in a transaction", f"{SENDERS} senders at once"

RAW = """
insert into webhook_inbox (provider, dedup_key, event, subject, company_id, branch_id, body, headers, state)
select 'retell', key, 'call_analyzed', key, $3, $4, body, '{}', 'accepted'
from unnest($1::text[], $2::bytea[]) as item (key, body)
"""

Own: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Write: TypeAlias = Callable[[list[str]], Awaitable[object]]
"""Puts deliveries with these keys in."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One way of writing."""

    what: str
    raw_per_s: float
    ours_per_s: float
    """Delivery, job and the engine's log."""

    @property
    def ratio(self) -> float:
        """Ours of the anchor's."""
        return self.ours_per_s / self.raw_per_s


async def rate(writers: Sequence[Write], batch: int, seconds: float) -> float:
    """Deliveries a second, all writers writing as fast as they can."""
    written = 0
    end = time.perf_counter() + seconds

    async def go_on(write: Write) -> None:
        nonlocal written
        while time.perf_counter() < end:
            await write([f"call_{secrets.token_hex(12)}" for _ in range(batch)])
            written += batch

    started = time.perf_counter()
    await asyncio.gather(*(go_on(write) for write in writers))
    return written / (time.perf_counter() - started)


BODY = body_of("call_bench_0000000000").encode()


def deliveries(keys: list[str]) -> list[Delivery]:
    """Deliveries that were never told of before."""
    return [Delivery(Provider.RETELL, "call_analyzed", key, key, NUMBER, None, BODY, {}) for key in keys]


async def measure(address: PostgresAddress, seconds: float, rounds: int) -> list[Line]:
    """All ways of writing, the two taking turns."""
    await add_company(address)
    setup = [await connect(address, Role.SETUP, application="bench") for _ in range(8)]
    api = [await connect(address, Role.API, application="bench") for _ in range(2)]
    intake = Intake.at(address, application="bench")
    intake.start()
    branch = await setup[0].fetchrow("select company_id, id from branches")
    assert branch is not None

    def raw(connection: Own) -> Write:
        return lambda keys: connection.execute(RAW, keys, [BODY] * len(keys), *branch)

    def ours(connection: Own) -> Write:
        return lambda keys: store(connection, deliveries(keys))

    async def send(keys: list[str]) -> None:
        for delivery in deliveries(keys):
            await intake.accept(delivery)

    plain, whole = [raw(connection) for connection in setup], [ours(connection) for connection in api]
    ways: dict[str, tuple[int, Sequence[Write], Sequence[Write]]] = {
        ALONE: (1, plain[:1], whole[:1]),
        GATHERED: (128, plain[:2], whole),
        AT_ONCE: (1, plain, [send] * SENDERS),
    }
    rates: dict[str, tuple[list[float], list[float]]] = {what: ([], []) for what in ways}
    for number in range(rounds + 1):
        for what, (batch, anchor, product) in ways.items():
            pair = await rate(anchor, batch, seconds), await rate(product, batch, seconds)
            if number:
                rates[what][0].append(pair[0])
                rates[what][1].append(pair[1])
    await intake.close()
    for connection in (*setup, *api):
        await connection.close()
    return [
        Line(what=what, raw_per_s=statistics.median(anchor), ours_per_s=statistics.median(product))
        for what, (anchor, product) in rates.items()
    ]


def table(lines: list[Line]) -> str:
    """The lines for people."""
    rows = [f"{'':22} {'raw INSERT/s':>13} {'with its job/s':>15} {'ratio':>6}"]
    rows += [f"{line.what:22} {line.raw_per_s:13,.0f} {line.ours_per_s:15,.0f} {line.ratio:6.2f}" for line in lines]
    rows.append(f"\nthe lowest ratio: {min(line.ratio for line in lines):.2f} (budget {BUDGET:.2f})")
    return "\n".join(rows)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch, durable_server(Path(scratch)) as (address, _):
        lines = uvloop.run(measure(address, args.seconds, args.rounds))
    print(table(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "enqueue.json").write_bytes(msgspec.json.format(msgspec.json.encode(lines)))


if __name__ == "__main__":
    main()
