"""What may be booked when, and what happens to it then: hours, notice, seats, parts, holds, policies, no-shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from backend.domain.vocabulary import AppointmentStatus, RefusalReason
from backend.postgres.address import Role
from backend.postgres.pools import Connection, tenant
from backend.postgres.verify import verify
from backend.services.booking import (
    Booked,
    Changed,
    ChangeNotAllowed,
    HoldExpired,
    OutsideHours,
    PolicyForbids,
    SlotTaken,
    cancel,
    complete,
    confirm,
    no_show,
    reschedule,
    restore,
)
from backend.services.housekeeping import release_expired_holds
from tests.databases import OpenConnection, OpenPool
from tests.services.atelier import ASKED, TEN, Atelier, open_atelier

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Happening = Callable[..., Awaitable[Changed]]


@pytest.fixture
async def atelier(setup: Connection, open_role_pool: OpenPool) -> Atelier:
    return await open_atelier(setup, await open_role_pool(Role.WORKER, 4))


async def change(atelier: Atelier, booked: Booked, event: Happening, **more: object) -> Changed:
    """Let something happen to an appointment, in a transaction of its own."""
    async with tenant(atelier.pool, atelier.company_id) as connection:
        return await event(connection, atelier.company_id, booked.appointment_id, actor="test", **more)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


REFUSED = [
    ("2026-03-04T08:30+01:00", "anna", RefusalReason.OUTSIDE_HOURS),  # before anybody works
    ("2026-03-04T16:45+01:00", "anna", RefusalReason.OUTSIDE_HOURS),  # would end after hours
    ("2026-03-04T10:10+01:00", "anna", RefusalReason.OUTSIDE_HOURS),  # not on the grid
    ("2026-03-07T10:00+01:00", "anna", RefusalReason.OUTSIDE_HOURS),  # open, but nobody works on Saturdays
    ("2026-03-04T12:15+01:00", "ben", RefusalReason.OUTSIDE_HOURS),  # a break
    ("2026-03-05T10:00+01:00", "ben", RefusalReason.OUTSIDE_HOURS),  # away that day
    ("2026-04-03T10:00+02:00", "anna", RefusalReason.OUTSIDE_HOURS),  # Good Friday
    ("2026-03-02T09:45+01:00", "anna", RefusalReason.TOO_SOON),  # 105 of 120 minutes before
    ("2026-05-04T10:00+02:00", "anna", RefusalReason.TOO_FAR),  # the 63rd day of 60
    ("2026-03-02T07:45+01:00", "anna", RefusalReason.IN_PAST),
]


async def test_what_is_not_offered_is_refused_by_reason(atelier: Atelier) -> None:
    for starts_at, staff, reason in REFUSED:
        refused = await atelier.refused(starts_at=at(starts_at), staff=staff)
        assert refused.reason is reason, starts_at
    assert await atelier.value("select count(*) from appointments") == 0


async def test_the_first_and_the_last_time_that_are_allowed_are_booked(atelier: Atelier) -> None:
    for starts_at in ("2026-03-02T10:00+01:00", "2026-03-04T16:30+01:00", "2026-05-01T10:00+02:00"):
        answer = await atelier.ask(starts_at, starts_at=at(starts_at))
        # The first of May is a holiday in all of Germany: the day before it is the last one.
        assert isinstance(answer, Booked) is (starts_at[:10] != "2026-05-01"), starts_at
    await atelier.book("last", starts_at=at("2026-04-30T10:00+02:00"))


async def test_the_desk_books_whenever_it_likes_but_nobody_twice(atelier: Atelier) -> None:
    await atelier.book(starts_at=at("2026-03-08T03:07+01:00"), any_time=True)
    again = await atelier.refused("two", starts_at=at("2026-03-08T03:30+01:00"), any_time=True)
    assert again.reason is RefusalReason.SLOT_TAKEN
    assert (await atelier.refused("three", service="hand", any_time=True)).reason is RefusalReason.NOT_OFFERED


async def test_a_refusal_names_what_could_be_had_instead(atelier: Atelier) -> None:
    await atelier.book()
    taken = await atelier.refused("two")
    assert [f"{slot.local:%a %H:%M}" for slot in taken.alternatives] == ["Wed 10:00", "Wed 09:30", "Wed 10:30"]
    assert atelier.staff["anna"] not in taken.alternatives[0].staff
    away = await atelier.refused("three", staff="ben", starts_at=TEN + DAY)
    assert away.reason is RefusalReason.OUTSIDE_HOURS
    assert len(away.alternatives) == 3
    soon = await atelier.refused("four", starts_at=ASKED + HOUR)
    assert (soon.detail, f"{soon.alternatives[0].local:%H:%M}") == ("120 minutes beforehand", "10:00")
    assert (await atelier.refused("five", wants_alternatives=False)).alternatives == ()
    assert (await atelier.refused("six", service="unknown")).alternatives == ()


async def test_rules_that_changed_since_they_were_read_are_never_booked_by(atelier: Atelier, setup: Connection) -> None:
    await atelier.book()
    await setup.execute("update working_hours set starts = '13:00' where weekday = 3")
    assert (await atelier.refused("two", starts_at=TEN + HOUR)).reason is RefusalReason.OUTSIDE_HOURS
    await setup.execute("update companies set is_active = false")
    refused = await atelier.refused("three", starts_at=TEN + DAY)
    assert refused.reason is RefusalReason.COMPANY_INACTIVE
    await setup.execute("update companies set is_active = true; update branches set is_active = false")
    assert (await atelier.refused("four", starts_at=TEN + DAY)).reason is RefusalReason.BRANCH_UNKNOWN


async def test_a_course_fills_seat_by_seat_and_is_then_full(atelier: Atelier) -> None:
    seats = [await atelier.book(f"guest {number}", service="kurs", staff="anna") for number in range(3)]
    assert len({one.appointment_id for one in seats}) == 3
    assert await atelier.value("select array_agg(seat order by seat) from appointments") == [1, 2, 3]
    full = await atelier.refused("late", service="kurs")
    assert full.reason is RefusalReason.SLOT_TAKEN
    await change(atelier, seats[1], cancel)
    await atelier.book("late again", service="kurs")
    assert await atelier.value("select seat from appointments where version = 1 order by id desc limit 1") == 2


async def test_whoever_takes_anybody_joins_the_course_that_has_begun_to_fill(atelier: Atelier) -> None:
    first = await atelier.book("first", service="kurs", staff="cem")
    others = [await atelier.book(f"other {number}", service="kurs", staff=None) for number in range(4)]
    assert [one.staff_id == first.staff_id for one in others] == [True, True, False, False]


async def test_during_a_course_its_teacher_does_nothing_else(atelier: Atelier) -> None:
    await atelier.book("course", service="kurs")
    for service in ("schnitt", "yoga"):
        refused = await atelier.refused(service, service=service, starts_at=TEN + HOUR / 2)
        assert refused.reason is RefusalReason.SLOT_TAKEN
    await atelier.book("haircut", starts_at=TEN + HOUR)
    assert (
        await atelier.refused("course two", service="kurs", starts_at=TEN + HOUR)
    ).reason is RefusalReason.SLOT_TAKEN


async def test_the_parts_of_a_service_are_done_by_whoever_can_and_leave_the_gap_free(atelier: Atelier) -> None:
    colour = await atelier.book(service="farbe")
    assert [(part.starts_at - TEN, part.ends_at - TEN) for part in colour.parts] == [
        (timedelta(), HOUR / 2),
        (1.5 * HOUR, 2 * HOUR),
    ]
    assert colour.parts[0].staff_id == atelier.staff["anna"]
    cutter = atelier.name(colour.parts[1].staff_id)
    # While the colour sets, Anna is free; before it and while hair is cut, whoever does that is not.
    await atelier.book("gap", starts_at=TEN + HOUR / 2)
    assert (await atelier.refused("before", starts_at=TEN)).reason is RefusalReason.SLOT_TAKEN
    last = TEN + 1.5 * HOUR
    assert (await atelier.refused("cutting", staff=cutter, starts_at=last)).reason is RefusalReason.SLOT_TAKEN
    # The buffer after it too.
    after = await atelier.refused("after", staff=cutter, starts_at=TEN + 2 * HOUR)
    assert after.reason is (RefusalReason.OUTSIDE_HOURS if cutter == "ben" else RefusalReason.SLOT_TAKEN)


async def test_a_service_of_parts_moves_whole_and_is_cancelled_whole(atelier: Atelier) -> None:
    colour = await atelier.book(service="farbe", staff=None)
    await change(atelier, colour, reschedule, starts_at=TEN + DAY / 24, asked_at=ASKED)
    assert await atelier.value("select count(*) from staff_time") == 2
    assert await atelier.value("select min(busy_from) from staff_time") == TEN + HOUR - timedelta(minutes=5)
    await change(atelier, colour, cancel)
    assert await atelier.value("select count(*) from staff_time") == 0
    await change(atelier, colour, restore)
    assert await atelier.value("select count(*) from staff_time") == 2


async def test_what_is_held_is_taken_until_it_is_confirmed_or_runs_out(atelier: Atelier, setup: Connection) -> None:
    held = await atelier.book(hold_for=timedelta(minutes=5))
    assert held.status is AppointmentStatus.HELD
    assert held.hold_expires_at is not None
    assert (await atelier.refused("two")).reason is RefusalReason.SLOT_TAKEN
    changed = await change(atelier, held, confirm, version=1)
    assert (changed.status, changed.version) == (AppointmentStatus.CONFIRMED, 2)
    with pytest.raises(ChangeNotAllowed):
        await change(atelier, held, confirm)
    again = await atelier.book(hold_for=timedelta(minutes=5))
    assert (again.is_new, again.status) == (False, AppointmentStatus.CONFIRMED)


async def test_a_hold_that_ran_out_is_let_go_of_and_can_not_be_confirmed(
    atelier: Atelier, open_connection: OpenConnection
) -> None:
    brief = timedelta(microseconds=1)
    held = await atelier.book(hold_for=brief)
    with pytest.raises(HoldExpired):
        await change(atelier, held, confirm)
    await atelier.book("two")
    kinds = "select array_agg(kind order by version) from appointment_events where appointment_id = $1"
    assert await atelier.value(kinds, held.appointment_id) == ["held", "hold_expired"]
    # Also those that are parts of a service or one seat of several, and also when nobody wants the time.
    await atelier.book("three", service="farbe", starts_at=TEN + DAY, hold_for=brief)
    await atelier.book("four", service="kurs", starts_at=TEN - HOUR, hold_for=brief)
    async with tenant(atelier.pool, atelier.company_id) as connection:
        assert await release_expired_holds(connection, atelier.company_id) == 2
    assert await atelier.value("select count(*) from staff_time") == 1
    assert [check.broken for check in await verify(await open_connection(Role.CONSOLE))] == [0] * 5


def test_a_hold_has_an_end() -> None:
    for hold_for in (timedelta(), timedelta(days=2)):
        with pytest.raises(ValueError, match="hold_for"):
            Atelier(uuid4(), {}, None).request(hold_for=hold_for)  # type: ignore[arg-type] # asks no database


async def test_a_late_change_costs_what_the_service_says_once_that_is_accepted(atelier: Atelier) -> None:
    booked = await atelier.book()
    in_time, late = TEN - DAY, TEN - DAY + timedelta(seconds=1)
    moved = await change(atelier, booked, reschedule, starts_at=TEN + HOUR, asked_at=in_time)
    assert moved.fee_cents == 0
    with pytest.raises(PolicyForbids) as forbidden:
        await change(atelier, booked, cancel, asked_at=late + HOUR)
    assert (forbidden.value.hours_before, forbidden.value.fee_cents) == (24, 1500)
    with pytest.raises(PolicyForbids):
        await change(atelier, booked, reschedule, starts_at=TEN, asked_at=late + HOUR)
    paid = await change(atelier, booked, reschedule, starts_at=TEN, asked_at=late + HOUR, accept_fee=True)
    assert paid.fee_cents == 1500
    cancelled = await change(atelier, booked, cancel, asked_at=late, accept_fee=True)
    assert cancelled.fee_cents == 3000


async def test_the_desk_waives_a_policy_and_without_a_fee_nobody_else_can(atelier: Atelier) -> None:
    talk = await atelier.book(service="beratung")
    with pytest.raises(PolicyForbids) as forbidden:
        await change(atelier, talk, cancel, asked_at=TEN, accept_fee=True)
    assert forbidden.value.fee_cents == 0
    assert (await change(atelier, talk, cancel, asked_at=TEN, waive_policy=True)).fee_cents == 0
    held = await atelier.book("held", service="beratung", hold_for=HOUR)
    assert (await change(atelier, held, cancel, asked_at=TEN)).status is AppointmentStatus.CANCELLED


async def test_a_move_obeys_the_hours_and_names_alternatives(atelier: Atelier) -> None:
    booked = await atelier.book()
    await atelier.book("two", starts_at=TEN + HOUR)
    with pytest.raises(SlotTaken) as taken:
        await change(atelier, booked, reschedule, starts_at=TEN + HOUR, asked_at=ASKED)
    assert f"{taken.value.alternatives[0].local:%a %H:%M}" == "Wed 11:00"
    for starts_at, reason in [
        (TEN - 2 * HOUR, RefusalReason.OUTSIDE_HOURS),
        (ASKED + HOUR, RefusalReason.TOO_SOON),
        (TEN + 90 * DAY, RefusalReason.TOO_FAR),
        (ASKED - HOUR, RefusalReason.IN_PAST),
    ]:
        with pytest.raises(OutsideHours) as outside:
            await change(atelier, booked, reschedule, starts_at=starts_at, asked_at=ASKED)
        assert outside.value.reason is reason
    moved = await change(atelier, booked, reschedule, starts_at=TEN - 2 * HOUR, asked_at=ASKED, any_time=True)
    assert moved.starts_at == TEN - 2 * HOUR


async def test_what_was_offered_is_kept_with_each_version(atelier: Atelier) -> None:
    booked = await atelier.book(starts_at=at("2026-03-27T10:00+01:00"))
    await change(atelier, booked, reschedule, starts_at=at("2026-03-30T10:00+02:00"), asked_at=ASKED)
    offered = await atelier.value(
        "select array_agg((data -> 'offered' ->> 'local') || ' ' || (data -> 'offered' ->> 'offset_min') "
        "order by version) from appointment_events"
    )
    assert offered == ["2026-03-27T10:00:00 60", "2026-03-30T10:00:00 120"]


async def test_a_no_show_counts_and_restoring_takes_it_back(atelier: Atelier) -> None:
    customer = await atelier.value(
        "insert into customers (company_id, last_name, name_key, phone) "
        "values ($1, 'M', 'm', '+4930111111') returning id",
        atelier.company_id,
    )
    booked = await atelier.book(customer_id=customer)
    count = "select no_show_count from customers"
    await change(atelier, booked, no_show)
    assert await atelier.value(count) == 1
    await change(atelier, booked, restore)
    assert await atelier.value(count) == 0
    await change(atelier, booked, cancel, waive_policy=True)
    await atelier.book("two")
    with pytest.raises(SlotTaken):
        await change(atelier, booked, restore)
    assert await atelier.value(count) == 0


async def test_what_has_ended_stays_ended(atelier: Atelier) -> None:
    booked = await atelier.book()
    await change(atelier, booked, complete)
    for event in (complete, cancel, confirm, restore):
        with pytest.raises(ChangeNotAllowed):
            await change(atelier, booked, event)
    assert await atelier.value("select count(*) from staff_time") == 0


async def test_every_change_is_exactly_one_event(atelier: Atelier) -> None:
    booked = await atelier.book(hold_for=HOUR)
    await change(atelier, booked, confirm)
    await change(atelier, booked, reschedule, starts_at=TEN + HOUR, asked_at=ASKED)
    await change(atelier, booked, no_show)
    await change(atelier, booked, restore)
    await change(atelier, booked, cancel, asked_at=ASKED)
    assert await atelier.value("select array_agg(kind order by version) from appointment_events") == [
        "held",
        "confirmed",
        "rescheduled",
        "no_show",
        "restored",
        "cancelled",
    ]
    assert await atelier.value("select version from appointments") == 6


async def test_anybody_means_whoever_has_been_idle_longest_when_all_are_booked_alike(atelier: Atelier) -> None:
    for staff, hours in (("anna", 3), ("ben", 1), ("cem", 2)):
        await atelier.book(staff, staff=staff, starts_at=TEN - timedelta(days=1) + hours * HOUR)
    answer = await atelier.book("anybody", staff=None)
    assert atelier.name(answer.staff_id) == "ben"


async def test_a_clock_without_offset_is_the_branchs(atelier: Atelier) -> None:
    booked = await atelier.book(starts_at=datetime(2026, 3, 30, 10, 0))  # noqa: DTZ001 (wall time is meant)
    assert booked.starts_at == datetime(2026, 3, 30, 8, 0, tzinfo=UTC)
