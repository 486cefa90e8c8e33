"""Writing one appointment behind to Cal.com: make, move, cancel or leave its booking, so that there is exactly one.

Who did not come is marked there, too.
The provider has no way to make a call idempotent, so what is known is written down before anything is asked for. When
an answer got lost, nothing is done until what was asked for must have happened or will not any more; then the booking
is looked up, by its uid and what replaced it, or by our appointment's id in its metadata. Should there be two after
all (the provider took longer than anybody waits), the surplus one is cancelled.

Nothing holds a database connection while the provider is called.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from backend.domain.vocabulary import AppointmentStatus, CalendarState, Provider
from backend.postgres.pools import Connection
from backend.providers.breaker import BreakerOpen
from backend.providers.calcom.client import (
    APPOINTMENT_KEY,
    VERSION_KEY,
    Attendee,
    CalcomClient,
    NewBooking,
    RemoteBooking,
)
from backend.providers.calling import ProviderBusy, ProviderRefused, ProviderUnreachable
from backend.providers.clients import Providers
from backend.services.calendars.records import Wanted, note_asking, note_failure, read_wanted, settle

Transaction = Callable[[], AbstractAsyncContextManager[Connection]]
"""A transaction of the company's that only the job's owner can commit."""

FIRST_WAIT_S = 15.0
LONGEST_WAIT_S = 600.0
"""Waits after failures double from the first to the longest, less a random part of up to half."""

MOST_ATTEMPTS = 20
"""After so many failures in a row of this one appointment somebody has to look. Waits for a provider that is down or
busy do not count."""

MOST_PUSHES = 5
"""So many changes that come while it is pushed are pushed in the same run."""


class CalendarWaits(Exception):
    """Nothing can be done for now; try again after `seconds` of the providers' clock."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds


