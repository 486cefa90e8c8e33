"""The salon with calendars at a Cal.com of ours: book, push, compare."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from backend.postgres.pools import Connection, tenant
from backend.providers.breaker import BreakerPolicy
from backend.providers.calling import Retries, SystemClock, Timeouts
from backend.providers.clients import ProviderConfig, Providers
from backend.services.booking import Booked
from backend.services.calendars.sync import CalendarWaits, Pushed, sync_appointment
from backend.services.companies.applying import CalcomRules, CompanyDeclaration, apply_company
from tests.fakes.calcom import KEY, FakeCalcom, Misbehaviour
from tests.fakes.serving import serving
from tests.services.conftest import SALON, Salon

CUT = 701
"""Event type of a haircut with anybody,"""
CUT_BEN = 702
"""and with Ben."""

SPEED = 100.0
"""The provider's seconds pass so many times as fast as the machine's."""

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0)


def with_calendars(*, declaration: CompanyDeclaration = SALON, **rules: object) -> CompanyDeclaration:
    """The company with calendars at Cal.com; Ben has one of his own."""
    replace = msgspec.structs.replace
    return replace(
        declaration,
        calcom=CalcomRules(**{"api_key_secret": "calcom_api_key", **rules}),  # type: ignore[arg-type] # named fields
        services=tuple(
            replace(one, calcom_event_type_id=CUT) if one.slug == "schnitt" else one for one in declaration.services
        ),
        staff=tuple(
            replace(one, calcom_event_types={"schnitt": CUT_BEN}) if one.slug == "ben" else one
            for one in declaration.staff
        ),
    )


def provider_config(url: str, **changes: object) -> ProviderConfig:
    """Providers that a test can wait for."""
    fields: dict[str, object] = {
        "calcom_url": url,
        "secret": {"calcom_api_key": KEY}.get,
        "timeouts": Timeouts(connect_s=1.0, total_s=0.25),
        "retries": Retries(attempts=2, busy_s=1.0),
        "breaker": BreakerPolicy(),
        "clock": SystemClock(SPEED),
        "settle_s": 30.0,
    }
    return ProviderConfig(**{**fields, **changes})  # type: ignore[arg-type] # a test names fields of the record


@dataclass
class CalendarScene:
    """The salon, its calendars, and the one process that pushes."""

    salon: Salon
    fake: FakeCalcom
    providers: Providers

    async def book(self, key: str, starts_at: datetime = TOMORROW, **changes: object) -> UUID:
        """A haircut with Anna at a time when nobody else is there; the appointment."""
        fields: dict[str, object] = {"attendee_email": "hans@example.org", "any_time": True, **changes}
        made = await self.salon.book(
            self.salon.request(key, starts_at=starts_at, asked_at=starts_at - timedelta(hours=12), **fields)
        )
        assert isinstance(made, Booked), made
        return made.appointment_id

    async def push(self, appointment: UUID) -> Pushed | None:
        """One push, as the job does it."""
        return await sync_appointment(
            lambda: tenant(self.salon.pool, self.salon.company_id), self.providers, self.salon.company_id, appointment
        )

    async def push_patiently(self, appointment: UUID, limit_s: float = 10.0) -> Pushed | None:
        """Push until it ends, with the waits that it asks for."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            try:
                return await self.push(appointment)
            except CalendarWaits as wait:
                await asyncio.sleep(wait.seconds / SPEED)
        raise AssertionError("it still waits")

    async def row(self, appointment: UUID) -> asyncpg.Record:
        """What is known about its calendar."""
        async with tenant(self.salon.pool, self.salon.company_id) as connection:
            found = await connection.fetchrow("select * from calendar_sync where appointment_id = $1", appointment)
        assert found is not None
        return found

    async def jobs(self) -> list[str]:
        """Keys of the sync jobs that wait."""
        return [
            row["dedupe_key"]
            for row in await self.salon.pool.fetch(
                "select dedupe_key from pgqueuer where entrypoint = 'default.calendar_sync' order by id"
            )
        ]

    def standing(self) -> list[tuple[int, datetime, str | None]]:
        """What the provider's calendar shows: event type, start, our appointment."""
        return [
            (booking.event_type_id, booking.starts_at, booking.metadata.get("appointment_id"))
            for booking in self.fake.standing()
        ]


@contextmanager
def calendars(salon: Salon, misbehaviour: Misbehaviour | None = None, **changes: object) -> Iterator[CalendarScene]:
    """A scene with a server of its own; the company must have been applied `with_calendars`."""
    fake = FakeCalcom(misbehaviour or Misbehaviour())
    with serving(fake.app) as url:
        yield CalendarScene(salon, fake, Providers(provider_config(url, **changes)))


async def give_calendars(setup: Connection, **rules: object) -> None:
    """Declare that the salon syncs."""
    await apply_company(setup, with_calendars(**rules))  # type: ignore[arg-type] # fields of the rules, by name


async def give_calendars_at_once(setup: Connection) -> None:
    """The same without the comparison with what is there, for tests about something else."""
    await setup.execute(
        """
        update companies set settings = settings || '{"calcom": {"api_key_secret": "calcom_api_key"}}'
        where slug = 'salon-anna'
        """
    )
    await setup.execute("update services set calcom_event_type_id = $1 where slug = 'schnitt'", CUT)
    await setup.execute(
        """update staff_services set calcom_event_type_id = $1
           where staff_id = (select id from staff where slug = 'ben')
             and service_id = (select id from services where slug = 'schnitt')""",
        CUT_BEN,
    )
