"""Slots out of the database: what the rows mean, in one round trip, by indexes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from asyncpg.connection import LoggedQuery

from backend.domain.availability import Slot
from backend.domain.vocabulary import ExceptionKind, RefusalReason
from backend.domain.weeks import parse_spans, parse_week
from backend.postgres.address import Role
from backend.postgres.pools import Connection, Pool, tenant
from backend.services.booking import Booked, BookingRequest, book
from backend.services.booking.availability import AvailabilityRequest, NotOffered, alternatives, available, days_read
from backend.services.booking.calendar_rows import READ_CALENDAR
from backend.services.companies.applying import (
    BranchDeclaration,
    BranchException,
    CompanyDeclaration,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    StaffException,
    apply_company,
)
from tests.databases import OpenPool, SuperuserConnection

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
"""A Monday, 07:00 in Berlin."""

WEEK = parse_week("Mon-Fri 09:00-12:00")

STUDIO = CompanyDeclaration(
    slug="studio",
    name="Studio",
    branches=(
        BranchDeclaration(
            slug="mitte",
            name="Mitte",
            numbers=("+4930123456",),
            opening_hours=parse_week("Mon-Thu 08:00-18:00, Fri 10:00-12:00"),
            exceptions=(BranchException(kind=ExceptionKind.CLOSED, first_day=date(2026, 3, 5)),),
        ),
        BranchDeclaration(slug="wien", name="Wien", bundesland="", time_zone="Europe/Vienna"),
    ),
    services=(
        ServiceDeclaration(slug="schnitt", name="Schnitt", duration_min=60, step_min=60),
        ServiceDeclaration(slug="kurs", name="Kurs", duration_min=60, step_min=60, capacity=2),
        ServiceDeclaration(
            slug="farbe",
            name="Farbe",
            step_min=30,
            segments=(
                SegmentDeclaration(label="Auftragen", duration_min=30),
                SegmentDeclaration(label="Einwirken", duration_min=60, gap=True),
                SegmentDeclaration(label="Schneiden", duration_min=30, role="cutter", skill="schnitt"),
            ),
        ),
        ServiceDeclaration(slug="niemand", name="Niemand", duration_min=60),
    ),
    staff=(
        StaffDeclaration(
            slug="anna", name="Anna", branches=("mitte", "wien"), services=("schnitt", "kurs"), hours={"mitte": WEEK}
        ),
        StaffDeclaration(
            slug="ben",
            name="Ben",
            branches=("mitte",),
            services=("farbe", "schnitt"),
            hours={"mitte": WEEK},
            breaks=parse_week("Mon 10:00-11:00"),
            exceptions=(
                StaffException(kind=ExceptionKind.CLOSED, first_day=date(2026, 3, 3)),
                StaffException(
                    kind=ExceptionKind.EXTRA,
                    first_day=date(2026, 3, 4),
                    hours=parse_spans("14:00-15:00"),
                    branch="mitte",
                ),
            ),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Studio:
    """The declared company and a way to ask."""

    company_id: UUID
    staff: dict[UUID, str]
    pool: Pool

    def request(self, **changes: object) -> AvailabilityRequest:
        """A haircut in Mitte today, with some fields changed."""
        usual: dict[str, object] = {"service": "schnitt", "branch": "mitte", "days": 1, "now": NOW}
        return AvailabilityRequest(company_id=self.company_id, **{**usual, **changes})  # type: ignore[arg-type] # by name

    async def ask(self, **changes: object) -> tuple[Slot, ...]:
        """Its slots."""
        async with tenant(self.pool, self.company_id) as connection:
            return await available(connection, self.request(**changes))

    def told(self, slots: tuple[Slot, ...]) -> list[str]:
        """`Mon 09:00 anna,ben` of each."""
        return [f"{slot.local:%a %H:%M} {','.join(sorted(self.staff[one] for one in slot.staff))}" for slot in slots]

    async def book(self, starts_at: str, **fields: str) -> Booked:
        """An appointment there."""
        request = BookingRequest(
            key=starts_at + repr(fields),
            company_id=self.company_id,
            starts_at=datetime.fromisoformat(starts_at),
            asked_at=NOW,
            branch="mitte",
            service=fields.get("service", "schnitt"),
            staff=fields.get("staff"),
        )
        async with tenant(self.pool, self.company_id) as connection:
            booked = await book(connection, request)
        assert isinstance(booked, Booked)
        return booked


@pytest.fixture
async def studio(setup: Connection, open_role_pool: OpenPool) -> Studio:
    """The declared studio, asked by the API's role."""
    applied = await apply_company(setup, STUDIO)
    rows = await setup.fetch("select id, slug from staff where company_id = $1", applied.company_id)
    return Studio(applied.company_id, {row["id"]: row["slug"] for row in rows}, await open_role_pool(Role.API, 2))


