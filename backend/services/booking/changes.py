"""What happens to appointments after they were booked: confirmed, moved, cancelled, ended, restored.

Each is one event and its projection in the caller's transaction, which must be the company's. `version` is what the
caller saw; None: whatever it is now. A late cancellation or move is refused with the figures of the service's policy;
`accept_fee` charges the fee, `waive_policy` is for the company's people.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from backend.domain.appointments import ALLOWED
from backend.domain.availability import Slot
from backend.domain.vocabulary import AppointmentEvent, AppointmentStatus, RefusalReason
from backend.domain.zones import tz_version
from backend.postgres.pools import Connection
from backend.services.booking.alternatives import alternatives_near
from backend.services.booking.availability import NotOffered
from backend.services.booking.calendar_rules import RULES, Able, Parts, Place, Rules, Wish
from backend.services.booking.records import (
    SETTLING,
    AppointmentMissing,
    AppointmentStale,
    CalendarUnsettled,
    Changed,
    ChangeNotAllowed,
    HoldExpired,
    OutsideHours,
    PolicyForbids,
    SlotTaken,
    StaffNotOffering,
    StoredPart,
    stored_parts,
)
from backend.services.booking.rules import is_near, rules_for

_CHANGED = "result, version, status, staff_id, starts_at, ends_at, fee_cents, cancel_hours, cancel_fee_cents"
_CHANGE = f"select {_CHANGED} from change_appointment($1, $2, $3, $4, $5, $6, $7)"  # noqa: S608 (names above)
_MOVE = (
    f"select {_CHANGED} from move_appointment("  # noqa: S608 (names above)
    "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
)

_PRESENT = """
    select a.version, a.status, a.staff_id, p.slug as staff, a.starts_at, a.ends_at, a.capacity, a.parts,
           s.slug as service, b.slug as branch
    from appointments a
    join services s on s.company_id = a.company_id and s.id = a.service_id
    join branches b on b.company_id = a.company_id and b.id = a.branch_id
    join staff p on p.company_id = a.company_id and p.id = a.staff_id
    where a.company_id = $1 and a.id = $2
