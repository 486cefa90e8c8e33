"""A company's calendars at Cal.com compared with its appointments, and made to say the same where that is safe.

What is theirs and newer is taken in as the event that was never delivered would have been, and followed by the same
code. What is ours and newer is written there again. What neither side may simply overrule is kept for people.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

import asyncpg
import msgspec

from backend.domain.reconciliation import Finding, OurBooking, Repair, TheirBooking, compare
from backend.domain.vocabulary import (
    ACTIVE_APPOINTMENT,
    AppointmentStatus,
    CalendarBookingState,
    CalendarState,
    DifferenceAction,
    DifferenceKind,
    Provider,
    RunCause,
)
from backend.postgres.pools import Connection
from backend.providers.calcom.client import APPOINTMENT_KEY, CalcomClient, RemoteBooking
from backend.providers.calling import ProviderRefused
from backend.providers.clients import Providers
from backend.services.calendars.bookings import fold_booking_event
from backend.services.reconciliation.differences import Difference, settle
from backend.services.reconciliation.running import Account, Report, Run, Scope, key_of, now_utc, run

PAST = timedelta(days=1)
"""Bookings that began so long ago are still compared."""

SPAN = timedelta(days=31)
"""Compared at once; by schedule, all that is compared."""

NIGHTLY_SPANS = 4
"""So many spans are compared by night, and as many more as there are appointments ahead."""

REQUEST = "pending"
"""Status of a booking that nobody has accepted yet."""

PATIENT = timedelta(hours=1)
"""What is found by comparing has had its time to be told of."""

_OURS = """
    select a.id, a.version, a.starts_at, a.status, a.provider_booking_uid, k.state, k.uid,
           coalesce(k.earlier_uids, '{}') as earlier_uids, k.asked_at,
           coalesce((select max(e.occurred_at) from appointment_events e
                     where e.company_id = $1 and e.appointment_id = a.id and e.actor not like 'calcom%'),
                    a.created_at - interval '1 day') as changed_at,
           (select case when e.actor not like 'calcom%' then e.occurred_at end
            from appointment_events e
            where e.company_id = $1 and e.appointment_id = a.id and e.version > 1 and e.kind <> 'rescheduled'
            order by e.version desc limit 1) as status_at
    from appointments a
    left join calendar_sync k on k.company_id = a.company_id and k.appointment_id = a.id
    left join services s on s.company_id = a.company_id and s.id = a.service_id
    left join staff_services o
         on o.company_id = a.company_id and o.service_id = a.service_id and o.staff_id = a.staff_id
    where a.company_id = $1 and a.starts_at >= $2 and a.starts_at < $3 and a.status <> 'held'
      and (k.appointment_id is not null
           or coalesce(o.calcom_event_type_id, s.calcom_event_type_id) is not null and a.status <> 'cancelled')
      and k.state is distinct from 'off'
"""

_OWNERS = """
    select a.starts_at from appointments a
    where a.company_id = $1 and (a.provider_booking_uid = any ($2) or a.id in (
        select appointment_id from calendar_sync
        where company_id = $1 and (uid = any ($2) or earlier_uids && $2::text[])))
