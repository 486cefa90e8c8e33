"""Which slots can be offered: pure rules over a calendar that was read before (docs/booking.md).

Everything is counted in seconds since 1970. For each person, the starts at which a part of the service fits are an
interval set: inside the person's windows, clear of what is booked with both sides' buffers. A slot is a point of the
grid of somebody who can do the first role at which every role has somebody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import NamedTuple, TypeAlias
from uuid import UUID

from backend.domain.intervals import Interval, contains, difference, intersection, union
from backend.domain.opening import OpeningRules, WorkRules, open_intervals, work_pieces
from backend.domain.zones import instant, zone

ALTERNATIVES = 3
"""At most so many are named when a wished slot cannot be had."""

ALTERNATIVE_DAYS = 7
"""They lie at most so many days from the wished one."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a service for which somebody is needed."""

    role: str
    """Parts of one role are done by one person; other roles may be done by the same person or another."""
    skill: UUID
    """The service that one must offer to do it."""
    offset_s: int
    """From the start of the appointment."""
    length_s: int


@dataclass(frozen=True, slots=True)
class OfferRules:
    """How a service is offered. A simple one has a single part as long as the service."""

    service_id: UUID
    duration_s: int
    """With the gaps between its parts."""
    before_s: int
    """Kept free before, by whoever does the first part; `after_s` by whoever does the last."""
    after_s: int
    step_s: int
    capacity: int
    notice_s: int
    horizon_days: int
    parts: tuple[Part, ...]


class Busy(NamedTuple):
    """An appointment with its own buffers, when somebody is not free."""

    starts: int
    """Seconds since 1970."""
    ends: int
    seat: int = 1
    of_service: UUID | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can be booked at the branch."""

    id: UUID
    skills: frozenset[UUID]
    work: WorkRules
    busy: tuple[Busy, ...] = ()
    """At whichever branch; ended appointments and holds that ran out are not among them."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """All that the slots of one service at one branch depend on."""

    branch_id: UUID
    opening: OpeningRules
    offer: OfferRules
    people: tuple[Person, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A time at which the service can be booked."""

    starts_at: datetime
    """UTC; `ends_at` too, without buffers."""
    ends_at: datetime
    local: datetime
    """`starts_at` in the branch's zone, with its offset."""
    staff_by_role: tuple[tuple[UUID, ...], ...]
    """Who is free for each role, in the order of the roles' first parts; by id."""
    branch_id: UUID
    service_id: UUID

    @property
    def staff(self) -> tuple[UUID, ...]:
        """Who is free for the first role: all that a simple service has."""
        return self.staff_by_role[0]

    @property
    def offset_min(self) -> int:
        """How far the clocks at the branch are ahead of UTC then."""
        offset = self.local.utcoffset()
        return 0 if offset is None else int(offset.total_seconds()) // 60


Windows: TypeAlias = "tuple[list[Interval], list[Interval]]"
"""When somebody works: each window by itself, at whose start the grid is anchored, and all of them joined."""


@dataclass(frozen=True, slots=True)
class _Chance:
    """When somebody could start one role."""

    person: UUID
    starts: list[Interval]
    windows: list[Interval]


def find_slots(
    calendar: Calendar,
    first: date,
    last: date,
    now: datetime,
    *,
    person: UUID | None = None,
    limit: int | None = None,
    windows: Callable[[date, date], Mapping[UUID, Windows]] | None = None,
) -> tuple[Slot, ...]:
    """The slots that start from `first` to `last` (days in the branch's zone), by time.

    With `person`, that one does the first role. `windows` is for whoever remembers what `work_windows` said.
    None starts before `now` and the notice (elapsed time) or after the horizon (calendar days). Raises ZoneUnknown.
    """
    offer, name = calendar.offer, calendar.opening.time_zone
    local = zone(name)
    today = now.astimezone(local).date()
    first = max(first, today)
    last = min(last, today + timedelta(days=offer.horizon_days))
    if first > last or not offer.parts:
        return ()
    earliest = max(ceil(now.timestamp()) + offer.notice_s, _day_start(first, name))
    bound = (earliest, _day_start(last + timedelta(days=1), name))
    worked = work_windows(calendar, first, last) if windows is None else windows(first, last)
    roles = _chances(calendar, worked, person)
    if not all(roles):
        return ()
    found: dict[int, list[UUID]] = defaultdict(list)
    for chance in roles[0]:
        for start in _grid(chance, bound, offer.step_s):
            found[start].append(chance.person)
    slots: list[Slot] = []
    for start in sorted(found):
        others = tuple(
            tuple(chance.person for chance in chances if contains(chance.starts, start)) for chances in roles[1:]
        )
        if not all(others):
            continue
        slots.append(
            Slot(
                starts_at=datetime.fromtimestamp(start, UTC),
                ends_at=datetime.fromtimestamp(start + offer.duration_s, UTC),
                local=datetime.fromtimestamp(start, local),
                staff_by_role=(tuple(found[start]), *others),
                branch_id=calendar.branch_id,
                service_id=offer.service_id,
            )
        )
        if limit is not None and len(slots) >= limit:
            break
    return tuple(slots)


