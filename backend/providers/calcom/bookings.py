"""What Cal.com says about a booking (API v2), as far as we ask.

Unknown fields are ignored and unknown words of a status are kept: the provider adds both without asking.
Versions, paths and meanings are those of Cal.com's public reference for API version 2024-08-13.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError

from backend.providers.calling import ProviderUnreachable
from backend.providers.validation import Tolerant

GONE = frozenset({"cancelled", "rejected"})
"""Statuses of a booking that does not take place."""

APPOINTMENT_KEY = "appointment_id"
"""Of a booking's metadata: our appointment's id, by which both sides find each other."""

VERSION_KEY = "appointment_version"
"""Of a booking's metadata: the appointment's version for which it was made."""


@dataclass(frozen=True, slots=True)
class RemoteAttendee:
    """Somebody who comes to a booking."""

    email: str = field(repr=False)
    """What Cal.com knows them by; for somebody with nothing but a phone number it makes one up."""
    is_absent: bool | None
    """Whether they are marked as not having come; None when that is not told."""


@dataclass(frozen=True, slots=True)
class RemoteBooking:
    """A booking as Cal.com has it."""

    uid: str
    status: str
    """accepted, pending, cancelled, rejected, …"""
    starts_at: datetime
    """UTC."""
    ends_at: datetime | None
    event_type_id: int | None
    rescheduled_to: str | None
    """The booking that replaced it."""
    rescheduled_from: str | None
    metadata: Mapping[str, str] = field(repr=False)
    updated_at: datetime | None = None
    attendee: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Who comes: `name`, `email`, `phoneNumber`, as far as they are told."""
    attendees: tuple[RemoteAttendee, ...] = ()
    """Everybody who comes, as far as an address is told."""

    @property
    def is_absent(self) -> bool | None:
        """Whether somebody is marked as not having come; None when nothing is told of that."""
        told = [attendee.is_absent for attendee in self.attendees if attendee.is_absent is not None]
        return any(told) if told else None

    @property
    def takes_place(self) -> bool:
        """Whether it stands in the calendar."""
        return self.status not in GONE

    @property
    def appointment_id(self) -> str | None:
        """Our appointment, if we made the booking."""
        return self.metadata.get(APPOINTMENT_KEY)


def _text(value: object) -> object:
    return value if isinstance(value, str) and 0 < len(value) <= 256 else None


def _moment(value: object) -> object:
    return value if isinstance(value, str) else None


def _integer(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _texts(value: object) -> object:
    found = value if isinstance(value, dict) else {}
    return {key: str(item) for key, item in found.items() if isinstance(item, str | int)}


def _mappings(value: object) -> object:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _flag(value: object) -> object:
    return value if isinstance(value, bool) else None


Text = Annotated[str | None, BeforeValidator(_text)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]


class _Attendee(Tolerant):
    name: Text = None
    email: Text = None
    phoneNumber: Text = None
    absent: Annotated[bool | None, BeforeValidator(_flag)] = None


class _EventType(Tolerant):
    id: Annotated[int | None, BeforeValidator(_integer)] = None


class _Booking(Tolerant):
    uid: str
    status: str = "accepted"
    start: datetime
    end: Moment = None
    eventTypeId: Annotated[int | None, BeforeValidator(_integer)] = None
    eventType: Annotated[_EventType, BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = (
        _EventType()
    )
    rescheduledToUid: Text = None
    rescheduledFromUid: Text = None
    metadata: Annotated[dict[str, str], BeforeValidator(_texts), Field(default_factory=dict)]
    updatedAt: Moment = None
    attendees: Annotated[list[_Attendee], BeforeValidator(_mappings), Field(default_factory=list)]


class _One(Tolerant):
    data: _Booking


class _Pages(Tolerant):
    hasNextPage: bool = False


class _Several(Tolerant):
    data: list[_Booking]
    pagination: Annotated[_Pages, BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = _Pages()


def read_booking(answer: object) -> RemoteBooking:
    """The one booking of an answer. Raises ProviderUnreachable when it is none: then nothing is known."""
    try:
        return _booking(_One.model_validate(answer).data)
    except ValidationError as error:
        raise ProviderUnreachable(_what(error), may_have_acted=True) from error


def read_bookings(answer: object) -> tuple[list[RemoteBooking], bool]:
    """A page of bookings, and whether there is another. Raises ProviderUnreachable when it is none."""
    try:
        page = _Several.model_validate(answer)
    except ValidationError as error:
        raise ProviderUnreachable(_what(error), may_have_acted=True) from error
    return [_booking(item) for item in page.data], page.pagination.hasNextPage


def _booking(raw: _Booking) -> RemoteBooking:
    return RemoteBooking(
        uid=raw.uid,
        status=raw.status.lower(),
        starts_at=_utc(raw.start),
        ends_at=None if raw.end is None else _utc(raw.end),
        event_type_id=raw.eventTypeId or raw.eventType.id,
        rescheduled_to=raw.rescheduledToUid,
        rescheduled_from=raw.rescheduledFromUid,
        metadata=raw.metadata,
        updated_at=None if raw.updatedAt is None else _utc(raw.updatedAt),
        attendee=_person(raw.attendees[0]) if raw.attendees else {},
        attendees=tuple(RemoteAttendee(one.email, one.absent) for one in raw.attendees if one.email is not None),
    )


def _person(raw: _Attendee) -> dict[str, str]:
    known = {"name": raw.name, "email": raw.email, "phoneNumber": raw.phoneNumber}
    return {key: value for key, value in known.items() if value is not None}


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _what(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"the answer is no booking: {'.'.join(map(str, first['loc']))}: {first['msg']}"
