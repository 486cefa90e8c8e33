"""Working off callback requests: what is open, who settled what, and telling the company what is overdue, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from backend.domain.vocabulary import CallbackState
from backend.domain.zones import zone
from backend.postgres.pools import Connection
from backend.services.callbacks.requests import URGENT
from backend.services.companies.declarations import CallbackRules
from backend.services.notifications.message import Mailbox, Message, fit
from backend.services.notifications.wording import clock, day, language_of

LONGEST_NOTE = 2_000
"""Characters of a note."""

AT_MOST = 200
"""Callbacks that are escalated in one transaction, and so in one message."""


class CallbackLine(msgspec.Struct, frozen=True, kw_only=True):
    """A callback request in a list."""

    id: UUID
    company: str
    state: CallbackState
    is_urgent: bool
    is_overdue: bool
    name: str
    phone: str | None
    """E.164 or as it was said; whoever shows it decides how much of it."""
    reason: str
    created_at: datetime
    wanted_at: datetime | None
    due_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    note: str


class CallbackClosed(Exception):
    """It was settled already; the message says by whom and when."""


_LINES = """
    select r.id, c.slug as company, r.state, r.priority >= $6 as is_urgent,
           r.state = 'open' and r.due_at < $1 as is_overdue, r.name, r.phone, r.reason, r.created_at, r.wanted_at,
           r.due_at, r.closed_at, r.closed_by, r.note
    from callback_requests r
    join companies c on c.id = r.company_id
    where ($2::text is null or c.slug = $2) and r.state = any ($3) and (not $4 or r.due_at < $1)
    order by case when r.state = 'open' then r.due_at end, r.due_at desc, r.id
    limit $5
"""

_COMPANY = "select company_id from callback_requests where id = $1"

_CLOSE = """
    with present as (
        select id, state, closed_by, closed_at from callback_requests where company_id = $1 and id = $2 for update
    ), closed as (
        update callback_requests r
        set state = $3, closed_at = $4, closed_by = $5, note = $6
        from present
        where r.company_id = $1 and r.id = present.id and present.state = 'open'
        returning r.id
    )
    select present.*, exists (select from closed) as is_done from present
"""

_ESCALATE = """
    with late as (
        select id from callback_requests
        where company_id = $1 and state = 'open' and due_at < $2 and escalated_at is null
        order by due_at
        limit $3
        for update skip locked
    ), marked as (
        update callback_requests r set escalated_at = $2
        from late where r.company_id = $1 and r.id = late.id
        returning r.id, r.due_at
    )
    select array(select id from marked order by due_at, id) as ids, c.settings ->> 'callbacks' as rules
    from companies c where c.id = $1
"""

_OVERDUE = """
    select r.id, r.name, r.phone, r.reason, r.due_at, r.priority, c.name as company, c.locale, c.time_zone,
           c.settings ->> 'callbacks' as rules, r.escalated_at
    from callback_requests r
    join companies c on c.id = r.company_id
    where r.company_id = $1 and r.id = any ($2) and r.state = 'open'
    order by r.priority desc, r.due_at, r.id
"""


async def list_callbacks(
    connection: Connection,
    now: datetime,
    *,
    company: str | None = None,
    states: Sequence[CallbackState] = (CallbackState.OPEN,),
    overdue: bool = False,
    limit: int = 1_000,
) -> list[CallbackLine]:
    """Requests by what is due first, then settled ones newest first, on a connection that sees all companies."""
    words = [state.value for state in states]
    rows = await connection.fetch(_LINES, now, company, words, overdue, limit, URGENT)
    return [msgspec.convert(dict(row), CallbackLine) for row in rows]


async def company_of(connection: Connection, callback_id: UUID) -> UUID | None:
    """Whose request it is, on a connection that sees all companies."""
    found: UUID | None = await connection.fetchval(_COMPANY, callback_id)
    return found


async def close_callback(
    connection: Connection,
    company_id: UUID,
    callback_id: UUID,
    state: CallbackState,
    *,
    actor: str,
    note: str = "",
    now: datetime,
) -> bool:
    """Settle a request as done or dropped, in the company's transaction; False when it is not there.

    Raises CallbackClosed when somebody was faster; ValueError for `open`.
    """
    if state is CallbackState.OPEN:
        raise ValueError("a request is settled as done or dropped")
    told = note.replace("\0", " ").strip()[:LONGEST_NOTE]
    row = await connection.fetchrow(_CLOSE, company_id, callback_id, state.value, now, actor, told)
    if row is None:
        return False
    if not row["is_done"]:
        when = f" at {row['closed_at']:%Y-%m-%d %H:%M} UTC" if row["closed_at"] else ""
        by = f" by {row['closed_by']}" if row["closed_by"] else ""
        raise CallbackClosed(f"it is {row['state']} already{by}{when}")
    return True


@dataclass(frozen=True, slots=True)
class Escalated:
    """What became overdue."""

    ids: tuple[UUID, ...]
    email: str
    """Who wants to know; empty for nobody."""


async def escalate(connection: Connection, company_id: UUID, now: datetime) -> Escalated:
    """Mark what is overdue and was not marked: one round trip in the company's transaction."""
    row = await connection.fetchrow(_ESCALATE, company_id, now, AT_MOST)
    if row is None:
        return Escalated((), "")
    return Escalated(tuple(row["ids"]), _rules(row["rules"]).email)


async def overdue_message(connection: Connection, company_id: UUID, ids: Sequence[UUID]) -> Message | None:
    """What the company is told of these requests; None when all are settled, or nobody wants to know."""
    rows = await connection.fetch(_OVERDUE, company_id, list(ids))
    if not rows or not (email := _rules(rows[0]["rules"]).email):
        return None
    first = rows[0]
    language = language_of(first["locale"])
    lines = []
    for row in rows:
        due = row["due_at"].astimezone(zone(first["time_zone"]))
        who = ", ".join(part for part in (fit(row["name"], 100), fit(row["phone"] or "", 40)) if part) or "?"
        mark = "! " if row["priority"] >= URGENT else "- "
        lines.append(f"{mark}{day(due, language)}, {clock(due, language)}: {who} ({fit(row['reason'], 200)})")
    number = len(rows)
    if language == "de":
        subject = f"{number} {'Rückruf ist' if number == 1 else 'Rückrufe sind'} überfällig"
        head = "Diese Rückrufe sind noch offen, obwohl sie zugesagt waren bis:"
    else:
        subject = f"{number} {'callback is' if number == 1 else 'callbacks are'} overdue"
        head = "These callbacks are still open, though they were promised until:"
    return Message(
        key=f"callback_overdue-{ids[0]}",
        day=first["escalated_at"] or first["due_at"],
        sender_name="AskPro",
        to=Mailbox(first["company"], email),
        language=language,
        subject=subject,
        text="\n".join([head, "", *lines, ""]),
    )


def _rules(text: str | None) -> CallbackRules:
    return msgspec.json.decode(text, type=CallbackRules) if text else CallbackRules()
