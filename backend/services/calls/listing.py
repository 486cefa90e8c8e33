"""Calls as records: one with what was said, and a page of them. Each function is one round trip."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from backend.domain.vocabulary import CallOutcome, CallStatus, Sentiment
from backend.postgres.pools import Connection
from backend.services.selection import Selection

_COLUMNS = """
    c.id, c.provider_call_id, c.agent_id, c.direction, c.from_number, c.to_number, c.status, c.outcome, c.started_at,
    c.ended_at, c.duration_ms, c.disconnection_reason, c.summary, c.sentiment, c.cost_cents, c.caller_name,
    c.customer_id, b.slug as branch, c.updated_at
"""

_PAGE = """
    select {columns}
    from (
        select c.* from calls c
        where c.company_id = $1{conditions}
        order by c.started_at desc, c.id desc
        limit {limit}
    ) c
    left join branches b on b.company_id = c.company_id and b.id = c.branch_id
    order by c.started_at desc, c.id desc
"""

_ONE = f"""
    select {_COLUMNS}, c.transcript, c.recording_url,
           array(select a.id::text from appointments a
                 where a.company_id = $1 and a.call_id = c.id order by a.id limit 100) as appointments
    from calls c
    left join branches b on b.company_id = c.company_id and b.id = c.branch_id
    where c.company_id = $1 and c.id = $2
"""  # noqa: S608 -- no text but ours


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A call, without what was said. Times are UTC."""

    id: UUID
    provider_call_id: str
    agent_id: str | None
    direction: str | None
    from_number: str | None
    to_number: str | None
    status: CallStatus
    outcome: CallOutcome | None
    started_at: datetime
    ended_at: datetime | None
    duration_ms: int | None
    disconnection_reason: str | None
    summary: str | None
    sentiment: Sentiment | None
    cost_cents: int | None
    caller_name: str | None
    customer_id: UUID | None
    branch: str | None
    updated_at: datetime


class WholeCallRecord(CallRecord, frozen=True, kw_only=True):
    """A call with what was said and what came of it."""

    transcript: str | None
    recording_url: str | None
    appointments: list[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls; None: whichever."""

    started_from: datetime | None = None
    started_until: datetime | None = None
    """Not included."""
    status: CallStatus | None = None
    outcome: CallOutcome | None = None
    customer_id: UUID | None = None


async def read_call(connection: Connection, company_id: UUID, call_id: UUID) -> WholeCallRecord | None:
    """One call of the company; None when there is none of that id. Needs the company's transaction."""
    row = await connection.fetchrow(_ONE, company_id, call_id)
    return None if row is None else msgspec.convert(dict(row), WholeCallRecord)


async def list_calls(
    connection: Connection, company_id: UUID, wanted: CallFilter, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[CallRecord]:
    """Up to `limit` calls, newest first, those behind `after`. Needs the company's transaction."""
    selection = Selection(company_id)
    selection.where_given("c.started_at >= {}", wanted.started_from)
    selection.where_given("c.started_at < {}", wanted.started_until)
    if after is not None:
        selection.where("(c.started_at, c.id) < ({}, {})", *after)
    selection.where_given("c.status = {}", None if wanted.status is None else wanted.status.value)
    selection.where_given("c.outcome = {}", None if wanted.outcome is None else wanted.outcome.value)
    selection.where_given("c.customer_id = {}", wanted.customer_id)
    place = selection.value(limit)
    statement = _PAGE.format(columns=_COLUMNS, conditions=selection.conditions, limit=place)
    return [msgspec.convert(dict(row), CallRecord) for row in await connection.fetch(statement, *selection.values)]