"""

_LAST = "select max(starts_at) from appointments where company_id = $1 and status in ('pending', 'confirmed')"

_PUSH = "select push_to_calendar($1, $2, $3)"

_TAKE = "select intake_take_over($1, 'calcom', $2, $3, $4, $5)"

_COMPARED = (
    DifferenceKind.MISSING_THERE,
    DifferenceKind.TIME_DIFFERS,
    DifferenceKind.CANCELLED_HERE,
    DifferenceKind.CANCELLED_THERE,
    DifferenceKind.ATTENDANCE_DIFFERS,
    DifferenceKind.DOUBLED,
)

_STATES = {
    CalendarBookingState.CONFLICT: DifferenceKind.CONFLICT,
    CalendarBookingState.UNMAPPED: DifferenceKind.UNMAPPED,
}


async def reconcile_bookings(
    scope: Scope,
    providers: Providers,
    account: Account,
    *,
    cause: RunCause,
    holder: str,
    since: datetime | None = None,
    budget_s: float | None = None,
    is_dry: bool = False,
    now: datetime | None = None,
) -> Report:
    """Compare a company's calendars with its appointments; what the provider raises stands in the report.

    `since`: from when on (None: a day ago). By schedule a month ahead is compared, by night everything.
    Raises NoKey, RunUnderWay, asyncpg errors.
    """
    assert account.company_id is not None
    now = now or now_utc()
    calendar = providers.calendar(await key_of(providers, account))
    begins = now - PAST if since is None else since
    until = begins + SPAN
    if cause is not RunCause.SCHEDULE:
        async with scope.tenant(account.company_id) as connection:
            last: datetime | None = await connection.fetchval(_LAST, account.company_id)
        until = max(begins + SPAN * NIGHTLY_SPANS, begins if last is None else last + timedelta(days=1))
    report = Report(Provider.CALCOM, account.name, begins, until, is_dry)
    async with run(scope, account, report, cause=cause, holder=holder, budget_s=budget_s) as this:
        work = _Work(this, calendar, account.company_id, now)
        async for span in _spans(begins, until):
            await work.compare(*span)
            this.give_way()
    return report


async def _spans(begins: datetime, until: datetime) -> AsyncIterator[tuple[datetime, datetime]]:
    while begins < until:
        yield begins, min(begins + SPAN, until)
        begins += SPAN


@dataclass(slots=True)
class _Work:
    """The work of one run."""

    run: Run
    calendar: CalcomClient
    company_id: UUID
    now: datetime

    async def compare(self, since: datetime, until: datetime) -> None:
        """Everything that begins in a span of time, here or there."""
        remote = {
            booking.uid: booking
            for booking in await self.calendar.between(
                since, until + timedelta(days=1), statuses="upcoming,recurring,past,cancelled,unconfirmed"
            )
            if since <= booking.starts_at < until
        }
        async with self.run.scope.tenant(self.company_id) as connection:
            ours = await self._ours(connection, since, until, list(remote))
        await self._look_up(ours, remote)
        findings = compare(ours, [_theirs(booking) for booking in remote.values()], self.now)
        for finding in findings:
            await self._cancel_surplus(finding)
        async with self.run.scope.tenant(self.company_id) as connection:
            differences = [await self._repair(connection, finding, remote) for finding in findings]
            if not self.run.report.is_dry:
                told = {finding.ours.appointment_id for finding in findings if finding.ours is not None}
                fine = [str(one.appointment_id) for one in ours if one.appointment_id not in told]
                await settle(connection, Provider.CALCOM, self.company_id, fine, _COMPARED)
                gone = [booking.uid for booking in remote.values() if not booking.takes_place]
                await settle(connection, Provider.CALCOM, self.company_id, gone, (*_STATES.values(),))
            await self.run.note(connection, differences, listed=len(remote), covered_until=min(until, self.now))

    async def _ours(
        self, connection: Connection, since: datetime, until: datetime, uids: Sequence[str]
    ) -> list[OurBooking]:
        """Our appointments of the span, and those elsewhere of which a booking is in it."""
        rows = {row["id"]: row for row in await connection.fetch(_OURS, self.company_id, since, until)}
        for owner in await connection.fetch(_OWNERS, self.company_id, uids):
            moment: datetime = owner["starts_at"]
            if not since <= moment < until:
                around = await connection.fetch(_OURS, self.company_id, moment, moment + timedelta(microseconds=1))
                rows |= {row["id"]: row for row in around}
        return [_our_booking(row) for row in rows.values()]

    async def _look_up(self, ours: Sequence[OurBooking], remote: dict[str, RemoteBooking]) -> None:
        """Bookings of ours that are not in the span any more: where they are now."""
        for appointment in ours:
            known = appointment.uids & remote.keys()
            if not appointment.takes_place or not appointment.uids or any(remote[uid].takes_place for uid in known):
                continue
            for uid in sorted(appointment.uids - known)[-2:] + sorted(known)[-1:]:
                found = await self.calendar.latest(uid)
                if found is not None:
                    remote[found.uid] = found

    async def _cancel_surplus(self, finding: Finding) -> None:
        """Cancel a booking there that is one too many."""
        if finding.repair is Repair.CANCEL and finding.theirs is not None and not self.run.report.is_dry:
            with suppress(ProviderRefused):  # Somebody was faster; else the next run finds it again.
                await self.calendar.cancel(finding.theirs.uid, "made twice by mistake")

    async def _repair(self, connection: Connection, finding: Finding, remote: dict[str, RemoteBooking]) -> Difference:
        """Make both say the same, if that is safe; what was done."""
        kind, action = finding.kind, DifferenceAction.REPORTED
        is_dry = self.run.report.is_dry
        if finding.repair is Repair.PUSH and finding.ours is not None:
            action = DifferenceAction.PUSHED
            if not is_dry:
                ours = finding.ours
                await connection.fetchval(_PUSH, self.company_id, [ours.appointment_id], [ours.version])
        elif finding.repair is Repair.CANCEL:
            action = DifferenceAction.CLOSED
        elif finding.repair is Repair.FOLD and finding.theirs is not None:
            action = DifferenceAction.FOLDED_IN
            if not is_dry:
                kind, action = await self._fold(connection, finding, remote[finding.theirs.uid])
        return _difference(self.company_id, finding, kind, action)

    async def _fold(
        self, connection: Connection, finding: Finding, booking: RemoteBooking
    ) -> tuple[DifferenceKind, DifferenceAction]:
        """Take in what was never told of a booking, and follow it."""
        if finding.kind is DifferenceKind.ATTENDANCE_DIFFERS and finding.ours is not None:
            event, body = _attendance_event(booking, max(self.now, booking.updated_at or self.now))
            key = f"reconciled:{self.company_id}:{booking.uid}:attendance:{finding.ours.version}"
        else:
            event, body = _event(booking)
            key = f"reconciled:{self.company_id}:{sha256(body).hexdigest()}"
        inbox_id: UUID | None = await connection.fetchval(_TAKE, self.company_id, key, event, booking.uid, body)
        if inbox_id is None:
            return finding.kind, DifferenceAction.REPORTED
        folded = await fold_booking_event(connection, self.company_id, inbox_id, now=self.now + PATIENT)
        state = None if folded is None else folded.state
        if state is CalendarBookingState.SETTLED:
            return finding.kind, DifferenceAction.FOLDED_IN
        return (finding.kind if state is None else _STATES.get(state, finding.kind)), DifferenceAction.REPORTED


def _event(booking: RemoteBooking) -> tuple[str, bytes]:
    """The event that would have told of a booking as it is now, and its body; equal for equal bookings."""
    event = "BOOKING_RESCHEDULED" if booking.rescheduled_from else "BOOKING_CREATED"
    if not booking.takes_place:
        event = "BOOKING_CANCELLED"
    payload = {
        "uid": booking.uid,
        "rescheduleUid": booking.rescheduled_from,
        "eventTypeId": booking.event_type_id,
        "startTime": booking.starts_at.isoformat(),
        "attendees": [dict(booking.attendee)],
        "metadata": dict(booking.metadata),
    }
    told_at = booking.updated_at or booking.starts_at
    body = {"triggerEvent": event, "createdAt": told_at.isoformat(), "payload": payload}
    return event, msgspec.json.encode(body, order="deterministic")


def _attendance_event(booking: RemoteBooking, told_at: datetime) -> tuple[str, bytes]:
    """The event that would have told who of a booking did not come, and its body."""
    marks = [{"email": one.email, "noShow": bool(one.is_absent)} for one in booking.attendees]
    payload = {"bookingUid": booking.uid, "attendees": marks}
    event = "BOOKING_NO_SHOW_UPDATED"
    return event, msgspec.json.encode({"triggerEvent": event, "createdAt": told_at.isoformat(), "payload": payload})


def _theirs(booking: RemoteBooking) -> TheirBooking:
    appointment_id: UUID | None = None
    with suppress(ValueError):
        named = booking.metadata.get(APPOINTMENT_KEY)
        appointment_id = UUID(named) if named else None
    return TheirBooking(
        uid=booking.uid,
        starts_at=booking.starts_at,
        takes_place=booking.takes_place,
        is_request=booking.status == REQUEST,
        replaces=booking.rescheduled_from,
        replaced_by=booking.rescheduled_to,
        appointment_id=appointment_id,
        event_type_id=booking.event_type_id,
        updated_at=booking.updated_at,
        is_absent=booking.is_absent,
    )


def _our_booking(row: asyncpg.Record) -> OurBooking:
    status = AppointmentStatus(row["status"])
    uids = {row["provider_booking_uid"], row["uid"], *row["earlier_uids"]} - {None}
    return OurBooking(
        appointment_id=row["id"],
        version=row["version"],
        starts_at=row["starts_at"],
        takes_place=status in ACTIVE_APPOINTMENT,
        uid=row["provider_booking_uid"] or row["uid"],
        has_ended=status in {AppointmentStatus.COMPLETED, AppointmentStatus.NO_SHOW},
        is_no_show=status is AppointmentStatus.NO_SHOW,
        status_at=row["status_at"],
        uids=frozenset(uids),
        is_being_written=row["state"] == CalendarState.PENDING or row["asked_at"] is not None,
        is_stuck=row["state"] == CalendarState.FAILED,
        changed_at=row["changed_at"],
    )


def _difference(company_id: UUID, finding: Finding, kind: DifferenceKind, action: DifferenceAction) -> Difference:
    ours, theirs = finding.ours, finding.theirs
    is_booking = ours is None or kind in _STATES.values()
    said_here: dict[str, object] = {}
    said_there: dict[str, object] = {}
    if ours is not None:
        said_here = {"starts_at": ours.starts_at, "takes_place": ours.takes_place}
    if theirs is not None:
        said_there = {
            "starts_at": theirs.starts_at,
            "takes_place": theirs.takes_place,
            "event_type_id": theirs.event_type_id,
        }
    if kind is DifferenceKind.ATTENDANCE_DIFFERS and ours is not None and theirs is not None:
        said_here["no_show"], said_there["no_show"] = ours.is_no_show, theirs.is_absent
    return Difference(
        provider=Provider.CALCOM,
        kind=kind,
        subject=theirs.uid if is_booking and theirs is not None else str(ours.appointment_id if ours else ""),
        company_id=company_id,
        action=action,
        appointment_id=None if ours is None else ours.appointment_id,
        ours=said_here,
        theirs=said_there,
    )
