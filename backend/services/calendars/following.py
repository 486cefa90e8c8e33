"""Following a booking in the provider's calendar: what it says differently from before happens to the appointment.

Only news is followed. What the calendar said before is known (`calendar_bookings`), what is but the echo of our own
write is recognised (`backend.domain.calendar_bookings`), and a change that was made here later than theirs stays: the
calendar is written after it. Nothing here books over what is booked: a time that is taken is a difference for people.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from backend.domain.calendar_bookings import CalendarBooking, Stay, tells_nothing_new
from backend.domain.vocabulary import ACTIVE_APPOINTMENT, AppointmentStatus, CalendarStatus, DifferenceKind
from backend.postgres.pools import Connection
from backend.services.booking import (
    Changed,
    ChangeRefused,
    SlotTaken,
    StaffNotOffering,
    cancel,
    complete,
    confirm,
    no_show,
    reschedule,
    restore,
)

ACTOR = "calcom"

_EVENTS = """
    select kind, actor, occurred_at, data ->> 'starts_at' as starts_at, data ->> 'status' as status
    from appointment_events where company_id = $1 and appointment_id = $2 order by version
"""

_TIME_KINDS = frozenset({"held", "booked", "rescheduled"})

ENDED = frozenset({AppointmentStatus.IN_PROGRESS, AppointmentStatus.COMPLETED, AppointmentStatus.NO_SHOW})
"""What took place, or should have."""

_OWN_WRITES = frozenset({AppointmentStatus.CANCELLED, AppointmentStatus.NO_SHOW})
"""What we write into the calendar, so that it may come back from there."""

_TARGET = {
    CalendarStatus.ACCEPTED: AppointmentStatus.CONFIRMED,
    CalendarStatus.COMPLETED: AppointmentStatus.COMPLETED,
    CalendarStatus.CANCELLED: AppointmentStatus.CANCELLED,
    CalendarStatus.NO_SHOW: AppointmentStatus.NO_SHOW,
}


@dataclass(frozen=True, slots=True)
class Said:
    """What the calendar said when it was last followed; None: nothing yet."""

    status: CalendarStatus | None = None
    starts_at: datetime | None = None


@dataclass(slots=True)
class Followed:
    """What following led to."""

    changed: bool = False
    difference: DifferenceKind | None = None
    """What could not be followed."""
    problem: str = ""
    ours_is_newer: bool = False
    """The calendar has to be written after what happened here."""


@dataclass(slots=True)
class _History:
    """What happened to an appointment."""

    stays: list[Stay] = field(default_factory=list)
    own_time_at: datetime | None = None
    """When its time was last set here, not by the calendar."""
    own_status_at: datetime | None = None
    status_by_calendar: bool = False
    """Whether the calendar made it what it is."""
    status: AppointmentStatus = AppointmentStatus.CONFIRMED
    starts_at: datetime | None = None


async def follow(
    connection: Connection, company_id: UUID, appointment_id: UUID, theirs: CalendarBooking, said: Said
) -> Followed:
    """Let what the calendar says anew happen to an appointment, in the company's transaction.

    The caller is the only one who follows this company's calendar. Raises asyncpg's errors.
    """
    done = Followed()
    history = await _read(connection, company_id, appointment_id)
    wanted = _wanted_status(theirs, said, history, done)
    moves_to = _wanted_time(theirs, said, history, done)
    if wanted is None and moves_to is None:
        return done
    if history.status in ENDED and not history.status_by_calendar:
        # Somebody here said how it ended, which a calendar's clock or late tidying up does not undo.
        if wanted is AppointmentStatus.CANCELLED or moves_to is not None:
            done.difference = DifferenceKind.TIME_DIFFERS if moves_to is not None else DifferenceKind.CANCELLED_THERE
            done.problem = history.status.value
        return done
    takes_place = theirs.status is CalendarStatus.ACCEPTED and history.status in ACTIVE_APPOINTMENT
    # One that ended there before its last move was told of has the time that it had in the end.
    as_ended = history.status_by_calendar and theirs.status in _TARGET and _TARGET[theirs.status] is history.status
    if wanted is None and not (takes_place or as_ended):
        return done
    step = _Steps(connection, company_id, appointment_id, history.status)
    await _take(step, history.status if wanted is None else wanted, moves_to, done)
    done.changed = step.changed
    return done


async def _take(step: _Steps, target: AppointmentStatus, moves_to: datetime | None, done: Followed) -> None:
    """Move and change it, as far as what is booked here allows."""
    is_cancelled = target is AppointmentStatus.CANCELLED
    try:
        if moves_to is not None:
            await step.reopen()
            await _move(step, moves_to, must=not is_cancelled)
        await step.reach(target)
    except (SlotTaken, StaffNotOffering) as taken:
        if not (is_cancelled and step.status is AppointmentStatus.CANCELLED):
            done.difference = DifferenceKind.CONFLICT
            done.problem = "slot_taken" if isinstance(taken, SlotTaken) else "not_offered"
    except ChangeRefused as refused:
        done.difference = DifferenceKind.CANCELLED_THERE if is_cancelled else DifferenceKind.TIME_DIFFERS
        done.problem = str(refused)[:200]


def _wanted_status(theirs: CalendarBooking, said: Said, history: _History, done: Followed) -> AppointmentStatus | None:
    """The status that the calendar's news means, None when there is none to follow."""
    if theirs.status is None or theirs.status is said.status or theirs.status not in _TARGET:
        return None
    target = _TARGET[theirs.status]
    told_at = theirs.status_at
    assert told_at is not None
    if said.status is None and theirs.status is CalendarStatus.ACCEPTED:
        # The first word on a booking of ours is that it was made.
        return None
    if target is history.status:
        return None
    if target in _OWN_WRITES and tells_nothing_new(history.stays, told_at, lambda stay: stay.status is target):
        return None
    was_missed = said.status is CalendarStatus.NO_SHOW and history.status is not AppointmentStatus.NO_SHOW
    if was_missed and target is AppointmentStatus.COMPLETED:
        # The mark was taken back here before it was there; that it is over is no news.
        return None
    if history.own_status_at is not None and history.own_status_at > told_at:
        done.ours_is_newer = True
        return None
    return target


