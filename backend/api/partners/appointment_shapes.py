"""What requests about appointments and their answers look like."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool

from backend.api.partners.pages import LARGEST_PAGE, PAGE, Cursor
from backend.api.partners.values import Cents, Email, Given, Moment, Name, Phone, Slug, Told, local, read_whole
from backend.domain.vocabulary import AppointmentEvent, AppointmentSource, AppointmentStatus
from backend.services.booking.listing import AppointmentRecord, EventRecord

LONGEST_HOLD_MIN = 60


class Attendee(Given):
    """Who comes."""

    name: Name
    phone: Phone | None = Field(
        None, description="With it, the appointment belongs to the customer of that name and number."
    )
    email: Email | None = None


class NewAppointment(Given):
    """An appointment to be booked or held."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "service": "schnitt",
                    "starts_at": "2026-03-04T10:00:00+01:00",
                    "attendee": {"name": "Kim Weiß", "phone": "+4915112345678"},
                }
            ]
        }
    )

    service: Slug
    starts_at: Moment = Field(description="A start that `GET /api/availability` offers.")
    branch: Slug | None = Field(None, description="Needed when the company has several.")
    staff: Slug | None = Field(None, description="Without it, whoever is free.")
    attendee: Attendee
    customer_id: UUID | None = Field(None, description="Whose appointment it is, when that is known.")
    hold_min: Annotated[int, Field(ge=1, le=LONGEST_HOLD_MIN), BeforeValidator(read_whole)] | None = Field(
        None, description="Hold the slot for so many minutes instead of booking it; it must be confirmed before."
    )


class Move(Given):
    """Where an appointment is to be moved."""

    starts_at: Moment
    staff: Slug | None = Field(None, description="To another staff member.")
    accept_fee: StrictBool = Field(default=False, description="Move it although that costs a fee by now.")


class Cancellation(Given):
    """How an appointment is to be cancelled."""

    accept_fee: StrictBool = Field(default=False, description="Cancel it although that costs a fee by now.")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class AppointmentQuery(Given):
    """Which appointments."""

    from_: Moment | None = Field(None, alias="from", description="Starts then or later.")
    until: Moment | None = Field(None, description="Starts before then.")
    status: Annotated[list[AppointmentStatus], BeforeValidator(_listed)] = Field(
        [], max_length=len(AppointmentStatus), description="Any of these; may be repeated."
    )
    branch: Slug | None = None
    service: Slug | None = None
    staff: Slug | None = None
    customer_id: UUID | None = None
    call_id: UUID | None = None
    limit: int = Field(PAGE, ge=1, le=LARGEST_PAGE)
    cursor: Cursor | None = None


class EventQuery(Given):
    """Which events."""

    limit: int = Field(PAGE, ge=1, le=LARGEST_PAGE)
    cursor: Cursor | None = None


class AttendeeShape(Told):
    """Who comes."""

    name: str
    phone: str | None
    email: str | None


class PartShape(Told):
    """What one person does of an appointment."""

    staff: str = Field(description="Slug.")
    starts_at: Moment
    ends_at: Moment


class AppointmentShape(Told):
    """An appointment. `version` grows with every event; it is the entity tag."""

    id: UUID
    version: int
    status: AppointmentStatus
    source: AppointmentSource
    starts_at: Moment = Field(description="With the offset that the clocks at the branch have then.")
    ends_at: Moment
    time_zone: str = Field(description="IANA name.")
    branch: str = Field(description="Slug; so are `service` and `staff`.")
    service: str
    staff: str
    parts: list[PartShape] = Field(
        description="Who does what, by time, when the service has several parts; `staff` does the first."
    )
    attendee: AttendeeShape
    customer_id: UUID | None
    call_id: UUID | None = Field(description="The call in which it was booked.")
    price_cents: Cents
    fee_cents: Cents = Field(description="What was charged for late changes.")
    hold_expires_at: Moment | None = Field(description="Until when it is held.")
    created_at: Moment
    updated_at: Moment


class EventShape(Told):
    """Something that happened to an appointment."""

    version: int = Field(description="The version that the appointment got by it.")
    kind: AppointmentEvent
    actor: str = Field(description="Who did it.", examples=["api:k7w2m9q4"])
    occurred_at: Moment
    changes: dict[str, Any] = Field(description="The fields that it set.")


def appointment_shape(record: AppointmentRecord) -> AppointmentShape:
    """The record as an answer, its times with the offset of its own zone."""
    return AppointmentShape(
        id=record.id,
        version=record.version,
        status=record.status,
        source=record.source,
        starts_at=local(record.starts_at, record.time_zone),
        ends_at=local(record.ends_at, record.time_zone),
        time_zone=record.time_zone,
        branch=record.branch,
        service=record.service,
        staff=record.staff,
        parts=[
            PartShape(
                staff=part.staff,
                starts_at=local(part.starts_at, record.time_zone),
                ends_at=local(part.ends_at, record.time_zone),
            )
            for part in record.parts
        ],
        attendee=AttendeeShape(name=record.attendee_name, phone=record.attendee_phone, email=record.attendee_email),
        customer_id=record.customer_id,
        call_id=record.call_id,
        price_cents=record.price_cents,
        fee_cents=record.fee_cents,
        hold_expires_at=record.hold_expires_at,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def event_shape(record: EventRecord) -> EventShape:
    """The record as an answer."""
    return EventShape(
        version=record.version,
        kind=record.kind,
        actor=record.actor,
        occurred_at=record.occurred_at,
        changes=record.data,
    )
