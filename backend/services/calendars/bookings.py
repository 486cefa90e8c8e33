"""Bookings that were made, moved or cancelled in the provider's calendar: folded into appointments.

All deliveries about a booking, through all its uids, are folded anew with each of them
(`backend.domain.calendar_bookings`), and what that says differently from before happens to the appointment
(`backend.services.calendars.following`). A booking of ours is recognised by its uid or by the appointment that it
names; one that nobody here made becomes an appointment, when its event type is mapped and its time is free.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from backend.domain.calendar_bookings import CalendarBooking, CalendarEvent, fold_booking
from backend.domain.vocabulary import (
    ACTIVE_APPOINTMENT,
    AppointmentSource,
    AppointmentStatus,
    CalendarBookingState,
    CalendarStatus,
    DifferenceAction,
    DifferenceKind,
    InboxState,
    Provider,
    RefusalReason,
)
from backend.postgres.pools import Connection
from backend.providers.calcom.events import read_calendar_event
from backend.services.booking import Booked, BookingRequest, ChangeRefused, book, cancel
from backend.services.calendars.following import ACTOR, Followed, Said, follow
from backend.services.callbacks.requests import request_callback
from backend.services.customers.finding import caller, find_or_create
from backend.services.reconciliation.differences import Difference, note, settle

BEGINNING_AWAITED = timedelta(seconds=60)
"""A move of a booking that is not known waits so long for its beginning: events overtake each other."""

CONFLICT = "calendar_conflict"
"""Reason of the request to call back somebody whose booking can't take place."""

ABOUT_BOOKINGS = (
    DifferenceKind.CONFLICT,
    DifferenceKind.UNMAPPED,
    DifferenceKind.TIME_DIFFERS,
    DifferenceKind.CANCELLED_THERE,
)
"""Differences that are over once a booking is settled."""

_UNMAPPED = frozenset(
    {
        RefusalReason.SERVICE_UNKNOWN,
        RefusalReason.BRANCH_UNKNOWN,
        RefusalReason.STAFF_UNKNOWN,
        RefusalReason.NOT_OFFERED,
    }
)

_ALONE = "select pg_advisory_xact_lock(hashtextextended('calendar:' || $1::text, 0))"

_DELIVERY = "select body, received_at, branch_id, state from webhook_inbox where id = $1 and state <> 'ignored'"

_DELIVERIES = """
    select id, body, received_at, branch_id from webhook_inbox
    where provider = 'calcom' and subject = any ($1) and state <> 'ignored'
    order by id
"""

_CHAINS = """
    select b.id, b.appointment_id, b.status, b.starts_at, array_agg(all_of_it.uid) as uids
    from calendar_booking_uids named
    join calendar_bookings b on b.company_id = $1 and b.id = named.booking_id
    join calendar_booking_uids all_of_it on all_of_it.company_id = $1 and all_of_it.booking_id = b.id
    where named.company_id = $1 and named.uid = any ($2)
    group by b.id
    order by b.appointment_id is null, b.id
"""

_JOIN = """
    with taken as (
        insert into calendar_booking_uids (company_id, uid, booking_id)
        select $1, uid, $2 from unnest($3::text[]) uid
        on conflict (company_id, uid) do update set booking_id = excluded.booking_id
    )
    select 1
"""

_FORGET = "delete from calendar_bookings where company_id = $1 and id = any ($2)"

_NEW_CHAIN = """
    insert into calendar_bookings (company_id, uid, state) values ($1, $2, 'waiting') returning id
"""

_FIND = """
    select a.id, a.status, a.provider_booking_uid,
           exists (select from calendar_sync k
                   where k.company_id = $1 and k.appointment_id = a.id and $5 = any (k.earlier_uids)) as is_given_up
    from appointments a
    where a.company_id = $1 and a.id in (
        select $3::uuid
        union all
        select id from appointments where company_id = $1 and provider_booking_uid = any ($2)
        union all
        select appointment_id from calendar_sync
        where company_id = $1 and (uid = any ($2) or earlier_uids && $2::text[])
        union all
        select $4::uuid)
    order by a.id = $3 desc nulls last, a.id
    limit 1
"""

_OFFERS = "select service_slug, staff_slug, branch_slug from calendar_offers($1, $2)"

_SAVE = """
    update calendar_bookings set
        appointment_id = $3, uid = $4, state = $5, status = $6, starts_at = $7, event_type_id = $8, began_at = $9,
        over_at = $10, problem = $11, updated_at = now()
    where company_id = $1 and id = $2
"""

_LINK = """
    update appointments set provider_booking_uid = $3
    where company_id = $1 and id = $2 and provider_booking_uid is distinct from $3
      and not exists (select from appointments o where o.company_id = $1 and o.provider_booking_uid = $3)
"""

