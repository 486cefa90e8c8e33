"""Free slots of a company, out of our own database; no calendar provider is ever asked.

One statement reads all that the rules need, however many staff members and days there are, and
`backend.domain.availability` does the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import msgspec

from backend.domain.availability import (
    ALTERNATIVE_DAYS,
    Busy,
    Calendar,
    OfferRules,
    Part,
    Person,
    Slot,
    find_alternatives,
    find_slots,
)
from backend.domain.opening import ExceptionRule, OpeningRules, WeeklySpans, WorkRules
from backend.domain.vocabulary import ExceptionKind, RefusalReason
from backend.domain.weeks import WEEKDAYS, Span, Week
from backend.domain.zones import zone
from backend.postgres.pools import Connection

MOST_DAYS = 62
"""Longest time that one request may ask about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityRequest:
    """A question for free slots, by the names people use (slugs)."""

    company_id: UUID
    service: str
    now: datetime
    """Aware; nothing before it and the service's notice is offered."""
    branch: str | None = None
    """None: the branch that was called, else the company's only active one."""
    called_branch_id: UUID | None = None
    staff: str | None = None
    """None: anybody. For a service of several parts: who does the first."""
    first_day: date | None = None
    """In the branch's zone; None: today."""
    days: int = 14
    limit: int | None = None
    """At most so many slots; None: all."""

    def __post_init__(self) -> None:
        if not 1 <= self.days <= MOST_DAYS:
            raise ValueError(f"days must be from 1 to {MOST_DAYS}")
        if self.now.tzinfo is None:
            raise ValueError("now must have an offset")


class NotOffered(Exception):
    """What was asked for cannot be booked at all, at no time."""

    def __init__(self, reason: RefusalReason) -> None:
        self.reason = reason
        """company_inactive, service_unknown, branch_unknown, staff_unknown or not_offered."""
        super().__init__(reason.value)


@dataclass(frozen=True, slots=True)
class ReadCalendar:
    """What was read for a request."""

    calendar: Calendar
    names: dict[UUID, str]
    """Of the staff members in it."""
    person: UUID | None
    """The one asked for."""
    slugs: dict[str, UUID]
    """Of the staff members in it."""
    version: int
    """Of the company's calendar: rules read with the same one are the same."""


async def available(connection: Connection, request: AvailabilityRequest) -> tuple[Slot, ...]:
    """The slots by time, in one round trip of the caller's transaction. Raises NotOffered, asyncpg errors."""
    return slots_in(await read_calendar(connection, request), request)


def slots_in(read: ReadCalendar, request: AvailabilityRequest) -> tuple[Slot, ...]:
    """The slots of a request, from what was read for it."""
    first = request.first_day or request.now.astimezone(zone(read.calendar.opening.time_zone)).date()
    last = first + timedelta(days=request.days - 1)
    return find_slots(read.calendar, first, last, request.now, person=read.person, limit=request.limit)


async def alternatives(connection: Connection, request: AvailabilityRequest, wanted: datetime) -> tuple[Slot, ...]:
    """At most three slots to name when `wanted` (aware) is gone, best first, in one round trip.

    `first_day`, `days` and `limit` of the request do not matter. Raises NotOffered, asyncpg errors.
    """
    around = timedelta(days=ALTERNATIVE_DAYS)
    near = AvailabilityRequest(
        company_id=request.company_id,
        service=request.service,
        now=request.now,
        branch=request.branch,
        called_branch_id=request.called_branch_id,
        staff=request.staff,
        first_day=wanted.astimezone(UTC).date() - around,
        days=2 * ALTERNATIVE_DAYS + 1,
    )
    read = await read_calendar(connection, near)
    return find_alternatives(read.calendar, wanted, request.now, person=read.person)


async def read_calendar(connection: Connection, request: AvailabilityRequest) -> ReadCalendar:
    """All that the slots of a request depend on, in one statement. Raises NotOffered, asyncpg errors."""
    first, end = days_read(request)
    text: str = await connection.fetchval(
        READ_CALENDAR,
        request.company_id,
        request.service,
        request.branch,
        request.called_branch_id,
        request.staff,
        first,
        end,
        request.now,
    )
    return read_found(text, request)


