"""A booking in the provider's calendar as the fold of what the calendar told about it, in whatever order it came.

A move makes a new booking there, with a new uid, that replaces the old one; all of them are one booking here. Events
are ordered by when the calendar made them (`created_at`), then by kind and content, never by when they arrived, so that
any permutation and any duplicate end alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from backend.domain.vocabulary import AppointmentStatus, CalendarStatus

Value = TypeVar("Value")

IN_FLIGHT = timedelta(seconds=60)
"""How far apart the calendar's clock and ours, and what is told and what is done, may be."""


class CalendarEventKind(StrEnum):
    """What a calendar tells, in the order in which it happens when two events have one time."""

    REQUESTED = "requested"
    CREATED = "created"
    RESCHEDULED = "rescheduled"
    STARTED = "started"
    ENDED = "ended"
    NO_SHOW = "no_show"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


_RANK = {kind: place for place, kind in enumerate(CalendarEventKind)}

MAKING = frozenset({CalendarEventKind.CREATED, CalendarEventKind.RESCHEDULED})
"""Events that make a booking which takes place."""

ENDING = frozenset({CalendarEventKind.CANCELLED, CalendarEventKind.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEvent:
    """One thing that the calendar told. None means that it does not say. Times are aware (UTC)."""

    kind: CalendarEventKind
    uid: str
    created_at: datetime
    """When the calendar says that it happened."""
    replaces: str | None = None
    """The uid of the booking that this one was made of by a move."""
    starts_at: datetime | None = None
    event_type_id: int | None = None
    appointment_id: UUID | None = None
    """The appointment of ours that it was made for."""
    attendee_name: str | None = None
    attendee_email: str | None = None
    attendee_phone: str | None = None
    is_no_show: bool | None = None

    @property
    def order(self) -> tuple[datetime, int, str]:
        """By this events are ordered."""
        return self.created_at, _RANK[self.kind], repr(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarBooking:
    """What is known of a booking through all its moves."""

    uid: str
    """Of what it is by now."""
    uids: frozenset[str]
    has_beginning: bool
    """Whether its first booking was told of, so that nothing is missing before."""
    is_made: bool
    """Whether it was told to take place at some time, even if it was cancelled later."""
    status: CalendarStatus | None
    """None while only what happens around a booking was told."""
    status_at: datetime | None
    """Since when."""
    starts_at: datetime | None
    starts_told_at: datetime | None
    """When the calendar came to say so."""
    event_type_id: int | None
    appointment_id: UUID | None
    attendee_name: str | None
    attendee_email: str | None
    attendee_phone: str | None
    began_at: datetime | None
    over_at: datetime | None


def fold_booking(events: Sequence[CalendarEvent]) -> CalendarBooking:
    """What a set of events about one booking (all its uids) adds up to. Raises ValueError when there is none."""
    if not events:
        raise ValueError("a booking needs at least one event")
    ordered = sorted(set(events), key=lambda event: event.order)
    replaced = {event.replaces for event in ordered if event.replaces is not None}
    uids = {event.uid for event in ordered} | replaced
    uid = _current(ordered, uids, replaced)
    current = [event for event in ordered if event.uid == uid]
    status, status_at = _status(current)
    timed = [event for event in current if event.starts_at is not None] or [
        event for event in ordered if event.starts_at is not None and event.kind in MAKING
    ]
    starts_at = timed[-1].starts_at if timed else None
    return CalendarBooking(
        uid=uid,
        uids=frozenset(uids),
        has_beginning=any(
            event.replaces is None and event.kind in {CalendarEventKind.CREATED, CalendarEventKind.REQUESTED}
            for event in ordered
        ),
        is_made=any(event.kind in MAKING for event in ordered),
        status=status,
        status_at=status_at,
        starts_at=starts_at,
        starts_told_at=next((event.created_at for event in timed if event.starts_at == starts_at), None),
        event_type_id=_last(ordered, lambda event: event.event_type_id),
        appointment_id=_last(ordered, lambda event: event.appointment_id),
        attendee_name=_last(ordered, lambda event: event.attendee_name),
        attendee_email=_last(ordered, lambda event: event.attendee_email),
        attendee_phone=_last(ordered, lambda event: event.attendee_phone),
        began_at=_last(current, lambda event: _when(event, CalendarEventKind.STARTED)),
        over_at=_last(current, lambda event: _when(event, CalendarEventKind.ENDED)),
    )


def _current(ordered: Sequence[CalendarEvent], uids: set[str], replaced: set[str]) -> str:
    """The uid that nothing replaced; a replacement that was only asked for does not count yet."""
    decided = {event.uid for event in ordered if event.kind in MAKING | ENDING}
    asked = {event.uid for event in ordered if event.kind is CalendarEventKind.REQUESTED} - decided
    still = {event.replaces for event in ordered if event.uid in asked and event.replaces is not None}
    gone = {event.replaces for event in ordered if event.uid not in asked and event.replaces is not None}
    choice = (
        (decided - gone)
        or (decided & still)
        or (asked - replaced)
        or {event.uid for event in ordered} - gone
        or {ordered[-1].uid}
    )
    return next((event.uid for event in reversed(ordered) if event.uid in choice), max(choice))


def _status(current: Sequence[CalendarEvent]) -> tuple[CalendarStatus | None, datetime | None]:
    """What the events of one uid, in order, make of it, and since when."""
    status: CalendarStatus | None = None
    since: datetime | None = None
    is_over = False
    for event in current:
        becomes: CalendarStatus | None = None
        match event.kind:
            case CalendarEventKind.REQUESTED:
                becomes = CalendarStatus.REQUESTED if status is None else None
            case CalendarEventKind.CREATED | CalendarEventKind.RESCHEDULED:
                becomes = CalendarStatus.ACCEPTED if status in {None, CalendarStatus.REQUESTED} else None
            case CalendarEventKind.CANCELLED | CalendarEventKind.REJECTED:
                becomes = CalendarStatus.CANCELLED
            case CalendarEventKind.ENDED:
                is_over = True
                becomes = CalendarStatus.COMPLETED if status is CalendarStatus.ACCEPTED else None
            case CalendarEventKind.NO_SHOW if event.is_no_show:
                becomes = CalendarStatus.NO_SHOW if status is not CalendarStatus.CANCELLED else None
            case CalendarEventKind.NO_SHOW if status is CalendarStatus.NO_SHOW:
                becomes = CalendarStatus.COMPLETED if is_over else CalendarStatus.ACCEPTED
        if becomes is not None and becomes is not status:
            status, since = becomes, event.created_at
    return status, since


def _when(event: CalendarEvent, kind: CalendarEventKind) -> datetime | None:
    return event.created_at if event.kind is kind else None


def _last(ordered: Iterable[CalendarEvent], field: Callable[[CalendarEvent], Value | None]) -> Value | None:
    value: Value | None = None
    for event in ordered:
        found = field(event)
        if found is not None:
            value = found
    return value


@dataclass(frozen=True, slots=True)
class Stay:
    """What our own calendar said, from one change until the next."""

    since: datetime
    until: datetime | None
    """None: still."""
    starts_at: datetime
    status: AppointmentStatus


def tells_nothing_new(stays: Iterable[Stay], told_at: datetime, holds: Callable[[Stay], bool]) -> bool:
    """Whether what the calendar told is but the echo of what we wrote into it.

    It is when our own calendar said the same at the moment, give or take what may be in flight, at which the other one
    came to say it. Else an answer to an earlier write could undo a later change, and the two would chase each other.
    """
    return any(
        holds(stay) and stay.since <= told_at + IN_FLIGHT and (stay.until is None or stay.until >= told_at - IN_FLIGHT)
        for stay in stays
    )