async def test_hours_breaks_exceptions_and_holidays_come_out_of_the_tables(studio: Studio) -> None:
    assert studio.told(await studio.ask(days=7)) == [
        "Mon 09:00 anna,ben",
        "Mon 10:00 anna",
        "Mon 11:00 anna,ben",
        "Tue 09:00 anna",
        "Tue 10:00 anna",
        "Tue 11:00 anna",
        "Wed 09:00 anna,ben",
        "Wed 10:00 anna,ben",
        "Wed 11:00 anna,ben",
        "Wed 14:00 ben",
        "Fri 10:00 anna,ben",
        "Fri 11:00 anna,ben",
    ]
    good_friday = date(2026, 4, 3)
    assert await studio.ask(first_day=good_friday) == ()
    assert await studio.ask(first_day=good_friday + timedelta(days=7)) != ()


async def test_a_booking_takes_its_slot_and_cancelling_gives_it_back(studio: Studio, setup: Connection) -> None:
    booked = await studio.book("2026-03-02T09:00+01:00", staff="anna")
    assert studio.told(await studio.ask(limit=1)) == ["Mon 09:00 ben"]
    assert studio.told(await studio.ask(limit=1, staff="anna")) == ["Mon 10:00 anna"]
    await setup.execute("update appointments set status = 'cancelled' where id = $1", booked.appointment_id)
    assert studio.told(await studio.ask(limit=1)) == ["Mon 09:00 anna,ben"]


async def test_a_hold_takes_its_slot_until_it_expires(studio: Studio, setup: Connection) -> None:
    booked = await studio.book("2026-03-02T09:00+01:00", staff="anna")
    hold = "update appointments set status = 'held', hold_expires_at = $2 where id = $1"
    await setup.execute(hold, booked.appointment_id, NOW + timedelta(minutes=5))
    assert studio.told(await studio.ask(limit=1)) == ["Mon 09:00 ben"]
    await setup.execute(hold, booked.appointment_id, NOW)
    assert studio.told(await studio.ask(limit=1)) == ["Mon 09:00 anna,ben"]


async def test_a_course_is_offered_while_it_has_a_seat(studio: Studio) -> None:
    await studio.book("2026-03-02T09:00+01:00", service="kurs", guest="one")
    assert studio.told(await studio.ask(service="kurs", limit=1)) == ["Mon 09:00 anna"]
    assert studio.told(await studio.ask(limit=1)) == ["Mon 09:00 ben"]
    await studio.book("2026-03-02T09:00+01:00", service="kurs", guest="two")
    assert studio.told(await studio.ask(service="kurs", limit=1)) == ["Mon 10:00 anna"]


async def test_a_service_of_several_parts_names_who_does_each(studio: Studio) -> None:
    found = await studio.ask(service="farbe", first_day=date(2026, 3, 4))
    assert [(f"{slot.local:%H:%M}", f"{slot.ends_at - slot.starts_at}") for slot in found] == [
        ("09:00", "2:00:00"),
        ("09:30", "2:00:00"),
        ("10:00", "2:00:00"),
    ]
    ben, anna = (next(one for one, slug in studio.staff.items() if slug == name) for name in ("ben", "anna"))
    assert {slot.staff_by_role for slot in found} == {((ben,), tuple(sorted((anna, ben))))}
    await studio.book("2026-03-04T10:00+01:00", staff="ben")
    # 09:00 waits while Ben cuts somebody else's hair; from 09:30 on he would have to be in two places.
    assert [f"{slot.local:%H:%M}" for slot in await studio.ask(service="farbe", first_day=date(2026, 3, 4))] == [
        "09:00",
        "09:30",
    ]


