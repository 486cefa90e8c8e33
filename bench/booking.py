"""How many appointments a second are booked, each its own slot and contested, against writing them unprotected.

`python -m bench.booking [--seconds 4]` starts a durable PostgreSQL of its own in a scratch directory. Anchors of the
same run, by the same 32 writers with the same transaction around: the same two rows (appointment and event) in one
statement into copies of the tables that have no exclusion constraint and no policies, names not looked up, no lock;
and one bare row under the exclusion constraint.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Pool, connect, open_pool, tenant
from backend.services.booking import Booked, BookingRequest, book
from backend.services.companies import (
    BranchDeclaration,
    CompanyDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    apply_company,
)
from bench.intake import RESULTS
from bench.server import durable_server

WRITERS = 32
STAFF = 64
ROUNDS = 20
RACERS = 50
ASKED_AT = datetime(2026, 1, 1, tzinfo=UTC)

COMPANY = CompanyDeclaration(
    slug="booking",
    name="Booking",
    branches=(BranchDeclaration(slug="mitte", name="Mitte"),),
    services=(ServiceDeclaration(slug="schnitt", name="Schnitt", duration_min=15, price_cents=3500),),
    staff=tuple(
        StaffDeclaration(slug=f"p{number:02}", name=f"P {number}", branches=("mitte",), services=("schnitt",))
        for number in range(STAFF)
    ),
)

INSERT = """
    insert into {table} (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status, source,
                         price_cents, version, idempotency_key)
    values ($1, $2, $3, $4, $5::timestamptz, $5::timestamptz + interval '15 minutes', 'Europe/Berlin', 'confirmed',
            'call', 3500, 1, $6)
"""

INSERT_BOTH = f"""
    with made as ({INSERT.format(table="unprotected")} returning *)
    insert into unprotected_events (company_id, appointment_id, version, kind, actor, data)
    select company_id, id, 1, 'booked', 'call', to_jsonb(made) from made
"""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    per_s: float
    p50_ms: float
    p99_ms: float
    booked: int
    refused: int


class Place(msgspec.Struct, frozen=True):
    """The company's ids."""

    company: UUID
    branch: UUID
    service: UUID
    staff: tuple[UUID, ...]


HISTORY = """
    insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                              source, price_cents, version, idempotency_key)
    select $1, $2, p.id, $3,
           $4::timestamptz + n * interval '1 hour', $4::timestamptz + n * interval '1 hour' + interval '15 minutes',
           'Europe/Berlin', 'completed', 'import', 3500, 1, p.slug || n
    from generate_series(1, $5) n cross join staff p
"""
"""What was there before, so that plans are those of a system that has been running."""

UNPROTECTED = """
    set role askpro_owner;
    create table unprotected (like appointments including all);
    do $$ begin
        execute (select format('alter table unprotected drop constraint %I', conname)
                 from pg_constraint where conrelid = 'unprotected'::regclass and contype = 'x');
    end $$;
    alter table unprotected
        add foreign key (company_id, branch_id) references branches (company_id, id),
        add foreign key (company_id, staff_id) references staff (company_id, id),
        add foreign key (company_id, service_id) references services (company_id, id);
    create table unprotected_events (like appointment_events including all);
    grant insert, select on unprotected, unprotected_events to askpro_worker;
    analyze;
"""


async def prepare(address: PostgresAddress) -> Place:
    """A company with many staff, and a copy of the table that nothing protects."""
    setup = await connect(address, Role.SETUP, application="bench")
    applied = await apply_company(setup, COMPANY)
    branch = await setup.fetchval("select id from branches where company_id = $1", applied.company_id)
    service = await setup.fetchval("select id from services where company_id = $1", applied.company_id)
    staff = await setup.fetch("select id from staff where company_id = $1 order by slug", applied.company_id)
    await setup.execute(HISTORY, applied.company_id, branch, service, datetime(2024, 1, 1, tzinfo=UTC), 500)
    await setup.close()
    owner = await connect(address, Role.MIGRATE, application="bench")
    await owner.execute(UNPROTECTED)
    await owner.close()
    return Place(applied.company_id, branch, service, tuple(row["id"] for row in staff))


