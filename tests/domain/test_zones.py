"""Wall time becomes an instant in one place, also where a clock change makes it odd."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.zones import ZoneUnknown, instant, tz_version, zone

BERLIN = "Europe/Berlin"


def wall(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-01-15T10:00", "2026-01-15T09:00Z"),
        ("2026-07-15T10:00", "2026-07-15T08:00Z"),
        ("2026-03-29T01:59:59", "2026-03-29T00:59:59Z"),
        ("2026-03-29T02:00", "2026-03-29T01:00Z"),
        ("2026-03-29T02:59", "2026-03-29T01:00Z"),
        ("2026-03-29T03:00", "2026-03-29T01:00Z"),
        ("2026-10-25T02:30", "2026-10-25T00:30Z"),
        ("2026-10-25T03:00", "2026-10-25T02:00Z"),
        ("2028-02-29T09:00", "2028-02-29T08:00Z"),
        ("2026-03-23T09:00", "2026-03-23T08:00Z"),
        ("2026-03-30T09:00", "2026-03-30T07:00Z"),
        ("2026-10-19T09:00", "2026-10-19T07:00Z"),
        ("2026-10-26T09:00", "2026-10-26T08:00Z"),
    ],
)
def test_wall_time_in_berlin(local: str, utc: str) -> None:
    assert instant(wall(local), BERLIN) == wall(utc)


def test_half_an_hour_of_change_and_a_change_at_midnight() -> None:
    assert instant(wall("2026-10-04T02:15"), "Australia/Lord_Howe") == wall("2026-10-03T15:30Z")
    assert instant(wall("2026-04-24T00:30"), "Africa/Cairo") == wall("2026-04-23T22:00Z")


def test_a_time_with_offset_is_that_instant_whatever_the_zone() -> None:
    moment = datetime(2026, 3, 4, 10, tzinfo=timezone(timedelta(hours=1)))
    assert instant(moment, "Asia/Tokyo") == datetime(2026, 3, 4, 9, tzinfo=UTC)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)))  # noqa: DTZ001
def test_any_existing_wall_time_comes_back(local: datetime) -> None:
    found = instant(local, BERLIN)
    again = found.astimezone(zone(BERLIN)).replace(tzinfo=None)
    # Only a time inside a gap differs, and then it is the first valid one after it.
    assert again == local.replace(fold=0) or (again > local and again.minute == 0)


def test_a_zone_that_is_none_is_named() -> None:
    for name in ("Europe/Atlantis", "", "../etc/passwd", "/etc/passwd"):
        with pytest.raises(ZoneUnknown, match="no time zone"):
            zone(name)


def test_the_zone_data_has_a_version() -> None:
    assert tz_version() == tz_version() != ""
