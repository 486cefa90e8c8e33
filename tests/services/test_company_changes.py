"""What applying a company changes: said before it is done, kept where records need it, in few round trips."""

from __future__ import annotations

import asyncio
from datetime import date, time
from uuid import UUID

import asyncpg
import msgspec
import pytest

from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import WEEKDAYS, Week
from backend.postgres.address import Role
from backend.postgres.pools import Connection
from backend.services.booking import Booked
from backend.services.companies.applying import (
    BranchDeclaration,
    BranchException,
    ChangedMeanwhile,
    CompanyChange,
    CompanyDeclaration,
    DeclarationWrong,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    StaffException,
    apply_company,
)
from tests.databases import OpenConnection
from tests.services.conftest import OPEN_SALON, SALON, Salon

replace = msgspec.structs.replace

VACATION = StaffException(
    kind=ExceptionKind.CLOSED, first_day=date(2026, 8, 3), last_day=date(2026, 8, 21), reason="vacation"
)
LATE = BranchException(kind=ExceptionKind.EXTRA, first_day=date(2026, 11, 27), hours=((time(18), time(0)),))
SOMEWHERE = StaffException(kind=ExceptionKind.EXTRA, first_day=date(2026, 11, 27), hours=LATE.hours)
SHIFTS = {"mitte": {"mon": ((time(9), time(17)),), "fri": ((time(22), time(6)),)}}

FULL = replace(
    SALON,
    branches=(replace(SALON.branches[0], exceptions=(LATE,)), SALON.branches[1]),
    services=(
        *SALON.services,
        ServiceDeclaration(
            slug="kurs", name="Kurs", duration_min=60, capacity=8, cancel_hours=24, cancel_fee_cents=900
        ),
        ServiceDeclaration(
            slug="straehnen",
            name="Strähnen",
            segments=(
                SegmentDeclaration(label="Auftragen", duration_min=30, role="colour", skill="farbe"),
                SegmentDeclaration(label="Einwirken", duration_min=40, gap=True),
                SegmentDeclaration(label="Schneiden", duration_min=20),
            ),
        ),
    ),
    staff=(
        replace(SALON.staff[0], hours=SHIFTS, breaks={"mon": ((time(12), time(13)),)}, exceptions=(VACATION,)),
        *SALON.staff[1:],
    ),
)


def said(changes: tuple[CompanyChange, ...]) -> list[str]:
    return [f"{change.action} {change.kind} {change.name} {change.detail}".strip() for change in changes]


async def test_the_calendar_becomes_rows(setup: Connection) -> None:
    await apply_company(setup, FULL)
    segments = await setup.fetch(
        "select label, t.duration_min, is_gap, role, k.slug from service_segments t "
        "left join services k on k.id = t.skill_service_id order by position"
    )
    assert [tuple(row) for row in segments] == [
        ("Auftragen", 30, False, "colour", "farbe"),
        ("Einwirken", 40, True, None, None),
        ("Schneiden", 20, False, "main", None),
    ]
    assert await setup.fetchval("select duration_min from services where slug = 'straehnen'") == 90
    assert await setup.fetchval("select capacity from services where slug = 'kurs'") == 8
    assert tuple(await setup.fetchrow("select starts, ends from working_hours where weekday = 5") or ()) == (
        time(22),
        time(6),
    )
    assert tuple(await setup.fetchrow("select weekday, starts, ends from breaks") or ()) == (1, time(12), time(13))
    exceptions = await setup.fetch(
        "select p.slug as staff, b.slug as branch, kind, first_day, last_day, starts, reason "
        "from calendar_exceptions t left join staff p on p.id = t.staff_id "
        "left join branches b on b.id = t.branch_id order by first_day"
    )
    assert [tuple(row) for row in exceptions] == [
        ("anna", None, "closed", date(2026, 8, 3), date(2026, 8, 21), None, "vacation"),
        (None, "mitte", "extra", date(2026, 11, 27), date(2026, 11, 27), time(18), ""),
    ]


