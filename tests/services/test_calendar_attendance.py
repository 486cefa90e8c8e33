"""Who did not come is written into the calendar at Cal.com, taken back there when it is here, and compared."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import pytest

from backend.domain.vocabulary import CalendarState, DifferenceAction, DifferenceKind, Provider, RunCause
from backend.postgres.pools import Connection, tenant
from backend.services.booking import Changed, complete, no_show, reschedule, restore
from backend.services.calendars.bookings import fold_booking_event
from backend.services.calendars.sync import CalendarWaits
from backend.services.reconciliation.bookings import reconcile_bookings
from backend.services.reconciliation.running import PoolScope, accounts
from tests.fakes.calcom import WELL, Booking, Misbehaviour
from tests.services.calendar_scenes import SPEED, TOMORROW, CalendarScene, calendars, give_calendars_at_once
from tests.services.conftest import Salon

AN_HOUR_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
LATER = datetime.now(UTC) + timedelta(hours=1)
"""When nothing is in motion any more."""

LOST = {
    "answer lost": Misbehaviour(hangs=1.0, reads=False),
    "done after nobody waits any more": Misbehaviour(late=1.0, late_s=0.28, reads=False),
    "500 before or after": Misbehaviour(fails=1.0, reads=False),
    "neither done nor answered": Misbehaviour(swallows=1.0, reads=False),
}

Told = list[tuple[DifferenceKind, DifferenceAction]]


class _Says(Protocol):
    """A change of the booking service."""

    def __call__(
        self, connection: Connection, company_id: UUID, appointment_id: UUID, *, actor: str
    ) -> Awaitable[Changed]: ...


@dataclass
class Attendance(CalendarScene):
    """The salon, its calendars, and appointments that began some hours ago."""

    setup: Connection
    begun: int = 0
    compared: int = 0

    async def past(self, **changes: object) -> UUID:
        """An appointment that stands in the calendar and has begun; each an hour before the one before."""
        self.begun += 1
        appointment = await self.book(f"k{self.begun}", TOMORROW + timedelta(hours=self.begun), **changes)
        await self.push(appointment)
        moment = AN_HOUR_AGO - timedelta(hours=self.begun)
        async with tenant(self.salon.pool, self.salon.company_id) as connection:
            await reschedule(
                connection, self.salon.company_id, appointment, starts_at=moment, actor="test", any_time=True
            )
        await self.push(appointment)
        return appointment

    async def say(self, appointment: UUID, *changes: _Says) -> None:
        """Let somebody here say what became of it."""
        for change in changes:
            async with tenant(self.salon.pool, self.salon.company_id) as connection:
                await change(connection, self.salon.company_id, appointment, actor="desk")

    async def there(self, appointment: UUID) -> Booking:
        """Its booking there."""
        return self.fake.bookings[(await self.row(appointment))["uid"]]

    async def here(self, appointment: UUID) -> object:
        """What became of it here."""
        return await self.salon.value("select status from appointments where id = $1", appointment)

    async def lose_jobs(self) -> None:
        """As if the jobs of all changes had been lost."""
        await self.setup.execute("update calendar_sync set state = 'synced'")

    async def push_all(self) -> None:
        """Do the jobs that wait."""
        for (appointment,) in await self.setup.fetch(
            "select appointment_id from calendar_sync where state = 'pending'"
        ):
            await self.push_patiently(appointment)

    async def reconcile(self) -> Told:
        """What a comparison in a while finds; each an hour after the one before."""
        self.compared += 1
        scope = PoolScope(self.salon.pool)
        (account,) = await accounts(scope, Provider.CALCOM)
        report = await reconcile_bookings(
            scope,
            self.providers,
            account,
            cause=RunCause.SCHEDULE,
            holder="test",
            now=LATER + timedelta(hours=self.compared),
        )
        return [(difference.kind, difference.action) for difference in report.differences]

    async def echo(self, booking: Booking, at: datetime, *, is_absent: bool) -> None:
        """Let the calendar tell of a mark."""
        payload = {"bookingUid": booking.uid, "attendees": [{"email": "hans@example.org", "noShow": is_absent}]}
        body = {"triggerEvent": "BOOKING_NO_SHOW_UPDATED", "createdAt": at.isoformat(), "payload": payload}
        inbox_id = await self.setup.fetchval(
            "insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state) "
            "values ('calcom', gen_random_uuid()::text, $1, $2, $3, $4, 'accepted') returning id",
            "BOOKING_NO_SHOW_UPDATED",
            booking.uid,
            self.salon.company_id,
            json.dumps(body).encode(),
        )
        async with tenant(self.salon.pool, self.salon.company_id) as connection:
            await fold_booking_event(connection, self.salon.company_id, inbox_id, now=LATER)


@pytest.fixture
async def scene(salon: Salon, setup: Connection) -> AsyncIterator[Attendance]:
    """The salon with calendars at a Cal.com that is well."""
    await give_calendars_at_once(setup)
    with calendars(salon) as made:
        yield Attendance(made.salon, made.fake, made.providers, setup)
        await made.providers.aclose()


async def test_who_did_not_come_is_marked_there_by_a_job_of_the_change(scene: Attendance) -> None:
    appointment = await scene.past()
    await scene.salon.pool.execute("delete from pgqueuer")
    await scene.say(appointment, no_show)
    assert await scene.jobs() == [f"calendar:{appointment}:3"]
    pushed = await scene.push(appointment)
    assert pushed is not None
    assert pushed.state is CalendarState.SYNCED
    assert (await scene.there(appointment)).is_absent
    row = await scene.row(appointment)
    assert (row["state"], row["synced_version"], row["asked_at"]) == ("synced", 3, None)


async def test_a_no_show_that_was_taken_back_is_taken_back_there(scene: Attendance) -> None:
    appointment = await scene.past()
    await scene.say(appointment, no_show)
    await scene.push(appointment)
    await scene.say(appointment, restore, complete)
    await scene.push(appointment)
    booking = await scene.there(appointment)
    assert (booking.is_absent, booking.status) == (False, "accepted")
    assert len(scene.fake.standing()) == 1, "and the booking is the same one"


async def test_what_the_calendar_shows_already_is_not_said_again(scene: Attendance) -> None:
    appointment = await scene.past()
    (await scene.there(appointment)).is_absent = True
    await scene.say(appointment, no_show)
    await scene.push(appointment)
    await scene.push(appointment)
    assert scene.fake.asked["mark_absent"] == 0


async def test_that_it_took_place_is_not_written(scene: Attendance) -> None:
    appointment = await scene.past()
    await scene.salon.pool.execute("delete from pgqueuer")
    await scene.say(appointment, complete)
    assert await scene.jobs() == []
    await scene.push(appointment)
    assert scene.fake.asked["mark_absent"] == 0


async def test_somebody_with_only_a_phone_number_is_marked_by_the_address_that_the_calendar_made_up(
    scene: Attendance,
) -> None:
    appointment = await scene.past(attendee_email=None, attendee_phone="+4917012345678")
    await scene.say(appointment, no_show)
    await scene.push(appointment)
    assert (await scene.there(appointment)).is_absent


async def test_nobody_is_marked_before_it_begins(scene: Attendance) -> None:
    appointment = await scene.book("a")
    await scene.push(appointment)
    await scene.say(appointment, no_show)
    with pytest.raises(CalendarWaits) as waits:
        await scene.push(appointment)
    begins_in_s = (TOMORROW - datetime.now(UTC)).total_seconds()
    assert waits.value.seconds / SPEED == pytest.approx(begins_in_s, abs=60)
    assert scene.fake.asked["mark_absent"] == 0


async def test_a_move_that_never_arrived_is_not_written_once_nobody_came(scene: Attendance) -> None:
    appointment = await scene.past()
    async with tenant(scene.salon.pool, scene.salon.company_id) as connection:
        moment = AN_HOUR_AGO - timedelta(hours=8)
        await reschedule(connection, scene.salon.company_id, appointment, starts_at=moment, actor="test", any_time=True)
    moves = scene.fake.asked["reschedule"]
    await scene.say(appointment, no_show)
    await scene.push(appointment)
    assert (await scene.there(appointment)).is_absent
    assert scene.fake.asked["reschedule"] == moves


@pytest.mark.parametrize("bad", LOST.values(), ids=LOST)
async def test_marks_whose_answers_got_lost_are_right_at_last(scene: Attendance, bad: Misbehaviour) -> None:
    missed, came = await scene.past(), await scene.past()
    await scene.say(missed, no_show)
    await scene.say(came, no_show)
    scene.fake.misbehaviour = bad
    for appointment in (missed, came):
        with pytest.raises(CalendarWaits):
            await scene.push(appointment)
    # While the first mark may still be on its way, it is taken back.
    await scene.say(came, restore)
    with pytest.raises(CalendarWaits):
        await scene.push(came)
    scene.fake.misbehaviour = WELL
    for appointment in (missed, came):
        await scene.push_patiently(appointment)
    assert [(await scene.there(one)).is_absent for one in (missed, came)] == [True, False]
    for appointment in (missed, came):
        row = await scene.row(appointment)
        assert (row["state"], row["asked_at"], row["attempts"]) == ("synced", None, 0)
    assert len(scene.fake.standing()) == 2


async def test_a_429_is_waited_for_as_long_as_it_asks_and_uses_up_nothing(scene: Attendance) -> None:
    appointment = await scene.past()
    await scene.say(appointment, no_show)
    scene.fake.misbehaviour = Misbehaviour(busy=1.0, retry_after_s=120, reads=False)
    with pytest.raises(CalendarWaits) as waits:
        await scene.push(appointment)
    assert 110 < waits.value.seconds < 200
    row = await scene.row(appointment)
    assert (row["attempts"], row["asked_at"]) == (0, None)
    scene.fake.misbehaviour = WELL
    await scene.push_patiently(appointment)
    assert (await scene.there(appointment)).is_absent


async def test_an_outage_opens_the_breaker_and_the_mark_comes_after_it(scene: Attendance) -> None:
    appointments = [await scene.past() for _ in range(5)]
    await scene.say(appointments[0], no_show)
    scene.fake.is_down = True
    breaker = scene.providers.client(Provider.CALCOM).breaker
    for appointment in appointments * 4:
        if breaker.opened:
            break
        with pytest.raises(CalendarWaits):
            await scene.push(appointment)
    assert breaker.opened == 1
    asked = scene.fake.asked.total()
    with pytest.raises(CalendarWaits):
        await scene.push(appointments[0])
    assert scene.fake.asked.total() == asked, "nobody asks while the breaker is open"
    scene.fake.is_down = False
    await scene.push_patiently(appointments[0])
    assert (await scene.there(appointments[0])).is_absent


async def test_a_refusal_is_kept_with_the_providers_words(scene: Attendance) -> None:
    appointment = await scene.past()
    await scene.say(appointment, no_show)
    scene.fake.refuses = lambda endpoint, wish: "no such plan" if endpoint == "mark-absent" else None
    pushed = await scene.push(appointment)
    assert pushed is not None
    assert (pushed.state, pushed.error) == (CalendarState.FAILED, "Cal.com: 400 no such plan")


async def test_a_calendar_that_takes_the_word_and_does_nothing_is_told_of(scene: Attendance) -> None:
    appointment = await scene.past()
    booking = await scene.there(appointment)
    await scene.say(appointment, no_show)
    scene.fake.forgets_marks = True
    pushed = await scene.push(appointment)
    assert pushed is not None
    assert pushed.state is CalendarState.FAILED
    assert "opposite" in str(pushed.error)
    assert not booking.is_absent


async def test_a_mark_that_never_arrived_is_found_by_comparing_and_written(scene: Attendance) -> None:
    appointment = await scene.past()
    await scene.say(appointment, no_show)
    await scene.lose_jobs()
    assert await scene.reconcile() == [(DifferenceKind.ATTENDANCE_DIFFERS, DifferenceAction.PUSHED)]
    await scene.push_all()
    assert (await scene.there(appointment)).is_absent
    assert await scene.reconcile() == []


async def test_a_mark_there_that_nobody_told_of_is_followed(scene: Attendance) -> None:
    appointment = await scene.past()
    (await scene.there(appointment)).is_absent = True
    assert await scene.reconcile() == [(DifferenceKind.ATTENDANCE_DIFFERS, DifferenceAction.FOLDED_IN)]
    assert await scene.here(appointment) == "no_show"
    await scene.push_all()
    assert await scene.reconcile() == []
    # And that it was taken back there, too.
    (await scene.there(appointment)).is_absent = False
    assert await scene.reconcile() == [(DifferenceKind.ATTENDANCE_DIFFERS, DifferenceAction.FOLDED_IN)]
    assert await scene.here(appointment) == "confirmed"
    await scene.push_all()
    assert await scene.reconcile() == []
    assert not (await scene.there(appointment)).is_absent


async def test_a_restore_that_never_arrived_is_found_by_comparing_and_written(scene: Attendance) -> None:
    appointment = await scene.past()
    await scene.say(appointment, no_show)
    await scene.push(appointment)
    await scene.say(appointment, restore)
    await scene.lose_jobs()
    assert await scene.reconcile() == [(DifferenceKind.ATTENDANCE_DIFFERS, DifferenceAction.PUSHED)]
    await scene.push_all()
    assert not (await scene.there(appointment)).is_absent
    assert await scene.here(appointment) == "confirmed"


async def test_two_people_who_say_the_opposite_are_left_to_people(scene: Attendance) -> None:
    appointment = await scene.past()
    await scene.say(appointment, complete)
    (await scene.there(appointment)).is_absent = True
    for _ in range(2):
        assert await scene.reconcile() == [(DifferenceKind.ATTENDANCE_DIFFERS, DifferenceAction.REPORTED)]
    assert await scene.here(appointment) == "completed"
    (kept,) = await scene.setup.fetch("select kind, ours, theirs from reconciliation_differences")
    assert kept["kind"] == "attendance_differs"
    assert (json.loads(kept["ours"])["no_show"], json.loads(kept["theirs"])["no_show"]) == (False, True)


async def test_what_the_calendar_tells_of_our_own_marks_changes_nothing(scene: Attendance) -> None:
    appointment = await scene.past()
    booking = await scene.there(appointment)
    await scene.say(appointment, no_show)
    await scene.push(appointment)
    marked_at = datetime.now(UTC)
    await scene.say(appointment, restore)
    # It comes late, by a clock that is ahead of ours.
    await scene.echo(booking, marked_at + timedelta(seconds=20), is_absent=True)
    assert await scene.here(appointment) == "confirmed"
    await scene.push_all()
    await scene.echo(booking, marked_at + timedelta(seconds=25), is_absent=False)
    assert await scene.here(appointment) == "confirmed"
    assert not booking.is_absent
    assert await scene.salon.value("select count(*) from appointment_events where actor like 'calcom%'") == 0
