"""Two calendars that went apart say the same again, as far as that is safe; the rest is told."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backend.domain.vocabulary import DifferenceAction, DifferenceKind, Provider, RunCause, RunState
from backend.postgres.pools import Connection, tenant
from backend.providers.clients import Providers
from backend.services.booking import cancel, reschedule
from backend.services.companies.applying import apply_company
from backend.services.reconciliation.bookings import reconcile_bookings
from backend.services.reconciliation.running import NoKey, PoolScope, Report, accounts
from tests.fakes.calcom import Booking, FakeCalcom
from tests.fakes.serving import serving
from tests.services.calendar_scenes import CUT, TOMORROW, CalendarScene, provider_config, with_calendars
from tests.services.conftest import Salon

LATER = datetime.now(UTC) + timedelta(hours=1)
"""When nothing is in motion any more."""


@dataclass
class Scene(CalendarScene):
    """The salon, its calendars, and whoever reconciles them."""

    setup: Connection

    async def reconcile(self, *, is_dry: bool = False, cause: RunCause = RunCause.SCHEDULE) -> Report:
        """One run, ten minutes from now."""
        scope = PoolScope(self.salon.pool)
        (account,) = await accounts(scope, Provider.CALCOM)
        return await reconcile_bookings(
            scope, self.providers, account, cause=cause, holder="test", is_dry=is_dry, now=LATER
        )

    async def synced(self, key: str, starts_at: datetime = TOMORROW) -> UUID:
        """An appointment that is in the calendar."""
        appointment = await self.book(key, starts_at)
        await self.push_patiently(appointment)
        return appointment

    def there(self, starts_at: datetime, **fields: object) -> Booking:
        """A booking that somebody made in the calendar."""
        attendee = {"name": "Erika Muster", "email": "erika@example.org", "phoneNumber": "+4917098765432"}
        given: dict[str, object] = {"event_type_id": CUT, "attendee": attendee, "metadata": {}, **fields}
        booking = Booking(uid=secrets.token_urlsafe(8), starts_at=starts_at, **given)  # type: ignore[arg-type] # named
        self.fake.bookings[booking.uid] = booking
        return booking

    async def ours(self) -> list[tuple[datetime, str]]:
        """Start and status of our appointments."""
        rows = await self.setup.fetch("select starts_at, status from appointments order by starts_at, status")
        return [(row["starts_at"], row["status"]) for row in rows]

    async def push_all(self) -> None:
        """Do the jobs that wait."""
        for (appointment,) in await self.setup.fetch(
            "select appointment_id from calendar_sync where state = 'pending'"
        ):
            await self.push_patiently(appointment)


@pytest.fixture
async def scene(salon: Salon, setup: Connection) -> AsyncIterator[Scene]:
    await apply_company(setup, with_calendars())
    # Anna's, who works in one branch: so an event type says where.
    await setup.execute(
        "update staff_services set calcom_event_type_id = $1 where staff_id = $2 "
        "and service_id = (select id from services where slug = 'schnitt')",
        CUT,
        salon.staff["anna"],
    )
    fake = FakeCalcom()
    with serving(fake.app) as url:
        providers = Providers(provider_config(url))
        yield Scene(salon, fake, providers, setup)
        await providers.aclose()


def told(report: Report) -> list[tuple[DifferenceKind, DifferenceAction]]:
    return [(difference.kind, difference.action) for difference in report.differences]


async def test_calendars_that_say_the_same_differ_in_nothing(scene: Scene) -> None:
    await scene.synced("call:1")
    report = await scene.reconcile(cause=RunCause.NIGHTLY)
    assert (report.state, report.differences, report.listed) == (RunState.DONE, [], 1)


async def test_a_booking_that_vanished_there_is_written_again(scene: Scene) -> None:
    await scene.synced("call:1")
    scene.fake.bookings.clear()
    assert told(await scene.reconcile()) == [(DifferenceKind.MISSING_THERE, DifferenceAction.PUSHED)]
    await scene.push_all()
    assert [standing[1] for standing in scene.standing()] == [TOMORROW]
    assert told(await scene.reconcile()) == []


async def test_a_booking_that_nobody_told_of_becomes_an_appointment(scene: Scene) -> None:
    scene.there(TOMORROW)
    assert told(await scene.reconcile()) == [(DifferenceKind.MISSING_HERE, DifferenceAction.FOLDED_IN)]
    assert await scene.ours() == [(TOMORROW, "confirmed")]
    assert told(await scene.reconcile()) == []
    await scene.push_all()
    assert len(scene.fake.standing()) == 1, "and is not written there a second time"


async def test_a_move_and_a_cancellation_there_that_nobody_told_of_are_followed(scene: Scene) -> None:
    first, second = await scene.synced("call:1"), await scene.synced("call:2", TOMORROW + timedelta(hours=3))
    moved = scene.fake.bookings[(await scene.row(first))["uid"]]
    gone = scene.fake.bookings[(await scene.row(second))["uid"]]
    new = scene.there(
        TOMORROW + timedelta(hours=1),
        rescheduled_from=moved.uid,
        metadata=moved.metadata,
        updated_at=LATER - timedelta(minutes=5),
    )
    moved.status, moved.rescheduled_to, moved.updated_at = "cancelled", new.uid, new.updated_at
    gone.status, gone.updated_at = "cancelled", LATER - timedelta(minutes=5)
    assert told(await scene.reconcile()) == [
        (DifferenceKind.TIME_DIFFERS, DifferenceAction.FOLDED_IN),
        (DifferenceKind.CANCELLED_THERE, DifferenceAction.FOLDED_IN),
    ]
    assert await scene.ours() == [
        (TOMORROW + timedelta(hours=1), "confirmed"),
        (TOMORROW + timedelta(hours=3), "cancelled"),
    ]
    await scene.push_all()
    assert [standing[1] for standing in scene.standing()] == [TOMORROW + timedelta(hours=1)]
    assert told(await scene.reconcile()) == []


async def test_what_was_changed_here_and_never_arrived_there_is_written_again(scene: Scene) -> None:
    first, second = await scene.synced("call:1"), await scene.synced("call:2", TOMORROW + timedelta(hours=3))
    company = scene.salon.company_id
    async with tenant(scene.salon.pool, company) as connection:
        moment = TOMORROW + timedelta(hours=1)
        await reschedule(connection, company, first, starts_at=moment, actor="desk", any_time=True)
        await cancel(connection, company, second, actor="desk", waive_policy=True)
    # As if the jobs had been lost.
    await scene.setup.execute("update calendar_sync set state = 'synced'")
    assert told(await scene.reconcile()) == [
        (DifferenceKind.TIME_DIFFERS, DifferenceAction.PUSHED),
        (DifferenceKind.CANCELLED_HERE, DifferenceAction.PUSHED),
    ]
    await scene.push_all()
    assert [standing[1] for standing in scene.standing()] == [TOMORROW + timedelta(hours=1)]
    assert told(await scene.reconcile()) == []


async def test_a_booking_there_whose_time_is_taken_here_is_left_to_people(scene: Scene) -> None:
    await scene.synced("call:1")
    booking = scene.there(TOMORROW + timedelta(minutes=10))
    report = await scene.reconcile()
    assert (told(report), report.unrepaired) == ([(DifferenceKind.CONFLICT, DifferenceAction.REPORTED)], 1)
    assert told(await scene.reconcile()) == [(DifferenceKind.CONFLICT, DifferenceAction.REPORTED)]
    rows = await scene.setup.fetch("select kind, subject from reconciliation_differences where resolved_at is null")
    assert [tuple(row) for row in rows] == [("conflict", booking.uid)]
    assert await scene.setup.fetchval("select count(*) from callback_requests") == 1
    assert await scene.ours() == [(TOMORROW, "confirmed")]
    booking.status = "cancelled"
    assert told(await scene.reconcile()) == []
    assert await scene.setup.fetchval("select count(*) from reconciliation_differences where resolved_at is null") == 0


async def test_an_appointment_whose_writing_failed_for_good_is_reported_until_it_is_mended(scene: Scene) -> None:
    await scene.book("call:1")
    await scene.setup.execute("update calendar_sync set state = 'failed'")
    assert told(await scene.reconcile()) == [(DifferenceKind.MISSING_THERE, DifferenceAction.REPORTED)]
    await scene.setup.execute("update calendar_sync set state = 'pending'")
    await scene.push_all()
    assert told(await scene.reconcile()) == []
    assert await scene.setup.fetchval("select resolved_at is not null from reconciliation_differences")


async def test_a_dry_run_changes_nothing(scene: Scene) -> None:
    scene.there(TOMORROW)
    report = await scene.reconcile(is_dry=True, cause=RunCause.COMMAND)
    assert told(report) == [(DifferenceKind.MISSING_HERE, DifferenceAction.FOLDED_IN)]
    assert await scene.ours() == []
    assert await scene.setup.fetchval("select count(*) from webhook_inbox") == 0


async def test_a_provider_that_is_down_delays_the_run(scene: Scene) -> None:
    scene.fake.is_down = True
    scene.there(TOMORROW)
    report = await scene.reconcile()
    assert (report.state, report.retry_s > 0, report.differences) == (RunState.DELAYED, True, [])
    scene.fake.is_down = False
    assert told(await scene.reconcile()) == [(DifferenceKind.MISSING_HERE, DifferenceAction.FOLDED_IN)]


async def test_a_company_whose_secret_is_not_set_is_not_asked_for(scene: Scene) -> None:
    await scene.setup.execute("""update companies set settings = '{"calcom": {"api_key_secret": "calcom_anna"}}'""")
    with pytest.raises(NoKey, match="calcom_anna"):
        await scene.reconcile()


async def test_a_second_booking_of_one_appointment_is_cancelled_there(scene: Scene) -> None:
    appointment = await scene.synced("call:1")
    uid = (await scene.row(appointment))["uid"]
    scene.fake.copy(scene.fake.bookings[uid])
    assert told(await scene.reconcile()) == [(DifferenceKind.DOUBLED, DifferenceAction.CLOSED)]
    assert [booking.uid for booking in scene.fake.standing()] == [uid]
    assert await scene.ours() == [(TOMORROW, "confirmed")]
