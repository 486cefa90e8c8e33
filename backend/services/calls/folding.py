"""Calls: the deliveries about one call folded into its row, with the customer that it leads to.

Two round trips in the caller's transaction: lock and read, then write everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import msgspec

from backend.domain.calls import CallRecord, fold_call
from backend.domain.vocabulary import CallOutcome, Provider
from backend.postgres.pools import Connection
from backend.providers.retell.events import read_call_event
from backend.services.booking import CALLBACK_DUE, BookingRequest
from backend.services.callbacks.requests import date_callback
from backend.services.customers.finding import Caller, arguments, caller

_WISH_OUTCOMES = frozenset({None, CallOutcome.BOOKED, CallOutcome.UNKNOWN})
"""Outcomes with which a carried booking is meant; in a call that cancelled or moved one it tells of the old."""


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What folding a call's deliveries led to."""

    call_id: UUID
    record: CallRecord
    customer_id: UUID | None
    booking: BookingRequest | None
    """The wish that the call carries and that is neither met nor refused yet: to be booked by a job."""
    deliveries: int
    """Deliveries whose effect is in the database with this fold for the first time."""


_LOCK = "select inbox_id, body, received_at, branch_id from lock_call($1, $2, $3)"

_SAVE = """
    with acted as materialized (
        select function_outcomes as outcomes, function_customer_id as customer_id
        from calls where provider = $9 and provider_call_id = $10
    ), who as materialized (
        -- Not with coalesce: nobody is made of a name when functions have found out who it is.
        select case when exists (select from acted where customer_id is not null) then (select customer_id from acted)
                    else (select f.customer_id from find_or_create_customer($1, $2, $3, $4, $5, $6, $7) f)
               end as customer_id
    ), settled as materialized (
        select exists (select from appointments where company_id = $1 and idempotency_key = $8)
               or coalesce((select outcomes && '{booked,rescheduled,cancelled}' from acted), false) as is_booked,
               exists (select from calls k join callback_requests r on r.company_id = $1 and r.call_id = k.id
                       where k.provider = $9 and k.provider_call_id = $10
                         and r.reason = any (booking_refusals())) as is_refused
    ), saved as (
        insert into calls (
            company_id, provider, provider_call_id, branch_id, agent_id, call_type, direction, from_number, to_number,
            status, started_at, ended_at, duration_ms, disconnection_reason, transcript, summary, sentiment,
            recording_url, cost_cents, latency, outcome, caller_name, events, customer_id)
        select $1, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27,
               case when is_refused then 'callback' else $28 end, $29, $30, (select customer_id from who)
        from settled
        on conflict (provider, provider_call_id) do update set
            branch_id = excluded.branch_id, agent_id = excluded.agent_id, call_type = excluded.call_type,
            direction = excluded.direction, from_number = excluded.from_number, to_number = excluded.to_number,
            status = excluded.status, started_at = excluded.started_at, ended_at = excluded.ended_at,
            duration_ms = excluded.duration_ms, disconnection_reason = excluded.disconnection_reason,
            transcript = excluded.transcript, summary = excluded.summary, sentiment = excluded.sentiment,
            recording_url = excluded.recording_url, cost_cents = excluded.cost_cents, latency = excluded.latency,
            outcome = coalesce(function_outcome(calls.function_outcomes), excluded.outcome),
            caller_name = coalesce(excluded.caller_name, calls.caller_name), events = excluded.events,
            customer_id = excluded.customer_id, updated_at = now()
        returning id
    ), requested as (
        insert into callback_requests (company_id, call_id, customer_id, phone, name, reason, due_at)
        select $1, saved.id, (select customer_id from who), coalesce($2, $3), coalesce($29, ''), $31, now() + $32
        from saved
        where $31::text is not null and not coalesce((select 'callback' = any (outcomes) from acted), false)
        on conflict (company_id, call_id, reason) do nothing
        returning id
    ), marked as (
        -- By id alone: the index on states is as long as the backlog is.
        update webhook_inbox set state = 'processed', processed_at = clock_timestamp(), error = null
        where id = any ($33) and state || '' in ('accepted', 'held')
        returning id
    )
    select saved.id, (select customer_id from who) as customer_id, is_booked or is_refused as is_settled,
           (select count(*) from marked) as deliveries, (select id from requested) as callback_id
    from saved, settled
"""


