"""`GET /api/availability`: the free slots of a service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from backend.api.partners.answers import Visiting, answered, problems, requires
from backend.api.partners.values import Day, Given, Moment, Slug, Told
from backend.api.problems import Problem
from backend.domain.vocabulary import TokenScope
from backend.services.booking.availability import MOST_DAYS, AvailabilityRequest, NotOffered, read_calendar, slots_in
from backend.services.companies.facts import read_staff_slugs

router = APIRouter(tags=["availability"])

MOST_SLOTS = 2_000

REFUSED = {
    "service_unknown": "there is no such service, or it is inactive",
    "branch_unknown": "there is no such branch, or there are several and none was named",
    "staff_unknown": "there is no such staff member",
    "not_offered": "nobody who could be booked offers this there",
}


class SlotShape(Told):
    """A time at which the service can be booked."""

    starts_at: Moment = Field(description="With the offset that the clocks at the branch have then.")
    ends_at: Moment
    staff: list[str] = Field(description="Slugs of those who could do it.")


class AvailabilityShape(Told):
    """Free slots, by time."""

    service: str
    time_zone: str = Field(description="Of the branch.")
    slots: list[SlotShape]


class AvailabilityQuery(Given):
    """Which slots."""

    service: Slug
    branch: Slug | None = Field(None, description="Needed when the company has several.")
    staff: Slug | None = Field(None, description="Only with this person; without it, with anybody.")
    from_: Day | None = Field(
        None, alias="from", description="First day, in the branch's time zone; without it, today."
    )
    days: int = Field(7, ge=1, le=MOST_DAYS)
    limit: int = Field(MOST_SLOTS, ge=1, le=MOST_SLOTS, description="At most so many slots.")


@router.get(
    "/api/availability",
    summary="Find free slots",
    description="Computed from the calendar at this moment; a slot is yours once it is booked or held.",
    response_model=AvailabilityShape,
    responses=problems(404),
    dependencies=requires(TokenScope.AVAILABILITY_READ),
)
async def get_availability(visiting: Visiting, query: Annotated[AvailabilityQuery, Query()]) -> Response:
    """The free slots of a service."""
    request = AvailabilityRequest(
        company_id=visiting.caller.company_id,
        service=query.service,
        now=datetime.now(UTC),
        branch=query.branch,
        staff=query.staff,
        first_day=query.from_,
        days=query.days,
        limit=query.limit,
    )
    try:
        async with visiting.company() as connection:
            read = await read_calendar(connection, request)
            slugs = await read_staff_slugs(connection, visiting.caller.company_id)
    except NotOffered as refused:
        reason = refused.reason.value
        raise Problem(404, REFUSED.get(reason, reason), reason=reason) from None
    slots = [
        SlotShape(
            starts_at=slot.local,
            ends_at=slot.ends_at.astimezone(slot.local.tzinfo),
            staff=[slugs[one] for one in slot.staff if one in slugs],
        )
        for slot in slots_in(read, request)
    ]
    content = AvailabilityShape(service=query.service, time_zone=read.calendar.opening.time_zone, slots=slots)
    return answered(content)
