"""How fast appointments are booked, and that races for them have exactly as many winners as there is room.

Anchors of the same run, by the same writers with the same transaction around: the two rows (appointment and event) in
one statement into copies of the tables without constraint, trigger and policies; and the bare appointment under the
exclusion constraint that guards real ones.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from backend.domain.weeks import parse_week
from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Pool, connect, open_pool, tenant
from backend.postgres.verify import verify
from backend.services.booking import Booked, BookingRequest, Refused, book
from backend.services.companies.applying import (
    BranchDeclaration,
    CompanyDeclaration,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    apply_company,
)

WRITERS = 32
STAFF = 64
ROUNDS = 20
RACERS = 50
ASKED_AT = datetime(2026, 1, 1, tzinfo=UTC)
LAST_KNOWN = datetime(2026, 3, 1, tzinfo=UTC)
"""Everything that was there before begins before this."""

ALWAYS = {"mitte": parse_week("Mon-Sun 00:00-24:00")}

COMPANY = CompanyDeclaration(
    slug="booking",
    name="Booking",
    branches=(BranchDeclaration(slug="mitte", name="Mitte", bundesland=""),),
    services=(
        ServiceDeclaration(slug="schnitt", name="Schnitt", duration_min=15, horizon_days=730, price_cents=3500),
        ServiceDeclaration(slug="solo", name="Solo", duration_min=15, horizon_days=730),
        ServiceDeclaration(slug="trio", name="Trio", duration_min=15, horizon_days=730),
        ServiceDeclaration(slug="kopf", name="Kopf", duration_min=15),
        ServiceDeclaration(slug="hand", name="Hand", duration_min=15),
        ServiceDeclaration(
            slug="kopf-hand",
            name="Erst Kopf, dann Hand",
            horizon_days=730,
            segments=(
                SegmentDeclaration(label="Kopf", duration_min=15, role="one", skill="kopf"),
                SegmentDeclaration(label="Hand", duration_min=15, role="two", skill="hand"),
            ),
        ),
        # Longer parts, so that it meets the other one in both people.
        ServiceDeclaration(
            slug="hand-kopf",
            name="Erst Hand, dann Kopf",
            horizon_days=730,
            segments=(
                SegmentDeclaration(label="Hand", duration_min=20, role="one", skill="hand"),
                SegmentDeclaration(label="Kopf", duration_min=20, role="two", skill="kopf"),
            ),
        ),
    ),
    staff=(
        *(
            StaffDeclaration(
                slug=f"p{number:02}", name=f"P {number}", branches=("mitte",), services=("schnitt",), hours=ALWAYS
            )
            for number in range(STAFF)
        ),
        *(
            StaffDeclaration(
                slug=f"t{number}", name=f"T {number}", branches=("mitte",), services=("trio",), hours=ALWAYS
            )
            for number in range(3)
        ),
        StaffDeclaration(slug="solo", name="S", branches=("mitte",), services=("solo",), hours=ALWAYS),
        StaffDeclaration(slug="kopf", name="K", branches=("mitte",), services=("kopf",), hours=ALWAYS),
        StaffDeclaration(slug="hand", name="H", branches=("mitte",), services=("hand",), hours=ALWAYS),
    ),
)

_INSERT = """
    insert into {table} (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status, source,
                         price_cents, version, idempotency_key)
    values ($1, $2, $3, $4, $5::timestamptz, $5::timestamptz + interval '15 minutes', 'Europe/Berlin', 'confirmed',
            'call', 3500, 1, $6)
"""

_INSERT_BOTH = f"""
    with made as ({_INSERT.format(table="unprotected")} returning *)
    insert into unprotected_events (company_id, appointment_id, version, kind, actor, data)
    select company_id, id, 1, 'booked', 'call', to_jsonb(made) from made
"""  # noqa: S608 (names of our own)

_HISTORY = """
    insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                              source, price_cents, version, idempotency_key)
    select $1, $2, p.id, $3, t.at, t.at + interval '15 minutes', 'Europe/Berlin',
           case when t.at < $5 then 'completed' else 'confirmed' end, 'import', 3500, 1, p.slug || n
    from generate_series(1, $6::integer) n
    cross join lateral (select $4::timestamptz - n * interval '1 hour' as at) t
    cross join staff p
    where p.company_id = $1 and p.slug like 'p__'
