"""How long a question for free slots takes: 10 staff members, 14 days, among a million appointments.

`python -m bench.availability [--rows 1000000] [--questions 400] [--seconds 4]` starts a durable PostgreSQL and an API
process of its own in a scratch directory and fills them by SQL: one company with 20 branches has half of the
appointments, 49 small ones share the rest. Questions go round the companies, one after the other.

Anchors of the same run: an empty transaction; and the statement alone, unread, in a transaction. Over HTTP it is the
signed function `check_availability`, by one caller and by several at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from backend.domain.weeks import parse_week
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect, open_pool, tenant
from backend.providers.retell.signature import sign
from backend.services.booking.availability import AvailabilityRequest, available, days_read, read_calendar
from backend.services.booking.calendar_rows import READ_CALENDAR
from backend.services.booking.calendar_rules import RULES
from backend.services.companies.applying import (
    BranchDeclaration,
    CompanyDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    apply_company,
)
from bench.intake import KEY, RESULTS, api
from bench.load import Orders, Outcome
from bench.server import durable_server

STAFF = 10
"""At each branch."""

DAYS = 14
COMPANIES = 50
BRANCHES = 20
"""Of the large company."""

BUDGET_MS = 30
ROWS_A_DAY = 12

SEED = """
    insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                              source, version, price_cents)
    select p.company_id, w.branch_id, p.id, s.id, t.at, t.at + interval '30 minutes', 'Europe/Berlin',
           case when t.at < $2 then 'completed' when n % 9 = 0 then 'cancelled' else 'confirmed' end,
           'import', 1, 3500
    from (select n, date_trunc('day', $2::timestamptz) + interval '20 days' - (n / $4::int) * interval '1 day'
                    + interval '7 hours' + (n % $4::int) * interval '40 minutes' as at
          from generate_series(0, $3::int - 1) n) t
    cross join staff p
    join staff_branches w on w.staff_id = p.id
    join services s on s.company_id = p.company_id
    where p.company_id = any ($1)
"""
"""Companies, now, rows for each person, of them on a day: from three weeks ahead back into the past."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    p50_ms: float
    p99_ms: float
    max_ms: float
    per_s: float
    answer_bytes: int = 0
    """Of the last answer."""


def company(number: int, branches: int) -> CompanyDeclaration:
    """At each branch ten people with breaks, who all offer one service."""
    hours = parse_week("Mon-Fri 08:00-17:00, Sat 09:00-13:00")
    places = tuple(f"b{branch}" for branch in range(branches))
    return CompanyDeclaration(
        slug=f"c{number:02}",
        name=f"Company {number}",
        branches=tuple(
            BranchDeclaration(
                slug=place,
                name=f"Branch {place}",
                opening_hours=parse_week("Mon-Sat 08:00-18:00"),
                numbers=(line_of(number, branch),),
            )
            for branch, place in enumerate(places)
        ),
        services=(
            ServiceDeclaration(slug="schnitt", name="Schnitt", duration_min=30, buffer_after_min=5, notice_min=60),
        ),
        staff=tuple(
            StaffDeclaration(
                slug=f"{place}-p{person}",
                name=f"P {place} {person}",
                branches=(place,),
                services=("schnitt",),
                hours={place: hours},
                breaks=parse_week("Mon-Fri 12:00-13:00"),
            )
            for place in places
            for person in range(STAFF)
        ),
    )


def line_of(number: int, branch: int) -> str:
    """The phone number of a company's branch."""
    return f"+4930{7_000_000 + number * 100 + branch}"


