"""What Cal.com sends: events about bookings.

The payload can be a template that its user edited, so only the envelope is certain; the rest is taken if it is there.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BeforeValidator, Field

from backend.domain.vocabulary import Provider
from backend.providers.delivery import Delivery, Headers, kept_headers
from backend.providers.json_body import read_object
from backend.providers.validation import Tolerant, validated

AGENT_PREFIX = "calcom:"
"""Before the event type's id, where an agent's id stands for Retell."""


def _text_or_none(value: object) -> object:
    return value if isinstance(value, str) and len(value) <= 256 else None


def _integer_or_none(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


Text = Annotated[str | None, BeforeValidator(_text_or_none)]


class Booking(Tolerant):
    """The payload of a booking event, as far as it is there."""

    uid: Text = None
    bookingUid: Text = None
    """Instead of `uid` in BOOKING_NO_SHOW_UPDATED."""
    rescheduleUid: Text = None
    """The booking that this one replaces."""
    eventTypeId: Annotated[int | None, BeforeValidator(_integer_or_none)] = None
    startTime: Text = None
    endTime: Text = None
    status: Text = None

    @property
    def booking_uid(self) -> str | None:
        """The booking that the event is about; None when the event is about none."""
        return self.uid or self.bookingUid or None


def _booking_or_nothing(value: object) -> object:
    return value if isinstance(value, dict) else {}


class BookingWebhook(Tolerant):
    """The body of an event."""

    triggerEvent: Annotated[str, Field(min_length=1, max_length=64)]
    createdAt: Text = None
    """ISO 8601; events about one booking are ordered by it."""
    payload: Annotated[Booking, BeforeValidator(_booking_or_nothing)] = Booking()


def read_booking_webhook(body: bytes) -> BookingWebhook:
    """The event that `body` tells. Raises `Malformed`.

    Meeting events of some versions have the booking's fields beside `triggerEvent` instead of under `payload`.
    """
    root = read_object(body)
    if "payload" not in root and isinstance(root.get("uid"), str):
        kept = ("triggerEvent", "createdAt")
        root = {name: root[name] for name in kept if name in root} | {
            "payload": {name: value for name, value in root.items() if name not in kept}
        }
    return validated(BookingWebhook, root)


def read_delivery(body: bytes, headers: Headers) -> Delivery:
    """A verified body as the intake takes it. Raises `Malformed`."""
    webhook = read_booking_webhook(body)
    booking = webhook.payload
    return Delivery(
        provider=Provider.CALCOM,
        event=webhook.triggerEvent,
        subject=booking.booking_uid or "",
        dedup_key=hashlib.sha256(body).hexdigest(),
        dialled=None,
        agent=None if booking.eventTypeId is None else f"{AGENT_PREFIX}{booking.eventTypeId}",
        body=body,
        headers=kept_headers(headers),
    )
