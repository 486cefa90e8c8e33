"""Spans and moments as people type them: `30 m`, `2h`, `14:30`, `tomorrow 8:00`, `Fri 9:00`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

MOST = timedelta(days=30)
"""Nothing is put off for longer by a typing error."""

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"([0-9]+)\s*(s|m|min|h|d)?")
_MOMENT = re.compile(r"(?:(today|tomorrow|mon|tue|wed|thu|fri|sat|sun)\s+)?([0-9]{1,2}):([0-9]{2})")
_LONGEST = 9
"""Digits of a number that can be a span; more are too many, whatever the unit."""

_SHOWN = 24
"""Characters of what was typed that a refusal repeats."""

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Unreadable(ValueError):
    """What was typed is no span and no moment; the text says what would be one."""


def span_of(text: str) -> timedelta:
    """A span; nothing typed is none. Raises Unreadable."""
    text = text.strip().casefold()
    if not text:
        return timedelta()
    found = _SPAN.fullmatch(text)
    if found is None:
        raise Unreadable(f"`{_shown(text)}` is no span: 90 s, 10 m and 2 h are.")
    return _span(found)


def until_of(text: str, now: datetime) -> datetime | None:
    """The moment that `text` means at `now` (with its zone), always after it; None when nothing is typed.

    Raises Unreadable.
    """
    text = " ".join(text.casefold().split())
    if not text:
        return None
    if (span := _SPAN.fullmatch(text)) and span[2]:
        if not (ahead := _span(span)):
            raise Unreadable("That is now: say how long, as 30 m.")
        return (now.astimezone(UTC) + ahead).astimezone(now.tzinfo)
    found = _MOMENT.fullmatch(text)
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        raise Unreadable(f"`{_shown(text)}` is no moment: 30 m, 2 h, 14:30 and tomorrow 8:00 are.")
    day, clock = found[1], time(int(found[2]), int(found[3]))
    days = 0
    if day == "tomorrow":
        days = 1
    elif day in _DAYS:
        days = (_DAYS.index(day) - now.weekday()) % 7
    moment = datetime.combine(now.date() + timedelta(days=days), clock, now.tzinfo)
    if moment <= now:
        if day == "today":
            raise Unreadable(f"{clock:%H:%M} is over today.")
        moment = datetime.combine(moment.date() + timedelta(days=7 if day else 1), clock, now.tzinfo)
    return moment


def _span(found: re.Match[str]) -> timedelta:
    """The span of a number and its unit, seconds without one. Raises Unreadable."""
    number = found[1].lstrip("0") or "0"
    if len(number) <= _LONGEST:
        span = timedelta(**{_UNITS[found[2] or "s"]: int(number)})
        if span <= MOST:
            return span
    raise Unreadable(f"`{_shown(found[0])}` is too long: at most {MOST.days} d.")


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