# What was followed is in step with the calendar already; what is newer here has to be written to the uid of today.
# What is being asked for right now is for whoever asks to settle, and what waits to be written still does when the
# calendar told nothing new.
_IN_STEP = """
    insert into calendar_sync as known (company_id, appointment_id, state, wanted_version, synced_version, uid,
                                        event_type_id, synced_at)
    select a.company_id, a.id, 'synced', a.version, a.version, $3, $4, now()
    from appointments a
    where a.company_id = $1 and a.id = $2
      and exists (select from companies c where c.id = $1 and c.settings #>> '{calcom,api_key_secret}' <> '')
    on conflict (company_id, appointment_id) do update set
        earlier_uids = case when known.uid is null or known.uid = excluded.uid or known.uid = any (known.earlier_uids)
                            then known.earlier_uids else known.earlier_uids || known.uid end,
        uid = excluded.uid, event_type_id = coalesce(excluded.event_type_id, known.event_type_id),
        state = case when $5 or known.asked_at is not null or known.state = 'pending' and not $6 then known.state
                     else 'synced' end,
        synced_version = case when $5 or known.state = 'pending' and not $6 then known.synced_version
                              else excluded.synced_version end,
        wanted_version = greatest(known.wanted_version, excluded.wanted_version),
        attempts = 0, last_error = null, synced_at = case when $5 then known.synced_at else now() end
"""

_PUSH = """
    select push_to_calendar($1, array[a.id], array[a.version]) from appointments a
    where a.company_id = $1 and a.id = $2
      and exists (select from companies c where c.id = $1 and c.settings #>> '{calcom,api_key_secret}' <> '')
"""

_MARK = """
    -- By id alone: the index on states is as long as the backlog is.
    update webhook_inbox set state = $2, processed_at = clock_timestamp(), error = null
    where id = any ($1) and state || '' in ('accepted', 'held')
"""