async def steady(what: str, seconds: float, one: Callable[[int], Awaitable[bool]]) -> Line:
    """All writers, each doing one after the other."""
    durations: list[float] = []
    booked = 0
    numbers = iter(range(10**9))
    end = time.perf_counter() + seconds

    async def write() -> None:
        nonlocal booked
        while (started := time.perf_counter()) < end:
            done = await one(next(numbers))
            booked += done
            durations.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return _line(what, durations, time.perf_counter() - started, booked)


def _line(what: str, durations: list[float], took: float, booked: int) -> Line:
    ordered = sorted(durations)
    return Line(
        what=what,
        per_s=len(ordered) / took,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        booked=booked,
        refused=len(ordered) - booked,
    )


async def measure_in(address: PostgresAddress, seconds: float) -> list[Line]:
    """All lines of the table."""
    place = await prepare(address)
    pool = await open_pool(address, Role.WORKER, application="bench", size=RACERS, min_size=RACERS)
    try:
        insert, insert_excluded, serve = writers(pool, place)
        return [
            await steady("both rows, unprotected", seconds, insert),
            await steady("one row, exclusion constraint", seconds, insert_excluded),
            await steady("booked by the service", seconds, serve),
            await contested(pool, place),
        ]
    finally:
        await pool.close()


def writers(pool: Pool, place: Place) -> tuple[Callable[[int], Awaitable[bool]], ...]:
    """The three ways to put an appointment in: each number is a slot of its own."""

    def slot(number: int, year: int) -> tuple[int, datetime]:
        return number % STAFF, datetime(year, 2, 1, tzinfo=UTC) + timedelta(minutes=15 * (number // STAFF))

    def insert_by(query: str, year: int) -> Callable[[int], Awaitable[bool]]:
        async def insert(number: int) -> bool:
            person, starts_at = slot(number, year)
            async with tenant(pool, place.company, timeout=30) as connection:
                await connection.execute(
                    query,
                    place.company,
                    place.branch,
                    place.staff[person],
                    place.service,
                    starts_at,
                    f"{year}:{number}",
                )
            return True

        return insert

    async def serve(number: int) -> bool:
        person, starts_at = slot(number, 2027)
        async with tenant(pool, place.company, timeout=30) as connection:
            return isinstance(await book(connection, request(place, f"s:{number}", person, starts_at)), Booked)

    return insert_by(INSERT_BOTH, 2025), insert_by(INSERT.format(table="appointments"), 2026), serve


def request(place: Place, key: str, person: int, starts_at: datetime) -> BookingRequest:
    """A wish for one staff member's time."""
    return BookingRequest(
        key=key,
        company_id=place.company,
        service="schnitt",
        staff=f"p{person:02}",
        branch="mitte",
        starts_at=starts_at,
        asked_at=ASKED_AT,
    )


async def contested(pool: Pool, place: Place) -> Line:
    """In each round all racers want the same slot; as many bookings as rounds are right."""
    durations: list[float] = []
    booked = 0

    async def race(number: int, racer: int) -> None:
        nonlocal booked
        started = time.perf_counter()
        wish = request(place, f"c:{number}:{racer}", 0, datetime(2026, 1, 2, tzinfo=UTC) + timedelta(hours=number))
        async with tenant(pool, place.company, timeout=30) as connection:
            answer = await book(connection, wish)
        booked += isinstance(answer, Booked)
        durations.append(time.perf_counter() - started)

    began = time.perf_counter()
    for number in range(ROUNDS):
        await asyncio.gather(*(race(number, racer) for racer in range(RACERS)))
    return _line(f"{RACERS} racing for one slot, {ROUNDS} rounds", durations, time.perf_counter() - began, booked)


def table(lines: list[Line]) -> str:
    """The lines for people."""
    rows = [f"{'':42} {'per s':>9} {'p50 ms':>8} {'p99 ms':>8} {'booked':>8} {'refused':>8}"]
    rows += [
        f"{line.what:42} {line.per_s:9,.0f} {line.p50_ms:8.2f} {line.p99_ms:8.2f} {line.booked:8d} {line.refused:8d}"
        for line in lines
    ]
    rows.append(f"\nbooked by the service / unprotected: {lines[2].per_s / lines[0].per_s:.2f}")
    return "\n".join(rows)


def main() -> None:
    """Measure, print, keep."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="askpro-bench-") as scratch, durable_server(Path(scratch)) as (address, _):
        lines = uvloop.run(measure_in(address, args.seconds))
    print(table(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "booking.json").write_bytes(msgspec.json.format(msgspec.json.encode(lines)))


if __name__ == "__main__":
    main()
