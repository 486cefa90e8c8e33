"""Requests to call somebody back, and until when: the company's promise, counted while the branch is open.

A request is due `within_min` minutes of opening time after it was made, an urgent one `urgent_within_min`; without
opening hours all minutes count. A customer who named a time is to be called within half an hour of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from uuid import UUID

import msgspec

from backend.domain.opening import ExceptionRule, OpeningRules, after_open_time
from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import WEEKDAYS, Week
from backend.postgres.pools import Connection
from backend.services.companies.declarations import CallbackRules

WANTED_GRACE = timedelta(minutes=30)
"""Somebody who named a time is called within this time of it."""

LONGEST_REASON = 500
"""Characters of a reason that are kept: it is part of a key."""

URGENT = 1
USUAL = 0


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """A request that is in the database."""

    id: UUID
    due_at: datetime
    is_urgent: bool = False
    is_new: bool = True
    """False when the call had asked for the same before."""


class CallbackMissing(LookupError):
    """There is no such callback request (in this company)."""


_RULES = """
    with place as (
        select b.* from branches b
        where b.company_id = $1 and b.is_active
          and (b.id = (select k.branch_id from calls k where k.company_id = $1 and k.id = $2)
               or (select count(*) from branches o where o.company_id = $1 and o.is_active) = 1)
        limit 1
    )
    select json_build_object(
        'rules', coalesce(c.settings -> 'callbacks', '{}'),
        'branch', (select json_build_object(
            'time_zone', b.time_zone, 'bundesland', b.bundesland, 'opening_hours', b.opening_hours,
            'exceptions', coalesce((
                select json_agg(json_build_array(e.kind, e.first_day, e.last_day, e.starts, e.ends))
                from calendar_exceptions e
                where e.company_id = $1 and e.branch_id = b.id and e.staff_id is null
                  and e.last_day >= $3::timestamptz::date - 2 and e.first_day <= $3::timestamptz::date + 70), '[]'))
            from place b))::text
    from companies c where c.id = $1
"""

_REQUEST = """
    with made as (
        insert into callback_requests (company_id, call_id, customer_id, phone, name, reason, priority, wanted_at,
                                       due_at, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (company_id, call_id, reason) do nothing
        returning id, due_at, priority
    )
    select id, due_at, priority, true as is_new from made
    union all
    select id, due_at, priority, false from callback_requests
    where company_id = $1 and call_id = $2 and reason = $6
    limit 1
"""

_UNDATED = "select call_id, reason, created_at from callback_requests where company_id = $1 and id = $2"

_DATE = """
    update callback_requests set due_at = $3, priority = $4
    where company_id = $1 and id = $2 and state = 'open'
    returning id
"""

_RuleRow = tuple[ExceptionKind, date, date, time | None, time | None]


class _Branch(msgspec.Struct, frozen=True):
    time_zone: str
    bundesland: str
    opening_hours: Week
    exceptions: list[_RuleRow]


class _Found(msgspec.Struct, frozen=True):
    rules: CallbackRules
    branch: _Branch | None


async def request_callback(
    connection: Connection,
    company_id: UUID,
    *,
    call_id: UUID | None,
    customer_id: UUID | None,
    phone: str | None,
    name: str,
    reason: str,
    wanted_at: datetime | None = None,
    now: datetime,
) -> CallbackRequest:
    """Keep a wish to be called back; asked for again by the same call for the same reason, the one that is there.

    Two round trips in the company's transaction. `wanted_at` (aware) is when the customer asked to be called; one that
    has passed means as soon as can be. Raises ValueError for an empty reason, asyncpg errors.
    """
    reason = " ".join(reason.replace("\0", "").split())[:LONGEST_REASON]
    if not reason:
        raise ValueError("a callback request needs a reason")
    if wanted_at is not None and wanted_at <= now:
        wanted_at = None
    found = await _read_rules(connection, company_id, call_id, now)
    urgent = _is_urgent(reason, found.rules.urgent)
    due_at = _due(found, now, urgent=urgent) if wanted_at is None else wanted_at + WANTED_GRACE
    row = await connection.fetchrow(
        _REQUEST,
        company_id,
        call_id,
        customer_id,
        phone,
        name.replace("\0", ""),
        reason,
        URGENT if urgent else USUAL,
        wanted_at,
        due_at,
        now,
    )
    assert row is not None
    return CallbackRequest(row["id"], row["due_at"], row["priority"] == URGENT, row["is_new"])


async def date_callback(connection: Connection, company_id: UUID, callback_id: UUID) -> datetime:
    """Set the deadline of a request that another service left, by the company's rules; the deadline.

    Three round trips in the company's transaction. Raises CallbackMissing, asyncpg errors.
    """
    row = await connection.fetchrow(_UNDATED, company_id, callback_id)
    if row is None:
        raise CallbackMissing(f"there is no callback request {callback_id}")
    found = await _read_rules(connection, company_id, row["call_id"], row["created_at"])
    urgent = _is_urgent(row["reason"], found.rules.urgent)
    due_at = _due(found, row["created_at"], urgent=urgent)
    await connection.execute(_DATE, company_id, callback_id, due_at, URGENT if urgent else USUAL)
    return due_at


async def _read_rules(connection: Connection, company_id: UUID, call_id: UUID | None, now: datetime) -> _Found:
    text: str | None = await connection.fetchval(_RULES, company_id, call_id, now)
    if text is None:
        raise LookupError(f"there is no company {company_id}")
    return msgspec.json.decode(text, type=_Found)


def _due(found: _Found, now: datetime, *, urgent: bool) -> datetime:
    promised = timedelta(minutes=found.rules.urgent_within_min if urgent else found.rules.within_min)
    if found.branch is None or found.rules.always:
        return now + promised
    return after_open_time(_opening(found.branch), now, promised) or now + promised


def _is_urgent(reason: str, words: Iterable[str]) -> bool:
    folded = reason.casefold()
    return any(word.casefold() in folded for word in words)


def _opening(found: _Branch) -> OpeningRules:
    weekly = {number: found.opening_hours[day] for number, day in enumerate(WEEKDAYS, 1) if day in found.opening_hours}
    exceptions = tuple(
        ExceptionRule(kind, first, last, None if starts is None or ends is None else (starts, ends))
        for kind, first, last, starts, ends in found.exceptions
    )
    return OpeningRules(found.time_zone, weekly or None, found.bundesland, exceptions)
