"""When what could be booked, were nothing booked: the rules of a company's calendar, kept as long as they hold.

Hours, breaks, exceptions, holidays and the grid change rarely and are asked for by every caller, so each process keeps
what it read. Each change of a calendar raises the company's version. Whoever asks for free slots names the version that
is known and is told what is booked now together with the rules of today, when they are others; every booking tells the
database which version it was judged by. So nothing is ever offered or booked by rules that no longer hold.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil
from uuid import UUID

from backend.domain.availability import Calendar, OfferRules, Slot, Windows, find_slots, work_windows
from backend.domain.vocabulary import RefusalReason
from backend.domain.zones import instant, zone

FARTHEST = timedelta(days=731)
"""Nothing is booked further ahead, whatever the service's horizon."""

KEPT = 512
"""Services at branches whose rules a process keeps; those of ten people take up to 0.3 MB, with the bounds below."""

DAYS_KEPT = 31
"""Days of each for which the possible starts are kept."""

SPANS_KEPT = 4
"""Spans of days of each for which the hours of work are kept."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for, as far as the rules are concerned."""

    starts_at: datetime
    """Aware."""
    asked_at: datetime
    person: UUID | None
    """Who does the first role; None: anybody."""
    any_time: bool
    """Hours, notice, horizon and grid are not asked."""


@dataclass(frozen=True, slots=True)
class Able:
    """Who could do each role of a service at a time, were nothing booked."""

    by_role: tuple[tuple[UUID, ...], ...]
    """In the order of the roles' first parts."""

    @property
    def flat(self) -> tuple[list[UUID], list[int]]:
        """Everybody, and beside it the role (from 1)."""
        pairs = [(person, role) for role, people in enumerate(self.by_role, 1) for person in people]
        return [person for person, _ in pairs], [role for _, role in pairs]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a service by time: by whom (roles from 1), from which minute on, how many minutes."""

    roles: list[int]
    starts: list[int]
    minutes: list[int]


@dataclass(slots=True)
class Rules:
    """The calendar of a service at a branch without what is booked."""

    calendar: Calendar
    version: int
    """Of the company's calendar."""
    slugs: dict[str, UUID]
    """Of the people in it."""
    names: dict[UUID, str]
    """Of the people in it."""
    since: date
    """They know nothing of days before."""
    _days: OrderedDict[date, dict[datetime, Slot]] = field(default_factory=OrderedDict)
    _spans: OrderedDict[tuple[date, date], dict[UUID, Windows]] = field(default_factory=OrderedDict)

    @property
    def offer(self) -> OfferRules:
        """Of the service."""
        return self.calendar.offer

    @property
    def zone(self) -> str:
        """Of the branch."""
        return self.calendar.opening.time_zone

    @property
    def parts(self) -> Parts:
        """Of the service; one for a simple one."""
        roles = {role: number for number, role in enumerate(dict.fromkeys(part.role for part in self.offer.parts), 1)}
        return Parts(
            [roles[part.role] for part in self.offer.parts],
            [part.offset_s // 60 for part in self.offer.parts],
            [part.length_s // 60 for part in self.offer.parts],
        )

    def offering(self) -> Able:
        """Who can do each role at all."""
        roles: dict[str, set[UUID]] = {}
        for part in self.offer.parts:
            roles.setdefault(part.role, set()).add(part.skill)
        return Able(
            tuple(
                tuple(sorted(person.id for person in self.calendar.people if skills <= person.skills))
                for skills in roles.values()
            )
        )

    def judge(self, wish: Wish) -> Able | RefusalReason:
        """Who could do what is wished for, or why nobody can. Raises ZoneUnknown."""
        if wish.starts_at < wish.asked_at:
            return RefusalReason.IN_PAST
        if wish.starts_at > wish.asked_at + FARTHEST:
            return RefusalReason.TOO_FAR
        able = self.offering()
        if not all(able.by_role) or (wish.person is not None and wish.person not in able.by_role[0]):
            return RefusalReason.NOT_OFFERED
        if wish.any_time:
            return _with_first(able, wish.person)
        local = zone(self.zone)
        day = wish.starts_at.astimezone(local).date()
        if day > wish.asked_at.astimezone(local).date() + timedelta(days=self.offer.horizon_days):
            return RefusalReason.TOO_FAR
        if wish.starts_at.timestamp() < ceil(wish.asked_at.timestamp()) + self.offer.notice_s:
            return RefusalReason.TOO_SOON
        slot = self.starts_on(day).get(wish.starts_at)
        if slot is None or (wish.person is not None and wish.person not in slot.staff):
            return RefusalReason.OUTSIDE_HOURS
        return _with_first(Able(slot.staff_by_role), wish.person)

    def starts_on(self, day: date) -> dict[datetime, Slot]:
        """The starts that the rules allow on a day in the branch's zone, by instant; kept for the next question."""
        found = self._days.get(day)
        if found is None:
            # Notice and horizon depend on when somebody asks, so they are no part of what is kept.
            free = replace(self.calendar, offer=replace(self.offer, notice_s=0, horizon_days=FARTHEST.days))
            # The wall time is naive by intent: `instant` gives it its zone.
            before = instant(datetime(day.year, day.month, day.day), self.zone)  # noqa: DTZ001
            found = {slot.starts_at: slot for slot in find_slots(free, day, day, before)}
            self._days[day] = found
            if len(self._days) > DAYS_KEPT:
                self._days.popitem(last=False)
        return found

    def windows(self, first: date, last: date) -> dict[UUID, Windows]:
        """When everybody works from `first` to `last`, days in the branch's zone; kept for the next question."""
        found = self._spans.get((first, last))
        if found is None:
            found = self._spans[first, last] = work_windows(self.calendar, first, last)
            if len(self._spans) > SPANS_KEPT:
                self._spans.popitem(last=False)
        return found


def _with_first(able: Able, person: UUID | None) -> Able:
    return able if person is None else Able(((person,), *able.by_role[1:]))


@dataclass(frozen=True, slots=True)
class Place:
    """A service at a branch, by the names people use; what rules are kept by."""

    company_id: UUID
    service: str
    branch: str | None
    called_branch_id: UUID | None


class RuleBook:
    """The rules that one process keeps: the most recently used ones."""

    def __init__(self) -> None:
        self._rules: OrderedDict[Place, Rules] = OrderedDict()

    def get(self, place: Place, asked_at: datetime) -> Rules | None:
        """What is kept, if it knows the days from `asked_at` on."""
        found = self._rules.get(place)
        if found is None or asked_at.astimezone(UTC).date() < found.since:
            return None
        self._rules.move_to_end(place)
        return found

    def keep(self, place: Place, rules: Rules) -> None:
        """Keep what was read."""
        self._rules[place] = rules
        self._rules.move_to_end(place)
        if len(self._rules) > KEPT:
            self._rules.popitem(last=False)

    def forget(self, place: Place) -> None:
        """They hold no longer."""
        self._rules.pop(place, None)

    def clear(self) -> None:
        """Forget everything."""
        self._rules.clear()


RULES = RuleBook()
"""Of this process."""
