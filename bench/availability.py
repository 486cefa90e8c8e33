"""How long a question for free slots takes: 10 staff members, 14 days, among many appointments.

`python -m bench.availability [--rows 100000] [--questions 300]` starts a durable PostgreSQL of its own in a scratch
directory and fills it by SQL; `--rows 1000000` is the size of the promise. Each question is asked in a tenant's
transaction of its own, from a question's start to its slots, by one caller after the other; `read` is the statement
alone and the anchor is an empty statement over the same connection.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from backend.domain.weeks import parse_week
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect, open_pool, tenant
from backend.services.availability import AvailabilityRequest, available, read_calendar
from backend.services.companies import (
    BranchDeclaration,
    CompanyDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    apply_company,
)
from bench.intake import RESULTS
from bench.server import durable_server

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
STAFF = 10
DAYS = 14
COMPANIES = 50
ROWS_A_DAY = 12

SEED = """
    insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                              source, version, price_cents)
    select p.company_id, b.id, p.id, s.id, t.at, t.at + interval '30 minutes', 'Europe/Berlin',
           case when t.at < $1::timestamptz then 'completed' when n % 9 = 0 then 'cancelled' else 'confirmed' end,
           'import', 1, 3500
    from (select n, date_trunc('day', $1::timestamptz) + interval '20 days' - (n / $3::int) * interval '1 day'
                    + interval '7 hours' + (n % $3::int) * interval '40 minutes' as at
          from generate_series(0, $2::int - 1) n) t
    cross join staff p
    join branches b on b.company_id = p.company_id
    join services s on s.company_id = p.company_id
"""
"""Now, rows for each person, of them on a day: from three weeks ahead back into the past."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    p50_ms: float
    p99_ms: float
    slots: int


def company(number: int) -> CompanyDeclaration:
    """Ten people with breaks, who all offer one service."""
    hours = parse_week("Mon-Fri 08:00-17:00, Sat 09:00-13:00")
    return CompanyDeclaration(
        slug=f"c{number:02}",
        name=f"Company {number}",
        branches=(BranchDeclaration(slug="mitte", name="Mitte", opening_hours=parse_week("Mon-Sat 08:00-18:00")),),
        services=(
            ServiceDeclaration(slug="schnitt", name="Schnitt", duration_min=30, buffer_after_min=5, notice_min=60),
        ),
        staff=tuple(
            StaffDeclaration(
                slug=f"p{person}",
                name=f"P {person}",
                branches=("mitte",),
                services=("schnitt",),
                hours={"mitte": hours},
                breaks=parse_week("Mon-Fri 12:00-13:00"),
            )
            for person in range(STAFF)
        ),
    )


async def prepare(address: PostgresAddress, rows: int) -> tuple[list[AvailabilityRequest], int]:
    """Companies and their appointments; a question for each company, and how many rows there are."""
    setup = await connect(address, Role.SETUP, application="bench")
    try:
        ids = [(await apply_company(setup, company(number))).company_id for number in range(COMPANIES)]
        await setup.execute(SEED, NOW, rows // (COMPANIES * STAFF), ROWS_A_DAY, timeout=600)
        count: int = await setup.fetchval("select count(*) from appointments")
    finally:
        await setup.close()
    owner = await connect(address, Role.MIGRATE, application="bench")
    await owner.execute("set role askpro_owner; analyze")
    await owner.close()
    return [AvailabilityRequest(company_id=one, service="schnitt", now=NOW, days=DAYS) for one in ids], count


async def timed(what: str, questions: int, one: Callable[[int], Awaitable[int]]) -> Line:
    """One after the other; the first few only warm up."""
    durations: list[float] = []
    slots = 0
    for number in range(-20, questions):
        started = time.perf_counter()
        slots = await one(number)
        if number >= 0:
            durations.append(time.perf_counter() - started)
    ordered = sorted(durations)
    return Line(
        what=what,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        slots=slots,
    )


async def measure(address: PostgresAddress, rows: int, questions: int) -> tuple[list[Line], int]:
    """All lines of the table."""
    requests, count = await prepare(address, rows)
    pool = await open_pool(address, Role.API, application="bench", size=1)

    async def nothing(number: int) -> int:
        async with tenant(pool, requests[number % COMPANIES].company_id) as connection:
            await connection.fetchval("select 1")
        return 0

    async def read(number: int) -> int:
        request = requests[number % COMPANIES]
        async with tenant(pool, request.company_id) as connection:
            await read_calendar(connection, request)
        return 0

    async def ask(number: int) -> int:
        request = requests[number % COMPANIES]
        async with tenant(pool, request.company_id) as connection:
            return len(await available(connection, request))

    async def ask_named(number: int) -> int:
        request = requests[number % COMPANIES]
        named = AvailabilityRequest(
            company_id=request.company_id, service="schnitt", now=NOW, days=DAYS, staff="p3", limit=20
        )
        async with tenant(pool, request.company_id) as connection:
            return len(await available(connection, named))

    try:
        return [
            await timed("an empty transaction", questions, nothing),
            await timed("read alone", questions, read),
            await timed(f"any of {STAFF} staff, {DAYS} days", questions, ask),
            await timed(f"one named, first 20, {DAYS} days", questions, ask_named),
        ], count
    finally:
        await pool.close()


def main() -> None:
    """Measure, print, keep."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch, durable_server(Path(scratch)) as (address, _):
        lines, count = uvloop.run(measure(address, args.rows, args.questions))
    print(f"{count:,} appointments")
    print(f"{'':36} {'p50 ms':>8} {'p99 ms':>8} {'slots':>6}")
    for line in lines:
        print(f"{line.what:36} {line.p50_ms:8.2f} {line.p99_ms:8.2f} {line.slots:6d}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "availability.json").write_bytes(msgspec.json.format(msgspec.json.encode(lines)))


if __name__ == "__main__":
    main()
