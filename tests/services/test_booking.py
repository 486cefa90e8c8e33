"""Booking: one appointment for one slot, an answer for everybody else, and nothing lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from backend.domain.vocabulary import AppointmentStatus, RefusalReason
from backend.postgres.address import Role
from backend.postgres.appointment_history import verify_appointments
from backend.postgres.pools import tenant
from backend.services.booking import (
    AppointmentMissing,
    AppointmentStale,
    Booked,
    BookingRequest,
    ChangeNotAllowed,
    Refused,
    SlotTaken,
    StaffNotOffering,
    cancel,
    reschedule,
)
from tests.databases import OpenConnection, SuperuserConnection
from tests.services.conftest import ASKED_AT, SLOT, Deliveries, Salon

RACERS = 50


async def test_a_booking_makes_an_appointment_and_its_first_event(salon: Salon) -> None:
    booked = await salon.book(salon.request())
    assert isinstance(booked, Booked)
    assert (booked.starts_at, booked.ends_at) == (SLOT, SLOT + timedelta(minutes=30))
    assert booked.staff_id == salon.staff["anna"]
    assert await salon.value("select status from appointments") == "confirmed"
    assert await salon.value("select array_agg(kind) from appointment_events") == ["booked"]
    assert await salon.value("select offered ->> 'local' from appointments") == "2026-03-04T10:00:00"
    assert await salon.value("select (offered ->> 'offset_min')::int from appointments") == 60


async def test_the_same_request_again_has_the_same_answer_and_no_second_effect(salon: Salon) -> None:
    first = await salon.book(salon.request())
    again = await salon.book(salon.request())
    assert isinstance(first, Booked)
    assert isinstance(again, Booked)
    assert again.appointment_id == first.appointment_id
    assert (first.is_new, again.is_new) == (True, False)
    assert await salon.value("select count(*) from appointment_events") == 1


async def test_the_same_request_many_times_at_once_books_once(salon: Salon) -> None:
    answers = await asyncio.gather(*(salon.book(salon.request()) for _ in range(20)))
    assert len({answer.appointment_id for answer in answers if isinstance(answer, Booked)}) == 1
    assert sum(answer.is_new for answer in answers) == 1
    assert await salon.value("select count(*) from appointments") == 1


async def test_fifty_racing_for_one_slot_make_one_booking_and_forty_nine_callbacks(
    salon: Salon, deliver: Deliveries, open_connection: OpenConnection
) -> None:
    requests = []
    for number in range(RACERS):
        wish = {"service": "schnitt", "staff": "anna", "starts_at": SLOT.isoformat(), "branch": "mitte"}
        await deliver.analyzed(f"call_{number}", customer_name=f"Gast {number}", outcome="booked", booking=wish)
        folded = await salon.fold(f"call_{number}")
        assert folded is not None
        assert folded.booking is not None
        requests.append(folded.booking)
    answers = await asyncio.gather(*(salon.book(request) for request in requests))
    assert sum(isinstance(answer, Booked) for answer in answers) == 1
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert {answer.reason for answer in refused} == {RefusalReason.SLOT_TAKEN}
    assert len({answer.callback_id for answer in refused} - {None}) == RACERS - 1
    assert await salon.value("select count(*) from callback_requests where reason = 'slot_taken'") == RACERS - 1
    assert await salon.value("select count(*) from calls where outcome = 'callback'") == RACERS - 1
    assert await salon.value("select count(*) from calls where outcome = 'booked'") == 1


async def test_fifty_who_take_anybody_get_the_three_who_are_free(salon: Salon) -> None:
    answers = await asyncio.gather(
        *(salon.book(salon.request(f"call:{number}", staff=None)) for number in range(RACERS))
    )
    booked = [answer for answer in answers if isinstance(answer, Booked)]
    assert len(booked) == 3
    assert {answer.staff_id for answer in booked} == {salon.staff[slug] for slug in ("anna", "ben", "cem")}


async def test_anybody_means_whoever_is_booked_least_that_day(salon: Salon) -> None:
    for number, staff in enumerate(("anna", "anna", "ben")):
        await salon.book(salon.request(f"call:{number}", staff=staff, starts_at=SLOT + timedelta(hours=1 + number)))
    anybody = await salon.book(salon.request("call:anybody", staff=None))
    assert isinstance(anybody, Booked)
    assert anybody.staff_id == salon.staff["cem"]


async def test_a_buffer_keeps_the_next_appointment_away(salon: Salon) -> None:
    await salon.book(salon.request("call:farbe", service="farbe"))
    too_near = await salon.book(salon.request("call:near", starts_at=SLOT + timedelta(minutes=65)))
    after = await salon.book(salon.request("call:after", starts_at=SLOT + timedelta(minutes=70)))
    assert isinstance(too_near, Refused)
    assert isinstance(after, Booked)


async def test_a_writer_that_takes_no_lock_is_stopped_by_the_constraint(
    salon: Salon, superuser_connection: SuperuserConnection
) -> None:
    booked = await salon.book(salon.request())
    assert isinstance(booked, Booked)
    superuser = await superuser_connection()
    with pytest.raises(asyncpg.ExclusionViolationError):
        await superuser.execute(
            "insert into askpro.appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, "
            "time_zone, status, source, version) select company_id, branch_id, staff_id, service_id, "
            "starts_at + interval '10 min', ends_at, time_zone, 'confirmed', source, 1 from askpro.appointments"
        )


async def test_what_can_not_be_booked_is_refused_with_its_reason(salon: Salon) -> None:
    cases: list[tuple[dict[str, object], RefusalReason]] = [
        ({"service": "massage"}, RefusalReason.SERVICE_UNKNOWN),
        ({"branch": "süd"}, RefusalReason.BRANCH_UNKNOWN),
        ({"branch": None}, RefusalReason.BRANCH_UNKNOWN),
        ({"staff": "dora"}, RefusalReason.STAFF_UNKNOWN),
        ({"staff": "ben", "service": "farbe"}, RefusalReason.NOT_OFFERED),
        ({"staff": "anna", "branch": "nord"}, RefusalReason.NOT_OFFERED),
        ({"staff": None, "service": "bart"}, RefusalReason.NOT_OFFERED),
        ({"starts_at": None}, RefusalReason.TIME_UNREADABLE),
        ({"starts_at": datetime(1, 1, 1, tzinfo=UTC)}, RefusalReason.IN_PAST),
        ({"starts_at": ASKED_AT - timedelta(seconds=1)}, RefusalReason.IN_PAST),
        ({"starts_at": datetime(9999, 12, 31, 23, 59, tzinfo=UTC)}, RefusalReason.TOO_FAR),
    ]
    for changes, reason in cases:
        answer = await salon.book(salon.request("call:one", **changes))
        assert isinstance(answer, Refused)
        assert (answer.reason, answer.callback_id, answer.is_new) == (reason, None, True), changes
    assert await salon.value("select count(*) from appointments") == 0


async def test_every_reason_of_refusal_is_one_that_the_database_knows(salon: Salon) -> None:
    assert await salon.value("select booking_refusals()") == [reason.value for reason in RefusalReason]


async def test_without_a_branch_the_one_that_was_called_is_meant(salon: Salon) -> None:
    evening = SLOT + timedelta(hours=12)
    called = salon.branches["nord"]
    answer = await salon.book(salon.request(branch=None, called_branch_id=called, staff=None, starts_at=evening))
    assert isinstance(answer, Booked)
    assert answer.staff_id == salon.staff["ben"]


async def test_a_time_without_offset_is_wall_time_at_the_branch(salon: Salon) -> None:
    for wall, utc in [
        ("2026-07-01T10:00", "2026-07-01T08:00Z"),
        ("2026-03-29T02:30", "2026-03-29T01:00Z"),
        ("2026-10-25T02:30", "2026-10-25T00:30Z"),
    ]:
        answer = await salon.book(salon.request(f"call:{wall}", starts_at=datetime.fromisoformat(wall)))
        assert isinstance(answer, Booked)
        assert answer.starts_at == datetime.fromisoformat(utc)


async def test_a_hold_that_ran_out_makes_way(salon: Salon, deliver: Deliveries) -> None:
    booked = await salon.book(salon.request("hold"))
    assert isinstance(booked, Booked)
    async with tenant(salon.pool, salon.company_id) as connection:
        await connection.execute(
            "update appointments set status = 'held', hold_expires_at = now() - interval '1 second'"
        )
    answer = await salon.book(salon.request("call:next"))
    assert isinstance(answer, Booked)
    assert await salon.value("select status from appointments where id = $1", booked.appointment_id) == "cancelled"
    assert await salon.value("select count(*) from appointment_events where kind = 'hold_expired'") == 1


async def test_a_cancelled_appointment_frees_its_slot(salon: Salon) -> None:
    first = await salon.book(salon.request())
    assert isinstance(first, Booked)
    async with tenant(salon.pool, salon.company_id) as connection:
        changed = await cancel(connection, salon.company_id, first.appointment_id, actor="test", version=1)
    assert (changed.version, changed.status) == (2, AppointmentStatus.CANCELLED)
    assert isinstance(await salon.book(salon.request("call:two")), Booked)


async def test_an_appointment_moves_to_another_time_and_person_and_keeps_its_length(salon: Salon) -> None:
    first = await salon.book(salon.request())
    assert isinstance(first, Booked)
    later = SLOT + timedelta(hours=3)
    async with tenant(salon.pool, salon.company_id) as connection:
        await reschedule(
            connection,
            salon.company_id,
            first.appointment_id,
            starts_at=later,
            actor="test",
            asked_at=ASKED_AT,
            staff_id=salon.staff["ben"],
        )
    assert await salon.value("select ends_at - starts_at from appointments") == timedelta(minutes=30)
    assert await salon.value("select starts_at from appointments") == later
    assert await salon.value("select staff_id from appointments") == salon.staff["ben"]
    assert isinstance(await salon.book(salon.request("call:two")), Booked)


async def test_a_change_that_does_not_fit_is_refused_and_changes_nothing(salon: Salon) -> None:
    first = await salon.book(salon.request("call:one"))
    other = await salon.book(salon.request("call:two", starts_at=SLOT + timedelta(hours=1)))
    assert isinstance(first, Booked)
    assert isinstance(other, Booked)
    async with tenant(salon.pool, salon.company_id) as connection:
        company = salon.company_id
        with pytest.raises(SlotTaken):
            await reschedule(connection, company, other.appointment_id, starts_at=SLOT, actor="test", asked_at=ASKED_AT)
        with pytest.raises(AppointmentStale):
            await cancel(connection, company, first.appointment_id, actor="test", version=7)
        with pytest.raises(AppointmentMissing):
            await cancel(connection, company, uuid4(), actor="test")
        await cancel(connection, company, first.appointment_id, actor="test")
        with pytest.raises(ChangeNotAllowed):
            await cancel(connection, company, first.appointment_id, actor="test")
    farbe = await salon.book(salon.request("call:farbe", service="farbe", starts_at=SLOT + timedelta(hours=5)))
    assert isinstance(farbe, Booked)
    async with tenant(salon.pool, salon.company_id) as connection:
        with pytest.raises(StaffNotOffering):
            await reschedule(
                connection,
                salon.company_id,
                farbe.appointment_id,
                starts_at=SLOT,
                actor="test",
                asked_at=ASKED_AT,
                staff_id=salon.staff["ben"],
            )
    assert await salon.value("select array_agg(version order by version) from appointments") == [1, 1, 2]


async def test_two_who_swap_their_slots_at_once_do_not_deadlock(salon: Salon) -> None:
    one = await salon.book(salon.request("call:one", staff="anna"))
    two = await salon.book(salon.request("call:two", staff="ben"))
    assert isinstance(one, Booked)
    assert isinstance(two, Booked)

    async def move(booked: Booked, staff: str, hours: int) -> None:
        async with tenant(salon.pool, salon.company_id) as connection:
            await reschedule(
                connection,
                salon.company_id,
                booked.appointment_id,
                starts_at=SLOT + timedelta(hours=hours),
                actor="test",
                asked_at=ASKED_AT,
                staff_id=salon.staff[staff],
            )

    for hours in range(1, 11):
        await asyncio.gather(
            move(one, "ben" if hours % 2 else "anna", hours), move(two, "anna" if hours % 2 else "ben", hours)
        )
    assert await salon.value("select array_agg(version) from appointments") == [11, 11]


async def test_a_request_survives_its_way_through_a_job(salon: Salon) -> None:
    request = salon.request(customer_id=uuid4(), call_id=uuid4(), attendee_phone="+491701234567")
    assert BookingRequest.decode(request.encode()) == request


async def test_every_event_adds_up_to_the_row(salon: Salon, open_connection: OpenConnection) -> None:
    for number in range(6):
        booked = await salon.book(salon.request(f"call:{number}", starts_at=SLOT + timedelta(hours=number)))
        assert isinstance(booked, Booked)
        async with tenant(salon.pool, salon.company_id) as connection:
            if number % 2:
                await reschedule(
                    connection,
                    salon.company_id,
                    booked.appointment_id,
                    starts_at=SLOT + timedelta(days=1, hours=number),
                    actor="test",
                    asked_at=ASKED_AT,
                )
            if number % 3 == 0:
                await cancel(connection, salon.company_id, booked.appointment_id, actor="test")
    verified = await verify_appointments(await open_connection(Role.WATCH))
    assert (verified.appointments, verified.events, verified.differences) == (6, 11, ())


async def test_a_row_that_was_changed_past_its_events_is_found(salon: Salon, open_connection: OpenConnection) -> None:
    booked = await salon.book(salon.request())
    assert isinstance(booked, Booked)
    async with tenant(salon.pool, salon.company_id) as connection:
        await connection.execute("update appointments set price_cents = 1, version = 3")
    verified = await verify_appointments(await open_connection(Role.WATCH))
    assert [difference.what for difference in verified.differences] == [
        "price_cents is 1, its events say 3500",
        "version is 3, its events say 1",
    ]
