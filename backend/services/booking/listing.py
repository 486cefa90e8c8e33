"""Appointments as records: one, a page of them, and the events of one. Each function is one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from backend.domain.vocabulary import AppointmentEvent, AppointmentSource, AppointmentStatus
from backend.postgres.pools import Connection
from backend.services.selection import Selection

_COLUMNS = """
    a.id, a.version, a.status, a.source, a.starts_at, a.ends_at, a.time_zone, b.slug as branch, s.slug as service,
    p.slug as staff, a.customer_id, a.call_id, a.attendee_name, a.attendee_email, a.attendee_phone, a.price_cents,
    a.fee_cents, a.hold_expires_at, a.created_at, a.updated_at,
    case when a.parts is not null then (
        select json_agg(json_build_object(
            'staff', q.slug,
            'starts_at', a.starts_at + make_interval(mins => part.from_min),
            'ends_at', a.starts_at + make_interval(mins => part.from_min + part.minutes)) order by part.from_min)
        from jsonb_to_recordset(a.parts) as part (staff_id uuid, from_min integer, minutes integer)
        join staff q on q.company_id = a.company_id and q.id = part.staff_id
    )::text else '[]' end as parts
"""

_JOINED = """
    join branches b on b.company_id = a.company_id and b.id = a.branch_id
    join services s on s.company_id = a.company_id and s.id = a.service_id
    join staff p on p.company_id = a.company_id and p.id = a.staff_id
"""

# The page is cut out first, so that however it is joined, no more rows than its own are.
_PAGE = """
    select {columns}
    from (
        select a.* from appointments a
        where a.company_id = $1{conditions}
        order by a.starts_at, a.id
        limit {limit}
    ) a
    {joined}
    order by a.starts_at, a.id
"""

_ONE = f"select {_COLUMNS} from appointments a {_JOINED} where a.company_id = $1 and a.id = $2"  # noqa: S608 -- ours

_EVENTS = """
    select a.id, e.version, e.kind, e.actor, e.occurred_at, e.data::text as data
    from appointments a
    left join lateral (
        select * from appointment_events e
        where e.company_id = $1 and e.appointment_id = a.id and e.version > $3
        order by e.version
        limit $4
    ) e on true
    where a.company_id = $1 and a.id = $2
    order by e.version
"""


class PartRecord(msgspec.Struct, frozen=True):
    """What one person does of an appointment. Times are UTC."""

    staff: str
    starts_at: datetime
    ends_at: datetime


class AppointmentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An appointment, with the slugs of what it refers to. Times are UTC."""

    id: UUID
    version: int
    status: AppointmentStatus
    source: AppointmentSource
    starts_at: datetime
    ends_at: datetime
    time_zone: str
    branch: str
    service: str
    staff: str
    customer_id: UUID | None
    call_id: UUID | None
    attendee_name: str
    attendee_email: str | None
    attendee_phone: str | None
    price_cents: int
    fee_cents: int
    hold_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    parts: tuple[PartRecord, ...]
    """By time, when the service has several; else none."""


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to an appointment."""

    version: int
    kind: AppointmentEvent
    actor: str
    occurred_at: datetime
    data: dict[str, object]
    """The fields that it set, by column name."""


_decode_parts = msgspec.json.Decoder(tuple[PartRecord, ...]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class AppointmentFilter:
    """Which appointments; None and empty: whichever."""

    starts_from: datetime | None = None
    starts_until: datetime | None = None
    """Not included."""
    statuses: Sequence[AppointmentStatus] = ()
    branch: str | None = None
    service: str | None = None
    staff: str | None = None
    customer_id: UUID | None = None
    call_id: UUID | None = None


async def read_appointment(connection: Connection, company_id: UUID, appointment_id: UUID) -> AppointmentRecord | None:
    """One appointment of the company; None when there is none of that id. Needs the company's transaction."""
    row = await connection.fetchrow(_ONE, company_id, appointment_id)
    return None if row is None else _record(row)


async def list_appointments(
    connection: Connection,
    company_id: UUID,
    wanted: AppointmentFilter,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[AppointmentRecord]:
    """Up to `limit` appointments by start and id, those behind `after`. Needs the company's transaction."""
    selection = Selection(company_id)
    selection.where_given("a.starts_at >= {}", wanted.starts_from)
    selection.where_given("a.starts_at < {}", wanted.starts_until)
    if after is not None:
        selection.where("(a.starts_at, a.id) > ({}, {})", *after)
    if wanted.statuses:
        selection.where("a.status = any ({}::text[])", [status.value for status in wanted.statuses])
    for column, table, slug in (
        ("branch_id", "branches", wanted.branch),
        ("service_id", "services", wanted.service),
        ("staff_id", "staff", wanted.staff),
    ):
        found = f"a.{column} = (select x.id from {table} x where x.company_id = $1 and x.slug = {{}})"  # noqa: S608
        selection.where_given(found, slug)
    selection.where_given("a.customer_id = {}", wanted.customer_id)
    selection.where_given("a.call_id = {}", wanted.call_id)
    place = selection.value(limit)
    statement = _PAGE.format(columns=_COLUMNS, joined=_JOINED, conditions=selection.conditions, limit=place)
    return [_record(row) for row in await connection.fetch(statement, *selection.values)]


def _record(row: asyncpg.Record) -> AppointmentRecord:
    return msgspec.convert({**dict(row), "parts": _decode_parts(row["parts"])}, AppointmentRecord)


async def list_events(
    connection: Connection, company_id: UUID, appointment_id: UUID, *, after: int, limit: int
) -> list[EventRecord] | None:
    """Up to `limit` events of an appointment behind the version `after`; None when there is no such appointment."""
    rows = await connection.fetch(_EVENTS, company_id, appointment_id, after, limit)
    if not rows:
        return None
    return [
        msgspec.convert({**dict(row), "data": msgspec.json.decode(row["data"])}, EventRecord)
        for row in rows
        if row["version"] is not None
    ]
