"""Booking: appointments made, moved and cancelled. Each function is one round trip in the caller's transaction.

The rules stand in the database (migration 0004): who may be booked, the lock order, events and projection in one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from backend.domain.vocabulary import AppointmentEvent, AppointmentSource, AppointmentStatus, RefusalReason
from backend.domain.zones import instant, tz_version
from backend.postgres.pools import Connection

CALLBACK_DUE = timedelta(hours=4)
"""A caller whose wish could not be met is called back within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookingRequest:
    """A wish for an appointment, by the names people use (slugs). Travels as the payload of a job (`encode`)."""

    key: str
    """Idempotency key; `call:<provider_call_id>` for the wish that a call carries."""
    company_id: UUID
    service: str
    starts_at: datetime | None
    """With an offset; naive means wall time where the branch is; None could not be read."""
    asked_at: datetime
    """When it was asked for (aware): nothing before that can be booked."""
    staff: str | None = None
    """None: anybody who offers it."""
    branch: str | None = None
    """None: the branch that was called, else the company's only one."""
    called_branch_id: UUID | None = None
    customer_id: UUID | None = None
    call_id: UUID | None = None
    attendee_name: str = ""
    attendee_email: str | None = None
    attendee_phone: str | None = None
    source: AppointmentSource = AppointmentSource.CALL
    actor: str = "call"

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, payload: bytes) -> BookingRequest:
        """From JSON. Raises msgspec.DecodeError (ValidationError) for anything else."""
        return msgspec.json.decode(payload, type=cls)


@dataclass(frozen=True, slots=True)
class Booked:
    """The appointment that a request has."""

    appointment_id: UUID
    staff_id: UUID
    starts_at: datetime
    ends_at: datetime
    version: int
    is_new: bool
    """False when an earlier run of the same request made it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that could not be met."""

    reason: RefusalReason
    callback_id: UUID | None
    """The callback request that keeps the wish, when it came from a call."""
    is_new: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """An appointment after an event."""

    version: int
    status: AppointmentStatus


class ChangeRefused(Exception):
    """An appointment that can't be changed like this; the message says why."""


class AppointmentMissing(ChangeRefused):
    """There is no such appointment (in this company)."""


class AppointmentStale(ChangeRefused):
    """Somebody changed it in between: look again first."""


class ChangeNotAllowed(ChangeRefused):
    """Its status does not allow this."""


class StaffNotOffering(ChangeRefused):
    """The new staff member does not offer the service at that branch."""


class SlotTaken(ChangeRefused):
    """The new time is not free."""


_REFUSALS: Mapping[str, type[ChangeRefused]] = {
    "not_found": AppointmentMissing,
    "stale": AppointmentStale,
    "not_allowed": ChangeNotAllowed,
    "not_offered": StaffNotOffering,
    "slot_taken": SlotTaken,
}

_BOOK = """
    select refusal, appointment_id, staff_id, starts_at, ends_at, version, callback_id, is_new
    from book_appointment($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
"""

_CHANGE = "select result, version, status from change_appointment($1, $2, $3, $4, $5, $6, $7)"

_ZONE = """
    select b.time_zone from branches b
    where b.company_id = $1
    order by b.slug = $2 desc nulls last, b.id = $3 desc nulls last, b.id
    limit 1
"""


async def book(connection: Connection, request: BookingRequest) -> Booked | Refused:
    """Book what is asked for, or say why not; the same request again gets the same answer without another effect.

    One round trip in the caller's transaction, which must be the company's (a second one for a time without an
    offset). A refused wish of a call leaves a callback request, and the call's outcome becomes `callback`.
    Raises asyncpg errors only.
    """
    row = await connection.fetchrow(
        _BOOK,
        request.company_id,
        request.key,
        request.service,
        request.branch,
        request.called_branch_id,
        request.staff,
        await _wanted_at(connection, request),
        request.asked_at,
        request.source.value,
        request.actor,
        request.customer_id,
        request.call_id,
        request.attendee_name,
        request.attendee_email,
        request.attendee_phone,
        CALLBACK_DUE,
        tz_version(),
    )
    assert row is not None
    if row["refusal"] is not None:
        return Refused(RefusalReason(row["refusal"]), row["callback_id"], row["is_new"])
    return Booked(
        row["appointment_id"], row["staff_id"], row["starts_at"], row["ends_at"], row["version"], row["is_new"]
    )


async def _wanted_at(connection: Connection, request: BookingRequest) -> datetime | None:
    """The instant that is asked for; None when there is none that can be booked anyway."""
    moment = request.starts_at
    if moment is None:
        return None
    zone = "UTC"
    if moment.tzinfo is None:
        found: str | None = await connection.fetchval(
            _ZONE, request.company_id, request.branch, request.called_branch_id
        )
        if found is None:
            return None
        zone = found
    try:
        return instant(moment, zone)
    except OverflowError:
        return None


async def cancel(
    connection: Connection, company_id: UUID, appointment_id: UUID, *, actor: str, version: int | None = None
) -> Changed:
    """Cancel an appointment that has not begun. `version` is what the caller saw; None: whatever it is now.

    Raises AppointmentMissing, AppointmentStale, ChangeNotAllowed.
    """
    change = _Change(AppointmentEvent.CANCELLED, actor, version, {})
    return await _change(connection, company_id, appointment_id, change)


async def reschedule(
    connection: Connection,
    company_id: UUID,
    appointment_id: UUID,
    *,
    starts_at: datetime,
    actor: str,
    staff_id: UUID | None = None,
    version: int | None = None,
) -> Changed:
    """Move an appointment to `starts_at` (aware), to another staff member when given; its length stays.

    Raises AppointmentMissing, AppointmentStale, ChangeNotAllowed, StaffNotOffering, SlotTaken; ValueError when
    `starts_at` is naive.
    """
    if starts_at.tzinfo is None:
        raise ValueError("starts_at needs a time zone")
    data: dict[str, object] = {"starts_at": starts_at.astimezone(UTC).isoformat()}
    if staff_id is not None:
        data["staff_id"] = str(staff_id)
    change = _Change(AppointmentEvent.RESCHEDULED, actor, version, data)
    return await _change(connection, company_id, appointment_id, change)


@dataclass(frozen=True, slots=True)
class _Change:
    event: AppointmentEvent
    actor: str
    version: int | None
    data: Mapping[str, object]


async def _change(connection: Connection, company_id: UUID, appointment_id: UUID, change: _Change) -> Changed:
    row = await connection.fetchrow(
        _CHANGE,
        company_id,
        appointment_id,
        change.version,
        change.event.value,
        change.actor,
        msgspec.json.encode(change.data).decode(),
        tz_version(),
    )
    assert row is not None
    if row["result"] != "done":
        raise _REFUSALS[row["result"]](f"{change.event.value}: {row['result']} (appointment {appointment_id})")
    return Changed(row["version"], AppointmentStatus(row["status"]))