"""
"""What was there before, so that plans are those of a system that has been running: up to two months ahead."""

_UNPROTECTED = """
    set role askpro_owner;
    create table unprotected (like appointments including all);
    alter table unprotected
        add foreign key (company_id, branch_id) references branches (company_id, id),
        add foreign key (company_id, staff_id) references staff (company_id, id),
        add foreign key (company_id, service_id) references services (company_id, id);
    create table unprotected_events (like appointment_events including all);
    grant insert, select on unprotected, unprotected_events to askpro_worker;
    analyze;
"""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. Durations are from the wish to the commit."""

    what: str
    per_s: float
    p50_ms: float
    p99_ms: float
    booked: int
    refused: int
    expected: int | None = None
    """So many bookings are right; None: every one."""


class BookingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    rows: int
    """Appointments that were there before."""
    lines: tuple[Line, ...]
    broken: int
    """Differences that a verification found afterwards, double bookings among them."""

    @property
    def is_right(self) -> bool:
        """Every race has as many winners as it must, and the data is whole."""
        return self.broken == 0 and all(
            line.booked == (line.booked + line.refused if line.expected is None else line.expected)
            for line in self.lines
        )

    @property
    def share(self) -> float:
        """Bookings by the service for each unprotected one."""
        return self.lines[2].per_s / self.lines[0].per_s


class _Place(msgspec.Struct, frozen=True):
    company: UUID
    branch: UUID
    service: UUID
    staff: tuple[UUID, ...]


async def measure(address: PostgresAddress, *, seconds: float, rows: int, rounds: int = ROUNDS) -> BookingReport:
    """All lines, each of the steady ones for so many seconds, in an empty system with `rows` appointments before.

    Raises asyncpg errors.
    """
    place, there = await _prepare(address, rows)
    pool = await open_pool(address, Role.WORKER, application="bench", size=RACERS, min_size=RACERS)
    try:
        insert, insert_excluded, serve = _writers(pool, place)
        # The first booking of a service reads its rules, which are then known to the process.
        await _book(pool, _wish(place, "first", "p00", _slot(0, 12)[1]))
        lines = (
            await _steady("both rows, unprotected", seconds, insert),
            await _steady("bare row, same exclusion constraint", seconds, insert_excluded),
            await _steady("booked by the service", seconds, serve),
            await _paced(pool, place, seconds),
            await _race(pool, place, "one person's slot", _one_person, rounds),
            await _race(pool, place, "a slot of any of three", _any_of_three, rounds, winners=3),
            await _race(pool, place, "two services, two people, opposite order", _opposite, rounds),
        )
    finally:
        await pool.close()
    return BookingReport(rows=there, lines=lines, broken=await _broken(address))


