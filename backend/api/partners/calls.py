"""`/api/calls`: the calls that the voice agent took, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from backend.api.partners.answers import Visiting, answered, not_modified, page_answer, problems, requires
from backend.api.partners.conditions import IfNoneMatch, is_unchanged
from backend.api.partners.pages import LARGEST_PAGE, PAGE, Cursor, Page
from backend.api.partners.values import Given, Moment, Told
from backend.api.problems import Problem
from backend.domain.vocabulary import CallOutcome, CallStatus, Sentiment, TokenScope
from backend.services.calls.listing import CallFilter, CallRecord, list_calls, read_call

router = APIRouter(tags=["calls"])


class CallShape(Told):
    """A call."""

    id: UUID
    provider_call_id: str
    agent_id: str | None
    branch: str | None = Field(description="Slug of the branch that was called.")
    direction: str | None = Field(examples=["inbound"])
    from_number: str | None
    to_number: str | None
    status: CallStatus
    outcome: CallOutcome | None = Field(description="What it led to; null while it is not known.")
    started_at: Moment
    ended_at: Moment | None
    duration_ms: int | None
    disconnection_reason: str | None = Field(description="In the provider's words.")
    summary: str | None
    sentiment: Sentiment | None
    cost_cents: int | None
    caller_name: str | None = Field(description="As the caller said it.")
    customer_id: UUID | None
    updated_at: Moment


class WholeCallShape(CallShape):
    """A call with what was said."""

    transcript: str | None
    recording_url: str | None = Field(description="Signed by the provider; it may expire.")
    appointments: list[UUID] = Field(description="What was booked in it.")


class CallQuery(Given):
    """Which calls."""

    from_: Moment | None = Field(None, alias="from", description="Started then or later.")
    until: Moment | None = Field(None, description="Started before then.")
    status: CallStatus | None = None
    outcome: CallOutcome | None = None
    customer_id: UUID | None = None
    limit: int = Field(PAGE, ge=1, le=LARGEST_PAGE)
    cursor: Cursor | None = None


@router.get(
    "/api/calls",
    summary="List calls",
    description="Newest first.",
    response_model=Page[CallShape],
    responses=problems(),
    dependencies=requires(TokenScope.CALLS_READ),
)
async def get_calls(visiting: Visiting, query: Annotated[CallQuery, Query()]) -> Response:
    """A page of calls."""
    listing = visiting.listing(query)
    position = listing.position(query.cursor)
    wanted = CallFilter(
        started_from=query.from_,
        started_until=query.until,
        status=query.status,
        outcome=query.outcome,
        customer_id=query.customer_id,
    )
    after = None if position is None else (datetime.fromisoformat(str(position[0])), UUID(str(position[1])))
    async with visiting.company() as connection:
        rows = await list_calls(connection, visiting.caller.company_id, wanted, after=after, limit=listing.limit + 1)
    shown, following = listing.page(rows, _key)
    items = [CallShape.model_validate(row, from_attributes=True) for row in shown]
    return page_answer(Page(items=items, next=following), following)


def _key(row: CallRecord) -> list[object]:
    return [row.started_at.isoformat(), row.id]


@router.get(
    "/api/calls/{call_id}",
    summary="Read a call",
    response_model=WholeCallShape,
    responses=problems(304, 404),
    dependencies=requires(TokenScope.CALLS_READ),
)
async def get_call(visiting: Visiting, call_id: UUID, if_none_match: IfNoneMatch = None) -> Response:
    """One call."""
    async with visiting.company() as connection:
        record = await read_call(connection, visiting.caller.company_id, call_id)
    if record is None:
        raise Problem(404)
    version = f"{record.updated_at.timestamp():.6f}-{len(record.appointments)}"
    if is_unchanged(if_none_match, version):
        return not_modified(version)
    return answered(WholeCallShape.model_validate(record, from_attributes=True), version=version)
