"""Rules that a process knows are not read again, and never outlive a change of the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from asyncpg.connection import LoggedQuery

from backend.domain.vocabulary import ExceptionKind
from backend.postgres.address import Role
from backend.postgres.pools import Connection, Pool, tenant
from backend.services.booking import Booked, BookingRequest, book
from backend.services.booking.availability import AvailabilityRequest, NotOffered, alternatives, available, days_read
from backend.services.booking.calendar_rows import READ_CALENDAR
from backend.services.booking.calendar_rules import RULES, Place
from backend.services.companies.applying import StaffException, apply_company
from tests.databases import OpenPool, SuperuserConnection
from tests.services.test_availability import NOW, STUDIO, Studio


@pytest.fixture
async def studio(setup: Connection, open_role_pool: OpenPool) -> Studio:
    """The declared studio, asked by the API's role."""
    applied = await apply_company(setup, STUDIO)
    rows = await setup.fetch("select id, slug from staff where company_id = $1", applied.company_id)
    return Studio(applied.company_id, {row["id"]: row["slug"] for row in rows}, await open_role_pool(Role.API, 2))


@contextmanager
def statements(connection: Connection) -> Iterator[list[str]]:
    """What is sent meanwhile."""
    sent: list[str] = []

    def note(query: LoggedQuery) -> None:
        sent.append(query.query)

    connection.add_query_logger(note)
    try:
        yield sent
    finally:
        connection.remove_query_logger(note)


async def answer_of(pool: Pool, company_id: UUID, request: AvailabilityRequest) -> bytes:
    """What the database sends for a question whose rules are known as far as the process knows them now."""
    kept = RULES.get(Place(company_id, request.service, request.branch, None), request.now)
    known = (
        (None, None, None) if kept is None else (kept.version, ",".join(map(str, kept.names)), kept.offer.service_id)
    )
    async with tenant(pool, company_id) as connection:
        text: str = await connection.fetchval(
            READ_CALENDAR,
            company_id,
            request.service,
            request.branch,
            None,
            request.staff,
            *days_read(request),
            request.now,
            *known,
        )
    return text.encode()


async def test_a_question_is_one_round_trip_and_known_rules_are_not_sent_again(studio: Studio) -> None:
    request = studio.request(days=14)
    first = await answer_of(studio.pool, studio.company_id, request)
    assert msgspec.json.decode(first)["rules"] is not None
    async with tenant(studio.pool, studio.company_id) as connection:
        with statements(connection) as sent:
            cold = await available(connection, request)
            warm = await available(connection, request)
            await alternatives(connection, request, NOW)
            await available(connection, studio.request(staff="anna"))
    assert sent == [READ_CALENDAR] * 4
    assert warm == cold != ()
    again = await answer_of(studio.pool, studio.company_id, request)
    assert msgspec.json.decode(again)["rules"] is None
    assert len(again) < 120 < len(first) // 5, "nothing is booked, so there is nothing to say"


async def test_what_is_booked_is_seen_by_the_next_question(studio: Studio, setup: Connection) -> None:
    assert studio.told(await studio.ask(limit=1)) == ["Mon 09:00 anna,ben"]
    async with tenant(studio.pool, studio.company_id) as connection:
        booked = await book(
            connection,
            BookingRequest(
                key="one",
                company_id=studio.company_id,
                service="schnitt",
                branch="mitte",
                staff="anna",
                starts_at=datetime(2026, 3, 2, 8, 0, tzinfo=UTC),
                asked_at=NOW,
            ),
        )
        assert isinstance(booked, Booked)
        assert studio.told(await available(connection, studio.request(limit=1))) == ["Mon 09:00 ben"]
    assert studio.told(await studio.ask(limit=1)) == ["Mon 09:00 ben"]
    await setup.execute("update appointments set status = 'cancelled'")
    assert studio.told(await studio.ask(limit=1)) == ["Mon 09:00 anna,ben"]