async def test_what_changes_is_said_field_by_field(setup: Connection) -> None:
    await apply_company(setup, FULL)
    anna = replace(
        FULL.staff[0],
        services=("schnitt", "kurs"),
        hours={"mitte": {"mon": ((time(9), time(16)),)}},
        breaks={},
        exceptions=(),
    )
    changed = replace(
        FULL,
        name="Salon Anna & Ben",
        services=(replace(FULL.services[0], price_cents=4000), *FULL.services[1:]),
        staff=(anna, *FULL.staff[1:]),
    )
    assert said((await apply_company(setup, changed)).changes) == [
        "change companies salon-anna name: Salon Anna → Salon Anna & Ben",
        "change services schnitt price_cents: 3500 → 4000",
        "change staff anna services: - farbe, services: + kurs, "
        "hours at mitte: Mon 09:00-17:00, Fri 22:00-06:00 → Mon 09:00-16:00, "
        "breaks: Mon 12:00-13:00 → nothing, exceptions: - closed 2026-08-03 until 2026-08-21 (vacation)",
    ]


async def test_what_nothing_refers_to_is_deleted(setup: Connection) -> None:
    await apply_company(setup, FULL)
    smaller = replace(
        FULL,
        branches=FULL.branches[:1],
        services=FULL.services[:2],
        staff=(replace(FULL.staff[2], services=("farbe",)),),
    )
    assert said((await apply_company(setup, smaller)).changes)[1:] == [
        "remove branches nord",
        "remove services bart",
        "remove services kurs",
        "remove services straehnen",
        "remove staff anna",
        "remove staff ben",
    ]
    for table in ("breaks", "service_segments", "working_hours"):
        assert await setup.fetchval(f"select count(*) from {table}") == 0
    assert await setup.fetchval("select count(*) from staff") == 1


async def test_what_an_appointment_refers_to_becomes_inactive_and_it_is_said_once(
    salon: Salon, setup: Connection
) -> None:
    assert isinstance(await salon.book(salon.request()), Booked)
    smaller = replace(
        SALON,
        branches=SALON.branches[1:],
        services=SALON.services[2:],
        staff=(replace(SALON.staff[1], branches=("nord",), services=("bart",)),),
    )
    applied = await apply_company(setup, smaller)
    assert [line for line in said(applied.changes) if line.split()[0] != "change"] == [
        "deactivate branches mitte",
        "deactivate services schnitt",
        "remove services farbe",
        "deactivate staff anna",
        "remove staff cem",
    ]
    assert (await apply_company(setup, smaller)).changes == ()
    assert await setup.fetchval("select is_active from branches where slug = 'mitte'") is False
    assert await setup.fetchval("select is_active from services where slug = 'schnitt'") is False
    assert await setup.fetchval("select is_bookable from staff where slug = 'anna'") is False
    assert await setup.fetchval("select count(*) from appointments") == 1
    back = said((await apply_company(setup, SALON)).changes)
    assert "change branches mitte numbers: + +4930123456, active: no → yes" in back


async def test_a_number_moves_between_branches_of_a_company(setup: Connection) -> None:
    await apply_company(setup, SALON)
    one, other = SALON.branches
    swapped = replace(SALON, branches=(replace(one, numbers=other.numbers), replace(other, numbers=one.numbers)))
    await apply_company(setup, swapped)
    slug = await setup.fetchval(
        "select b.slug from phone_numbers n join branches b on b.id = n.branch_id where number = '+4930123456'"
    )
    assert slug == "nord"


async def test_only_what_was_agreed_to_is_done(setup: Connection) -> None:
    await apply_company(setup, SALON)
    wanted = replace(SALON, name="Salon A")
    agreed = (await apply_company(setup, wanted, dry_run=True)).changes
    await apply_company(setup, replace(SALON, locale="en_GB"))
    with pytest.raises(ChangedMeanwhile, match="salon-anna"):
        await apply_company(setup, wanted, agreed=agreed)
    assert await setup.fetchval("select name from companies") == "Salon Anna"
    now = (await apply_company(setup, wanted, dry_run=True)).changes
    assert (await apply_company(setup, wanted, agreed=now)).changes == now


async def test_every_change_of_the_calendar_raises_its_version_and_nothing_else_does(
    salon: Salon, setup: Connection
) -> None:
    async def version() -> int:
        found: int = await setup.fetchval("select calendar_version from companies where slug = 'salon-anna'")
        return found

    before = await version()
    await apply_company(setup, OPEN_SALON)
    await apply_company(setup, FULL, dry_run=True)
    await salon.book(salon.request())
    assert await version() == before
    for table in ("breaks", "calendar_exceptions", "service_segments", "working_hours", "staff_services"):
        before = await version()
        await apply_company(setup, FULL)
        assert await version() > before, f"filling {table}"
        before = await version()
        await setup.execute(f"delete from {table}")
        assert await version() > before, f"emptying {table}"