def read_found(text: str, request: AvailabilityRequest) -> ReadCalendar:
    """What READ_CALENDAR answered. Raises NotOffered."""
    found = msgspec.json.decode(text, type=_Found)
    company, service, branch = found.company, found.service, found.branch
    if company is not None and not company[1]:
        raise NotOffered(RefusalReason.COMPANY_INACTIVE)
    if company is None or service is None:
        raise NotOffered(RefusalReason.SERVICE_UNKNOWN)
    if branch is None:
        raise NotOffered(RefusalReason.BRANCH_UNKNOWN)
    if request.staff is not None and found.person is None:
        raise NotOffered(RefusalReason.STAFF_UNKNOWN)
    offer = _offer(service)
    calendar = Calendar(branch.id, _opening(branch), offer, tuple(_person(one, service.id) for one in found.people))
    needed = {part.skill for part in offer.parts if part.role == offer.parts[0].role}
    if not any(needed <= person.skills and found.person in {None, person.id} for person in calendar.people):
        raise NotOffered(RefusalReason.NOT_OFFERED)
    return ReadCalendar(
        calendar,
        {person.id: person.name for person in found.people},
        found.person,
        {person.slug: person.id for person in found.people},
        company[0],
    )


def days_read(request: AvailabilityRequest) -> tuple[datetime, datetime]:
    """From when until when appointments matter: the days asked for, in whichever zone, and what reaches into them."""
    first = request.first_day or request.now.astimezone(UTC).date()
    midnight = datetime.combine(first, time(), UTC)
    return midnight - timedelta(days=3), midnight + timedelta(days=request.days + 3)


# An appointment is at most a day long and has at most four hours of buffer on either side, so two days around what is
# asked find all that reaches into it by the index on (company_id, staff_id, busy_from): `&&` cannot use an index here.
# Exceptions are read from now on without end: they are few, and whoever keeps the rules needs all of them.
READ_CALENDAR = """
with service as materialized (
    select * from services where company_id = $1 and slug = $2 and is_active
), branch as materialized (
    select * from branches
    where company_id = $1 and is_active
      and (slug = $3
           or $3::text is null and (id = $4
                                    or $4::uuid is null and (select count(*) from branches o
                                                             where o.company_id = $1 and o.is_active) = 1))
), segments as materialized (
    select g.* from service s join service_segments g on g.company_id = $1 and g.service_id = s.id
), needed as materialized (
    select coalesce(g.skill_service_id, g.service_id) as id from segments g where not g.is_gap
    union select s.id from service s where not exists (select from segments)
), people as materialized (
    select p.id, p.slug, p.name, (
               select json_agg(o.service_id) from staff_services o
               where o.company_id = $1 and o.staff_id = p.id and o.service_id in (select n.id from needed n)) as skills
    from branch b
    join staff_branches w on w.company_id = $1 and w.branch_id = b.id
    join staff p on p.company_id = $1 and p.id = w.staff_id and p.is_bookable
), taken as materialized (
    select t.staff_id,
           json_agg(floor(date_part('epoch', t.busy_from))::bigint order by t.busy_from, t.appointment_id) as starts,
           json_agg(ceil(date_part('epoch', t.busy_until))::bigint order by t.busy_from, t.appointment_id) as ends,
           json_agg(lower(t.seats) order by t.busy_from, t.appointment_id) as seats,
           json_agg(t.service_id = s.id and not upper_inf(t.seats) order by t.busy_from, t.appointment_id) as same
    from staff_time t
    cross join service s
    where t.company_id = $1 and t.staff_id = any (array(select p.id from people p where p.skills is not null))
      and t.busy_from >= $6 and t.busy_from < $7
      and (t.hold_expires_at is null or t.hold_expires_at > $8)
    group by t.staff_id
)
select json_build_object(
    'company', (select json_build_array(c.calendar_version, c.is_active) from companies c where c.id = $1),
    'service', (select json_build_object(
        'id', s.id, 'duration_min', s.duration_min, 'buffer_before_min', s.buffer_before_min,
        'buffer_after_min', s.buffer_after_min, 'notice_min', s.notice_min, 'horizon_days', s.horizon_days,
        'step_min', s.step_min, 'capacity', s.capacity,
        'segments', coalesce((
            select json_agg(json_build_array(g.duration_min, g.role, coalesce(g.skill_service_id, g.service_id))
                            order by g.position)
            from segments g), '[]')) from service s),
    'branch', (select json_build_object(
        'id', b.id, 'time_zone', b.time_zone, 'bundesland', b.bundesland, 'opening_hours', b.opening_hours,
        'exceptions', coalesce((
            select json_agg(json_build_array(e.kind, e.first_day, e.last_day, e.starts, e.ends))
            from calendar_exceptions e
            where e.company_id = $1 and e.branch_id = b.id and e.staff_id is null
              and e.last_day >= least($6::timestamptz, $8::timestamptz)::date - 2), '[]')) from branch b),
    'person', (select p.id from staff p where p.company_id = $1 and p.slug = $5),
    'people', coalesce((select json_agg(json_build_object(
        'id', p.id, 'slug', p.slug, 'name', p.name, 'skills', p.skills,
        'hours', coalesce((
            select json_agg(json_build_array(h.weekday, h.starts, h.ends) order by h.starts) from working_hours h
            where h.company_id = $1 and h.staff_id = p.id and h.branch_id = b.id), '[]'),
        'breaks', coalesce((
            select json_agg(json_build_array(r.weekday, r.starts, r.ends) order by r.starts) from breaks r
            where r.company_id = $1 and r.staff_id = p.id), '[]'),
        'exceptions', coalesce((
            select json_agg(json_build_array(e.kind, e.first_day, e.last_day, e.starts, e.ends))
            from calendar_exceptions e
            where e.company_id = $1 and e.staff_id = p.id and (e.branch_id is null or e.branch_id = b.id)
              and e.last_day >= least($6::timestamptz, $8::timestamptz)::date - 2), '[]'),
        'busy', (select json_build_array(k.starts, k.ends, k.seats, k.same) from taken k where k.staff_id = p.id)))
        from people p cross join branch b where p.skills is not null), '[]'))::text
"""
"""company, service slug, branch slug, called branch, staff slug, from, until, now."""