def booking_key(provider_call_id: str) -> str:
    """Idempotency key of the appointment that a call wishes for; also the name of the lock on all work on that call."""
    return f"call:{provider_call_id}"


async def fold_call_events(
    connection: Connection, company_id: UUID, provider: Provider, provider_call_id: str
) -> FoldResult | None:
    """Fold all deliveries about a call into its row; find or make its customer; mark the deliveries as processed.

    What functions did during the call goes before what its analysis says: the customer they found, the outcome, and
    the wish, which is met when they booked, moved or cancelled something.
    Beyond that the result depends on the set of deliveries only, so it may run in any order, twice, or at once with
    itself.
    Two round trips in the caller's transaction, which must be the company's; three more when the caller is to be called
    back. None when there is no delivery.
    Raises `Malformed` for a stored body that can't be read, asyncpg errors otherwise.
    """
    key = booking_key(provider_call_id)
    deliveries = await connection.fetch(_LOCK, key, provider.value, provider_call_id)
    if not deliveries:
        return None
    record = fold_call([read_call_event(row["body"], row["received_at"]) for row in deliveries])
    who = caller(number=record.caller_number, name=record.caller_name, email=record.caller_email)
    branch_id: UUID | None = next((row["branch_id"] for row in deliveries if row["branch_id"] is not None), None)
    row = await connection.fetchrow(
        _SAVE,
        company_id,
        *arguments(who),
        key,
        provider.value,
        provider_call_id,
        branch_id,
        record.agent_id,
        record.call_type,
        record.direction,
        record.from_number,
        record.to_number,
        record.status.value,
        record.started_at,
        record.ended_at,
        record.duration_ms,
        record.disconnection_reason,
        record.transcript,
        record.summary,
        record.sentiment.value if record.sentiment else None,
        record.recording_url,
        record.cost_cents,
        msgspec.json.encode(record.latency).decode() if record.latency is not None else None,
        record.outcome.value if record.outcome else None,
        record.caller_name,
        list(record.kinds),
        record.callback_reason,
        CALLBACK_DUE,
        [delivery["inbox_id"] for delivery in deliveries],
    )
    assert row is not None
    if row["callback_id"] is not None:
        await date_callback(connection, company_id, row["callback_id"])
    booking = (
        None
        if row["is_settled"]
        else _wish(
            record, who, company_id=company_id, branch_id=branch_id, call_id=row["id"], customer_id=row["customer_id"]
        )
    )
    return FoldResult(row["id"], record, row["customer_id"], booking, row["deliveries"])


def _wish(
    record: CallRecord,
    who: Caller,
    *,
    company_id: UUID,
    branch_id: UUID | None,
    call_id: UUID,
    customer_id: UUID | None,
) -> BookingRequest | None:
    """The booking that the call carries, if it is meant as one."""
    wish = record.booking
    if wish is None or record.outcome not in _WISH_OUTCOMES:
        return None
    return BookingRequest(
        key=booking_key(record.provider_call_id),
        company_id=company_id,
        service=wish.service,
        starts_at=wish.starts_at,
        asked_at=record.started_at,
        staff=wish.staff,
        branch=wish.branch,
        called_branch_id=branch_id,
        customer_id=customer_id,
        call_id=call_id,
        attendee_name=record.caller_name or "",
        attendee_email=who.email,
        attendee_phone=who.phone or who.phone_raw,
        # The caller has hung up: somebody calls back.
        wants_alternatives=False,
    )
