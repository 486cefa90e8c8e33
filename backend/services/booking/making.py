"""Appointments held and booked, in the caller's transaction.

What could be booked follows from the calendar's rules (`backend.services.booking.rules`); who is free, in which order
locks are taken, events and projection stand in the database (migration 0007). A booking whose rules are known is one
round trip; two when they have to be read, or when alternatives are to be named.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from backend.domain.availability import Slot, find_alternatives
from backend.domain.vocabulary import AppointmentStatus, RefusalReason
from backend.domain.zones import instant, tz_version
from backend.postgres.pools import Connection
from backend.services.booking.alternatives import alternatives_near
from backend.services.booking.availability import NotOffered, ReadCalendar
from backend.services.booking.calendar_rules import RULES, Able, Place, Rules, Wish
from backend.services.booking.records import (
    SETTLING,
    Booked,
    BookedPart,
    BookingRequest,
    CalendarUnsettled,
    Refused,
    stored_parts,
)
from backend.services.booking.rules import is_near, rules_for

CALLBACK_DUE = timedelta(hours=4)
"""Deadline of a request to call back until the company's own rules date it (`callbacks.requests.date_callback`)."""

NAMED = frozenset(
    {
        RefusalReason.SLOT_TAKEN,
        RefusalReason.OUTSIDE_HOURS,
        RefusalReason.TOO_SOON,
        RefusalReason.TOO_FAR,
        RefusalReason.IN_PAST,
    }
)
"""Refusals that come with alternatives."""

_PLACE = """
    select refusal, appointment_id, staff_id, starts_at, ends_at, version, status, hold_expires_at, parts, callback_id,
           is_new
    from place_booking($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
                       $22, $23)
"""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the rules say to a request."""

    rules: Rules | None
    read: ReadCalendar | None
    """When they had to be read for it."""
    wanted_at: datetime | None
    answer: Able | RefusalReason


async def book(connection: Connection, request: BookingRequest) -> Booked | Refused:
    """Book or hold what is asked for, or say why not; the same request again gets the same answer and has no effect.

    At most two round trips in the caller's transaction, which must be the company's, unless its calendar changes
    meanwhile. A refused wish of a call leaves a callback request, and the call's outcome becomes `callback`.
    Raises CalendarUnsettled, asyncpg errors.
    """
    place = Place(request.company_id, request.service, request.branch, request.called_branch_id)
    for _ in range(SETTLING):
        judged = await _judge(connection, place, request)
        row = await connection.fetchrow(_PLACE, *_arguments(request, judged))
        assert row is not None
        if row["refusal"] is None:
            return _booked(row)
        if row["refusal"] != "calendar_changed":
            reason = RefusalReason(row["refusal"])
            named = await _alternatives(connection, request, judged) if reason in NAMED else ()
            detail = _detail(reason, judged.rules)
            return Refused(reason, row["callback_id"], row["is_new"], alternatives=named, detail=detail)
        RULES.forget(place)
    raise CalendarUnsettled(f"the calendar of company {request.company_id} does not settle")


async def _judge(connection: Connection, place: Place, request: BookingRequest) -> _Judged:
    """What the rules say, in at most one round trip."""
    moment = request.starts_at
    if moment is None:
        return _Judged(None, None, None, RefusalReason.TIME_UNREADABLE)
    around = moment if moment.tzinfo is not None else moment.replace(tzinfo=request.asked_at.tzinfo)
    near = request.wants_alternatives and is_near(around, request.asked_at)
    try:
        rules, read = await rules_for(
            connection,
            place,
            asked_at=request.asked_at,
            staff=request.staff,
            around=around if near else None,
        )
    except NotOffered as refused:
        return _Judged(None, None, None, refused.reason)
    try:
        wanted = instant(moment, rules.zone)
    except OverflowError:
        return _Judged(rules, read, None, RefusalReason.TIME_UNREADABLE)
    person = None if request.staff is None else rules.slugs[request.staff]
    answer = rules.judge(Wish(wanted, request.asked_at, person, request.any_time))
    return _Judged(rules, read, wanted, answer)


def _arguments(request: BookingRequest, judged: _Judged) -> tuple[object, ...]:
    rules, answer = judged.rules, judged.answer
    able = answer if isinstance(answer, Able) else Able(())
    people, roles = able.flat
    parts = None if rules is None else rules.parts
    return (
        request.company_id,
        request.key,
        None if rules is None else rules.version,
        None if isinstance(answer, Able) else answer.value,
        None if rules is None else rules.offer.service_id,
        None if rules is None else rules.calendar.branch_id,
        people,
        roles,
        1 if rules is None else rules.offer.capacity,
        [] if parts is None else parts.roles,
        [] if parts is None else parts.starts,
        [] if parts is None else parts.minutes,
        judged.wanted_at,
        request.hold_for,
        request.source.value,
        request.actor,
        request.customer_id,
        request.call_id,
        request.attendee_name,
        request.attendee_email,
        request.attendee_phone,
        CALLBACK_DUE,
        tz_version(),
    )


def _booked(row: asyncpg.Record) -> Booked:
    starts_at: datetime = row["starts_at"]
    return Booked(
        row["appointment_id"],
        row["staff_id"],
        starts_at,
        row["ends_at"],
        row["version"],
        row["is_new"],
        AppointmentStatus(row["status"]),
        row["hold_expires_at"],
        tuple(
            BookedPart(
                part.staff_id,
                starts_at + timedelta(minutes=part.from_min),
                starts_at + timedelta(minutes=part.from_min + part.minutes),
            )
            for part in stored_parts(row["parts"])
        ),
    )


async def _alternatives(connection: Connection, request: BookingRequest, judged: _Judged) -> tuple[Slot, ...]:
    """Other slots near the wished one, in at most one round trip; none when what was read names them."""
    wanted, read = judged.wanted_at, judged.read
    if not request.wants_alternatives or wanted is None or not is_near(wanted, request.asked_at):
        return ()
    if read is not None:
        return find_alternatives(read.calendar, wanted, request.asked_at, person=read.person)
    place = Place(request.company_id, request.service, request.branch, request.called_branch_id)
    return await alternatives_near(connection, place, request.staff, wanted, request.asked_at)


def _detail(reason: RefusalReason, rules: Rules | None) -> str:
    if rules is None:
        return ""
    if reason is RefusalReason.TOO_SOON:
        return f"{rules.offer.notice_s // 60} minutes beforehand"
    if reason is RefusalReason.TOO_FAR:
        return f"{rules.offer.horizon_days} days ahead"
    return ""
