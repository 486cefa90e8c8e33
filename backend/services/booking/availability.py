"""Free slots of a company, out of our own database; no calendar provider is ever asked.

One statement reads what is booked and, when the process does not know them, the rules, however many staff members and
days there are; `backend.domain.availability` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import msgspec

from backend.domain.availability import ALTERNATIVE_DAYS, Calendar, Slot, find_alternatives, find_slots
from backend.domain.vocabulary import RefusalReason
from backend.domain.zones import zone
from backend.postgres.pools import Connection
from backend.services.booking.calendar_rows import READ_CALENDAR, Rows, RuleRows, calendar_of, with_busy
from backend.services.booking.calendar_rules import RULES, Place, Rules

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
    """With what is booked."""
    rules: Rules
    """The same without, as the process keeps them."""
    person: UUID | None
    """The one asked for."""

    @property
    def names(self) -> dict[UUID, str]:
        """Of the staff members in it."""
        return self.rules.names


async def available(connection: Connection, request: AvailabilityRequest) -> tuple[Slot, ...]:
    """The slots by time, in one round trip of the caller's transaction. Raises NotOffered, asyncpg errors."""
    return slots_in(await read_calendar(connection, request), request)


def slots_in(read: ReadCalendar, request: AvailabilityRequest) -> tuple[Slot, ...]:
    """The slots of a request, from what was read for it."""
    first = request.first_day or request.now.astimezone(zone(read.calendar.opening.time_zone)).date()
    last = first + timedelta(days=request.days - 1)
    return find_slots(
        read.calendar, first, last, request.now, person=read.person, limit=request.limit, windows=read.rules.windows
    )


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
    return find_alternatives(read.calendar, wanted, request.now, person=read.person, windows=read.rules.windows)


async def read_calendar(connection: Connection, request: AvailabilityRequest) -> ReadCalendar:
    """All that the slots of a request depend on, in one statement. Raises NotOffered, asyncpg errors.

    Rules that the process knows are not sent again while the calendar's version is the same; what is booked always is.
    """
    place = Place(request.company_id, request.service, request.branch, request.called_branch_id)
    kept = RULES.get(place, request.now)
    if kept is not None and request.staff is not None and request.staff not in kept.slugs:
        kept = None  # somebody else's rules do not tell whether there is such a person
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
        None if kept is None else kept.version,
        None if kept is None else ",".join(map(str, kept.names)),
        None if kept is None else kept.offer.service_id,
    )
    found = msgspec.json.decode(text, type=Rows)
    if found.company is not None and not found.company.is_active:
        raise NotOffered(RefusalReason.COMPANY_INACTIVE)
    if found.company is None:
        raise NotOffered(RefusalReason.SERVICE_UNKNOWN)
    if found.rules is None:
        assert kept is not None
        rules, person = kept, None if request.staff is None else kept.slugs[request.staff]
    else:
        rules, person = _rules_of(found.rules, found.company.version, request), found.rules.person
        if not found.company.is_own:
            RULES.keep(place, rules)
    _must_be_offered(rules.calendar, person)
    return ReadCalendar(with_busy(rules.calendar, found.busy or {}), rules, person)


def _rules_of(found: RuleRows, version: int, request: AvailabilityRequest) -> Rules:
    """The rules in what was read. Raises NotOffered."""
    if found.service is None:
        raise NotOffered(RefusalReason.SERVICE_UNKNOWN)
    if found.branch is None:
        raise NotOffered(RefusalReason.BRANCH_UNKNOWN)
    if request.staff is not None and found.person is None:
        raise NotOffered(RefusalReason.STAFF_UNKNOWN)
    today = request.now.astimezone(UTC).date()
    return Rules(
        calendar_of(found.service, found.branch, found.people),
        version,
        slugs={person.slug: person.id for person in found.people},
        names={person.id: person.name for person in found.people},
        since=min(today, request.first_day or today),
    )


def _must_be_offered(calendar: Calendar, person: UUID | None) -> None:
    """Raises NotOffered when nobody, or not the one asked for, can do the first role."""
    parts = calendar.offer.parts
    needed = {part.skill for part in parts if part.role == parts[0].role}
    if not any(needed <= one.skills and person in {None, one.id} for one in calendar.people):
        raise NotOffered(RefusalReason.NOT_OFFERED)


def days_read(request: AvailabilityRequest) -> tuple[datetime, datetime]:
    """From when until when appointments matter: the days asked for, in whichever zone, and what reaches into them."""
    first = request.first_day or request.now.astimezone(UTC).date()
    midnight = datetime.combine(first, time(), UTC)
    return midnight - timedelta(days=3), midnight + timedelta(days=request.days + 3)
