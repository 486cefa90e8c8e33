"""Events about bookings in the provider's calendar, as far as they concern appointments made here.

A booking belongs to the appointment whose `provider_booking_uid` it has, or which it names as
`metadata.appointment_id`. Bookings that nobody here made are left alone: keeping both calendars in step needs the
provider's calendar itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from backend.domain.vocabulary import ACTIVE_APPOINTMENT, AppointmentStatus, InboxState
from backend.postgres.pools import Connection
from backend.providers.calcom.payloads import BookingWebhook, read_booking_webhook
from backend.services.booking import ChangeNotAllowed, cancel

CANCELLED = frozenset({"BOOKING_CANCELLED", "BOOKING_REJECTED"})
"""Events after which the appointment does not take place."""

ACTOR = "calcom"

_DELIVERY = "select body from webhook_inbox where id = $1 and state <> 'ignored' for no key update"

_FIND = """
    select id, status from appointments
    where company_id = $1 and (provider_booking_uid = $2 or id = $3)
    order by provider_booking_uid = $2 desc nulls last
    limit 1
    for no key update
"""

_LINK = """
    update appointments set provider_booking_uid = $3
    where company_id = $1 and id = $2 and provider_booking_uid is null
"""

_MARK = """
    update webhook_inbox set state = $2, processed_at = clock_timestamp(), error = null
    where id = $1 and state in ('accepted', 'held')
"""


@dataclass(frozen=True, slots=True)
class BookingFold:
    """What an event about a booking led to."""

    appointment_id: UUID | None
    """None when it concerns no appointment of ours: the delivery is marked as ignored."""
    is_cancelled: bool


async def fold_booking_event(connection: Connection, company_id: UUID, inbox_id: UUID) -> BookingFold | None:
    """Apply one stored event, within the company's transaction; applied again it changes nothing.

    None when there is no such delivery. Raises `Malformed` for a stored body that can't be read.
    """
    body: bytes | None = await connection.fetchval(_DELIVERY, inbox_id)
    if body is None:
        return None
    webhook = read_booking_webhook(body)
    row = await connection.fetchrow(_FIND, company_id, webhook.payload.booking_uid, _named_appointment(webhook))
    if row is None:
        await connection.execute(_MARK, inbox_id, InboxState.IGNORED.value)
        return BookingFold(None, is_cancelled=False)
    appointment_id: UUID = row["id"]
    if webhook.payload.booking_uid is not None:
        await connection.execute(_LINK, company_id, appointment_id, webhook.payload.booking_uid)
    is_cancelled = False
    if webhook.triggerEvent in CANCELLED and AppointmentStatus(row["status"]) in ACTIVE_APPOINTMENT:
        try:
            await cancel(connection, company_id, appointment_id, actor=ACTOR, waive_policy=True)
            is_cancelled = True
        except ChangeNotAllowed:
            # It has begun meanwhile: what took place is not cancelled.
            is_cancelled = False
    await connection.execute(_MARK, inbox_id, InboxState.PROCESSED.value)
    return BookingFold(appointment_id, is_cancelled)


def _named_appointment(webhook: BookingWebhook) -> UUID | None:
    metadata = (webhook.payload.model_extra or {}).get("metadata")
    try:
        return UUID(str(metadata["appointment_id"])) if isinstance(metadata, dict) else None
    except (KeyError, ValueError):
        return None
