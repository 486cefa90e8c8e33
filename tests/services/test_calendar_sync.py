"""Appointments in a calendar at Cal.com: each once, whatever becomes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from backend.domain.vocabulary import CalendarState
from backend.postgres.address import Role
from backend.postgres.pools import Connection, tenant
from backend.services.booking import cancel, complete, reschedule, restore
from backend.services.calendars.records import push_again
from backend.services.calendars.status import push, read_status
from backend.services.calendars.sync import MOST_ATTEMPTS, CalendarWaits
from tests.databases import OpenConnection
from tests.fakes.calcom import WELL, Misbehaviour
from tests.queue.scenes import until
from tests.services.calendar_scenes import (
    CUT,
    CUT_BEN,
    SPEED,
    TOMORROW,
    CalendarScene,
    calendars,
    give_calendars,
    give_calendars_at_once,
)
from tests.services.conftest import Salon

LATER = TOMORROW + timedelta(hours=3)


@pytest.fixture
async def scene(salon: Salon, setup: Connection) -> AsyncIterator[CalendarScene]:
    """The salon with calendars at a Cal.com that is well."""
    await give_calendars_at_once(setup)
    with calendars(salon) as made:
        yield made
        await made.providers.aclose()


async def move(scene: CalendarScene, appointment: UUID, starts_at: datetime, staff: str | None = None) -> None:
    salon = scene.salon
    async with tenant(salon.pool, salon.company_id) as connection:
        await reschedule(
            connection,
            salon.company_id,
            appointment,
            starts_at=starts_at,
            staff_id=salon.staff[staff] if staff else None,
            actor="test",
            any_time=True,
        )


async def call_off(scene: CalendarScene, appointment: UUID) -> None:
    async with tenant(scene.salon.pool, scene.salon.company_id) as connection:
        await cancel(connection, scene.salon.company_id, appointment, actor="test", waive_policy=True)


async def bring_back(scene: CalendarScene, appointment: UUID) -> None:
    async with tenant(scene.salon.pool, scene.salon.company_id) as connection:
        await restore(connection, scene.salon.company_id, appointment, actor="test")


async def test_a_booking_is_written_once_with_who_comes_and_whose_it_is(scene: CalendarScene) -> None:
    appointment = await scene.book("a", attendee_phone="+4917012345678")
    before = await scene.row(appointment)
    assert (before["state"], before["wanted_version"], before["synced_version"]) == ("pending", 1, 0)
    assert await scene.jobs() == [f"calendar:{appointment}:1"]

    pushed = await scene.push(appointment)
    assert pushed is not None
    assert pushed.state is CalendarState.SYNCED
    assert scene.standing() == [(CUT, TOMORROW, str(appointment))]
    (booking,) = scene.fake.standing()
    assert booking.attendee == {
        "name": "Hans Müller",
        "email": "hans@example.org",
        "phoneNumber": "+4917012345678",
        "timeZone": "Europe/Berlin",
        "language": "de",
    }
    after = await scene.row(appointment)
    assert (after["state"], after["synced_version"], after["uid"], after["round"]) == ("synced", 1, booking.uid, 2)
    assert after["last_error"] is None
    linked = await scene.salon.value("select provider_booking_uid from appointments where id = $1", appointment)
    assert linked == booking.uid


async def test_pushing_what_is_there_already_changes_nothing(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    for _ in range(3):
        await scene.push(appointment)
    assert len(scene.fake.bookings) == 1
    assert scene.fake.asked == {"create": 1, "get": 2}


async def test_a_move_gets_the_new_uid_and_keeps_the_old_one(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    await scene.push(appointment)
    first = (await scene.row(appointment))["uid"]
    await move(scene, appointment, LATER)
    await scene.push(appointment)
    row = await scene.row(appointment)
    assert scene.standing() == [(CUT, LATER, str(appointment))]
    assert (row["uid"], row["earlier_uids"]) == (scene.fake.standing()[0].uid, [first])
    assert scene.fake.asked["reschedule"] == 1


async def test_a_move_to_somebody_with_a_calendar_of_their_own_cancels_there_and_books_here(
    scene: CalendarScene,
) -> None:
    appointment = await scene.book("a")
    await scene.push(appointment)
    await move(scene, appointment, TOMORROW, staff="ben")
    await scene.push(appointment)
    assert scene.standing() == [(CUT_BEN, TOMORROW, str(appointment))]
    assert [booking.status for booking in scene.fake.bookings.values()].count("cancelled") == 1


async def test_several_changes_before_a_push_fold_into_one(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    await move(scene, appointment, LATER)
    await move(scene, appointment, LATER + timedelta(hours=1))
    assert await scene.jobs() == [f"calendar:{appointment}:1"]
    await scene.push(appointment)
    assert scene.standing() == [(CUT, LATER + timedelta(hours=1), str(appointment))]
    assert scene.fake.asked == {"create": 1}
    assert (await scene.row(appointment))["synced_version"] == 3


async def test_a_cancelled_appointment_leaves_the_calendar_and_comes_back_when_restored(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    await scene.push(appointment)
    await call_off(scene, appointment)
    await scene.push(appointment)
    assert scene.standing() == []
    assert await scene.salon.value("select provider_booking_uid from appointments where id = $1", appointment) is None
    gone = (await scene.row(appointment))["uid"]
    await bring_back(scene, appointment)
    await scene.push(appointment)
    assert scene.standing() == [(CUT, TOMORROW, str(appointment))]
    assert (await scene.row(appointment))["earlier_uids"] == [gone]


async def test_what_was_cancelled_before_it_was_pushed_is_never_written(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    await call_off(scene, appointment)
    pushed = await scene.push(appointment)
    assert pushed is not None
    assert pushed.state is CalendarState.SYNCED
    assert scene.fake.asked == {}


async def test_a_hold_is_not_written_before_it_is_confirmed(scene: CalendarScene) -> None:
    await scene.book("a", hold_for=timedelta(minutes=5))
    assert await scene.jobs() == []
    assert await scene.salon.value("select count(*) from calendar_sync") == 0


async def test_what_happens_on_the_day_needs_no_push(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    await scene.push(appointment)
    await scene.salon.pool.execute("delete from pgqueuer")
    async with tenant(scene.salon.pool, scene.salon.company_id) as connection:
        await complete(connection, scene.salon.company_id, appointment, actor="test")
    assert await scene.jobs() == []


async def test_a_service_without_an_event_type_is_not_synced(scene: CalendarScene) -> None:
    await scene.book("a", service="farbe")
    assert await scene.jobs() == []


async def test_a_company_that_does_not_declare_it_is_not_synced(salon: Salon) -> None:
    with calendars(salon) as scene:
        await scene.book("a")
        assert await scene.jobs() == []


async def test_a_change_while_the_job_runs_is_pushed_by_the_same_run(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def change_meanwhile(endpoint: str, wish: Mapping[str, object]) -> str | None:
        if endpoint == "bookings" and wish and not changed.is_set():
            asyncio.run_coroutine_threadsafe(move(scene, appointment, LATER), loop).result(5)
            loop.call_soon_threadsafe(changed.set)
        return None

    scene.fake.refuses = change_meanwhile
    await scene.push_patiently(appointment)
    assert changed.is_set()
    assert scene.standing() == [(CUT, LATER, str(appointment))]
    row = await scene.row(appointment)
    assert (row["state"], row["synced_version"]) == ("synced", 2)


async def test_a_change_after_the_run_starts_a_job_of_the_next_round(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    await scene.push(appointment)
    # The first round's job is not written off yet, as when its worker does so in batches.
    await move(scene, appointment, LATER)
    assert await scene.jobs() == [f"calendar:{appointment}:1", f"calendar:{appointment}:2"]


@pytest.mark.parametrize(
    "bad",
    [Misbehaviour(hangs=1.0), Misbehaviour(late=1.0, late_s=0.28), Misbehaviour(fails=1.0)],
    ids=["answer lost", "done after nobody waits any more", "500 before or after"],
)
async def test_a_booking_whose_answer_got_lost_is_found_and_not_made_again(
    scene: CalendarScene, bad: Misbehaviour
) -> None:
    appointments = [await scene.book(f"k{number}", TOMORROW + timedelta(hours=number)) for number in range(4)]
    scene.fake.misbehaviour = bad
    for appointment in appointments:
        with pytest.raises(CalendarWaits):
            await scene.push(appointment)
    scene.fake.misbehaviour = WELL
    for appointment in appointments:
        await scene.push_patiently(appointment)
    assert scene.standing() == [
        (CUT, TOMORROW + timedelta(hours=number), str(appointment)) for number, appointment in enumerate(appointments)
    ]
    assert len(scene.fake.bookings) == 4
    for appointment in appointments:
        row = await scene.row(appointment)
        assert (row["state"], row["asked_at"], row["attempts"]) == ("synced", None, 0)


@pytest.mark.parametrize(
    "bad", [Misbehaviour(hangs=1.0, reads=False), Misbehaviour(late=1.0, late_s=0.28, reads=False)]
)
async def test_a_move_and_a_cancellation_whose_answers_got_lost_happen_once(
    scene: CalendarScene, bad: Misbehaviour
) -> None:
    moved, cancelled = await scene.book("a"), await scene.book("b", TOMORROW + timedelta(hours=6))
    for appointment in (moved, cancelled):
        await scene.push(appointment)
    await move(scene, moved, LATER)
    await call_off(scene, cancelled)
    for appointment in (moved, cancelled):
        scene.fake.misbehaviour = bad
        with pytest.raises(CalendarWaits):
            await scene.push(appointment)
        scene.fake.misbehaviour = WELL
    for appointment in (moved, cancelled):
        await scene.push_patiently(appointment)
    assert scene.standing() == [(CUT, LATER, str(moved))]
    assert len(scene.fake.bookings) == 3
    assert scene.fake.asked["reschedule"] == 1


async def test_a_booking_that_was_found_by_chance_stays_known_when_moving_it_fails(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    scene.fake.misbehaviour = Misbehaviour(hangs=1.0)
    with pytest.raises(CalendarWaits):
        await scene.push(appointment)
    await move(scene, appointment, LATER)
    scene.fake.misbehaviour = Misbehaviour(swallows=1.0, reads=False)
    while (await scene.row(appointment))["uid"] is None:
        with pytest.raises(CalendarWaits) as wait:
            await scene.push(appointment)
        await asyncio.sleep(wait.value.seconds / SPEED)
    scene.fake.misbehaviour = WELL
    await scene.push_patiently(appointment)
    assert scene.standing() == [(CUT, LATER, str(appointment))]
    assert scene.fake.asked["create"] == 1


async def test_a_worker_that_ends_while_it_asks_leaves_a_note_for_the_next(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    scene.fake.misbehaviour = Misbehaviour(hangs=1.0)
    pushing = asyncio.create_task(scene.push(appointment))

    async def it_was_done() -> bool:
        return bool(scene.fake.bookings)

    await until(it_was_done, "the booking is made")
    pushing.cancel()
    await asyncio.wait([pushing])
    assert pushing.cancelled()
    scene.fake.misbehaviour = WELL
    await scene.push_patiently(appointment)
    assert scene.standing() == [(CUT, TOMORROW, str(appointment))]
    assert len(scene.fake.bookings) == 1


async def test_two_bookings_of_one_appointment_become_one(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    scene.fake.misbehaviour = Misbehaviour(hangs=1.0)
    with pytest.raises(CalendarWaits):
        await scene.push(appointment)
    scene.fake.misbehaviour = WELL
    (first,) = scene.fake.bookings.values()
    scene.fake.copy(first)
    await scene.push_patiently(appointment)
    assert scene.standing() == [(CUT, TOMORROW, str(appointment))]


async def test_a_lookup_that_fails_does_not_make_the_lost_answer_forgotten(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    scene.fake.misbehaviour = Misbehaviour(hangs=1.0)
    with pytest.raises(CalendarWaits):
        await scene.push(appointment)
    scene.fake.misbehaviour = Misbehaviour(busy=1.0, retry_after_s=20)
    for _ in range(3):
        with pytest.raises(CalendarWaits) as wait:
            await scene.push(appointment)
        await asyncio.sleep(wait.value.seconds / SPEED)
    assert (await scene.row(appointment))["asked_at"] is not None
    scene.fake.misbehaviour = WELL
    await scene.push_patiently(appointment)
    assert len(scene.fake.bookings) == 1


async def test_a_429_is_obeyed_and_uses_up_nothing(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    scene.fake.misbehaviour = Misbehaviour(busy=1.0, retry_after_s=60)
    with pytest.raises(CalendarWaits) as wait:
        await scene.push(appointment)
    assert wait.value.seconds >= 60
    row = await scene.row(appointment)
    assert (row["state"], row["attempts"], row["asked_at"]) == ("pending", 0, None)
    assert row["last_error"] == "Cal.com asked to wait 60 s"
    with pytest.raises(CalendarWaits):
        await scene.push(appointment)
    assert scene.fake.asked == {"create": 1}


async def test_a_refusal_stops_it_with_the_providers_words_until_somebody_tries_again(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    scene.fake.refuses = lambda endpoint, wish: "User either already has booking at this time or is not available"
    pushed = await scene.push(appointment)
    assert pushed is not None
    row = await scene.row(appointment)
    assert row["state"] == "failed"
    assert row["last_error"] == "Cal.com: 400 User either already has booking at this time or is not available"
    scene.fake.refuses = lambda endpoint, wish: None
    async with tenant(scene.salon.pool, scene.salon.company_id) as connection:
        assert await push_again(connection, scene.salon.company_id, all_failed=True) == 1
    assert (await scene.row(appointment))["state"] == "pending"
    assert (await scene.jobs())[-1] == f"calendar:{appointment}:2"
    await scene.push(appointment)
    assert (await scene.row(appointment))["state"] == "synced"


async def test_an_operator_sees_what_is_open_and_pushes_it_again(
    scene: CalendarScene, setup: Connection, open_connection: OpenConnection
) -> None:
    refused, waiting = await scene.book("a"), await scene.book("b", LATER)
    scene.fake.refuses = lambda endpoint, wish: "not available"
    await scene.push(refused)
    scene.fake.refuses = lambda endpoint, wish: None
    console = await open_connection(Role.CONSOLE)
    found = await read_status(console)
    assert [(row.company, row.syncs, row.pending, row.failed) for row in found.companies] == [
        ("salon-anna", True, 1, 1)
    ]
    assert [(row.appointment, row.state, row.error) for row in found.open] == [
        (refused, "failed", "Cal.com: 400 not available"),
        (waiting, "pending", ""),
    ]
    assert await push(setup, "another", failed=True) == 0
    assert await push(setup, "salon-anna", failed=True) == 1
    await scene.push(refused)
    assert len(scene.fake.standing()) == 1


async def test_what_was_booked_before_the_company_synced_can_be_pushed(salon: Salon, setup: Connection) -> None:
    with calendars(salon) as scene:
        early = await scene.book("a")
        assert await push(setup, never_written=True) == 0
        await give_calendars(setup)
        assert await push(setup, never_written=True) == 1
        assert await push(setup, never_written=True) == 0
        await scene.push(early)
        assert scene.standing() == [(CUT, TOMORROW, str(early))]
        await scene.providers.aclose()


async def test_a_key_that_is_not_set_or_wrong_is_told(scene: CalendarScene, setup: Connection) -> None:
    appointment = await scene.book("a")
    await give_calendars(setup, api_key_secret="salons_own_key")
    await scene.push(appointment)
    assert (await scene.row(appointment))["last_error"] == "the secret salons_own_key is not set"
    scene.providers.config.secret.__self__["salons_own_key"] = "cal_wrong"  # type: ignore[attr-defined] # a dict's get
    await scene.push(appointment)
    assert (await scene.row(appointment))["last_error"] == "Cal.com: 401 Invalid API Key"
    assert "cal_wrong" not in str(await scene.row(appointment))


async def test_who_cannot_be_reached_is_written_with_the_companys_address(
    scene: CalendarScene, setup: Connection
) -> None:
    appointment = await scene.book("a", attendee_email=None)
    await scene.push(appointment)
    assert (await scene.row(appointment))["state"] == "failed"
    assert "calcom.attendee_email" in (await scene.row(appointment))["last_error"]
    await give_calendars(setup, attendee_email="termine@salon-anna.de")
    await scene.push(appointment)
    assert scene.fake.standing()[0].attendee["email"] == "termine@salon-anna.de"


async def test_a_booking_that_keeps_failing_alone_is_given_to_people_at_last(scene: CalendarScene) -> None:
    appointment = await scene.book("a")
    async with tenant(scene.salon.pool, scene.salon.company_id) as connection:
        await connection.execute("update calendar_sync set attempts = $1", MOST_ATTEMPTS - 1)
    scene.fake.misbehaviour = Misbehaviour(fails=1.0)
    pushed = await scene.push(appointment)
    assert pushed is not None
    assert pushed.state is CalendarState.FAILED
    assert (await scene.row(appointment))["last_error"].startswith("Cal.com: 20 times: answered 500")


async def test_many_events_in_one_statement_make_one_job_for_each_appointment(
    scene: CalendarScene, setup: Connection
) -> None:
    first, second = await scene.book("a"), await scene.book("b", LATER)
    await scene.salon.pool.execute("delete from pgqueuer")
    await setup.execute(
        """insert into appointment_events (company_id, appointment_id, version, kind, actor)
           select company_id, id, n, 'rescheduled', 'import' from appointments, generate_series(2, 4) n"""
    )
    assert sorted(await scene.jobs()) == sorted([f"calendar:{first}:1", f"calendar:{second}:1"])
    assert (await scene.row(first))["wanted_version"] == 4