_RuleRow = tuple[ExceptionKind, date, date, time | None, time | None]
_HourRow = tuple[int, time, time]


class _Service(msgspec.Struct, frozen=True):
    id: UUID
    duration_min: int
    buffer_before_min: int
    buffer_after_min: int
    notice_min: int
    horizon_days: int
    step_min: int
    capacity: int
    segments: list[tuple[int, str | None, UUID]]
    """Minutes, role (None: a gap), skill."""


class _Branch(msgspec.Struct, frozen=True):
    id: UUID
    time_zone: str
    bundesland: str
    opening_hours: Week
    exceptions: list[_RuleRow]


class _StaffMember(msgspec.Struct, frozen=True):
    id: UUID
    slug: str
    name: str
    skills: list[UUID]
    hours: list[_HourRow]
    breaks: list[_HourRow]
    exceptions: list[_RuleRow]
    busy: tuple[list[int], list[int], list[int], list[bool]] | None
    """Starts, ends, seats, and whether the service asked for can be joined there; None: nothing."""


class _Found(msgspec.Struct, frozen=True):
    company: tuple[int, bool] | None
    """Version of the calendar, and whether the company is active."""
    service: _Service | None
    branch: _Branch | None
    person: UUID | None
    people: list[_StaffMember]


def _offer(found: _Service) -> OfferRules:
    parts: list[Part] = []
    at = 0
    for minutes, role, skill in found.segments:
        if role is not None:
            parts.append(Part(role, skill, at * 60, minutes * 60))
        at += minutes
    return OfferRules(
        service_id=found.id,
        duration_s=found.duration_min * 60,
        before_s=found.buffer_before_min * 60,
        after_s=found.buffer_after_min * 60,
        step_s=found.step_min * 60,
        capacity=found.capacity,
        notice_s=found.notice_min * 60,
        horizon_days=found.horizon_days,
        parts=tuple(parts) or (Part("", found.id, 0, found.duration_min * 60),),
    )


def _opening(found: _Branch) -> OpeningRules:
    weekly = {number: found.opening_hours[day] for number, day in enumerate(WEEKDAYS, 1) if day in found.opening_hours}
    return OpeningRules(found.time_zone, weekly or None, found.bundesland, _rules(found.exceptions))


def _person(found: _StaffMember, service_id: UUID) -> Person:
    work = WorkRules(_weekly(found.hours), _weekly(found.breaks), _rules(found.exceptions))
    busy = () if found.busy is None else tuple(map(_busy(service_id), *found.busy))
    return Person(found.id, frozenset(found.skills), work, busy)


def _busy(service_id: UUID) -> Callable[[int, int, int, bool], Busy]:
    return lambda starts, ends, seat, same: Busy(starts, ends, seat, service_id if same else None)


def _rules(rows: Iterable[_RuleRow]) -> tuple[ExceptionRule, ...]:
    return tuple(
        ExceptionRule(kind, first, last, None if starts is None or ends is None else (starts, ends))
        for kind, first, last, starts, ends in rows
    )


def _weekly(rows: Iterable[_HourRow]) -> WeeklySpans:
    found: dict[int, list[Span]] = defaultdict(list)
    for weekday, starts, ends in rows:
        found[weekday].append((starts, ends))
    return {weekday: tuple(spans) for weekday, spans in found.items()}