async def test_a_tenant_sees_its_own_calendar_alone(
    salon: Salon, setup: Connection, open_connection: OpenConnection
) -> None:
    await apply_company(setup, FULL)
    api = await open_connection(Role.API)
    for table in ("breaks", "calendar_exceptions", "service_segments"):
        assert await api.fetchval(f"select count(*) from {table}") == 0
        async with api.transaction():
            await api.execute("select set_config('app.company_id', $1, true)", str(salon.company_id))
            assert await api.fetchval(f"select count(*) from {table}") > 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(f"delete from {table}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"branches": (replace(SALON.branches[0], bundesland="Bayern"),)}, "did you mean `BY`"),
        ({"branches": (replace(SALON.branches[0], bundesland="be"),)}, "did you mean `BE`"),
        ({"time_zone": "Europe/Berln"}, "did you mean `Europe/Berlin`"),
        ({"branches": (SALON.branches[0], replace(SALON.branches[1], time_zone="localtime"))}, "no time zone"),
        ({"services": (replace(FULL.services[4], duration_min=80),)}, "the segments take 90 minutes"),
        ({"services": (replace(FULL.services[4], capacity=2),)}, "room for one"),
        ({"services": (replace(SALON.services[0], cancel_fee_cents=1),)}, "never due"),
        ({"staff": (replace(SALON.staff[0], branches=("mite",)),)}, "did you mean `mitte`"),
        ({"staff": (replace(SALON.staff[0], hours={"nord": {}}),)}, "nord is none of anna's branches"),
        (
            {
                "staff": (
                    replace(
                        SALON.staff[1], hours={name: {"mon": ((time(9), time(12)),)} for name in ("mitte", "nord")}
                    ),
                )
            },
            "mon 09:00-12:00 and mon 09:00-12:00 overlap",
        ),
        (
            {"staff": (replace(SALON.staff[1], exceptions=(SOMEWHERE,)),)},
            "at which of mitte, nord",
        ),
        ({"staff": (replace(SALON.staff[0], exceptions=(VACATION, VACATION)),)}, "declared twice"),
        (
            {"staff": (replace(SALON.staff[0], exceptions=(replace(VACATION, last_day=date(2026, 8, 1)),)),)},
            "before 2026-08-03",
        ),
        ({"agents": ("agent_anna", "agent_anna")}, "given twice"),
    ],
)
async def test_a_wrong_declaration_says_what_would_be_right(
    setup: Connection, change: dict[str, object], message: str
) -> None:
    wrong: CompanyDeclaration = replace(SALON, **change)
    with pytest.raises(DeclarationWrong, match=message):
        await apply_company(setup, wrong)


def _company(number: int, staff: int) -> CompanyDeclaration:
    week: Week = {day: ((time(8), time(12)), (time(13), time(17))) for day in WEEKDAYS[:5]}
    return CompanyDeclaration(
        slug=f"company-{number}",
        name=f"Company {number}",
        branches=(BranchDeclaration(slug="main", name="Main", numbers=(f"+4930231{number:05}",), opening_hours=week),),
        services=tuple(ServiceDeclaration(slug=f"s{item}", name="S", duration_min=30) for item in range(5)),
        staff=tuple(
            StaffDeclaration(
                slug=f"p{person}",
                name=f"P {person}",
                branches=("main",),
                services=tuple(f"s{item}" for item in range(5)),
                hours={"main": week},
                breaks={"mon": ((time(10), time(10, 15)),)},
                exceptions=(VACATION,),
            )
            for person in range(staff)
        ),
    )


async def test_many_staff_take_no_more_round_trips_than_one(setup: Connection) -> None:
    statements: list[str] = []
    setup.add_query_logger(lambda record: statements.append(record.query))
    counts: list[int] = []
    for number, staff in ((1, 1), (2, 30)):
        await apply_company(setup, _company(number, staff))
        await setup.execute("select 'logged'")  # A statement is logged a moment after it ends: so the others are.
        counts.append(sum("'logged'" not in statement for statement in statements))
        statements.clear()
    assert counts[0] == counts[1] <= 20


async def test_two_who_apply_at_once_make_one_company(setup: Connection, open_connection: OpenConnection) -> None:
    other = await open_connection(Role.SETUP)
    one, two = await asyncio.gather(apply_company(setup, SALON), apply_company(other, SALON))
    assert isinstance(one.company_id, UUID)
    assert one.company_id == two.company_id
    assert sorted([bool(one.changes), bool(two.changes)]) == [False, True]