async def prepare(address: PostgresAddress, rows: int, now: datetime) -> tuple[list[AvailabilityRequest], int]:
    """Companies and their appointments; a question for each company, and how many rows there are."""
    setup = await connect(address, Role.SETUP, application="bench")
    try:
        large = (await apply_company(setup, company(0, BRANCHES))).company_id
        small = [(await apply_company(setup, company(number, 1))).company_id for number in range(1, COMPANIES)]
        half = rows // 2
        await setup.execute(SEED, [large], now, half // (BRANCHES * STAFF), ROWS_A_DAY, timeout=900)
        await setup.execute(SEED, small, now, half // (len(small) * STAFF), ROWS_A_DAY, timeout=900)
        count: int = await setup.fetchval("select count(*) from appointments")
    finally:
        await setup.close()
    owner = await connect(address, Role.MIGRATE, application="bench")
    await owner.execute("set role askpro_owner; analyze")
    await owner.close()
    return [
        AvailabilityRequest(company_id=one, service="schnitt", branch="b0", now=now, days=DAYS)
        for one in (large, *small)
    ], count


async def timed(what: str, questions: int, one: Callable[[int], Awaitable[int]]) -> Line:
    """One after the other; the first ones, which visit every company, only warm up."""
    durations: list[float] = []
    size = 0
    for number in range(-COMPANIES, questions):
        started = time.perf_counter()
        size = await one(number)
        if number >= 0:
            durations.append(time.perf_counter() - started)
    ordered = sorted(durations)
    return Line(
        what=what,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        max_ms=ordered[-1] * 1000,
        per_s=len(ordered) / sum(ordered),
        answer_bytes=size,
    )


async def ask(address: PostgresAddress, requests: list[AvailabilityRequest], questions: int) -> list[Line]:
    """The service's lines and their anchors."""
    pool = await open_pool(address, Role.API, application="bench", size=1)

    def request_of(number: int) -> AvailabilityRequest:
        return requests[number % COMPANIES]

    async def nothing(number: int) -> int:
        async with tenant(pool, request_of(number).company_id) as connection:
            await connection.fetchval("select 1")
        return 0

    async def statement(number: int) -> int:
        request = request_of(number)
        async with tenant(pool, request.company_id) as connection:
            text: str = await connection.fetchval(
                READ_CALENDAR, request.company_id, "schnitt", "b0", None, None, *days_read(request), request.now,
                None, None, None,
            )  # fmt: skip
        return len(text)

    async def read(number: int) -> int:
        async with tenant(pool, request_of(number).company_id) as connection:
            await read_calendar(connection, request_of(number))
        return 0

    async def slots(number: int) -> int:
        async with tenant(pool, request_of(number).company_id) as connection:
            return len(await available(connection, request_of(number)))

    async def unknown(number: int) -> int:
        RULES.clear()
        return await slots(number)

    async def named(number: int) -> int:
        request = request_of(number)
        one = AvailabilityRequest(
            company_id=request.company_id, service="schnitt", branch="b0", now=request.now, days=DAYS, staff="b0-p3",
            limit=20,
        )  # fmt: skip
        async with tenant(pool, request.company_id) as connection:
            return len(await available(connection, one))

    try:
        return [
            await timed("an empty transaction", questions, nothing),
            await timed("the statement alone, rules and all", questions, statement),
            await timed("read, rules known", questions, read),
            await timed(f"slots of {STAFF} staff, {DAYS} days", questions, slots),
            await timed("the same, rules not known", questions, unknown),
            await timed("one named, first 20", questions, named),
        ]
    finally:
        await pool.close()


def over_http(port: int, connections: int, seconds: float) -> Line:
    """`check_availability` for 14 days, as the voice agent asks."""
    now = int(time.time() * 1000)
    requests: list[tuple[dict[str, str], str]] = []
    for number in range(400):
        company_number = number % COMPANIES
        body = json.dumps(
            {
                "name": "check_availability",
                "call": {
                    "call_id": f"call_bench_{number}",
                    "from_number": "+4915112345678",
                    "to_number": line_of(company_number, 0),
                    "direction": "inbound",
                },
                "args": {"service": "Schnitt", "days": DAYS, "limit": 20},
            }
        )
        headers = {"content-type": "application/json", "x-retell-signature": sign(body.encode(), KEY, now)}
        requests.append((headers, body))
    orders = Orders(
        port=port,
        connections=connections,
        seconds=seconds,
        warm_up_s=1.5,
        path="/api/retell/function",
        requests=requests,
        repeat=True,
    )
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=msgspec.json.encode(orders), stdout=subprocess.PIPE, check=True
    )
    outcome = msgspec.json.decode(done.stdout, type=Outcome)
    if outcome.broken or set(outcome.statuses) != {200}:
        raise SystemExit(f"not every function was answered: {outcome}")
    return Line(
        what=f"check_availability over HTTP, {connections} at once",
        p50_ms=outcome.p50_ms,
        p99_ms=outcome.p99_ms,
        max_ms=outcome.max_ms,
        per_s=outcome.per_s,
    )


def main() -> None:
    """Measure, print, keep."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    now = datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0) + timedelta(days=1)
    with tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch, durable_server(Path(scratch)) as (address, _):
        started = time.perf_counter()
        requests, count = uvloop.run(prepare(address, args.rows, now))
        print(f"{count:,} appointments in {time.perf_counter() - started:.0f} s", flush=True)
        lines = uvloop.run(ask(address, requests, args.questions))
        with api(address, stores=True) as port:
            lines += [over_http(port, connections, args.seconds) for connections in (1, 8)]
    print(f"{'':44} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'per s':>7} {'bytes or slots':>15}")
    for line in lines:
        figures = f"{line.p50_ms:8.2f} {line.p99_ms:8.2f} {line.max_ms:8.2f} {line.per_s:7,.0f} {line.answer_bytes:15d}"
        print(f"{line.what:44} {figures}")
    slots = next(line for line in lines if line.what.startswith("slots of"))
    print(f"\np99 of a question for all slots: {slots.p99_ms:.1f} ms (budget {BUDGET_MS})")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "availability.json").write_bytes(msgspec.json.format(msgspec.json.encode(lines)))


if __name__ == "__main__":
    main()