async def test_every_change_of_the_calendar_is_seen_by_the_very_next_question(
    studio: Studio, setup: Connection
) -> None:
    async def first(**changes: object) -> str:
        found = studio.told(await studio.ask(limit=1, **changes))
        return found[0] if found else "nothing"

    async def change(statement: str) -> None:
        assert await setup.execute(statement) not in {"UPDATE 0", "DELETE 0", "INSERT 0 0"}

    assert await first() == "Mon 09:00 anna,ben"
    await change("update services set notice_min = 180 where slug = 'schnitt'")
    assert await first() == "Mon 10:00 anna"
    await change("update services set notice_min = 0, duration_min = 120 where slug = 'schnitt'")
    assert await first() == "Mon 09:00 anna", "Ben has a break in the middle"
    await change("update services set duration_min = 60 where slug = 'schnitt'")
    await change("update staff set is_bookable = false where slug = 'ben'")
    assert await first() == "Mon 09:00 anna"
    await change("delete from staff_services o using staff p where p.id = o.staff_id and p.slug = 'anna'")
    with pytest.raises(NotOffered, match="not_offered"):
        await first()
    await change("update staff set is_bookable = true where slug = 'ben'")
    assert await first() == "Mon 09:00 ben"
    await change("delete from breaks")
    await change("update working_hours set starts = '10:00' where weekday = 1")
    assert await first() == "Mon 10:00 ben"
    await change('update branches set opening_hours = \'{"mon": [["11:00:00", "18:00:00"]]}\' where slug = \'mitte\'')
    assert await first() == "Mon 11:00 ben"
    await change(
        "insert into calendar_exceptions (company_id, staff_id, kind, first_day, last_day) "
        "select company_id, id, 'closed', '2026-03-02', '2026-03-02' from staff where slug = 'ben'"
    )
    assert await first() == "nothing"
    await change("delete from calendar_exceptions where staff_id is not null")
    assert await first() == "Mon 11:00 ben"
    await change("update branches set is_active = false where slug = 'mitte'")
    with pytest.raises(NotOffered, match="branch_unknown"):
        await first()
    await change("update branches set is_active = true where slug = 'mitte'")
    assert await first() == "Mon 11:00 ben"
    await change("update services set is_active = false where slug = 'schnitt'")
    with pytest.raises(NotOffered, match="service_unknown"):
        await first()
    await apply_company(setup, STUDIO)
    assert await first() == "Mon 09:00 anna,ben"
    closed = StaffException(kind=ExceptionKind.CLOSED, first_day=NOW.date())
    anna = msgspec.structs.replace(STUDIO.staff[0], exceptions=(closed,))
    await apply_company(setup, msgspec.structs.replace(STUDIO, staff=(anna, *STUDIO.staff[1:])))
    assert await first() == "Mon 09:00 ben"
    await change("update companies set is_active = false")
    with pytest.raises(NotOffered, match="company_inactive"):
        await first()


async def test_parts_of_a_service_are_rules_like_others(studio: Studio, setup: Connection) -> None:
    wednesday = studio.request(service="farbe", first_day=NOW.date() + timedelta(days=2))
    async with tenant(studio.pool, studio.company_id) as connection:
        before = await available(connection, wednesday)
        assert len(before) == 3
    farbe = next(one for one in STUDIO.services if one.slug == "farbe")
    first, gap, last = farbe.segments
    longer = msgspec.structs.replace(farbe, segments=(first, msgspec.structs.replace(gap, duration_min=120), last))
    services = tuple(longer if one is farbe else one for one in STUDIO.services)
    await apply_company(setup, msgspec.structs.replace(STUDIO, services=services))
    async with tenant(studio.pool, studio.company_id) as connection:
        found = await available(connection, wednesday)
    assert [f"{slot.local:%H:%M}" for slot in found] == ["09:00", "11:30"], "Ben has an hour in the afternoon"


async def test_a_change_that_is_undone_was_never_known(
    studio: Studio, setup: Connection, superuser_connection: SuperuserConnection
) -> None:
    """Two changes of one version: the first is rolled back after somebody in its transaction asked."""
    administrator = await superuser_connection()
    await administrator.execute("set search_path = askpro, public")
    undone = administrator.transaction()
    await undone.start()
    await administrator.execute("update working_hours set starts = '11:00'")
    assert studio.told(await available(administrator, studio.request(limit=1))) == ["Mon 11:00 anna,ben"]
    await undone.rollback()
    await setup.execute("update working_hours set starts = '10:00'")
    assert studio.told(await studio.ask(limit=1)) == ["Mon 10:00 anna"]


async def test_rules_of_the_past_are_not_used_for_days_that_they_do_not_know(studio: Studio) -> None:
    later = NOW + timedelta(days=2)
    assert studio.told(await studio.ask(now=later, limit=1)) == ["Wed 09:00 anna,ben"]
    assert studio.told(await studio.ask(first_day=(NOW + timedelta(days=1)).date(), limit=1)) == ["Tue 09:00 anna"]
