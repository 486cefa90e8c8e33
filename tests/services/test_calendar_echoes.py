"""What we write into the provider's calendar comes back as webhooks, late and in any order, and changes nothing."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from backend.postgres.pools import Connection, tenant
from backend.providers.clients import Providers
from backend.services.booking import ChangeRefused, cancel, reschedule
from backend.services.calendars.bookings import fold_booking_event
from backend.services.companies.applying import apply_company
from tests.fakes.calcom import Booking, FakeCalcom
from tests.fakes.serving import serving
from tests.services.calendar_scenes import TOMORROW, CalendarScene, provider_config, with_calendars
from tests.services.conftest import Salon


@dataclass
class Echoing(CalendarScene):
    """The salon and its calendars, which tell about everything that happens in them."""

    setup: Connection
    dice: random.Random = field(default_factory=lambda: random.Random(3))
    told: set[tuple[str, str]] = field(default_factory=set)

    async def echo(self, *, leaves_out: float = 0.0) -> None:
        """Tell what was not told yet, mixed up; with some left out, which come late."""
        waiting = [(booking, event) for booking in self.fake.bookings.values() for event in _events(booking)]
        self.dice.shuffle(waiting)
        for booking, event in waiting:
            if (booking.uid, event) not in self.told and self.dice.random() >= leaves_out:
                self.told.add((booking.uid, event))
                await self._tell(booking, event)

    async def _tell(self, booking: Booking, event: str) -> None:
        payload = {
            "uid": booking.uid,
            "rescheduleUid": booking.rescheduled_from,
            "eventTypeId": booking.event_type_id,
            "startTime": booking.starts_at.isoformat(),
            "metadata": dict(booking.metadata),
        }
        body = {"triggerEvent": event, "createdAt": booking.updated_at.isoformat(), "payload": payload}
        company = self.salon.company_id
        inbox_id = await self.setup.fetchval(
            "insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state) "
            "values ('calcom', gen_random_uuid()::text, $1, $2, $3, $4, 'accepted') returning id",
            event,
            booking.uid,
            company,
            json.dumps(body).encode(),
        )
        async with tenant(self.salon.pool, company) as connection:
            await fold_booking_event(connection, company, inbox_id, now=datetime.now(UTC) + timedelta(minutes=5))

    async def push_all(self) -> None:
        """Do the jobs that wait."""
        for row in await self.setup.fetch("select appointment_id from calendar_sync where state = 'pending'"):
            await self.push_patiently(row["appointment_id"])


def _events(booking: Booking) -> list[str]:
    made = "BOOKING_RESCHEDULED" if booking.rescheduled_from else "BOOKING_CREATED"
    gone = booking.status == "cancelled" and booking.rescheduled_to is None
    return [made, "BOOKING_CANCELLED"] if gone else [made]


@pytest.fixture
async def echoing(salon: Salon, setup: Connection) -> AsyncIterator[Echoing]:
    await apply_company(setup, with_calendars())
    fake = FakeCalcom()
    with serving(fake.app) as url:
        providers = Providers(provider_config(url))
        yield Echoing(salon, fake, providers, setup)
        await providers.aclose()


async def test_echoes_of_our_own_writes_never_change_anything(echoing: Echoing) -> None:
    dice, company = echoing.dice, echoing.salon.company_id
    appointments = [await echoing.book(f"call:{number}", TOMORROW + timedelta(hours=number)) for number in range(6)]
    for _ in range(20):
        one = dice.choice(appointments)
        moment = TOMORROW + timedelta(days=1 + dice.randrange(20), minutes=30 * dice.randrange(16))
        async with tenant(echoing.salon.pool, company) as connection:
            with suppress(ChangeRefused):
                if dice.random() < 0.85:
                    await reschedule(connection, company, one, starts_at=moment, actor="desk", any_time=True)
                else:
                    await cancel(connection, company, one, actor="desk", waive_policy=True)
        if dice.random() < 0.6:
            await echoing.push_all()
        await echoing.echo(leaves_out=0.4)
    await echoing.push_all()
    await echoing.echo()
    await echoing.push_all()
    ours = await echoing.setup.fetch("select starts_at from appointments where status = 'confirmed' order by 1")
    assert [row["starts_at"] for row in ours] == [booking.starts_at for booking in echoing.fake.standing()]
    assert await echoing.setup.fetchval("select count(*) from appointments") == len(appointments)
    assert await echoing.setup.fetchval("select count(*) from appointment_events where actor like 'calcom%'") == 0
    assert await echoing.setup.fetchval("select count(*) from reconciliation_differences") == 0
