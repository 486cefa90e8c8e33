"""Moments as screens write them, in the console's zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from screens.base import ZONE

_ZONE = ZoneInfo(ZONE)


def moment_text(at: float, now: float) -> str:
    """A moment as a list shows it: the time of today, else the day and the time. Both are Unix seconds."""
    when = datetime.fromtimestamp(at, _ZONE)
    today = datetime.fromtimestamp(now, _ZONE).date()
    return when.strftime("%H:%M:%S") if when.date() == today else when.strftime("%d.%m. %H:%M")


def day_text(at: float | None) -> str:
    """A day and its time, with the year: `Thu 26 Nov 2026 10:30`."""
    return "–" if at is None else datetime.fromtimestamp(at, _ZONE).strftime("%a %d %b %Y %H:%M")


def slot_text(starts_at: float, ends_at: float) -> str:
    """An appointment's time: `Thu 26 Nov 2026 10:30–11:15`."""
    return f"{day_text(starts_at)}–{datetime.fromtimestamp(ends_at, _ZONE):%H:%M}"


def until_text(at: float | None, now: float) -> str:
    """The end of something: `until 14:30`, `until 27.11. 08:00`; nothing when it has none."""
    if at is None:
        return ""
    when = datetime.fromtimestamp(at, _ZONE)
    today = datetime.fromtimestamp(now, _ZONE).date()
    return f"until {when:%H:%M}" if when.date() == today else f"until {when:%d.%m. %H:%M}"