class _Impossible(Exception):
    """It cannot be written as it is; the words are for people."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """How pushing an appointment ended."""

    state: CalendarState
    uid: str | None
    error: str | None = None
    is_certain: bool = True
    """Nothing that was asked for can still happen."""


async def sync_appointment(
    transaction: Transaction, providers: Providers, company_id: UUID, appointment_id: UUID
) -> Pushed | None:
    """Make the calendar show the appointment as it is now; None when this appointment is not synced.

    Raises CalendarWaits when the provider has to be waited for (why is noted), and what the transaction raises.
    """
    client = providers.client(Provider.CALCOM)
    if (wait_s := client.wait_s()) > 0:
        raise CalendarWaits(_spread(wait_s), f"{client.name} keeps failing")
    for _ in range(MOST_PUSHES):
        async with transaction() as connection:
            wanted = await read_wanted(connection, company_id, appointment_id)
        if wanted is None:
            return None
        pushed = await _Push(transaction, providers, company_id, wanted).run()
        async with transaction() as connection:
            more = await settle(
                connection,
                company_id,
                wanted,
                pushed.state,
                uid=pushed.uid,
                event_type_id=wanted.event_type_id,
                error=pushed.error,
                forgets=pushed.is_certain,
            )
        if not more:
            return pushed
    raise CalendarWaits(1.0, "it keeps changing")


def _off(why: str) -> Pushed:
    return Pushed(CalendarState.OFF, None, why, is_certain=False)


def _spread(seconds: float) -> float:
    """A little longer, and not the same for everybody who waits for the same."""
    return seconds * random.uniform(1.0, 1.2) + random.uniform(0.0, 1.0)  # noqa: S311 - spreads load, guards nothing


@dataclass
class _Push:
    """One attempt to make the calendar show one version of one appointment."""

    transaction: Transaction
    providers: Providers
    company_id: UUID
    wanted: Wanted
    doubtful: list[tuple[int, datetime]] = field(default_factory=list)
    """Bookings (event type and start) that may still appear, or have appeared, beside the one that is made."""
    is_asking: bool = False
    """The call on its way changes something, and a note says so."""

    async def run(self) -> Pushed:
        """Push; notes what went wrong. Raises CalendarWaits."""
        try:
            return await self._push()
        except ProviderRefused as error:
            return Pushed(CalendarState.FAILED, None, f"Cal.com: {error}", is_certain=self.is_asking)
        except _Impossible as error:
            return Pushed(CalendarState.FAILED, None, str(error), is_certain=False)
        except (ProviderBusy, BreakerOpen) as error:
            await self._note(str(error), counts=False, not_done=self.is_asking)
            raise CalendarWaits(_spread(error.retry_after_s), str(error)) from error
        except ProviderUnreachable as error:
            return await self._unreachable(error)

    async def _unreachable(self, error: ProviderUnreachable) -> Pushed:
        failures = self.wanted.attempts + 1
        if failures >= MOST_ATTEMPTS:
            return Pushed(CalendarState.FAILED, None, f"Cal.com: {failures} times: {error}", is_certain=False)
        may_have_acted = self.is_asking and error.may_have_acted
        await self._note(f"Cal.com: {error}", counts=True, not_done=self.is_asking and not may_have_acted)
        wait_s = min(FIRST_WAIT_S * 2 ** (failures - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1.0)  # noqa: S311
        if may_have_acted:
            wait_s = max(wait_s, self.providers.config.settle_s)
        raise CalendarWaits(wait_s, str(error)) from error

    async def _push(self) -> Pushed:
        wanted = self.wanted
        if not wanted.rules.api_key_secret:
            return _off("the company writes nothing to Cal.com")
        if wanted.event_type_id is None:
            return _off("neither the service nor the person has an event type at Cal.com")
        try:
            key = await self.providers.secret(wanted.rules.api_key_secret)
        except LookupError as error:
            raise _Impossible(str(error)) from error
        if key is None:
            raise _Impossible(f"the secret {wanted.rules.api_key_secret} is not set")
        calendar = self.providers.calendar(key)
        present = await self._present(calendar)
        if not wanted.takes_place:
            if present is not None and present.takes_place:
                await self._cancel(calendar, present, "cancelled")
            return Pushed(CalendarState.SYNCED, present.uid if present else None)
        if present is not None and present.takes_place:
            # One that was booked at Cal.com itself stays with whom it was booked.
            if present.event_type_id == wanted.event_type_id or present.appointment_id is None:
                if present.starts_at != wanted.starts_at and not (wanted.has_ended and wanted.has_begun):
                    present = await self._move(calendar, present)
                await self._tell_attendance(calendar, present)
                return Pushed(CalendarState.SYNCED, present.uid)
            await self._cancel(calendar, present, "moved to another person or service")
        if wanted.has_begun:
            return _off("it began before it could be written")
        made = await self._create(calendar, wanted.event_type_id)
        return Pushed(CalendarState.SYNCED, made.uid)

    async def _present(self, calendar: CalcomClient) -> RemoteBooking | None:
        """The booking that the appointment has there, or had last."""
        wanted = self.wanted
        if wanted.asked_ago is not None:
            left_s = self.providers.config.settle_s - wanted.asked_ago.total_seconds() * self.providers.clock.speed
            if left_s > 0:
                raise CalendarWaits(left_s, "what was asked for may still happen")
        found = None if wanted.uid is None else await calendar.latest(wanted.uid)
        if wanted.asked_for is not None and wanted.asked_of is not None:
            self.doubtful.append((wanted.asked_of, wanted.asked_for))
            made = await calendar.of_appointment(str(wanted.appointment_id), wanted.asked_of, wanted.asked_for)
            if made and (found is None or not found.takes_place):
                found = made[0]
            if found is not None:
                await self._cancel_surplus(calendar, made, found)
        return found

    async def _create(self, calendar: CalcomClient, event_type_id: int) -> RemoteBooking:
        wanted = self.wanted
        booking = NewBooking(
            event_type_id=event_type_id,
            starts_at=wanted.starts_at,
            attendee=self._attendee(),
            metadata={APPOINTMENT_KEY: str(wanted.appointment_id), VERSION_KEY: str(wanted.version)},
            allow_conflicts=wanted.rules.allow_conflicts,
        )
        await self._ask(wanted.starts_at, event_type_id)
        made = await calendar.create(booking)
        self.is_asking = False
        for of, at in self.doubtful:
            others = await calendar.of_appointment(str(wanted.appointment_id), of, at)
            await self._cancel_surplus(calendar, others, made)
        return made

    async def _move(self, calendar: CalcomClient, present: RemoteBooking) -> RemoteBooking:
        wanted = self.wanted
        await self._ask(wanted.starts_at, present.event_type_id or wanted.event_type_id or 0, uid=present.uid)
        try:
            moved = await calendar.reschedule(present.uid, wanted.starts_at, "moved by the company or its customer")
        except ProviderRefused:
            # Somebody else may have moved it since it was looked at; then what replaced it counts.
            found = await calendar.latest(present.uid)
            if found is not None and found.takes_place and found.starts_at == wanted.starts_at:
                return found
            raise
        self.is_asking = False
        return moved

    async def _tell_attendance(self, calendar: CalcomClient, present: RemoteBooking) -> None:
        """Mark there who did not come, or take the mark back, where the calendar says something else."""
        is_absent = self.wanted.status is AppointmentStatus.NO_SHOW
        if is_absent is bool(present.is_absent):
            return
        begins_in_s = (present.starts_at - self.wanted.read_at).total_seconds()
        if begins_in_s > 0:
            raise CalendarWaits(begins_in_s * self.providers.clock.speed, "Cal.com marks nobody before it begins")
        marks = self._marks(present, is_absent=is_absent)
        await self._ask(present.starts_at, present.event_type_id or self.wanted.event_type_id or 0, uid=present.uid)
        try:
            told = await calendar.mark_absent(present.uid, marks)
        except ProviderRefused:
            # Somebody else may have marked or cancelled it since it was looked at.
            found = await calendar.get(present.uid)
            if found is not None and found.takes_place and bool(found.is_absent) is not is_absent:
                raise
        else:
            if told.is_absent is not None and told.is_absent is not is_absent:
                raise _Impossible("Cal.com took the word on who did not come, and still shows the opposite")
        self.is_asking = False

    def _marks(self, present: RemoteBooking, *, is_absent: bool) -> dict[str, bool]:
        """What to say of whom: of who has our attendee's address, else of the first one there."""
        if not is_absent:
            return {attendee.email: False for attendee in present.attendees if attendee.is_absent}
        ours = (self.wanted.attendee_email or self.wanted.rules.attendee_email).casefold()
        found = [attendee for attendee in present.attendees if attendee.email.casefold() == ours]
        for attendee in found or present.attendees:
            return {attendee.email: True}
        raise _Impossible("Cal.com shows nobody who could be marked as not having come")

    async def _cancel(
        self, calendar: CalcomClient, booking: RemoteBooking, reason: str, *, keeps: str | None = None
    ) -> None:
        event_type_id = booking.event_type_id or self.wanted.event_type_id or 0
        await self._ask(booking.starts_at, event_type_id, uid=keeps or booking.uid, gives_up=booking.uid)
        try:
            await calendar.cancel(booking.uid, reason)
        except ProviderRefused:
            found = await calendar.get(booking.uid)
            if found is not None and found.takes_place:
                raise
        self.is_asking = False

    async def _cancel_surplus(self, calendar: CalcomClient, found: list[RemoteBooking], kept: RemoteBooking) -> None:
        for booking in found:
            if booking.uid != kept.uid:
                await self._cancel(calendar, booking, "made twice by mistake", keeps=kept.uid)

    async def _ask(
        self, starts_at: datetime, event_type_id: int, *, uid: str | None = None, gives_up: str | None = None
    ) -> None:
        async with self.transaction() as connection:
            await note_asking(
                connection,
                self.company_id,
                self.wanted.appointment_id,
                starts_at=starts_at,
                event_type_id=event_type_id,
                uid=uid,
                gives_up=gives_up,
            )
        self.is_asking = True

    async def _note(self, error: str, *, counts: bool, not_done: bool) -> None:
        # What an earlier call asked for stays in doubt, whatever became of this one.
        forgets = not_done and not self.doubtful
        async with self.transaction() as connection:
            await note_failure(
                connection,
                self.company_id,
                self.wanted.appointment_id,
                error,
                counts=counts,
                forgets=forgets,
            )

    def _attendee(self) -> Attendee:
        wanted = self.wanted
        email = wanted.attendee_email
        if email is None and wanted.attendee_phone is None:
            email = wanted.rules.attendee_email or None
            if email is None:
                raise _Impossible(
                    "neither e-mail address nor phone number is known, and calcom.attendee_email is empty"
                )
        return Attendee(
            name=wanted.attendee_name or wanted.company_name,
            time_zone=wanted.time_zone,
            email=email,
            phone=wanted.attendee_phone,
            language=wanted.locale.partition("_")[0] or "en",
        )
