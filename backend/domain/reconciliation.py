"""Two calendars compared: what differs, and on which side the later word was spoken.

Pure: it is told both calendars and says what is to be done. What either side changed moments ago is left alone, since
the other one may be about to hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from backend.domain.vocabulary import DifferenceKind

IN_MOTION = timedelta(minutes=2)
"""What was changed within this time is not compared yet."""


class Repair(StrEnum):
    """What makes both calendars say the same."""

    FOLD = "fold"
    """Theirs is taken over."""
    PUSH = "push"
    """Ours is written there."""
    CANCEL = "cancel"
    """Theirs is one too many, and is cancelled there."""
    NONE = "none"
    """Nothing that is safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OurBooking:
    """An appointment of ours that should be in their calendar. Times are aware."""

    appointment_id: UUID
    version: int
    starts_at: datetime
    takes_place: bool
    has_ended: bool = False
    """It was completed, or nobody came: when their calendar shows it does not matter any more."""
    is_no_show: bool = False
    status_at: datetime | None = None
    """When somebody here last said what became of it; None: never, or their calendar said so last."""
    uid: str | None = None
    """Its booking there."""
    uids: frozenset[str] = frozenset()
    """Uids that it has or had there."""
    is_being_written: bool = False
    is_stuck: bool = False
    """Writing it has failed for good: somebody has to look."""
    changed_at: datetime
    """When it was last changed here, not by their calendar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TheirBooking:
    """A booking in their calendar. Times are aware."""

    uid: str
    starts_at: datetime
    takes_place: bool
    is_request: bool = False
    """Nobody has accepted it yet."""
    replaces: str | None = None
    replaced_by: str | None = None
    appointment_id: UUID | None = None
    """The appointment of ours that it names."""
    event_type_id: int | None = None
    updated_at: datetime | None = None
    is_absent: bool | None = None
    """Somebody is marked there as not having come; None when nothing is told of that."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that differs."""

    kind: DifferenceKind
    repair: Repair
    ours: OurBooking | None
    theirs: TheirBooking | None


def compare(ours: Sequence[OurBooking], theirs: Iterable[TheirBooking], now: datetime) -> list[Finding]:
    """What differs between both calendars, ours first, each by start.

    `theirs` must have every booking whose uid one of ours has, as far as it exists, whenever it is.
    """
    by_uid = {booking.uid: booking for booking in theirs}
    owner_of: dict[str, OurBooking] = {uid: booking for booking in ours for uid in booking.uids}
    named = {booking.appointment_id: booking for booking in ours}
    belonging: dict[UUID, list[TheirBooking]] = {booking.appointment_id: [] for booking in ours}
    strangers: list[TheirBooking] = []
    for booking in sorted(by_uid.values(), key=lambda one: (one.starts_at, one.uid)):
        owner = _owner(booking, by_uid, owner_of, named)
        if owner is not None:
            belonging[owner.appointment_id].append(booking)
        elif booking.takes_place and not booking.is_request and booking.appointment_id is None:
            strangers.append(booking)
    findings = []
    for appointment in sorted(ours, key=lambda one: (one.starts_at, one.appointment_id)):
        if not appointment.is_being_written and not _in_motion(appointment.changed_at, now):
            found = _judge(appointment, belonging[appointment.appointment_id], now)
            if found is not None:
                findings.append(found)
    return findings + [
        Finding(DifferenceKind.MISSING_HERE, Repair.FOLD, None, booking)
        for booking in strangers
        if not _in_motion(booking.updated_at, now)
    ]


def _owner(
    booking: TheirBooking,
    by_uid: Mapping[str, TheirBooking],
    owner_of: Mapping[str, OurBooking],
    named: Mapping[UUID, OurBooking],
) -> OurBooking | None:
    """The appointment that a booking is of: by its uid, by what it replaced, by what it names."""
    seen: set[str] = set()
    one: TheirBooking | None = booking
    while one is not None and one.uid not in seen:
        if one.uid in owner_of:
            return owner_of[one.uid]
        seen.add(one.uid)
        if one.replaces is not None and one.replaces in owner_of:
            return owner_of[one.replaces]
        one = by_uid.get(one.replaces) if one.replaces else None
    return named.get(booking.appointment_id) if booking.appointment_id is not None else None


def _judge(ours: OurBooking, theirs: Sequence[TheirBooking], now: datetime) -> Finding | None:
    standing = [booking for booking in theirs if booking.takes_place]
    if any(_in_motion(booking.updated_at, now) for booking in theirs):
        return None
    if ours.has_ended:
        return _attendance(ours, standing[0]) if len(standing) == 1 else None
    push = Repair.NONE if ours.is_stuck else Repair.PUSH
    if not ours.takes_place:
        if not standing:
            return None
        return Finding(DifferenceKind.CANCELLED_HERE, push, ours, standing[0])
    if len(standing) > 1:
        surplus = [booking for booking in standing if booking.uid != ours.uid]
        return Finding(DifferenceKind.DOUBLED, Repair.CANCEL, ours, surplus[-1])
    if standing:
        booking = standing[0]
        if booking.starts_at == ours.starts_at:
            return _attendance(ours, booking)
        repair = Repair.FOLD if _is_later(booking, ours) else push
        return Finding(DifferenceKind.TIME_DIFFERS, repair, ours, booking)
    gone = [booking for booking in theirs if booking.replaced_by is None]
    if gone and _is_later(gone[-1], ours):
        return Finding(DifferenceKind.CANCELLED_THERE, Repair.FOLD, ours, gone[-1])
    if ours.starts_at <= now:
        # It began, or is over: nothing is written into the past.
        return None
    return Finding(DifferenceKind.MISSING_THERE, push, ours, gone[-1] if gone else None)


def _attendance(ours: OurBooking, theirs: TheirBooking) -> Finding | None:
    """Whether both say the same of who came. Their calendar does not tell when a mark was set: after the beginning."""
    if theirs.is_absent is None or theirs.is_absent is ours.is_no_show:
        return None
    if ours.status_at is None or (theirs.is_absent and not ours.has_ended and ours.status_at <= theirs.starts_at):
        repair = Repair.FOLD
    elif ours.is_stuck or (theirs.is_absent and ours.has_ended):
        # That somebody was there is said here, and that nobody was is said there: one of both is wrong.
        repair = Repair.NONE
    else:
        repair = Repair.PUSH
    return Finding(DifferenceKind.ATTENDANCE_DIFFERS, repair, ours, theirs)


def _is_later(theirs: TheirBooking, ours: OurBooking) -> bool:
    return theirs.updated_at is not None and theirs.updated_at > ours.changed_at


def _in_motion(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment > now - IN_MOTION
