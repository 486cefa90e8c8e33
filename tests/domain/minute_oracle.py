"""Slots found the slow way: ask of every minute whether the clock on the wall allows it.

Shares no code with the rules that it checks but their records: minutes are instants, their wall time comes from the
zone, and whether somebody is there is looked up by day and time of day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo

import holidays

from backend.domain.availability import Calendar, Part, Person
from backend.domain.opening import ExceptionRule
from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import Span

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

Found = dict[datetime, tuple[frozenset[UUID], ...]]
"""Who can do each role, by start."""


@cache
def _is_holiday(bundesland: str, day: date) -> bool:
    return bool(bundesland) and day in holidays.country_holidays("DE", subdiv=bundesland, years=day.year)


def _holds(span: Span, day: date, at: datetime) -> bool:
    """Whether the span of that day holds the wall time."""
    starts, ends = span
    since = at - datetime.combine(day, starts)
    length = datetime.combine(day, ends) - datetime.combine(day, starts)
    if length <= timedelta(0):
        length += DAY
    return timedelta(0) <= since < length


def _any(spans: tuple[Span, ...], day: date, at: datetime) -> bool:
    return any(_holds(span, day, at) for span in spans)


def _spans(rules: tuple[ExceptionRule, ...], kind: ExceptionKind, day: date) -> tuple[Span, ...]:
    return tuple(
        rule.span for rule in rules if rule.kind is kind and rule.first_day <= day <= rule.last_day and rule.span
    )


def _shut(rules: tuple[ExceptionRule, ...], day: date) -> bool:
    return any(rule.span is None and rule.first_day <= day <= rule.last_day for rule in rules)


def _near(at: datetime) -> tuple[date, ...]:
    """The days whose spans can hold the wall time."""
    return at.date() - DAY, at.date()


def _taken_out(rules: tuple[ExceptionRule, ...], at: datetime) -> bool:
    return any(_any(_spans(rules, ExceptionKind.CLOSED, day), day, at) for day in _near(at))


class Oracle:
    """Answers for one calendar."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar
        self.zone = ZoneInfo(calendar.opening.time_zone)
        self._work: dict[tuple[UUID, date, datetime], bool] = {}
        self.is_open = cache(self.is_open)  # type: ignore[method-assign] # the same minutes are asked for again and again

    def wall(self, minute: datetime) -> datetime:
        """What the clock shows."""
        return minute.astimezone(self.zone).replace(tzinfo=None, fold=0)

    def is_open(self, at: datetime) -> bool:
        """Whether the branch is open at a wall time."""
        rules = self.calendar.opening
        if _taken_out(rules.exceptions, at):
            return False
        for day in _near(at):
            if _shut(rules.exceptions, day):
                continue
            usual = ((time(), time()),) if rules.weekly is None else rules.weekly.get(day.isoweekday(), ())
            if _is_holiday(rules.bundesland, day):
                usual = ()
            if _any(_spans(rules.exceptions, ExceptionKind.EXTRA, day), day, at):
                return True
            if _any(_spans(rules.exceptions, ExceptionKind.HOURS, day) or usual, day, at):
                return True
        return False

    def works(self, person: Person, day: date, at: datetime) -> bool:
        """Whether the person is there at a wall time by what is said of `day`."""
        rules = person.work
        if _shut(rules.exceptions, day) or _taken_out(rules.exceptions, at) or not self.is_open(at):
            return False
        if _any(_spans(rules.exceptions, ExceptionKind.EXTRA, day), day, at):
            return True
        if instead := _spans(rules.exceptions, ExceptionKind.HOURS, day):
            return _any(instead, day, at)
        at_rest = any(_any(rules.breaks.get(near.isoweekday(), ()), near, at) for near in _near(at))
        return _any(rules.weekly.get(day.isoweekday(), ()), day, at) and not at_rest

    def there(self, person: Person, day: date, minute: datetime) -> bool:
        """As `works`, remembered."""
        key = (person.id, day, minute)
        if key not in self._work:
            self._work[key] = self.works(person, day, self.wall(minute))
        return self._work[key]

    def is_there(self, person: Person, minute: datetime) -> bool:
        """Whether the person works then, by whichever day's spans."""
        return any(self.there(person, day, minute) for day in _near(self.wall(minute)))

    def free_seats(self, person: Person, minute: datetime) -> frozenset[int]:
        """The seats that are free with the person then."""
        offer = self.calendar.offer
        seats = set(range(1, offer.capacity + 1))
        for item in person.busy:
            if item.starts <= minute.timestamp() < item.ends:
                if offer.capacity == 1 or item.of_service != offer.service_id or item.seat > offer.capacity:
                    return frozenset()
                seats.discard(item.seat)
        return frozenset(seats)

    def can(self, person: Person, part: Part, start: datetime) -> bool:
        """Whether the person can do the part of an appointment that starts then."""
        offer = self.calendar.offer
        first = start + timedelta(seconds=part.offset_s)
        end = first + timedelta(seconds=part.length_s)
        # The last minute first: a part that does not fit fails there, and most do not.
        minutes = [end - MINUTE, *_minutes(first, end)]
        if part.skill not in person.skills or not all(self.is_there(person, item) for item in minutes):
            return False
        if part == offer.parts[0]:
            first -= timedelta(seconds=offer.before_s)
        if part == offer.parts[-1]:
            end += timedelta(seconds=offer.after_s)
        seats = frozenset(range(1, offer.capacity + 1))
        for minute in _minutes(first, end):
            seats &= self.free_seats(person, minute)
        return bool(seats)

    def on_grid(self, person: Person, start: datetime) -> bool:
        """Whether the start is a whole number of steps from where the person's window began, by elapsed minutes."""
        step = timedelta(seconds=self.calendar.offer.step_s)
        for day in _near(self.wall(start)):
            if not self.there(person, day, start):
                continue
            begins = start
            while self.there(person, day, begins - MINUTE):
                begins -= MINUTE
            if (start - begins) % step == timedelta(0):
                return True
        return False

    def slots(self, first: date, last: date, now: datetime) -> Found:
        """All slots of the days."""
        offer = self.calendar.offer
        roles = list(dict.fromkeys(part.role for part in offer.parts))
        found: Found = {}
        horizon = now.astimezone(self.zone).date() + timedelta(days=offer.horizon_days)
        around = datetime.combine(first, time(), UTC) - DAY
        for start in _minutes(around, datetime.combine(last, time(), UTC) + 2 * DAY):
            if not first <= self.wall(start).date() <= min(last, horizon):
                continue
            if (start - now).total_seconds() < offer.notice_s:
                continue
            able = [self._able(role, start) for role in roles]
            able[0] = frozenset(
                item.id for item in self.calendar.people if item.id in able[0] and self.on_grid(item, start)
            )
            if all(able):
                found[start] = tuple(able)
        return found

    def _able(self, role: str, start: datetime) -> frozenset[UUID]:
        parts = [part for part in self.calendar.offer.parts if part.role == role]
        return frozenset(item.id for item in self.calendar.people if all(self.can(item, part, start) for part in parts))


def _minutes(first: datetime, end: datetime) -> Iterator[datetime]:
    while first < end:
        yield first
        first += MINUTE
