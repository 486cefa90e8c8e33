"""Free time of an invented company's staff, so that bookings of a run meet nobody but those they are meant to meet.

Instants are Unix minutes (UTC). Busy time includes the service's buffers, as in the product.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta

from backend.domain.public_holidays import public_holidays
from backend.simulate.businesses import ZONE, Business, Service, Span, Staff, week

GRID_MIN = 15
"""Appointments begin on the quarter of an hour."""
WIDEN_DAYS = 14
"""By so much it is then opened."""
TRIES = 40
"""Random looks before the calendar is opened further into the future."""
MARGIN_DAYS = 3
"""Bookings keep so far away from the end of their service's horizon."""


class CalendarFull(Exception):
    """Nobody has time for a service within the horizon any more."""


class Calendar:
    """Who is busy when, for all staff of the given companies."""

    def __init__(self, today: date, *, first_day: int = 2, span_days: int = 21) -> None:
        self._today = today
        self._first_day = first_day
        self._span_days = span_days
        self._busy: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def block(self, business: str, staff: str, start: int, end: int) -> None:
        """Mark time as busy, whatever it was before."""
        insort(self._busy.setdefault((business, staff), []), (start, end))

    def is_free(self, business: str, staff: str, start: int, end: int) -> bool:
        """Nothing overlaps [start, end)."""
        busy = self._busy.get((business, staff), [])
        at = bisect_left(busy, (start, start))
        before = at - 1
        # Blocks of one person may nest only by a contest's union, which is at most a few hours long.
        while before >= 0 and busy[before][0] > start - 24 * 60:
            if busy[before][1] > start:
                return False
            before -= 1
        return at >= len(busy) or busy[at][0] >= end

    def take(
        self,
        rng: random.Random,
        business: Business,
        service: Service,
        staff: Sequence[Staff],
        *,
        extra: int = 0,
        today: date | None = None,
    ) -> int:
        """Find a start at which all of `staff` are free for the service plus `extra` minutes, and block it.

        It lies at least two days after today, or after `today` when that is given.
        Raises CalendarFull when there is none within the service's horizon.
        """
        first = (today or self._today) + timedelta(days=self._first_day)
        farthest = service.horizon_days - MARGIN_DAYS - self._first_day
        while True:
            for _ in range(TRIES):
                day = first + timedelta(days=rng.randrange(min(self._span_days, farthest)))
                if self._is_holiday(business, day):
                    continue
                start = self._start(rng, day, service, staff, extra)
                if start is None:
                    continue
                begin, end = start - service.before, start + service.minutes + extra + service.after
                if all(self.is_free(business.slug, person.slug, begin, end) for person in staff):
                    for person in staff:
                        self.block(business.slug, person.slug, begin, end)
                    return start
            if self._span_days >= farthest:
                raise CalendarFull(f"{business.slug} has no time left for {service.slug}")
            self._span_days += WIDEN_DAYS

    def _is_holiday(self, business: Business, day: date) -> bool:
        """Any branch is closed for a public holiday."""
        return any(day in public_holidays(branch.bundesland, day.year) for branch in business.branches)

    def _start(self, rng: random.Random, day: date, service: Service, staff: Iterable[Staff], extra: int) -> int | None:
        spans = common_spans([week(person.hours).get(day.isoweekday(), ()) for person in staff])
        length = service.minutes + extra
        fitting = [span for span in spans if span.end - span.start >= length]
        if not fitting:
            return None
        span = rng.choice(fitting)
        offset = rng.randrange((span.end - span.start - length) // GRID_MIN + 1) * GRID_MIN
        return wall_minute(day, span.start + offset)


def wall_minute(day: date, minute: int) -> int:
    """Unix minute of a local time of day. Working time never touches the hours in which clocks change."""
    return int(datetime.combine(day, time(minute // 60, minute % 60), ZONE).timestamp()) // 60


def common_spans(weeks: Sequence[tuple[Span, ...]]) -> list[Span]:
    """Stretches that lie in every one of the given days."""
    common = list(weeks[0]) if weeks else []
    for spans in weeks[1:]:
        common = [
            Span(max(a.start, b.start), min(a.end, b.end))
            for a in common
            for b in spans
            if max(a.start, b.start) < min(a.end, b.end)
        ]
    return common
