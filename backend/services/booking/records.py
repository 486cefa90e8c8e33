"""What booking is asked and answers: requests, appointments made or changed, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from backend.domain.availability import Slot
from backend.domain.vocabulary import AppointmentSource, AppointmentStatus, RefusalReason

LONGEST_HOLD = timedelta(days=1)

SETTLING = 5
"""So often a booking or a move is judged anew when the calendar's rules change under it."""


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
    """When it was asked for (aware): what the service's notice and horizon are counted from."""
    staff: str | None = None
    """None: anybody who offers it. For a service of several parts: who does the first."""
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
    hold_for: timedelta | None = None
    """Hold the slot for so long instead of booking it: it must be confirmed before. At most a day."""
    any_time: bool = False
    """Hours, notice, horizon and grid are not asked: for people at the desk, imports, the provider's calendar."""
    wants_alternatives: bool = True
    """False when nobody is waiting for them: they are one more round trip of a refusal."""

    def __post_init__(self) -> None:
        if self.asked_at.tzinfo is None:
            raise ValueError("asked_at must have an offset")
        if self.hold_for is not None and not timedelta() < self.hold_for <= LONGEST_HOLD:
            raise ValueError("hold_for must be more than nothing and at most a day")

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, payload: bytes) -> BookingRequest:
        """From JSON. Raises msgspec.DecodeError (ValidationError) for anything else."""
        return msgspec.json.decode(payload, type=cls)


@dataclass(frozen=True, slots=True)
class BookedPart:
    """What one person does of an appointment."""

    staff_id: UUID
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Booked:
    """The appointment that a request has, as it is now."""

    appointment_id: UUID
    staff_id: UUID
    """Who does the first part."""
    starts_at: datetime
    ends_at: datetime
    version: int
    is_new: bool
    """False when an earlier run of the same request made it."""
    status: AppointmentStatus = AppointmentStatus.CONFIRMED
    """`held` or `confirmed` when it is new."""
    hold_expires_at: datetime | None = None
    parts: tuple[BookedPart, ...] = ()
    """By time, when the service has several."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that could not be met."""

    reason: RefusalReason
    callback_id: UUID | None
    """The callback request that keeps the wish, when it came from a call."""
    is_new: bool
    alternatives: tuple[Slot, ...] = ()
    """At most three, best first; there are none for a wish that no other time would make possible."""
    detail: str = ""
    """Figures that belong to the reason, for people: `60 minutes beforehand`, `90 days ahead`."""


@dataclass(frozen=True, slots=True)
class Changed:
    """An appointment after an event."""

    version: int
    status: AppointmentStatus
    staff_id: UUID
    starts_at: datetime
    ends_at: datetime
    fee_cents: int
    """What has been charged for late changes so far."""


class ChangeRefused(Exception):
    """An appointment that can't be changed like this; the message says why."""


class AppointmentMissing(ChangeRefused):
    """There is no such appointment (in this company)."""


class AppointmentStale(ChangeRefused):
    """Somebody changed it in between: look again first."""


class ChangeNotAllowed(ChangeRefused):
    """Its status does not allow this."""


class HoldExpired(ChangeNotAllowed):
    """It was held, and for too long: book again."""


class StaffNotOffering(ChangeRefused):
    """The staff member (any more, or nobody) does not offer the service at that branch."""


class SlotTaken(ChangeRefused):
    """The time is not free."""

    def __init__(self, message: str, alternatives: tuple[Slot, ...] = ()) -> None:
        super().__init__(message)
        self.alternatives = alternatives
        """At most three, best first."""


class OutsideHours(ChangeRefused):
    """The time is not one at which the service can be booked."""

    def __init__(self, message: str, reason: RefusalReason, alternatives: tuple[Slot, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        """outside_hours, too_soon, too_far or in_past."""
        self.alternatives = alternatives
        """At most three, best first."""


class PolicyForbids(ChangeRefused):
    """It is too late for a change free of charge."""

    def __init__(self, message: str, hours_before: int, fee_cents: int) -> None:
        super().__init__(message)
        self.hours_before = hours_before
        """Until when it would have been free."""
        self.fee_cents = fee_cents
        """What it costs, once that is accepted; 0: it can't be had, somebody at the company must waive the policy."""


class CalendarUnsettled(Exception):
    """The company's calendar changed again and again while a booking was judged: try again."""


class StoredPart(msgspec.Struct, frozen=True):
    """Who does what when, as `appointments.parts` keeps it."""

    staff_id: UUID
    from_min: int
    """From the appointment's start."""
    minutes: int


def stored_parts(parts: str | None) -> tuple[StoredPart, ...]:
    """The parts of an appointment out of its row; none when one person does all of it."""
    return () if parts is None else msgspec.json.decode(parts, type=tuple[StoredPart, ...])
