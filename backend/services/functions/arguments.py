"""The arguments of a tool call, written by a language model: read with patience, cleaned, bounded.

What can't be read counts as not given. Days and times are ISO 8601 or as a transcript has them: `26.11.2026`,
`14:30`, `14 Uhr 30`, `2:30 pm`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time

from backend.domain.phones import normalise
from backend.domain.text import LINE_LIMIT, NAME_LIMIT, one_line

MAIL_LIMIT = 320
NOTHING = frozenset({"", "null", "none", "undefined", "n/a", "any", "egal", "beliebig"})
"""What a model writes for an argument that it has nothing for."""

_YES = frozenset({"true", "yes", "ja", "1"})
_DAY = re.compile(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})")
_CLOCK = re.compile(r"(\d{1,2})(?:[:.h](\d{2}))?(?::\d{2})?\s*(?:uhr\s*(\d{1,2})?|h)?\s*(am|pm|a\.m\.|p\.m\.)?")
_SPACED = re.compile(r"(\d{4}-\d{2}-\d{2}|\d{1,2}\.\s?\d{1,2}\.\s?\d{4})(?:\s*(?:,|um|at|T)\s*|\s+)(\S.*)")


class Arguments:
    """What a tool call was given."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = given

    def text(self, name: str, limit: int = LINE_LIMIT) -> str | None:
        """One line; numbers as text; None for everything else and for words that mean nothing."""
        value = self._given.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            return None
        found = one_line(value, limit)
        return None if found is None or found.casefold() in NOTHING else found

    def name(self, name: str = "name") -> str | None:
        """A person's name."""
        return self.text(name, NAME_LIMIT)

    def email(self) -> str | None:
        """An e-mail address, lower case; None when it cannot be one."""
        mail = (self.text("email", MAIL_LIMIT) or "").lower()
        return mail if "@" in mail[1:-1] and " " not in mail else None

    def phone(self, region: str = "DE") -> str | None:
        """A phone number, E.164."""
        return normalise(self.text("phone"), region)

    def flag(self, name: str) -> bool:
        """True for true, yes, ja, 1."""
        value = self._given.get(name)
        return value if isinstance(value, bool) else str(value).casefold() in _YES

    def number(self, name: str, *, least: int, most: int) -> int | None:
        """A whole number, moved to the nearest bound; None when it is none."""
        value = self._given.get(name)
        try:
            found = int(float(value)) if isinstance(value, str | int | float) else None
        except (ValueError, OverflowError):
            return None
        return None if found is None else max(least, min(most, found))

    def day(self, name: str = "date") -> date | None:
        """A day; of a moment its day."""
        return read_day(self.text(name) or "")

    def clock(self, name: str = "time") -> time | None:
        """A time of day."""
        return read_clock(self.text(name) or "")

    def moment(self, name: str) -> datetime | None:
        """A point in time; naive when it has no offset. `date` and `time` together will also do for `starts_at`."""
        found = read_moment(self.text(name) or "")
        if found is None and name == "starts_at":
            day, clock = self.day(), self.clock()
            if day is not None and clock is not None:
                found = datetime.combine(day, clock)
        return found


def read_day(text: str) -> date | None:
    """`2026-11-26`, `26.11.2026`, or the day of a moment."""
    match = _DAY.match(text)
    try:
        if match:
            return date(int(match[3]), int(match[2]), int(match[1]))
        return datetime.fromisoformat(text).date() if text else None
    except ValueError:
        return None


def read_clock(text: str) -> time | None:
    """`14:30`, `14.30`, `14 Uhr`, `14 Uhr 30`, `2 pm`, `14`, or the time of a moment."""
    match = _CLOCK.fullmatch(text.strip().casefold())
    if match is None:
        try:
            return datetime.fromisoformat(text).time() if len(text) > 10 else None
        except ValueError:
            return None
    hour, minute = int(match[1]), int(match[2] or match[3] or 0)
    half = (match[4] or "")[:1]
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    return time(hour, minute) if hour < 24 and minute < 60 else None


def read_moment(text: str) -> datetime | None:
    """ISO 8601, or a day and a time behind it; None for a day alone."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}|\d{8}", text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        match = _SPACED.fullmatch(text)
    if match is None:
        return None
    day, clock = read_day(match[1]), read_clock(match[2])
    return datetime.combine(day, clock) if day is not None and clock is not None else None
