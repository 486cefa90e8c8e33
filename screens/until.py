"""Spans and moments as people type them: `30 m`, `2h`, `14:30`, `tomorrow 8:00`, `Fri 9:00`."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

MOST = timedelta(days=30)
"""Nothing is put off for longer by a typing error."""

_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"(\d{1,5})\s*(s|m|min|h|d)")
_MOMENT = re.compile(r"(?:(today|tomorrow|mon|tue|wed|thu|fri|sat|sun)\s+)?(\d{1,2}):(\d\d)")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Unreadable(ValueError):
    """What was typed is no span and no moment; the text says what would be one."""


def span_of(text: str) -> timedelta:
    """A span; nothing typed is none. Raises Unreadable."""
    text = text.strip().casefold()
    if not text:
        return timedelta()
    if text.isdecimal():
        return _bounded(timedelta(seconds=int(text)))
    found = _SPAN.fullmatch(text)
    if found is None:
        raise Unreadable(f"`{text}` is no span: 90 s, 10 m and 2 h are.")
    return _bounded(timedelta(**{_UNITS[found[2]]: int(found[1])}))


def until_of(text: str, now: datetime) -> datetime | None:
    """The moment that `text` means at `now` (with its zone), always after it; None when nothing is typed.

    Raises Unreadable.
    """
    text = " ".join(text.casefold().split())
    if not text:
        return None
    if _SPAN.fullmatch(text):
        span = span_of(text)
        if not span:
            raise Unreadable("That is now: say how long, as 30 m.")
        return now + span
    found = _MOMENT.fullmatch(text)
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        raise Unreadable(f"`{text}` is no moment: 30 m, 2 h, 14:30 and tomorrow 8:00 are.")
    day, clock = found[1], time(int(found[2]), int(found[3]))
    ahead = 0
    if day == "tomorrow":
        ahead = 1
    elif day in _DAYS:
        ahead = (_DAYS.index(day) - now.weekday()) % 7
    moment = datetime.combine(now.date() + timedelta(days=ahead), clock, now.tzinfo)
    if moment <= now:
        if day == "today":
            raise Unreadable(f"{clock:%H:%M} is over today.")
        moment = datetime.combine(moment.date() + timedelta(days=7 if day else 1), clock, now.tzinfo)
    return moment


def _bounded(span: timedelta) -> timedelta:
    if span > MOST:
        raise Unreadable(f"{span.days} days is too long: at most {MOST.days}.")
    return span
