"""A calendar in the database: the one statement that reads it, and what its rows mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date, time
from functools import partial
from itertools import repeat
from typing import NamedTuple, cast
from uuid import UUID

import msgspec

from backend.domain.availability import Busy, Calendar, OfferRules, Part, Person
from backend.domain.opening import ExceptionRule, OpeningRules, WeeklySpans, WorkRules
from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import WEEKDAYS, Span, Week

# An appointment is at most a day long and has at most four hours of buffer on either side, so two days around what is
# asked find all that reaches into it by the index on (company_id, staff_id, busy_from): `&&` cannot use an index here.
# Exceptions are read from now on without end: they are few, and whoever keeps the rules needs all of them.
# What is not needed when the rules are known is not run: each part of them hangs on `company`.
READ_CALENDAR = """
with company as materialized (
    select c.calendar_version as version, c.is_active, c.calendar_version is not distinct from $9::bigint as is_known,
           coalesce(c.xmin = pg_current_xact_id_if_assigned()::xid, false) as is_own
    from companies c where c.id = $1
), service as materialized (
    select s.* from company c
    join services s on s.company_id = $1 and s.slug = $2 and s.is_active
    where not c.is_known
), branch as materialized (
    select b.* from company c
    join branches b on b.company_id = $1 and b.is_active
    where not c.is_known
      and (b.slug = $3
           or $3::text is null and (b.id = $4
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
), wanted as materialized (
    select case when c.is_known then string_to_array($10::text, ',')::uuid[]
                else array(select p.id from people p where p.skills is not null) end as staff,
           case when c.is_known then $11::uuid else (select s.id from service s) end as service_id
    from company c
), taken as materialized (
    select t.staff_id,
           json_agg(floor(date_part('epoch', t.busy_from))::bigint order by t.busy_from, t.appointment_id) as starts,
           json_agg(ceil(date_part('epoch', t.busy_until))::bigint order by t.busy_from, t.appointment_id) as ends,
           json_agg(lower(t.seats) order by t.busy_from, t.appointment_id) as seats,
           json_agg(t.service_id = (select w.service_id from wanted w) and not upper_inf(t.seats)
                    order by t.busy_from, t.appointment_id) as same
    from staff_time t
    where t.company_id = $1 and t.staff_id = any ((select w.staff from wanted w)::uuid[])
      and t.busy_from >= $6 and t.busy_from < $7
      and (t.hold_expires_at is null or t.hold_expires_at > $8)
    group by t.staff_id
)
select json_build_object(
    'company', (select json_build_array(c.version, c.is_active, c.is_known, c.is_own) from company c),
    'busy', (select json_object_agg(k.staff_id, json_build_array(k.starts, k.ends, k.seats, k.same)) from taken k),
    'rules', case when (select c.is_known from company c) then null else json_build_object(
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
                  and e.last_day >= least($6::timestamptz, $8::timestamptz)::date - 2), '[]')))
            from people p cross join branch b where p.skills is not null), '[]')) end)::text
"""
"""company, service slug, branch slug, called branch, staff slug, from, until, now; known version, staff, service.

The staff are ids with commas between: an array would cost each new connection a round trip to learn its type.
"""

_RuleRow = tuple[ExceptionKind, date, date, time | None, time | None]
_HourRow = tuple[int, time, time]
BusyRow = tuple[list[int], list[int], list[int], list[bool]]
"""Starts, ends, seats, and whether the service asked for can be joined there."""


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


class Company(NamedTuple):
    """The company, and what the asker needs to know about its version."""

    version: int
    """Of the calendar."""
    is_active: bool
    is_known: bool
    """The version is the one that was named, so there are no rules in the answer."""
    is_own: bool
    """This very transaction has changed it, and may yet undo that."""


class RuleRows(msgspec.Struct, frozen=True):
    """The rules of a service at a branch."""

    service: _Service | None
    branch: _Branch | None
    person: UUID | None
    """The one that was asked for."""
    people: list[_StaffMember]


class Rows(msgspec.Struct, frozen=True):
    """What READ_CALENDAR answers."""

    company: Company | None
    rules: RuleRows | None
    """None when they are known."""
    busy: dict[UUID, BusyRow] | None
    """By staff member; None: nobody is."""


def calendar_of(service: _Service, branch: _Branch, people: Iterable[_StaffMember]) -> Calendar:
    """The calendar that these rows mean, without what is booked."""
    return Calendar(branch.id, _opening(branch), _offer(service), tuple(_person(one) for one in people))


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


def _person(found: _StaffMember) -> Person:
    work = WorkRules(_weekly(found.hours), _weekly(found.breaks), _rules(found.exceptions))
    return Person(found.id, frozenset(found.skills), work)


# A question meets thousands of them, and what a named tuple's own constructor adds takes longer than all the rest.
_busy = cast("Callable[[tuple[int, int, int, UUID | None]], Busy]", partial(tuple.__new__, Busy))


def with_busy(calendar: Calendar, busy: Mapping[UUID, BusyRow]) -> Calendar:
    """The calendar with what is booked."""
    service_id = calendar.offer.service_id

    def taken(starts: list[int], ends: list[int], seats: list[int], same: list[bool]) -> tuple[Busy, ...]:
        services = [service_id if joinable else None for joinable in same] if any(same) else repeat(None)
        return tuple(map(_busy, zip(starts, ends, seats, services, strict=False)))

    people = tuple(
        replace(person, busy=taken(*busy[person.id])) if person.id in busy else person for person in calendar.people
    )
    return replace(calendar, people=people)


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
