"""The rules that a booking is judged by: kept ones, else they are read with what a refusal will need."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backend.domain.availability import ALTERNATIVE_DAYS
from backend.postgres.pools import Connection
from backend.services.booking.availability import AvailabilityRequest, ReadCalendar, read_calendar
from backend.services.booking.calendar_rules import FARTHEST, RULES, Place, Rules
from backend.services.coalescing import Coalesced

_asked: Coalesced[ReadCalendar] = Coalesced()


async def rules_for(
    connection: Connection, place: Place, *, asked_at: datetime, staff: str | None, around: datetime | None
) -> tuple[Rules, ReadCalendar | None]:
    """The rules of a service at a branch, kept ones if they know `staff`; else they are read, in one round trip.

    What was read, in that case: the week on either side of `around` is in it, with what is booked. Whoever asks for
    rules that are being read already waits for them.
    Raises NotOffered, asyncpg errors.
    """
    kept = RULES.get(place, asked_at)
    if kept is not None and (staff is None or staff in kept.slugs):
        return kept, None
    today = asked_at.astimezone(UTC).date()
    week = timedelta(days=ALTERNATIVE_DAYS)
    first = today if around is None else around.astimezone(UTC).date() - week
    request = AvailabilityRequest(
        company_id=place.company_id,
        service=place.service,
        now=asked_at,
        branch=place.branch,
        called_branch_id=place.called_branch_id,
        staff=staff,
        first_day=first,
        days=1 if around is None else 2 * week.days + 1,
    )
    read, is_mine = await _asked.ask((place, staff, first), lambda: read_calendar(connection, request))
    return read.rules, read if is_mine else None


def is_near(wanted: datetime, asked_at: datetime) -> bool:
    """Whether a calendar reaches so far at all."""
    return abs(wanted - asked_at) <= FARTHEST