async def _prepare(address: PostgresAddress, rows: int) -> tuple[_Place, int]:
    """A company with many staff, and a copy of the table that nothing protects."""
    setup = await connect(address, Role.SETUP, application="bench")
    company = (await apply_company(setup, COMPANY)).company_id
    branch = await setup.fetchval("select id from branches where company_id = $1", company)
    service = await setup.fetchval("select id from services where company_id = $1 and slug = 'schnitt'", company)
    staff = await setup.fetch("select id from staff where company_id = $1 and slug like 'p__' order by slug", company)
    await setup.execute(_HISTORY, company, branch, service, LAST_KNOWN, ASKED_AT, rows // STAFF, timeout=600)
    there: int = await setup.fetchval("select count(*) from appointments")
    await setup.close()
    owner = await connect(address, Role.MIGRATE, application="bench")
    await owner.execute(_UNPROTECTED)
    await owner.close()
    return _Place(company, branch, service, tuple(row["id"] for row in staff)), there


async def _broken(address: PostgresAddress) -> int:
    """What a verification finds, but for the history, which has no events."""
    connection = await connect(address, Role.SETUP, application="bench")
    try:
        checks = {check.name: check.broken for check in await verify(connection)}
        bare: int = await connection.fetchval(
            "select count(*) from appointments a where not exists "
            "(select from appointment_events e where e.appointment_id = a.id)"
        )
    finally:
        await connection.close()
    return sum(checks.values()) - bare


def _line(what: str, durations: list[float], took: float, booked: int, expected: int | None = None) -> Line:
    ordered = sorted(durations)
    return Line(
        what=what,
        per_s=len(ordered) / took,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        booked=booked,
        refused=len(ordered) - booked,
        expected=expected,
    )


async def _steady(what: str, seconds: float, one: Callable[[int], Awaitable[bool]]) -> Line:
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


def _writers(pool: Pool, place: _Place) -> tuple[Callable[[int], Awaitable[bool]], ...]:
    """The three ways to put an appointment in: each number is a slot of its own."""

    def insert_by(query: str, month: int) -> Callable[[int], Awaitable[bool]]:
        async def insert(number: int) -> bool:
            person, starts_at = _slot(number, month)
            async with tenant(pool, place.company, timeout=30) as connection:
                await connection.execute(
                    query,
                    place.company,
                    place.branch,
                    place.staff[person],
                    place.service,
                    starts_at,
                    f"{month}:{number}",
                )
            return True

        return insert

    async def serve(number: int) -> bool:
        person, starts_at = _slot(number, 9)
        return isinstance(await _book(pool, _wish(place, f"s:{number}", f"p{person:02}", starts_at)), Booked)

    return insert_by(_INSERT_BOTH, 5), insert_by(_INSERT.format(table="appointments"), 7), serve


def _slot(number: int, month: int) -> tuple[int, datetime]:
    return number % STAFF, datetime(2026, month, 1, tzinfo=UTC) + timedelta(minutes=15 * (number // STAFF))


def _wish(place: _Place, key: str, staff: str | None, starts_at: datetime, service: str = "schnitt") -> BookingRequest:
    return BookingRequest(
        key=key,
        company_id=place.company,
        service=service,
        staff=staff,
        branch="mitte",
        starts_at=starts_at,
        asked_at=ASKED_AT,
    )


async def _book(pool: Pool, wish: BookingRequest) -> Booked | Refused:
    async with tenant(pool, wish.company_id, timeout=30) as connection:
        return await book(connection, wish)


async def _paced(pool: Pool, place: _Place, seconds: float) -> Line:
    """Fifty callers on the line at once, each of whom books once a second at a moment of its own."""
    dice = random.Random(1)  # noqa: S311 (no secret)
    durations: list[float] = []
    booked = 0
    began = time.perf_counter()

    async def caller(number: int) -> None:
        nonlocal booked
        for second in range(max(1, round(seconds))):
            await asyncio.sleep(max(0.0, began + second + dice.random() - time.perf_counter()))
            person, starts_at = _slot(number + second * RACERS, 11)
            started = time.perf_counter()
            answer = await _book(pool, _wish(place, f"l:{number}:{second}", f"p{person:02}", starts_at))
            durations.append(time.perf_counter() - started)
            booked += isinstance(answer, Booked)

    await asyncio.gather(*(caller(number) for number in range(RACERS)))
    return _line(f"{RACERS} callers, a booking each second", durations, time.perf_counter() - began, booked)


_Wish = Callable[[_Place, int, int, datetime], BookingRequest]


def _one_person(place: _Place, number: int, racer: int, starts_at: datetime) -> BookingRequest:
    return _wish(place, f"one:{number}:{racer}", "solo", starts_at, "solo")


def _any_of_three(place: _Place, number: int, racer: int, starts_at: datetime) -> BookingRequest:
    return _wish(place, f"any:{number}:{racer}", None, starts_at, "trio")


def _opposite(place: _Place, number: int, racer: int, starts_at: datetime) -> BookingRequest:
    wish = _wish(place, f"opp:{number}:{racer}", None, starts_at, ("kopf-hand", "hand-kopf")[racer % 2])
    return replace(wish, wants_alternatives=False)


async def _race(pool: Pool, place: _Place, what: str, wish: _Wish, rounds: int, *, winners: int = 1) -> Line:
    """In each round all racers want the same at once."""
    durations: list[float] = []
    booked = 0

    async def race(number: int, racer: int) -> None:
        nonlocal booked
        starts_at = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(hours=number)
        started = time.perf_counter()
        answer = await _book(pool, wish(place, number, racer, starts_at))
        durations.append(time.perf_counter() - started)
        booked += isinstance(answer, Booked)

    began = time.perf_counter()
    for number in range(rounds):
        await asyncio.gather(*(race(number, racer) for racer in range(RACERS)))
    took = time.perf_counter() - began
    return _line(f"{RACERS} race, {rounds} rounds: {what}", durations, took, booked, winners * rounds)


def table(report: BookingReport) -> str:
    """The report for people."""
    rows = [f"{'':<62} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8} {'booked':>7} {'right':>6} {'refused':>8}"]
    rows += [
        f"{line.what:<62} {line.per_s:8,.0f} {line.p50_ms:8.2f} {line.p99_ms:8.2f} {line.booked:7d} "
        f"{'all' if line.expected is None else line.expected:>6} {line.refused:8d}"
        for line in report.lines
    ]
    rows += [
        "",
        f"appointments there before: {report.rows:,}",
        f"booked by the service / unprotected: {report.share:.2f}",
        f"differences and double bookings found afterwards: {report.broken}",
    ]
    return "\n".join(rows)
