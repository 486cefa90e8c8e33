"""When a branch is open and when somebody works there: weekly hours, breaks, exceptions, public holidays.

Rules are wall time of the branch's zone; results are seconds since 1970. A span that ends at or before its start ends
on the next day and belongs to the day on which it starts. For one day, in this order: the weekly hours (a branch has
none on a public holiday; a person's are without the breaks), replaced by `hours` exceptions, joined by `extra` ones,
emptied by `closed` ones without span. Spans of `closed` exceptions are then taken out of whatever covers them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias

from backend.domain.intervals import Interval, Intervals, difference, intersection, union
from backend.domain.public_holidays import is_public_holiday
from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import Span
from backend.domain.zones import stretches, zone

WeeklySpans: TypeAlias = Mapping[int, tuple[Span, ...]]
"""By ISO weekday, 1 for Monday."""

WHOLE_DAY: Span = (time(), time())


@dataclass(frozen=True, slots=True)
class ExceptionRule:
    """What differs on the days from `first_day` to `last_day`, both included."""

    kind: ExceptionKind
    first_day: date
    last_day: date
    span: Span | None = None
    """Only `closed` may go without: all day."""

    def covers(self, day: date) -> bool:
        """Whether it says something about the day."""
        return self.first_day <= day <= self.last_day


@dataclass(frozen=True, slots=True)
class OpeningRules:
    """When a branch is open."""

    time_zone: str
    """IANA name."""
    weekly: WeeklySpans | None = None
    """None: always, as far as the branch is concerned."""
    bundesland: str = ""
    """Whose public holidays close it; empty for none."""
    exceptions: tuple[ExceptionRule, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkRules:
    """When somebody works at a branch."""

    weekly: WeeklySpans
    breaks: WeeklySpans
    """Taken out of the weekly hours, not out of exceptional ones."""
    exceptions: tuple[ExceptionRule, ...] = ()
    """Those at this branch, and absences everywhere."""


def open_intervals(rules: OpeningRules, first: date, last: date) -> list[Interval]:
    """When the branch is open by the spans of these days; the last one's may run into the day after."""
    found: list[Interval] = []
    for day in days(first, last):
        if rules.weekly is None:
            weekly: tuple[Span, ...] = (WHOLE_DAY,)
        else:
            weekly = rules.weekly.get(day.isoweekday(), ())
        if is_public_holiday(day, rules.bundesland):
            weekly = ()
        ruled = _ruled(rules.exceptions, day)
        if ruled is None:
            continue
        instead, extra = ruled
        found += _placed(day, (*(instead or weekly), *extra), rules.time_zone)
    return difference(union(found), _closed(rules.exceptions, first, last, rules.time_zone))


LOOK_AHEAD_DAYS = (8, 60)
"""How far `after_open_time` looks: most answers lie within a week, and nobody is closed for two months."""


def after_open_time(rules: OpeningRules, start: datetime, amount: timedelta) -> datetime | None:
    """The instant (UTC) by which the branch has been open for `amount` since `start` (aware).

    None when it is not open for so long within two months. Raises ZoneUnknown.
    """
    begins = int(start.timestamp())
    first = start.astimezone(zone(rules.time_zone)).date() - timedelta(days=1)
    for ahead in LOOK_AHEAD_DAYS:
        left = int(amount.total_seconds())
        for opens, closes in open_intervals(rules, first, first + timedelta(days=ahead)):
            counts_from = max(opens, begins)
            if closes - counts_from >= left:
                return datetime.fromtimestamp(counts_from + left, UTC)
            left -= max(closes - counts_from, 0)
    return None


def work_pieces(
    rules: WorkRules, open_: Intervals, first: date, last: date, time_zone: str
) -> Iterator[list[Interval]]:
    """For each day, when the person works while the branch is open, by the spans of that day.

    Each interval is a window of its own, at whose start the grid of slots is anchored; those of different days may
    touch or overlap. `open_` must reach one day further on either side than the spans do.
    """
    closed = _closed(rules.exceptions, first, last, time_zone)
    for day in days(first, last):
        ruled = _ruled(rules.exceptions, day)
        if ruled is None:
            continue
        instead, extra = ruled
        if instead:
            worked = union(_placed(day, instead, time_zone))
        else:
            worked = union(_placed(day, rules.weekly.get(day.isoweekday(), ()), time_zone))
            if worked and rules.breaks:
                worked = difference(worked, _breaks(rules.breaks, day, time_zone))
        if extra:
            worked = union([*worked, *_placed(day, extra, time_zone)])
        if closed:
            worked = difference(worked, closed)
        if worked and (pieces := intersection(worked, open_)):
            yield pieces


def days(first: date, last: date) -> Iterator[date]:
    """Each day from the first to the last, both included."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def _ruled(exceptions: Iterable[ExceptionRule], day: date) -> tuple[tuple[Span, ...], tuple[Span, ...]] | None:
    """The day's spans instead of the weekly ones (none: the weekly ones stay) and beside them; None: closed all day."""
    instead: list[Span] = []
    extra: list[Span] = []
    for rule in exceptions:
        if not rule.covers(day):
            continue
        if rule.span is None:
            return None
        if rule.kind is ExceptionKind.HOURS:
            instead.append(rule.span)
        elif rule.kind is ExceptionKind.EXTRA:
            extra.append(rule.span)
    return tuple(instead), tuple(extra)


def _closed(exceptions: Iterable[ExceptionRule], first: date, last: date, time_zone: str) -> list[Interval]:
    """The spans that are taken out: also those of the days around, which may reach into these."""
    return union(
        interval
        for rule in exceptions
        if rule.kind is ExceptionKind.CLOSED and rule.span is not None
        for day in days(max(rule.first_day, first - timedelta(days=1)), min(rule.last_day, last + timedelta(days=1)))
        for interval in _placed(day, (rule.span,), time_zone)
    )


def _breaks(breaks: WeeklySpans, day: date, time_zone: str) -> list[Interval]:
    """The breaks that can lie in a span of the day: it may reach into the next, and a late break into it."""
    return union(
        interval
        for near in days(day - timedelta(days=1), day + timedelta(days=1))
        for interval in _placed(near, breaks.get(near.isoweekday(), ()), time_zone)
    )


def _placed(day: date, spans: Iterable[Span], time_zone: str) -> Iterator[Interval]:
    """When these spans of the day are."""
    for starts, ends in spans:
        until = day if ends > starts else day + timedelta(days=1)
        yield from stretches(datetime.combine(day, starts), datetime.combine(until, ends), time_zone)
