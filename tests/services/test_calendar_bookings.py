"""Bookings made, moved and cancelled in the provider's calendar become appointments, in whatever order."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.domain.vocabulary import CalendarBookingState
from backend.postgres.pools import Connection, tenant
from backend.providers.calcom.payloads import read_delivery
from backend.queue.port import JobQueue
from backend.services.booking import Booked, cancel, complete, reschedule
from backend.services.calendars.bookings import BookingFold, fold_booking_event
from backend.services.intake.inbox import Stored, release, store
from tests.services.conftest import Salon

TYPE = 4711
"""Anna's haircuts."""
SHARED = 4712
"""Haircuts by anybody."""

NOW = datetime.now(UTC).replace(microsecond=0)
SOON = (NOW + timedelta(days=3)).replace(hour=9, minute=0, second=0)
LATER = NOW + timedelta(hours=1)
"""When folding has waited for long enough."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Tells about bookings as the provider does, and folds what was told."""

    salon: Salon
    setup: Connection

    async def tell(self, event: str, uid: str = "u0", minute: float = 0, **more: object) -> UUID:
        """Put a delivery into the inbox; made `minute` minutes from now on the provider's clock."""
        payload: dict[str, object] = {
            "uid": uid,
            "eventTypeId": TYPE,
            "startTime": more.pop("starts_at", SOON).isoformat(),  # type: ignore[attr-defined] # a datetime
            "attendees": [{"name": "Erika Muster", "email": "erika@example.org", "phoneNumber": "+4917098765432"}],
            "metadata": {},
            **more,
        }
        if event == "BOOKING_NO_SHOW_UPDATED":
            marks = [{"email": "erika@example.org", "noShow": payload.pop("no_show", True)}]
            payload = {"bookingUid": payload.pop("uid"), "attendees": marks}
        created = (NOW + timedelta(minutes=minute)).isoformat()
        body = json.dumps({"triggerEvent": event, "createdAt": created, "payload": payload}).encode()
        return await self.deliver(event, uid, body)

    async def deliver(self, event: str, uid: str, body: bytes) -> UUID:
        """Put a body into the inbox."""
        inbox_id: UUID = await self.setup.fetchval(
            "insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state) "
            "values ('calcom', gen_random_uuid()::text, $1, $2, $3, $4, 'accepted') returning id",
            event,
            uid,
            self.salon.company_id,
            body,
        )
        return inbox_id

    async def fold(self, inbox_id: UUID, now: datetime | None = None) -> BookingFold | None:
        """Fold in a transaction of its own, as the job does."""
        async with tenant(self.salon.pool, self.salon.company_id) as connection:
            return await fold_booking_event(connection, self.salon.company_id, inbox_id, now=now)

    async def told(self, event: str, uid: str = "u0", minute: float = 0, **more: object) -> BookingFold:
        """Tell and fold."""
        folded = await self.fold(await self.tell(event, uid, minute, **more))
        assert folded is not None
        return folded

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Rows as the worker sees them; $1 is the company."""
        async with tenant(self.salon.pool, self.salon.company_id) as connection:
            found = await connection.fetch(query, self.salon.company_id, *arguments)
        return [dict(row) for row in found]

    async def appointments(self) -> list[tuple[datetime, str, str | None]]:
        """Start, status and uid of all appointments, by start."""
        rows = await self.rows(
            "select starts_at, status, provider_booking_uid from appointments where company_id = $1 order by starts_at"
        )
        return [(row["starts_at"], row["status"], row["provider_booking_uid"]) for row in rows]

    async def open_differences(self) -> list[tuple[str, str]]:
        """Kind and subject of what somebody has to look at."""
        rows = await self.rows(
            "select kind, subject from reconciliation_differences where company_id = $1 and resolved_at is null"
        )
        return [(row["kind"], row["subject"]) for row in rows]


@pytest.fixture
async def calendar(salon: Salon, setup: Connection) -> Calendar:
    """The salon, two of whose services are event types of the calendar, and which writes its own appointments there."""
    await setup.execute(
        "update staff_services set calcom_event_type_id = $2 where staff_id = $1 "
        "and service_id = (select id from services where slug = 'schnitt')",
        salon.staff["anna"],
        TYPE,
    )
    await setup.execute("update services set calcom_event_type_id = $1 where slug = 'farbe'", SHARED)
    await setup.execute("""update companies set settings = '{"calcom": {"api_key_secret": "calcom_api_key"}}'""")
    return Calendar(salon, setup)


async def own_appointment(calendar: Calendar, starts_at: datetime = SOON) -> UUID:
    booked = await calendar.salon.book(
        calendar.salon.request(starts_at=starts_at, asked_at=NOW, any_time=True, key=str(uuid4()))
    )
    assert isinstance(booked, Booked)
    return booked.appointment_id


async def test_a_booking_becomes_an_appointment_of_its_customer_with_the_mapped_person(calendar: Calendar) -> None:
    folded = await calendar.told("BOOKING_CREATED")
    assert (folded.state, folded.has_changed) == (CalendarBookingState.SETTLED, True)
    (row,) = await calendar.rows(
        "select a.source, p.slug as staff, s.slug as service, c.last_name, c.email, c.phone, k.state, k.uid, "
        "k.wanted_version = k.synced_version as in_step from appointments a "
        "join staff p on p.id = a.staff_id join services s on s.id = a.service_id "
        "join customers c on c.id = a.customer_id "
        "join calendar_sync k on k.appointment_id = a.id where a.company_id = $1"
    )
    assert row == {
        "source": "calcom",
        "staff": "anna",
        "service": "schnitt",
        "last_name": "Muster",
        "email": "erika@example.org",
        "phone": "+4917098765432",
        "state": "synced",
        "uid": "u0",
        "in_step": True,
    }


async def test_moves_and_cancellations_are_followed(calendar: Calendar) -> None:
    await calendar.told("BOOKING_CREATED")
    await calendar.told("BOOKING_RESCHEDULED", "u1", 5, rescheduleUid="u0", starts_at=SOON + timedelta(hours=2))
    assert await calendar.appointments() == [(SOON + timedelta(hours=2), "confirmed", "u1")]
    await calendar.told("BOOKING_CANCELLED", "u1", 9, starts_at=SOON + timedelta(hours=2))
    assert await calendar.appointments() == [(SOON + timedelta(hours=2), "cancelled", "u1")]


async def test_a_request_takes_no_time_until_it_is_accepted(calendar: Calendar) -> None:
    assert (await calendar.told("BOOKING_REQUESTED")).state is CalendarBookingState.REQUESTED
    assert await calendar.appointments() == []
    await calendar.told("BOOKING_CREATED", minute=3)
    assert await calendar.appointments() == [(SOON, "confirmed", "u0")]


async def test_a_no_show_counts_once_and_can_be_taken_back(calendar: Calendar) -> None:
    await calendar.told("BOOKING_CREATED")
    for minute in (100, 101):
        await calendar.told("BOOKING_NO_SHOW_UPDATED", minute=minute)
    assert await calendar.appointments() == [(SOON, "no_show", "u0")]
    assert await calendar.rows("select no_show_count from customers where company_id = $1") == [{"no_show_count": 1}]
    await calendar.told("BOOKING_NO_SHOW_UPDATED", minute=102, no_show=False)
    assert await calendar.appointments() == [(SOON, "confirmed", "u0")]
    assert await calendar.rows("select no_show_count from customers where company_id = $1") == [{"no_show_count": 0}]


BOOKINGS: dict[str, list[tuple[str, str, float, dict[str, object]]]] = {
    "moved twice and cancelled": [
        ("BOOKING_CREATED", "u0", 0, {}),
        ("BOOKING_RESCHEDULED", "u1", 5, {"rescheduleUid": "u0", "starts_at": SOON + timedelta(hours=1)}),
        ("BOOKING_RESCHEDULED", "u2", 9, {"rescheduleUid": "u1", "starts_at": SOON + timedelta(hours=2)}),
        ("BOOKING_CANCELLED", "u0", 5, {}),
        ("BOOKING_CANCELLED", "u2", 12, {"starts_at": SOON + timedelta(hours=2)}),
    ],
    "asked for, accepted, over, missed": [
        ("BOOKING_REQUESTED", "u0", 0, {}),
        ("BOOKING_CREATED", "u0", 4, {}),
        ("MEETING_STARTED", "u0", 60, {}),
        ("MEETING_ENDED", "u0", 90, {}),
        ("BOOKING_NO_SHOW_UPDATED", "u0", 95, {}),
    ],
    "missed, then moved": [
        ("BOOKING_CREATED", "u0", 0, {}),
        ("MEETING_ENDED", "u0", 90, {}),
        ("BOOKING_RESCHEDULED", "u1", 95, {"rescheduleUid": "u0", "starts_at": SOON + timedelta(hours=5)}),
        ("MEETING_ENDED", "u1", 190, {"starts_at": SOON + timedelta(hours=5)}),
    ],
}


@pytest.mark.parametrize("name", BOOKINGS)
async def test_any_order_and_any_duplicate_ends_in_the_same_state(calendar: Calendar, name: str) -> None:
    events, dice = BOOKINGS[name], random.Random(name)

    async def end(turn: int, order: list[int]) -> list[dict[str, Any]]:
        """Tell the events of a booking of its own (other uids, another day, another person) in this order."""
        waiting = []
        for index in order:
            event, uid, minute, more = events[index]
            renamed = {"rescheduleUid": f"{more['rescheduleUid']}-{turn}"} if "rescheduleUid" in more else {}
            moment: Any = more.get("starts_at", SOON)
            inbox_id = await calendar.tell(
                event,
                f"{uid}-{turn}",
                minute,
                **{**more, **renamed, "starts_at": moment + timedelta(days=turn)},
                responses={"name": {"value": f"Person {turn}"}, "phone": {"value": f"+49170{5550000 + turn}"}},
                attendees=[] if event != "BOOKING_NO_SHOW_UPDATED" else None,
            )
            folded = await calendar.fold(inbox_id)
            assert folded is not None
            if folded.wait_s:
                waiting.append(inbox_id)
        for inbox_id in waiting:
            await calendar.fold(inbox_id, LATER)
        return await calendar.rows(
            "select a.starts_at - make_interval(days => $3) as starts_at, a.status, "
            "split_part(a.provider_booking_uid, '-', 1) as uid, c.no_show_count, b.state, b.began_at, b.over_at, "
            "(select count(*) from webhook_inbox where company_id = $1 and state <> 'processed') as unread "
            "from appointments a join customers c on c.id = a.customer_id "
            "join calendar_bookings b on b.appointment_id = a.id where a.company_id = $1 and a.attendee_name = $2",
            f"Person {turn}",
            turn,
        )

    in_order = list(range(len(events)))
    expected = await end(0, in_order)
    assert len(expected) == 1
    for turn in range(1, 7):
        order = in_order + dice.sample(in_order, 2)
        dice.shuffle(order)
        assert await end(turn, order) == expected, [events[index][:2] for index in order]


async def test_a_move_whose_beginning_never_comes_is_followed_after_a_while(calendar: Calendar) -> None:
    moved = await calendar.tell("BOOKING_RESCHEDULED", "u1", 5, rescheduleUid="u0")
    folded = await calendar.fold(moved)
    assert folded is not None
    assert (folded.state, await calendar.appointments()) == (CalendarBookingState.WAITING, [])
    assert 0 < folded.wait_s <= 60
    await calendar.fold(moved, LATER)
    assert await calendar.appointments() == [(SOON, "confirmed", "u1")]


async def test_two_appointments_of_one_booking_become_one(calendar: Calendar) -> None:
    second = await calendar.tell(
        "BOOKING_RESCHEDULED", "u2", 9, rescheduleUid="u1", starts_at=SOON + timedelta(hours=2)
    )
    await calendar.fold(second, LATER)
    await calendar.told("BOOKING_CREATED", "u0")
    await calendar.told("BOOKING_RESCHEDULED", "u1", 5, rescheduleUid="u0", starts_at=SOON + timedelta(hours=1))
    assert await calendar.appointments() == [
        (SOON, "cancelled", "u0"),
        (SOON + timedelta(hours=2), "confirmed", "u2"),
    ]
    assert await calendar.rows("select kind, action from reconciliation_differences where company_id = $1") == [
        {"kind": "doubled", "action": "closed"}
    ]


async def test_the_echo_of_our_own_booking_makes_no_second_appointment(calendar: Calendar) -> None:
    appointment_id = await own_appointment(calendar)
    told = await calendar.told("BOOKING_CREATED", metadata={"appointment_id": str(appointment_id)})
    assert (told.appointment_id, told.has_changed) == (appointment_id, False)
    assert await calendar.appointments() == [(SOON, "confirmed", "u0")]


async def test_the_late_echo_of_an_earlier_move_of_ours_does_not_undo_the_later_one(calendar: Calendar) -> None:
    appointment_id = await own_appointment(calendar)
    await calendar.told("BOOKING_CREATED", metadata={"appointment_id": str(appointment_id)})
    for hours in (1, 2):
        async with tenant(calendar.salon.pool, calendar.salon.company_id) as connection:
            moment = SOON + timedelta(hours=hours)
            await reschedule(
                connection, calendar.salon.company_id, appointment_id, starts_at=moment, actor="desk", any_time=True
            )
    # Written while the second move was already being made: the calendar made it after our last change.
    told = await calendar.told(
        "BOOKING_RESCHEDULED", "u1", 0.5, rescheduleUid="u0", starts_at=SOON + timedelta(hours=1)
    )
    assert not told.has_changed
    assert await calendar.appointments() == [(SOON + timedelta(hours=2), "confirmed", "u1")]


async def test_what_a_customer_does_there_with_a_booking_of_ours_is_followed(calendar: Calendar) -> None:
    appointment_id = await own_appointment(calendar)
    await calendar.told("BOOKING_CREATED", metadata={"appointment_id": str(appointment_id)})
    await calendar.told("BOOKING_RESCHEDULED", "u1", 30, rescheduleUid="u0", starts_at=SOON + timedelta(hours=4))
    assert await calendar.appointments() == [(SOON + timedelta(hours=4), "confirmed", "u1")]
    await calendar.told("BOOKING_CANCELLED", "u1", 40, starts_at=SOON + timedelta(hours=4))
    assert await calendar.appointments() == [(SOON + timedelta(hours=4), "cancelled", "u1")]
    (row,) = await calendar.rows("select uid, earlier_uids from calendar_sync where company_id = $1")
    assert row == {"uid": "u1", "earlier_uids": ["u0"]}


async def test_a_change_made_here_later_than_theirs_stays_and_is_written_there(calendar: Calendar) -> None:
    await calendar.told("BOOKING_CREATED", minute=-100)
    (row,) = await calendar.rows("select id from appointments where company_id = $1")
    async with tenant(calendar.salon.pool, calendar.salon.company_id) as connection:
        moment = SOON + timedelta(hours=3)
        await reschedule(
            connection, calendar.salon.company_id, row["id"], starts_at=moment, actor="desk", any_time=True
        )
    told = await calendar.told(
        "BOOKING_RESCHEDULED", "u1", -60, rescheduleUid="u0", starts_at=SOON + timedelta(hours=1)
    )
    assert not told.has_changed
    assert await calendar.appointments() == [(SOON + timedelta(hours=3), "confirmed", "u1")]
    assert await calendar.rows("select state, uid from calendar_sync where company_id = $1") == [
        {"state": "pending", "uid": "u1"}
    ]


async def test_how_somebody_here_says_it_ended_is_not_undone(calendar: Calendar) -> None:
    await calendar.told("BOOKING_CREATED")
    (row,) = await calendar.rows("select id from appointments where company_id = $1")
    async with tenant(calendar.salon.pool, calendar.salon.company_id) as connection:
        await complete(connection, calendar.salon.company_id, row["id"], actor="desk")
    await calendar.told("BOOKING_CANCELLED", minute=60)
    assert await calendar.appointments() == [(SOON, "completed", "u0")]
    assert await calendar.open_differences() == [("cancelled_there", "u0")]


async def test_a_time_that_is_taken_here_is_never_booked_twice(calendar: Calendar) -> None:
    mine = await own_appointment(calendar)
    told = await calendar.told("BOOKING_CREATED", "u9", starts_at=SOON + timedelta(minutes=10))
    await calendar.told("MEETING_STARTED", "u9", 1, starts_at=SOON + timedelta(minutes=10))
    assert told.state is CalendarBookingState.CONFLICT
    assert [row[1] for row in await calendar.appointments()] == ["confirmed"]
    assert await calendar.open_differences() == [("conflict", "u9")]
    assert await calendar.rows("select reason, phone, name from callback_requests where company_id = $1") == [
        {"reason": "calendar_conflict", "phone": "+4917098765432", "name": "Erika Muster"}
    ]
    # Once somebody makes room, the next word about it is followed.
    async with tenant(calendar.salon.pool, calendar.salon.company_id) as connection:
        await cancel(connection, calendar.salon.company_id, mine, actor="desk", waive_policy=True)
    await calendar.told("BOOKING_CREATED", "u9", 2, starts_at=SOON + timedelta(minutes=10))
    assert (SOON + timedelta(minutes=10), "confirmed", "u9") in await calendar.appointments()
    assert await calendar.open_differences() == []


async def test_what_is_cancelled_there_before_it_could_be_followed_is_no_difference_any_more(
    calendar: Calendar,
) -> None:
    await own_appointment(calendar)
    await calendar.told("BOOKING_CREATED", "u8", eventTypeId=999)
    await calendar.told("BOOKING_CREATED", "u9", starts_at=SOON + timedelta(minutes=10))
    assert sorted(await calendar.open_differences()) == [("conflict", "u9"), ("unmapped", "u8")]
    await calendar.told("BOOKING_CANCELLED", "u8", 5, eventTypeId=999)
    await calendar.told("BOOKING_CANCELLED", "u9", 5, starts_at=SOON + timedelta(minutes=10))
    assert await calendar.open_differences() == []
    assert [row[:2] for row in await calendar.appointments()] == [(SOON, "confirmed")]


async def test_a_move_to_a_taken_time_leaves_both_where_they_are_and_says_so(calendar: Calendar) -> None:
    await own_appointment(calendar)
    await calendar.told("BOOKING_CREATED", starts_at=SOON + timedelta(hours=2))
    await calendar.told("BOOKING_RESCHEDULED", "u1", 5, rescheduleUid="u0", starts_at=SOON)
    assert [row[:2] for row in await calendar.appointments()] == [
        (SOON, "confirmed"),
        (SOON + timedelta(hours=2), "confirmed"),
    ]
    assert await calendar.open_differences() == [("conflict", "u1")]


async def test_an_event_type_that_no_service_names_is_said_to_be_unmapped(
    calendar: Calendar, setup: Connection
) -> None:
    told = await calendar.told("BOOKING_CREATED", eventTypeId=999)
    assert (told.state, told.appointment_id) == (CalendarBookingState.UNMAPPED, None)
    assert await calendar.open_differences() == [("unmapped", "u0")]
    await setup.execute("update services set calcom_event_type_id = 999 where slug = 'farbe'")
    await calendar.told("MEETING_STARTED", minute=1, eventTypeId=999)
    assert await calendar.appointments() == [(SOON, "confirmed", "u0")]
    assert await calendar.open_differences() == []


async def test_an_event_type_of_a_service_takes_whoever_offers_it(calendar: Calendar) -> None:
    await calendar.told("BOOKING_CREATED", eventTypeId=SHARED)
    rows = await calendar.rows(
        "select p.slug from appointments a join staff p on p.id = a.staff_id where a.company_id = $1"
    )
    assert rows == [{"slug": "anna"}]


async def test_events_that_mean_nothing_here_are_kept_and_counted_as_ignored(calendar: Calendar) -> None:
    for event in ("OOO_CREATED", "BOOKING_PAID", "FORM_SUBMITTED"):
        assert await calendar.told(event) == BookingFold(None)
    assert await calendar.rows("select state, count(*) from webhook_inbox where company_id = $1 group by state") == [
        {"state": "ignored", "count": 3}
    ]


async def test_a_meeting_event_whose_fields_stand_at_the_root_is_understood(calendar: Calendar) -> None:
    await calendar.told("BOOKING_CREATED")
    body = json.dumps(
        {"triggerEvent": "MEETING_ENDED", "uid": "u0", "startTime": SOON.isoformat(), "eventTypeId": TYPE}
    )
    await calendar.fold(await calendar.deliver("MEETING_ENDED", "u0", body.encode()))
    assert await calendar.appointments() == [(SOON, "completed", "u0")]


async def stored(setup: Connection, uid: str, event_type: int) -> Stored:
    payload = {"uid": uid, "eventTypeId": event_type, "startTime": SOON.isoformat()}
    body = json.dumps({"triggerEvent": "BOOKING_CREATED", "createdAt": NOW.isoformat(), "payload": payload})
    (outcome,) = await store(setup, [read_delivery(body.encode(), ())])
    return outcome


async def test_a_booking_finds_its_company_by_the_event_type_that_a_service_names(
    calendar: Calendar, setup: Connection
) -> None:
    assert await stored(setup, "u1", TYPE) is Stored.ACCEPTED
    assert await stored(setup, "u2", SHARED) is Stored.ACCEPTED
    assert await stored(setup, "u3", 999) is Stored.QUARANTINED
    other = await setup.fetchval("insert into companies (slug, name) values ('other', 'Other') returning id")
    await setup.execute(
        "insert into services (company_id, slug, name, duration_min, calcom_event_type_id) "
        "values ($1, 'x', 'X', 30, $2), ($1, 'y', 'Y', 30, 999)",
        other,
        SHARED,
    )
    assert await stored(setup, "u4", SHARED) is Stored.QUARANTINED, "two companies claim it"
    rows = await setup.fetch("select subject, company_id from webhook_inbox where company_id is not null")
    assert {tuple(row) for row in rows} == {("u1", calendar.salon.company_id), ("u2", calendar.salon.company_id)}
    async with setup.transaction():
        assert await release(setup, JobQueue()) == 1
    assert await setup.fetchval("select company_id from webhook_inbox where subject = 'u3'") == other