def find_alternatives(
    calendar: Calendar,
    wanted: datetime,
    now: datetime,
    *,
    person: UUID | None = None,
    windows: Callable[[date, date], Mapping[UUID, Windows]] | None = None,
) -> tuple[Slot, ...]:
    """At most three slots within seven days of `wanted`, in the order in which they are worth naming.

    With somebody else at the very time; then with the wished person before others, the same day first, later days
    before earlier ones as far away, and on each day the time nearest to the wished one.
    """
    local = zone(calendar.opening.time_zone)
    wish = wanted.astimezone(local)
    near = timedelta(days=ALTERNATIVE_DAYS)

    def worth(slot: Slot) -> tuple[bool, bool, int, bool, int, datetime]:
        away = (slot.local.date() - wish.date()).days
        minutes = abs(_minute(slot.local) - _minute(wish))
        unwished = person is not None and person not in slot.staff
        return slot.starts_at != wanted, unwished, abs(away), away < 0, minutes, slot.starts_at

    def usable(found: Iterable[Slot]) -> list[Slot]:
        # The wished person at the wished time is what could not be had.
        return [s for s in found if s.starts_at != wanted or (person is not None and s.staff != (person,))]

    # Nothing on another day is worth more than the wished person on the same one.
    slots = usable(find_slots(calendar, wish.date(), wish.date(), now))
    if sum(slot.starts_at == wanted or person is None or person in slot.staff for slot in slots) < ALTERNATIVES:
        slots = usable(find_slots(calendar, wish.date() - near, wish.date() + near, now))
    return tuple(_offered_by(slot, wanted, person) for slot in sorted(slots, key=worth)[:ALTERNATIVES])


def _offered_by(slot: Slot, wanted: datetime, person: UUID | None) -> Slot:
    """The slot with the wished person alone where that one is free, and without that one at the wished time."""
    if person not in slot.staff:
        return slot
    if slot.starts_at == wanted:
        mine = tuple(item for item in slot.staff if item != person)
    else:
        mine = tuple(item for item in slot.staff if item == person)
    return replace(slot, staff_by_role=(mine, *slot.staff_by_role[1:]))


def _minute(moment: datetime) -> int:
    return moment.hour * 60 + moment.minute


def _day_start(day: date, time_zone: str) -> int:
    # The wall time is naive by intent: `instant` gives it its zone.
    return int(instant(datetime(day.year, day.month, day.day), time_zone).timestamp())  # noqa: DTZ001


def work_windows(calendar: Calendar, first: date, last: date) -> dict[UUID, Windows]:
    """When each person works, for slots that start from `first` to `last`: what is booked does not matter.

    Windows of the day before may reach into the first, as a night shift does, and a slot of the last day into the next.
    """
    two, one = timedelta(days=2), timedelta(days=1)
    open_ = open_intervals(calendar.opening, first - two, last + two)
    found: dict[UUID, Windows] = {}
    for item in calendar.people:
        pieces = work_pieces(item.work, open_, first - one, last + one, calendar.opening.time_zone)
        windows = [piece for day in pieces for piece in day]
        whole = union(windows)
        found[item.id] = windows, windows if whole == windows else whole
    return found


def _chances(calendar: Calendar, worked: Mapping[UUID, Windows], person: UUID | None) -> list[list[_Chance]]:
    """For each role, who could do it when."""
    roles: dict[str, list[Part]] = defaultdict(list)
    for part in calendar.offer.parts:
        roles[part.role].append(part)
    role_parts = list(roles.values())
    found: list[list[_Chance]] = [[] for _ in role_parts]
    for item in sorted(calendar.people, key=lambda one_: one_.id):
        windows, whole = worked[item.id]
        for number, parts in enumerate(role_parts):
            if not all(part.skill in item.skills for part in parts) or not (number or person in {None, item.id}):
                continue
            starts = _starts(calendar.offer, parts, whole, item.busy)
            if starts:
                found[number].append(_Chance(item.id, starts, windows))
    return found


def _starts(
    offer: OfferRules, parts: Sequence[Part], windows: Sequence[Interval], busy: Sequence[Busy]
) -> list[Interval]:
    """The starts of the appointment at which one person can do all these parts."""
    found: list[Interval] | None = None
    for part in parts:
        before = offer.before_s if part is offer.parts[0] else 0
        after = offer.after_s if part is offer.parts[-1] else 0
        fitting = [
            (first - part.offset_s, end - part.offset_s - part.length_s + 1)
            for first, end in windows
            if end - first >= part.length_s
        ]
        # [start - before, start + length + after) must not meet [busy.starts, busy.ends).
        reach = (part.offset_s + part.length_s + after - 1, part.offset_s - before)
        clear = difference(fitting, _taken(busy, offer, reach))
        found = clear if found is None else intersection(found, clear)
    return found or []


def _taken(busy: Sequence[Busy], offer: OfferRules, reach: tuple[int, int]) -> list[Interval]:
    """The starts that are not clear of appointments; with several seats, those at which no seat is free."""
    early, late = reach
    if offer.capacity == 1:
        return union((item.starts - early, item.ends - late) for item in busy)
    seats: dict[int, list[Interval]] = defaultdict(list)
    blocked: list[Interval] = []
    for item in busy:
        # Another service, or a seat that is no more, takes the person whole.
        joinable = item.of_service == offer.service_id and item.seat <= offer.capacity
        (seats[item.seat] if joinable else blocked).append((item.starts - early, item.ends - late))
    if len(seats) < offer.capacity:
        return union(blocked)
    full: list[Interval] | None = None
    for taken in seats.values():
        full = union(taken) if full is None else intersection(full, union(taken))
    return union([*blocked, *(full or [])])


def _grid(chance: _Chance, bound: Interval, step: int) -> Iterable[int]:
    """The points of the person's grid at which a start is possible; each window has its own grid from its start."""
    possible = intersection(chance.starts, [bound]) if bound[0] < bound[1] else []
    seen: set[int] = set()
    at = 0
    for first, end in sorted(chance.windows):
        while at < len(possible) and possible[at][1] <= first:
            at += 1
        for low, high in possible[at:]:
            if low >= end:
                break
            start = first + -(-(max(low, first) - first) // step) * step
            seen.update(range(start, min(high, end), step))
    return seen