"""


async def confirm(
    connection: Connection, company_id: UUID, appointment_id: UUID, *, actor: str, version: int | None = None
) -> Changed:
    """Confirm what is held or pending. Raises AppointmentMissing, AppointmentStale, ChangeNotAllowed, HoldExpired."""
    return await _change(connection, company_id, appointment_id, _Change(AppointmentEvent.CONFIRMED, actor, version))


async def cancel(
    connection: Connection,
    company_id: UUID,
    appointment_id: UUID,
    *,
    actor: str,
    version: int | None = None,
    waive_policy: bool = False,
    accept_fee: bool = False,
    asked_at: datetime | None = None,
) -> Changed:
    """Cancel an appointment that has not begun, or let go of a hold.

    Whether it is late is counted from `asked_at` (aware; None: now).
    Raises AppointmentMissing, AppointmentStale, ChangeNotAllowed, PolicyForbids.
    """
    policy = _policy(waive=waive_policy, accept=accept_fee)
    change = _Change(AppointmentEvent.CANCELLED, actor, version, policy, asked_at)
    return await _change(connection, company_id, appointment_id, change)


async def complete(
    connection: Connection, company_id: UUID, appointment_id: UUID, *, actor: str, version: int | None = None
) -> Changed:
    """It took place. Raises AppointmentMissing, AppointmentStale, ChangeNotAllowed."""
    return await _change(connection, company_id, appointment_id, _Change(AppointmentEvent.COMPLETED, actor, version))


async def no_show(
    connection: Connection, company_id: UUID, appointment_id: UUID, *, actor: str, version: int | None = None
) -> Changed:
    """Nobody came; the customer's count of that is raised.

    Raises AppointmentMissing, AppointmentStale, ChangeNotAllowed.
    """
    return await _change(connection, company_id, appointment_id, _Change(AppointmentEvent.NO_SHOW, actor, version))


async def restore(
    connection: Connection, company_id: UUID, appointment_id: UUID, *, actor: str, version: int | None = None
) -> Changed:
    """Take back a cancellation or a no-show (and its count), if the time is still free; other rules are not asked.

    Raises AppointmentMissing, AppointmentStale, ChangeNotAllowed, SlotTaken (without alternatives).
    """
    return await _change(connection, company_id, appointment_id, _Change(AppointmentEvent.RESTORED, actor, version))


@dataclass(frozen=True, slots=True)
class _Change:
    event: AppointmentEvent
    actor: str
    version: int | None
    policy: str = "waive"
    asked_at: datetime | None = None


async def _change(connection: Connection, company_id: UUID, appointment_id: UUID, change: _Change) -> Changed:
    row = await connection.fetchrow(
        _CHANGE,
        company_id,
        appointment_id,
        change.version,
        change.event.value,
        change.actor,
        change.policy,
        change.asked_at,
    )
    assert row is not None
    return _result(row, change.event, appointment_id)


@dataclass(frozen=True, slots=True)
class _Present:
    """An appointment that is to be moved."""

    version: int
    status: AppointmentStatus
    staff_id: UUID
    staff: str
    starts_at: datetime
    ends_at: datetime
    capacity: int
    parts: tuple[StoredPart, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class _Move:
    """How it could be moved: by whom, and with which parts."""

    calendar_seen: int | None
    able: Able
    capacity: int
    parts: Parts


async def reschedule(
    connection: Connection,
    company_id: UUID,
    appointment_id: UUID,
    *,
    starts_at: datetime,
    actor: str,
    staff_id: UUID | None = None,
    version: int | None = None,
    any_time: bool = False,
    waive_policy: bool = False,
    accept_fee: bool = False,
    asked_at: datetime | None = None,
) -> Changed:
    """Move an appointment to `starts_at` (aware), to another staff member when given; its length stays.

    With `any_time` neither hours, notice, horizon and grid nor the policy are asked. `asked_at` (aware; None: now) is
    what notice and policy are counted from. Two round trips, three when the rules have to be read.
    Raises AppointmentMissing, AppointmentStale, ChangeNotAllowed, StaffNotOffering, OutsideHours, SlotTaken,
    PolicyForbids, CalendarUnsettled; ValueError when `starts_at` is naive.
    """
    if starts_at.tzinfo is None:
        raise ValueError("starts_at needs a time zone")
    asked = asked_at or datetime.now(UTC)
    wish = Wish(starts_at.astimezone(UTC), asked, staff_id, any_time)
    present = await _present(connection, company_id, appointment_id, version)
    for _ in range(SETTLING):
        move = await _judge(connection, present, wish)
        if isinstance(move, RefusalReason):
            named = await _alternatives(connection, present, wish)
            raise OutsideHours(f"rescheduled: {move} (appointment {appointment_id})", move, named)
        people, roles = move.able.flat
        row = await connection.fetchrow(
            _MOVE,
            company_id,
            appointment_id,
            version,
            actor,
            move.calendar_seen,
            wish.starts_at,
            people,
            roles,
            move.capacity,
            move.parts.roles,
            move.parts.starts,
            move.parts.minutes,
            _policy(waive=waive_policy or any_time, accept=accept_fee),
            asked,
            tz_version(),
        )
        assert row is not None
        if row["result"] == "slot_taken":
            raise SlotTaken(
                f"rescheduled: slot_taken (appointment {appointment_id})",
                await _alternatives(connection, present, wish),
            )
        if row["result"] != "calendar_changed":
            return _result(row, AppointmentEvent.RESCHEDULED, appointment_id)
        RULES.forget(present.place)
    raise CalendarUnsettled(f"the calendar of company {company_id} does not settle")


async def _present(connection: Connection, company_id: UUID, appointment_id: UUID, version: int | None) -> _Present:
    row = await connection.fetchrow(_PRESENT, company_id, appointment_id)
    event = AppointmentEvent.RESCHEDULED
    if row is None:
        raise AppointmentMissing(_message(event, "not_found", appointment_id))
    if version is not None and row["version"] != version:
        raise AppointmentStale(_message(event, "stale", appointment_id))
    status = AppointmentStatus(row["status"])
    if status not in ALLOWED[event]:
        raise ChangeNotAllowed(_message(event, "not_allowed", appointment_id))
    return _Present(
        version=row["version"],
        status=status,
        staff_id=row["staff_id"],
        staff=row["staff"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        capacity=row["capacity"],
        parts=stored_parts(row["parts"]),
        place=Place(company_id, row["service"], row["branch"], None),
    )


async def _judge(connection: Connection, present: _Present, wish: Wish) -> _Move | RefusalReason:
    """How the rules let it be moved, or why they do not. Raises StaffNotOffering."""
    try:
        rules, _ = await rules_for(connection, present.place, asked_at=wish.asked_at, staff=None, around=None)
    except NotOffered as refused:
        if wish.any_time and wish.person in {None, present.staff_id}:
            # Nobody could book it any more, but what is booked may still be moved at the desk.
            parts, doing = _as_it_is(present)
            return _Move(None, doing, present.capacity, parts)
        raise StaffNotOffering(f"nobody can be booked for it any more: {refused.reason}") from refused
    first = wish.person or present.staff_id
    stays = wish.any_time and first == present.staff_id
    if stays or first in rules.offering().by_role[0]:
        able = rules.judge(Wish(wish.starts_at, wish.asked_at, None if stays else first, wish.any_time))
    else:
        raise StaffNotOffering(f"staff member {first} does not offer it there")
    if isinstance(able, RefusalReason):
        if not (wish.any_time and able in {RefusalReason.IN_PAST, RefusalReason.NOT_OFFERED}):
            return able
        able = rules.offering()
    able = Able(((first,), *able.by_role[1:]))
    parts, doing = _as_it_is(present)
    if parts.starts == rules.parts.starts and parts.minutes == rules.parts.minutes:
        return _Move(rules.version, able, rules.offer.capacity, rules.parts)
    # The service has other parts by now. What was booked stays as it is, with the same people.
    others = tuple(people for people in doing.by_role[1:])
    return _Move(rules.version, Able(((first,), *others)), _capacity(present, rules), parts)


def _capacity(present: _Present, rules: Rules) -> int:
    return 1 if present.parts else rules.offer.capacity


def _as_it_is(present: _Present) -> tuple[Parts, Able]:
    """The parts that are booked, a role for each person."""
    if not present.parts:
        minutes = round((present.ends_at - present.starts_at).total_seconds() / 60)
        return Parts([1], [0], [minutes]), Able(((present.staff_id,),))
    people = list(dict.fromkeys(part.staff_id for part in present.parts))
    parts = Parts(
        [people.index(part.staff_id) + 1 for part in present.parts],
        [part.from_min for part in present.parts],
        [part.minutes for part in present.parts],
    )
    return parts, Able(tuple((person,) for person in people))


async def _alternatives(connection: Connection, present: _Present, wish: Wish) -> tuple[Slot, ...]:
    if not is_near(wish.starts_at, wish.asked_at):
        return ()
    staff: str | None = present.staff
    if wish.person is not None:
        kept = RULES.get(present.place, wish.asked_at)
        staff = next((slug for slug, one in kept.slugs.items() if one == wish.person), None) if kept else None
    return await alternatives_near(connection, present.place, staff, wish.starts_at, wish.asked_at)


def _policy(*, waive: bool, accept: bool) -> str:
    return "waive" if waive else "accept" if accept else "keep"


def _message(event: AppointmentEvent, result: str, appointment_id: UUID) -> str:
    return f"{event.value}: {result} (appointment {appointment_id})"


def _result(row: asyncpg.Record, event: AppointmentEvent, appointment_id: UUID) -> Changed:
    """The appointment as it has become. Raises the refusal that the row tells of."""
    result: str = row["result"]
    message = _message(event, result, appointment_id)
    match result:
        case "done":
            return Changed(
                row["version"],
                AppointmentStatus(row["status"]),
                row["staff_id"],
                row["starts_at"],
                row["ends_at"],
                row["fee_cents"],
            )
        case "not_found":
            raise AppointmentMissing(message)
        case "stale":
            raise AppointmentStale(message)
        case "hold_expired":
            raise HoldExpired(message)
        case "policy":
            raise PolicyForbids(message, row["cancel_hours"], row["cancel_fee_cents"])
        case "slot_taken":
            raise SlotTaken(message)
    raise ChangeNotAllowed(message)
