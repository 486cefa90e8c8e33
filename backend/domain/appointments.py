"""An appointment as the projection of its events.

Each event sets some fields by name; the appointment's row holds the sum. What is personal (the attendee's name, e-mail
and phone) or only links to elsewhere (idempotency key, the provider's booking uid) is not part of the projection, so
that erasing a person never has to touch the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.domain.vocabulary import AppointmentEvent, AppointmentStatus

PROJECTED = (
    "branch_id",
    "staff_id",
    "service_id",
    "customer_id",
    "call_id",
    "starts_at",
    "ends_at",
    "time_zone",
    "buffer_before_min",
    "buffer_after_min",
    "seat",
    "capacity",
    "parts",
    "status",
    "source",
    "price_cents",
    "offered",
    "hold_expires_at",
    "fee_cents",
)
"""The fields that events set, named as the columns of `appointments`."""

_UNSAID: Mapping[str, object] = {"capacity": 1, "fee_cents": 0}
"""What holds of an appointment whose first event is older than the field."""

_TIMES = frozenset({"starts_at", "ends_at", "hold_expires_at"})
_IDS = frozenset({"branch_id", "staff_id", "service_id", "customer_id", "call_id"})

RESULT: Mapping[AppointmentEvent, AppointmentStatus | None] = {
    AppointmentEvent.HELD: AppointmentStatus.HELD,
    AppointmentEvent.BOOKED: AppointmentStatus.CONFIRMED,
    AppointmentEvent.CONFIRMED: AppointmentStatus.CONFIRMED,
    AppointmentEvent.RESCHEDULED: None,
    AppointmentEvent.STARTED: AppointmentStatus.IN_PROGRESS,
    AppointmentEvent.COMPLETED: AppointmentStatus.COMPLETED,
    AppointmentEvent.CANCELLED: AppointmentStatus.CANCELLED,
    AppointmentEvent.NO_SHOW: AppointmentStatus.NO_SHOW,
    AppointmentEvent.RESTORED: AppointmentStatus.CONFIRMED,
    AppointmentEvent.HOLD_EXPIRED: AppointmentStatus.CANCELLED,
}
"""The status after each event (None: as before); a booked event may say `pending` instead."""

_ACTIVE = frozenset({AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED})
_FIRST = frozenset({AppointmentEvent.HELD, AppointmentEvent.BOOKED})

ALLOWED: Mapping[AppointmentEvent, frozenset[AppointmentStatus]] = {
    AppointmentEvent.HELD: frozenset(),
    AppointmentEvent.BOOKED: frozenset(),
    AppointmentEvent.CONFIRMED: frozenset({AppointmentStatus.HELD, AppointmentStatus.PENDING}),
    AppointmentEvent.RESCHEDULED: _ACTIVE,
    AppointmentEvent.STARTED: _ACTIVE,
    AppointmentEvent.COMPLETED: _ACTIVE | {AppointmentStatus.IN_PROGRESS},
    AppointmentEvent.CANCELLED: _ACTIVE | {AppointmentStatus.HELD},
    AppointmentEvent.NO_SHOW: _ACTIVE | {AppointmentStatus.COMPLETED},
    AppointmentEvent.RESTORED: frozenset({AppointmentStatus.CANCELLED, AppointmentStatus.NO_SHOW}),
    AppointmentEvent.HOLD_EXPIRED: frozenset({AppointmentStatus.HELD}),
}
"""The states in which each event may happen; none for the two that begin an appointment."""


class HistoryBroken(ValueError):
    """A sequence of events that no appointment can have had; the message says where it breaks."""


@dataclass(frozen=True, slots=True)
class AppointmentHappening:
    """One stored event."""

    version: int
    """1 for the first, then one more each time."""
    kind: AppointmentEvent
    data: Mapping[str, object]
    """The fields that it set: JSON values, by name."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What a history adds up to."""

    version: int
    fields: Mapping[str, object]
    """Every field of `PROJECTED`; times aware, ids UUID, None when never set."""


def project(history: Sequence[AppointmentHappening]) -> Projection:
    """Fold a whole history, in any order given (versions order it).

    Raises HistoryBroken when a version is missing or doubled, an event is not allowed where it stands, or it sets
    what is no field.
    """
    fields: dict[str, object] = {**dict.fromkeys(PROJECTED), **_UNSAID}
    status: AppointmentStatus | None = None
    version = 0
    for event in sorted(history, key=lambda event: event.version):
        version += 1
        if event.version != version:
            raise HistoryBroken(f"version {version} is missing or doubled")
        if version == 1 and event.kind not in _FIRST:
            raise HistoryBroken(f"it begins with {event.kind}")
        if version > 1 and status not in ALLOWED[event.kind]:
            raise HistoryBroken(f"version {version}: {event.kind} can't follow {status}")
        for name, value in event.data.items():
            if name not in fields:
                raise HistoryBroken(f"version {version} sets {name}, which is no field of an appointment")
            fields[name] = _value(name, value)
        expected = RESULT[event.kind] or status
        pending = event.kind is AppointmentEvent.BOOKED and fields["status"] == AppointmentStatus.PENDING
        if fields["status"] != expected and not pending:
            raise HistoryBroken(f"version {version}: {event.kind} ends in {fields['status']}")
        status = AppointmentStatus.PENDING if pending else expected
    if version == 0:
        raise HistoryBroken("it has no event")
    return Projection(version, fields)


def _value(name: str, value: object) -> object:
    """A field's JSON value as the database's driver gives it."""
    if not isinstance(value, str):
        return value
    try:
        if name in _TIMES:
            return datetime.fromisoformat(value)
        if name in _IDS:
            return UUID(value)
    except ValueError as error:
        raise HistoryBroken(f"{name} is {value!r}") from error
    return value