async def test_the_called_branch_is_meant_when_none_is_named(studio: Studio, setup: Connection) -> None:
    called = await setup.fetchval("select id from branches where slug = 'mitte' and company_id = $1", studio.company_id)
    assert await studio.ask(branch=None, called_branch_id=called) == await studio.ask()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"service": "rasur"}, RefusalReason.SERVICE_UNKNOWN),
        ({"branch": "ost"}, RefusalReason.BRANCH_UNKNOWN),
        ({"branch": None}, RefusalReason.BRANCH_UNKNOWN),
        ({"staff": "dora"}, RefusalReason.STAFF_UNKNOWN),
        ({"staff": "anna", "service": "farbe"}, RefusalReason.NOT_OFFERED),
        ({"service": "niemand"}, RefusalReason.NOT_OFFERED),
    ],
)
async def test_what_can_never_be_booked_is_refused_by_reason(
    studio: Studio, changes: dict[str, object], reason: RefusalReason
) -> None:
    with pytest.raises(NotOffered) as refused:
        await studio.ask(**changes)
    assert refused.value.reason is reason


async def test_what_is_switched_off_is_not_offered(studio: Studio, setup: Connection) -> None:
    await setup.execute("update staff set is_bookable = false where slug = 'ben'")
    assert studio.told(await studio.ask(limit=1)) == ["Mon 09:00 anna"]
    await setup.execute("update branches set is_active = false where slug = 'mitte'")
    with pytest.raises(NotOffered, match="branch_unknown"):
        await studio.ask()


async def test_another_company_is_not_seen(studio: Studio, setup: Connection) -> None:
    other = await apply_company(setup, replace_slug(STUDIO, "other"))
    with pytest.raises(NotOffered, match="service_unknown"):
        async with tenant(studio.pool, studio.company_id) as connection:
            await available(connection, replace(studio.request(), company_id=other.company_id))


def replace_slug(declaration: CompanyDeclaration, slug: str) -> CompanyDeclaration:
    """The same company under another name, without what can belong to only one."""
    branches = tuple(msgspec.structs.replace(branch, numbers=()) for branch in declaration.branches)
    return msgspec.structs.replace(declaration, slug=slug, branches=branches)


async def test_alternatives_come_nearest_first(studio: Studio) -> None:
    await studio.book("2026-03-04T10:00+01:00", staff="anna")
    async with tenant(studio.pool, studio.company_id) as connection:
        wanted = datetime.fromisoformat("2026-03-04T10:00+01:00")
        found = await alternatives(connection, studio.request(staff="anna"), wanted)
    assert studio.told(found) == ["Wed 10:00 ben", "Wed 09:00 anna", "Wed 11:00 anna"]


async def test_any_number_of_staff_and_days_is_one_round_trip(studio: Studio) -> None:
    sent: list[str] = []

    def count(query: LoggedQuery) -> None:
        sent.append(query.query)

    async with tenant(studio.pool, studio.company_id) as connection:
        connection.add_query_logger(count)
        try:
            await available(connection, studio.request(days=62))
            await alternatives(connection, studio.request(), NOW)
        finally:
            connection.remove_query_logger(count)
    assert sent == [READ_CALENDAR, READ_CALENDAR]


async def test_appointments_are_found_by_index_among_many(
    studio: Studio, setup: Connection, superuser_connection: SuperuserConnection
) -> None:
    for number in range(9):
        await apply_company(setup, replace_slug(STUDIO, f"other-{number}"))
    administrator = await superuser_connection()
    await administrator.execute(
        """
        set search_path = askpro, public;
        insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                                  source, version)
        select p.company_id, b.id, p.id, s.id, t, t + interval '30 minutes', 'Europe/Berlin', 'confirmed', 'import', 1
        from staff p
        join branches b on b.company_id = p.company_id and b.slug = 'mitte'
        join services s on s.company_id = p.company_id and s.slug = 'schnitt'
        cross join generate_series(timestamptz '2025-03-01 00:00Z', '2026-04-01', '8 hours') t;
        analyze;
        """
    )
    request = studio.request(days=14)
    arguments = (request.company_id, request.service, request.branch, None, None, *days_read(request), request.now)
    async with tenant(studio.pool, studio.company_id) as connection:
        version = await connection.fetchval("select calendar_version from companies where id = $1", studio.company_id)
        service = await connection.fetchval("select id from services where slug = 'schnitt'")
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"set local plan_cache_mode = {mode}")
            for known in ((None, None, None), (version, ",".join(map(str, studio.staff)), service)):
                rows = await connection.fetch(f"explain {READ_CALENDAR}", *arguments, *known)
                plan = "\n".join(row[0] for row in rows)
                assert "Seq Scan on appointments" not in plan, mode
                assert "Seq Scan on staff_time" not in plan, mode
                assert "staff_time_staff" in plan, plan
