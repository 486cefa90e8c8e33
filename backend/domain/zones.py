"""Wall time to instants: the one place where an ambiguous or missing local time is resolved.

A time inside the gap of a clock change moves to the first valid instant; a time that happens twice is the first of the
two, and a span of wall time holds both. (PostgreSQL would take the second, so it is never asked.)
"""

from __future__ import annotations

from calendar import timegm
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError


class ZoneUnknown(ValueError):
    """A name that is no time zone of this machine's IANA data."""


def zone(name: str) -> ZoneInfo:
    """The IANA zone `name`. Raises ZoneUnknown."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ZoneUnknown(f"{name!r} is no time zone") from error


def instant(moment: datetime, zone_name: str) -> datetime:
    """`moment` in UTC; when it is naive, as wall time in the zone. Raises ZoneUnknown, OverflowError."""
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    local = zone(zone_name)
    found = moment.replace(tzinfo=local, fold=0).astimezone(UTC)
    if found.astimezone(local).replace(tzinfo=None) == moment.replace(fold=0):
        return found
    # In the gap, fold=0 reads the clock before the change, so it lands as far after the gap as it was inside it.
    return _end_of_gap(found, local)


def _end_of_gap(after: datetime, local: ZoneInfo) -> datetime:
    """The instant at which the offset last changed before `after`, to the second."""
    low, high = int(after.timestamp()) - 86_400, int(after.timestamp())
    offset = after.astimezone(local).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, local).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return datetime.fromtimestamp(high, UTC)


@lru_cache(maxsize=8192)
def stretches(starts: datetime, ends: datetime, zone_name: str) -> tuple[tuple[int, int], ...]:
    """When the zone's clocks show a time from `starts` to before `ends` (both naive), in seconds since 1970, sorted.

    An edge inside a gap moves to the first valid instant; what the clocks show twice is there twice, as two stretches
    when something else is shown in between. `ends` is at most two days after `starts`. Raises ZoneUnknown.
    """
    low, high = timegm(starts.timetuple()), timegm(ends.timetuple())
    found: list[tuple[int, int]] = []
    for begins, until, offset in _offsets(zone_name, starts.year):
        first, last = max(low - offset, begins), min(high - offset, until)
        if first >= last:
            continue
        if found and found[-1][1] == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return tuple(found)


@lru_cache(maxsize=256)
def _offsets(zone_name: str, year: int) -> tuple[tuple[int, int, int], ...]:
    """From when until when the zone's clocks are how many seconds ahead of UTC, some days around the year."""
    local = zone(zone_name)
    first, end = (timegm(moment) for moment in ((year - 1, 12, 25, 0, 0, 0), (year + 1, 1, 8, 0, 0, 0)))
    found: list[tuple[int, int, int]] = []
    begins = first
    for day in range(first, end, 86_400):
        offset = _offset(day, local)
        if _offset(day + 86_400, local) != offset:
            low, high = day, day + 86_400
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(middle, local) == offset else (low, middle)
            found.append((begins, high, offset))
            begins = high
    return (*found, (begins, end, _offset(end, local)))


def _offset(second: int, local: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(second, local).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


@lru_cache(maxsize=1)
def tz_version() -> str:
    """The release of the zone data in use: the machine's (`2026a`; empty when unknown), else the package's."""
    for directory in TZPATH:
        if (Path(directory) / "UTC").exists():
            try:
                with (Path(directory) / "tzdata.zi").open(encoding="ascii") as first:
                    return first.readline().removeprefix("# version ").strip()
            except (OSError, UnicodeError):
                return ""
    return f"tzdata {version('tzdata')}"
