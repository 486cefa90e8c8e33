"""From Cal.com's words to the domain's: one stored delivery as a `CalendarEvent`.

Known of the payloads [vendor's source]: a reschedule makes a new uid and names the old one as `rescheduleUid`;
BOOKING_NO_SHOW_UPDATED has `bookingUid` and `attendees[].noShow`; what was entered into the booking form stands under
`responses.<field>.value`. Templates can be edited, so everything is taken only if it is there and fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from uuid import UUID

from backend.domain.calendar_bookings import CalendarEvent, CalendarEventKind
from backend.domain.text import NAME_LIMIT, one_line
from backend.providers.calcom.payloads import BookingWebhook, read_booking_webhook

KINDS: Mapping[str, CalendarEventKind] = {
    "BOOKING_CREATED": CalendarEventKind.CREATED,
    "BOOKING_REQUESTED": CalendarEventKind.REQUESTED,
    "BOOKING_RESCHEDULED": CalendarEventKind.RESCHEDULED,
    "BOOKING_CANCELLED": CalendarEventKind.CANCELLED,
    "BOOKING_REJECTED": CalendarEventKind.REJECTED,
    "BOOKING_NO_SHOW_UPDATED": CalendarEventKind.NO_SHOW,
    "MEETING_STARTED": CalendarEventKind.STARTED,
    "MEETING_ENDED": CalendarEventKind.ENDED,
}
"""The events that mean something here; all others are stored and ignored."""

OWN_APPOINTMENT = "appointment_id"
"""Under this name a booking that we made carries its appointment in its metadata."""

NO_MAIL = ("@sms.cal.com", "@example.invalid")
"""Ends of addresses that stand for none: the provider makes them up for bookings by phone."""

_NAME_FIELDS = ("name",)
_MAIL_FIELDS = ("email",)
_PHONE_FIELDS = ("attendeePhoneNumber", "phone", "smsReminderNumber")


def read_calendar_event(body: bytes, received_at: datetime) -> CalendarEvent | None:
    """The event that a stored body tells; None for one that is about no booking or means nothing here.

    Raises `Malformed` for a body that the intake would refuse.
    """
    webhook = read_booking_webhook(body)
    kind = KINDS.get(webhook.triggerEvent)
    booking = webhook.payload
    if kind is None or booking.booking_uid is None:
        return None
    replaces = one_line(booking.rescheduleUid, 256)
    if kind is CalendarEventKind.NO_SHOW:
        return CalendarEvent(
            kind=kind,
            uid=booking.booking_uid,
            created_at=_moment(webhook.createdAt) or received_at,
            is_no_show=_no_show(webhook),
        )
    return CalendarEvent(
        kind=kind,
        uid=booking.booking_uid,
        created_at=_moment(webhook.createdAt) or received_at,
        replaces=replaces if replaces != booking.booking_uid else None,
        starts_at=_moment(booking.startTime),
        event_type_id=booking.eventTypeId,
        appointment_id=named_appointment(_more(webhook).get("metadata")),
        attendee_name=one_line(_first(webhook, "name", _NAME_FIELDS), NAME_LIMIT),
        attendee_email=_mail(_first(webhook, "email", _MAIL_FIELDS)),
        attendee_phone=one_line(_first(webhook, "phoneNumber", _PHONE_FIELDS), 64),
    )


def named_appointment(metadata: object) -> UUID | None:
    """The appointment of ours that a booking's metadata names."""
    try:
        return UUID(str(metadata[OWN_APPOINTMENT])) if isinstance(metadata, Mapping) else None
    except (KeyError, ValueError):
        return None


def _more(webhook: BookingWebhook) -> Mapping[str, object]:
    return webhook.payload.model_extra or {}


def _attendees(webhook: BookingWebhook) -> Iterator[Mapping[str, object]]:
    listed = _more(webhook).get("attendees")
    if isinstance(listed, list):
        yield from (attendee for attendee in listed if isinstance(attendee, Mapping))


def _first(webhook: BookingWebhook, name: str, fields: tuple[str, ...]) -> str | None:
    """What the first attendee has under `name`, else what was entered into one of the form's fields."""
    for attendee in _attendees(webhook):
        value = attendee.get(name)
        if isinstance(value, str) and value.strip():
            return value
        break
    responses = _more(webhook).get("responses")
    if not isinstance(responses, Mapping):
        return None
    for field in fields:
        entry = responses.get(field)
        value = entry.get("value") if isinstance(entry, Mapping) else entry
        if isinstance(value, str) and value.strip():
            return value
    return None


def _mail(value: str | None) -> str | None:
    mail = one_line(value, 254)
    return None if mail is None or mail.lower().endswith(NO_MAIL) else mail


def _no_show(webhook: BookingWebhook) -> bool | None:
    """Whether an attendee is marked as not having come; None when nothing is said of attendees."""
    marks = [mark for attendee in _attendees(webhook) if isinstance(mark := attendee.get("noShow"), bool)]
    return any(marks) if marks else None


def _moment(text: str | None) -> datetime | None:
    """An ISO 8601 time as an instant; one without an offset is UTC, as the provider writes it."""
    try:
        moment = datetime.fromisoformat(text.strip()) if text else None
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