def _wanted_time(theirs: CalendarBooking, said: Said, history: _History, done: Followed) -> datetime | None:
    """The time that the calendar's news means, None when there is none to follow."""
    starts_at, told_at = theirs.starts_at, theirs.starts_told_at
    if starts_at is None or told_at is None or starts_at in {said.starts_at, history.starts_at}:
        return None
    if theirs.status is CalendarStatus.REQUESTED:
        return None
    if tells_nothing_new(
        history.stays, told_at, lambda stay: stay.status in ACTIVE_APPOINTMENT and stay.starts_at == starts_at
    ):
        return None
    if history.own_time_at is not None and history.own_time_at > told_at:
        done.ours_is_newer = True
        return None
    return starts_at


async def _move(step: _Steps, starts_at: datetime, *, must: bool) -> None:
    """Move it; one that is to be cancelled anyway stays where it is when the time is taken."""
    try:
        await reschedule(
            step.connection, step.company_id, step.appointment_id, starts_at=starts_at, actor=ACTOR, any_time=True
        )
        step.changed = True
    except ChangeRefused:
        if must:
            raise


class _Change(Protocol):
    """A change of the booking service that needs nothing more to be said."""

    def __call__(
        self, connection: Connection, company_id: UUID, appointment_id: UUID, *, actor: str
    ) -> Awaitable[Changed]: ...


@dataclass(slots=True)
class _Steps:
    """The events that lead from one status to another, by the rules of what may follow what."""

    connection: Connection
    company_id: UUID
    appointment_id: UUID
    status: AppointmentStatus
    changed: bool = False

    async def reopen(self) -> None:
        """Make it one that may still be moved."""
        await self.reach(AppointmentStatus.CONFIRMED)

    async def reach(self, target: AppointmentStatus) -> None:
        """Let happen what makes it `target`. Raises ChangeRefused."""
        while self.status is not target:
            match self.status, target:
                case AppointmentStatus.HELD | AppointmentStatus.PENDING, AppointmentStatus.CANCELLED:
                    await self._cancel()
                case AppointmentStatus.HELD | AppointmentStatus.PENDING, _:
                    await self._do(confirm, AppointmentStatus.CONFIRMED)
                case AppointmentStatus.CANCELLED | AppointmentStatus.NO_SHOW, _:
                    await self._do(restore, AppointmentStatus.CONFIRMED)
                case ((AppointmentStatus.CONFIRMED | AppointmentStatus.COMPLETED), AppointmentStatus.NO_SHOW):
                    await self._do(no_show, AppointmentStatus.NO_SHOW)
                case AppointmentStatus.COMPLETED, _:
                    # The calendar's clock had called it over; nobody had come.
                    await self._do(no_show, AppointmentStatus.NO_SHOW)
                case ((AppointmentStatus.CONFIRMED | AppointmentStatus.IN_PROGRESS), AppointmentStatus.COMPLETED):
                    await self._do(complete, AppointmentStatus.COMPLETED)
                case AppointmentStatus.CONFIRMED, AppointmentStatus.CANCELLED:
                    await self._cancel()
                case _:
                    return

    async def _cancel(self) -> None:
        await cancel(self.connection, self.company_id, self.appointment_id, actor=ACTOR, waive_policy=True)
        self.status, self.changed = AppointmentStatus.CANCELLED, True

    async def _do(self, change: _Change, becomes: AppointmentStatus) -> None:
        await change(self.connection, self.company_id, self.appointment_id, actor=ACTOR)
        self.status, self.changed = becomes, True


async def _read(connection: Connection, company_id: UUID, appointment_id: UUID) -> _History:
    history = _History()
    for row in await connection.fetch(_EVENTS, company_id, appointment_id):
        own = not row["actor"].startswith(ACTOR)
        at: datetime = row["occurred_at"]
        if row["starts_at"] is not None:
            history.starts_at = msgspec.convert(row["starts_at"], datetime)
        if row["status"] is not None:
            status = AppointmentStatus(row["status"])
            if status is not history.status or not history.stays:
                history.status_by_calendar = not own
                if own and history.stays:
                    history.own_status_at = at
            history.status = status
        if own and row["kind"] in _TIME_KINDS:
            history.own_time_at = at
        assert history.starts_at is not None
        stay = Stay(at, None, history.starts_at, history.status)
        if history.stays:
            last = history.stays[-1]
            history.stays[-1] = Stay(last.since, at, last.starts_at, last.status)
        history.stays.append(stay)
    return history
