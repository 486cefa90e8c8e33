"""Spans of wall time and weeks of them: their text, and how they lie to each other.

A span is `08:00-12:30`. One that ends at or before its start ends on the next day: `22:00-06:00` is a night shift,
`00:00-24:00` the whole day. It belongs to the day on which it starts.
A week is `Mon-Thu 08:00-12:30 13:30-18:00, Fri 08:00-14:00`; days that it does not name have no spans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import time
from itertools import pairwise
from typing import Literal, TypeAlias

from backend.domain.nearest import nearest

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In ISO order: `mon` is stored as 1."""

Span: TypeAlias = tuple[time, time]
"""From and until."""

Week: TypeAlias = dict[Weekday, tuple[Span, ...]]

DAY_MIN = 24 * 60

_GERMAN: tuple[str, ...] = ("mo", "di", "mi", "do", "fr", "sa", "so")
_DAYS: dict[str, int] = {day: number for names in (WEEKDAYS, _GERMAN) for number, day in enumerate(names)}
_SPAN = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", re.ASCII)


def parse_spans(text: str) -> tuple[Span, ...]:
    """The spans of `08:00-12:30 13:30-18:00`, sorted. Raises ValueError with what is wrong."""
    return tuple(sorted(_span(item) for item in text.replace(",", " ").split()))


def _span(text: str) -> Span:
    found = _SPAN.fullmatch(text.replace("–", "-"))
    if found is None:
        raise ValueError(f"{text!r} is no span of time such as 08:00-12:30")
    from_hour, from_minute, to_hour, to_minute = (int(part) for part in found.groups())
    if (to_hour, to_minute) == (24, 0):
        to_hour = 0
    try:
        return time(from_hour, from_minute), time(to_hour, to_minute)
    except ValueError:
        raise ValueError(f"{text!r} names a time that no clock shows") from None


def format_spans(spans: Iterable[Span]) -> str:
    """`08:00-12:30 13:30-18:00`; what `parse_spans` reads."""
    return " ".join(f"{starts:%H:%M}-{'24:00' if ends == time() else format(ends, '%H:%M')}" for starts, ends in spans)


def parse_week(text: str) -> Week:
    """The week of `Mon-Thu 08:00-12:30 13:30-18:00, Fri 08:00-14:00`. Raises ValueError with what is wrong."""
    found: Week = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        days, _, spans = part.partition(" ")
        if not spans.strip():
            raise ValueError(f"{part!r} needs days and spans, such as Mon-Fri 08:00-12:30")
        first, _, last = days.replace("–", "-").partition("-")
        start, end = _day(first), _day(last or first)
        if end < start:
            raise ValueError(f"{days!r} runs backwards: a week begins on Mon")
        for day in WEEKDAYS[start : end + 1]:
            _put(found, day, parse_spans(spans))
    return {day: found[day] for day in WEEKDAYS if day in found}


def _put(week: Week, day: Weekday, spans: tuple[Span, ...]) -> None:
    if day in week:
        raise ValueError(f"{day.title()} is given twice")
    week[day] = spans


def _day(text: str) -> int:
    number = _DAYS.get(text.lower())
    if number is None:
        near = nearest(text.lower(), WEEKDAYS, cutoff=0.4)
        raise ValueError(f"{text!r} is no day of the week" + (f"; did you mean {near.title()}?" if near else ""))
    return number


def format_week(week: Mapping[Weekday, Sequence[Span]]) -> str:
    """`Mon-Thu 08:00-12:30 13:30-18:00, Fri 08:00-14:00`; what `parse_week` reads."""
    parts: list[tuple[int, int, str]] = []
    for number, day in enumerate(WEEKDAYS):
        if not (text := format_spans(week.get(day, ()))):
            continue
        if parts and parts[-1][1:] == (number - 1, text):
            parts[-1] = (parts[-1][0], number, text)
        else:
            parts.append((number, number, text))
    return ", ".join(
        f"{WEEKDAYS[first].title()}{f'-{WEEKDAYS[last].title()}' if last > first else ''} {text}"
        for first, last, text in parts
    )


def minutes(span: Span) -> int:
    """How long a span is on a day without a clock change."""
    starts, ends = (part.hour * 60 + part.minute for part in span)
    return (ends - starts) % DAY_MIN or DAY_MIN


def overlapping(spans: Iterable[tuple[Weekday, Span]]) -> Iterator[tuple[tuple[Weekday, Span], tuple[Weekday, Span]]]:
    """Neighbours in the week that share time, over midnight and over the end of the week too."""
    placed = sorted(
        (WEEKDAYS.index(day) * DAY_MIN + span[0].hour * 60 + span[0].minute, minutes(span), (day, span))
        for day, span in spans
    )
    if len(placed) < 2:  # one alone overlaps with nobody
        return
    first_start, first_length, first = placed[0]
    for (start, length, one), (following, _, other) in pairwise(
        [*placed, (first_start + 7 * DAY_MIN, first_length, first)]
    ):
        if start + length > following:
            yield one, other