@dataclass(frozen=True, slots=True)
class BookingFold:
    """What an event about a booking led to."""

    state: CalendarBookingState | None
    """None when it is about nothing that anybody here needs: the delivery is marked as ignored."""
    appointment_id: UUID | None = None
    has_changed: bool = False
    """Whether an appointment is different now."""
    wait_s: float = 0.0
    """Fold again after so many seconds: its beginning may be on its way."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """One booking through all its uids, as it was followed so far."""

    id: UUID
    appointment_id: UUID | None
    said: Said
    also: tuple[UUID, ...]
    """Appointments of bookings that turned out to be this one."""


@dataclass(frozen=True, slots=True)
class _Delivered:
    inbox_id: UUID
    branch_id: UUID | None
    event: CalendarEvent


@dataclass(slots=True)
class _Outcome:
    """What is to be written down about a booking."""

    state: CalendarBookingState
    appointment_id: UUID | None = None
    problem: str | None = None
    has_changed: bool = False
    said: Said = field(default_factory=Said)


async def fold_booking_event(
    connection: Connection, company_id: UUID, inbox_id: UUID, *, now: datetime | None = None
) -> BookingFold | None:
    """Follow a booking as far as everything that was delivered about it tells, within the company's transaction.

    The result depends on the set of deliveries, not on their order; applied again it changes nothing. None when there
    is no such delivery. Raises `Malformed` for a stored body that can't be read, asyncpg errors.
    """
    now = now or datetime.now(UTC)
    await connection.execute(_ALONE, str(company_id))
    row = await connection.fetchrow(_DELIVERY, inbox_id)
    if row is None:
        return None
    event = read_calendar_event(row["body"], row["received_at"])
    if event is None:
        await connection.execute(_MARK, [inbox_id], InboxState.IGNORED.value)
        return BookingFold(None)
    delivered, chain = await _gather(connection, company_id, event)
    theirs = fold_booking([item.event for item in delivered])
    found = await connection.fetchrow(
        _FIND, company_id, list(theirs.uids), chain.appointment_id, theirs.appointment_id, theirs.uid
    )
    wait_s = (row["received_at"] + BEGINNING_AWAITED - now).total_seconds()
    if found is None and not theirs.has_beginning and theirs.starts_at is not None and wait_s > 0:
        return BookingFold(CalendarBookingState.WAITING, wait_s=wait_s)
    branch_id = next((item.branch_id for item in reversed(delivered) if item.branch_id is not None), None)
    outcome = await (
        _make(connection, company_id, chain, theirs, branch_id)
        if found is None
        else _follow(connection, company_id, chain, theirs, found)
    )
    for doubled in chain.also:
        if outcome.appointment_id is not None and doubled != outcome.appointment_id:
            await _undouble(connection, company_id, theirs, doubled)
            outcome.has_changed = True
    await _save(connection, company_id, chain, theirs, outcome)
    await connection.execute(_MARK, [item.inbox_id for item in delivered], InboxState.PROCESSED.value)
    return BookingFold(outcome.state, outcome.appointment_id, outcome.has_changed)


async def _gather(connection: Connection, company_id: UUID, event: CalendarEvent) -> tuple[list[_Delivered], _Chain]:
    """All deliveries about the booking that an event is about, and what is known of it; its uids become one booking."""
    uids = {event.uid} | ({event.replaces} if event.replaces else set())
    while True:
        rows = await connection.fetch(_CHAINS, company_id, list(uids))
        known = uids.union(*(row["uids"] for row in rows))
        delivered = await _read(connection, known)
        more = known | {item.event.replaces for item in delivered if item.event.replaces}
        if more == uids:
            break
        uids = more
    if rows:
        first = rows[0]
        chain = _Chain(
            first["id"],
            first["appointment_id"],
            Said(CalendarStatus(first["status"]) if first["status"] else None, first["starts_at"]),
            tuple(row["appointment_id"] for row in rows[1:] if row["appointment_id"] is not None),
        )
    else:
        chain = _Chain(await connection.fetchval(_NEW_CHAIN, company_id, event.uid), None, Said(), ())
    await connection.execute(_JOIN, company_id, chain.id, sorted(uids))
    if len(rows) > 1:
        await connection.execute(_FORGET, company_id, [row["id"] for row in rows[1:]])
    return delivered, chain


async def _read(connection: Connection, uids: set[str]) -> list[_Delivered]:
    found = []
    for row in await connection.fetch(_DELIVERIES, list(uids)):
        event = read_calendar_event(row["body"], row["received_at"])
        if event is not None:
            found.append(_Delivered(row["id"], row["branch_id"], event))
    return found


async def _make(
    connection: Connection, company_id: UUID, chain: _Chain, theirs: CalendarBooking, branch_id: UUID | None
) -> _Outcome:
    """An appointment for a booking that nobody here made."""
    if theirs.status is CalendarStatus.REQUESTED:
        return _Outcome(CalendarBookingState.REQUESTED)
    if theirs.status is None or theirs.starts_at is None or theirs.starts_told_at is None or not theirs.is_made:
        return _Outcome(CalendarBookingState.WAITING)
    offers = [] if theirs.event_type_id is None else await connection.fetch(_OFFERS, company_id, theirs.event_type_id)
    services = {row["service_slug"] for row in offers}
    if len(services) != 1:
        problem = "no event type" if theirs.event_type_id is None else "ambiguous" if services else "no service"
        return await _unmapped(connection, company_id, theirs, problem)
    offer = offers[0] if len(offers) == 1 else {**offers[0], "staff_slug": None, "branch_slug": None}
    who = caller(number=theirs.attendee_phone, name=theirs.attendee_name, email=theirs.attendee_email)
    customer = await find_or_create(connection, company_id, who)
    booked = await book(
        connection,
        BookingRequest(
            key=f"calcom:{theirs.uid}",
            company_id=company_id,
            service=offer["service_slug"],
            staff=offer["staff_slug"],
            branch=offer["branch_slug"],
            called_branch_id=branch_id,
            starts_at=theirs.starts_at,
            asked_at=min(theirs.starts_told_at, theirs.starts_at),
            customer_id=None if customer is None else customer.customer_id,
            attendee_name=theirs.attendee_name or "",
            attendee_email=who.email,
            attendee_phone=who.phone or who.phone_raw,
            source=AppointmentSource.CALCOM,
            actor=ACTOR,
            any_time=True,
            wants_alternatives=False,
        ),
    )
    if not isinstance(booked, Booked):
        if booked.reason in _UNMAPPED:
            return await _unmapped(connection, company_id, theirs, booked.reason.value)
        if theirs.status is CalendarStatus.CANCELLED:
            return await _over(connection, company_id, theirs)
        return await _conflict(
            connection, company_id, theirs, booked.reason.value, None if customer is None else customer.customer_id
        )
    followed = await follow(connection, company_id, booked.appointment_id, theirs, Said())
    followed.changed |= booked.is_new
    return await _followed(connection, company_id, theirs, booked.appointment_id, followed=followed, said=Said())


async def _follow(
    connection: Connection, company_id: UUID, chain: _Chain, theirs: CalendarBooking, found: asyncpg.Record
) -> _Outcome:
    """News about a booking that has an appointment."""
    linked: str | None = found["provider_booking_uid"]
    is_active = AppointmentStatus(found["status"]) in ACTIVE_APPOINTMENT
    if found["is_given_up"] or (linked is not None and linked not in theirs.uids and is_active):
        # The appointment has another booking by now, or is about to: what happens to this one is over.
        said = Said(theirs.status, theirs.starts_at)
        return _Outcome(CalendarBookingState.SETTLED, found["id"], said=said)
    followed = await follow(connection, company_id, found["id"], theirs, chain.said)
    return await _followed(connection, company_id, theirs, found["id"], followed=followed, said=chain.said)


async def _followed(
    connection: Connection,
    company_id: UUID,
    theirs: CalendarBooking,
    appointment_id: UUID,
    *,
    followed: Followed,
    said: Said,
) -> _Outcome:
    """Keep both calendars in step, or say what is not."""
    await connection.execute(_LINK, company_id, appointment_id, theirs.uid)
    out_of_step = followed.ours_is_newer or followed.difference is not None
    await connection.execute(
        _IN_STEP, company_id, appointment_id, theirs.uid, theirs.event_type_id, out_of_step, followed.changed
    )
    if followed.ours_is_newer:
        await connection.execute(_PUSH, company_id, appointment_id)
    if followed.difference is None:
        await settle(connection, Provider.CALCOM, company_id, sorted(theirs.uids), ABOUT_BOOKINGS)
        said = Said(theirs.status or said.status, theirs.starts_at or said.starts_at)
        return _Outcome(CalendarBookingState.SETTLED, appointment_id, None, followed.changed, said)
    await note(
        connection,
        _difference(company_id, theirs, followed.difference, problem=followed.problem, appointment_id=appointment_id),
    )
    return _Outcome(CalendarBookingState.CONFLICT, appointment_id, followed.problem, followed.changed, said)


async def _over(connection: Connection, company_id: UUID, theirs: CalendarBooking) -> _Outcome:
    """It was cancelled before it ever became an appointment: nothing is left to decide."""
    await settle(connection, Provider.CALCOM, company_id, sorted(theirs.uids), ABOUT_BOOKINGS)
    return _Outcome(CalendarBookingState.SETTLED, said=Said(theirs.status, theirs.starts_at))


async def _unmapped(connection: Connection, company_id: UUID, theirs: CalendarBooking, problem: str) -> _Outcome:
    if theirs.status is CalendarStatus.CANCELLED:
        return await _over(connection, company_id, theirs)
    await note(connection, _difference(company_id, theirs, DifferenceKind.UNMAPPED, problem=problem))
    return _Outcome(CalendarBookingState.UNMAPPED, problem=problem)


async def _conflict(
    connection: Connection, company_id: UUID, theirs: CalendarBooking, problem: str, customer_id: UUID | None
) -> _Outcome:
    """Its time is taken: seen as a difference, and somebody calls the person back who was promised it."""
    is_new = await note(connection, _difference(company_id, theirs, DifferenceKind.CONFLICT, problem=problem))
    if is_new:
        who = caller(number=theirs.attendee_phone, name=theirs.attendee_name, email=theirs.attendee_email)
        await request_callback(
            connection,
            company_id,
            call_id=None,
            customer_id=customer_id,
            phone=who.phone or who.phone_raw,
            name=theirs.attendee_name or "",
            reason=CONFLICT,
            now=datetime.now(UTC),
        )
    return _Outcome(CalendarBookingState.CONFLICT, problem=problem)


async def _undouble(connection: Connection, company_id: UUID, theirs: CalendarBooking, appointment_id: UUID) -> None:
    """Two appointments were made of what turned out to be one booking: the other one does not take place."""
    action = DifferenceAction.CLOSED
    try:
        await cancel(connection, company_id, appointment_id, actor=ACTOR, waive_policy=True)
    except ChangeRefused:
        action = DifferenceAction.REPORTED
    doubled = _difference(company_id, theirs, DifferenceKind.DOUBLED, appointment_id=appointment_id, action=action)
    await note(connection, doubled)


async def _save(
    connection: Connection, company_id: UUID, chain: _Chain, theirs: CalendarBooking, outcome: _Outcome
) -> None:
    await connection.execute(
        _SAVE,
        company_id,
        chain.id,
        outcome.appointment_id,
        theirs.uid,
        outcome.state.value,
        outcome.said.status.value if outcome.said.status else None,
        outcome.said.starts_at,
        theirs.event_type_id,
        theirs.began_at,
        theirs.over_at,
        outcome.problem,
    )


def _difference(
    company_id: UUID,
    theirs: CalendarBooking,
    kind: DifferenceKind,
    *,
    problem: str = "",
    appointment_id: UUID | None = None,
    action: DifferenceAction = DifferenceAction.REPORTED,
) -> Difference:
    return Difference(
        provider=Provider.CALCOM,
        kind=kind,
        subject=theirs.uid,
        company_id=company_id,
        action=action,
        appointment_id=appointment_id,
        ours={"problem": problem or None},
        theirs={
            "starts_at": theirs.starts_at,
            "status": theirs.status.value if theirs.status else None,
            "event_type_id": theirs.event_type_id,
        },
    )
