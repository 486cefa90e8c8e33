"""Slots in the nights in which the clocks change, and in the weeks around, in several zones."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from backend.domain.availability import find_slots
from backend.domain.zones import ZoneUnknown, stretches
from tests.domain.calendars import LONG_AGO, calendar, offer, on, person


def shown(day: str, hours: str, zone: str, minutes: int = 60, step: int = 60) -> list[str]:
    """The local times of the day's slots, with offset."""
    found = on(day, calendar(person(hours), zone=zone, rules=offer(minutes, step)))
    return [slot.local.isoformat(timespec="minutes")[11:] for slot in found]


@pytest.mark.parametrize(
    ("zone", "day", "offered"),
    [
        ("Europe/Berlin", "2026-03-29", "00:00+01:00 01:00+01:00 03:00+02:00 04:00+02:00 05:00+02:00"),
        ("Europe/Berlin", "2027-03-28", "00:00+01:00 01:00+01:00 03:00+02:00 04:00+02:00 05:00+02:00"),
        ("America/New_York", "2026-03-08", "00:00-05:00 01:00-05:00 03:00-04:00 04:00-04:00 05:00-04:00"),
        ("America/New_York", "2027-03-14", "00:00-05:00 01:00-05:00 03:00-04:00 04:00-04:00 05:00-04:00"),
        # Half an hour: 02:00 becomes 02:30, and the grid of elapsed hours goes on from there.
        ("Australia/Lord_Howe", "2026-10-04", "00:00+10:30 01:00+10:30 02:30+11:00 03:30+11:00 04:30+11:00"),
        ("Australia/Lord_Howe", "2027-10-03", "00:00+10:30 01:00+10:30 02:30+11:00 03:30+11:00 04:30+11:00"),
    ],
)
def test_a_night_in_which_an_hour_is_missing(zone: str, day: str, offered: str) -> None:
    assert shown(day, "00:00-06:00", zone) == offered.split()


@pytest.mark.parametrize(
    ("zone", "day", "summer", "winter"),
    [
        ("Europe/Berlin", "2026-10-25", "+02:00", "+01:00"),
        ("Europe/Berlin", "2027-10-31", "+02:00", "+01:00"),
        ("America/New_York", "2026-11-01", "-04:00", "-05:00"),
        ("America/New_York", "2027-11-07", "-04:00", "-05:00"),
    ],
)
def test_a_night_with_an_hour_that_happens_twice(zone: str, day: str, summer: str, winter: str) -> None:
    twice = 2 if zone == "Europe/Berlin" else 1
    hours = [(hour, summer) for hour in range(twice + 1)] + [(hour, winter) for hour in range(twice, 6)]
    assert shown(day, "00:00-06:00", zone) == [f"{hour:02}:00{offset}" for hour, offset in hours]
    assert len(hours) == 7


@pytest.mark.parametrize("day", ["2026-04-05", "2027-04-04"])
def test_half_an_hour_that_happens_twice(day: str) -> None:
    assert shown(day, "01:00-03:00", "Australia/Lord_Howe", 30, 30) == [
        "01:00+11:00",
        "01:30+11:00",
        "01:30+10:30",
        "02:00+10:30",
        "02:30+10:30",
    ]


@pytest.mark.parametrize("day", ["2026-03-29", "2027-10-31"])
def test_where_the_clocks_never_change_every_day_is_the_same(day: str) -> None:
    assert shown(day, "00:00-06:00", "Asia/Kolkata") == [f"{hour:02}:00+05:30" for hour in range(6)]


@pytest.mark.parametrize(
    ("day", "utc"),
    [
        ("2026-03-23", "08:00"),
        ("2026-03-30", "07:00"),
        ("2026-10-19", "07:00"),
        ("2026-10-26", "08:00"),
        ("2027-03-22", "08:00"),
        ("2027-03-29", "07:00"),
        ("2027-10-25", "07:00"),
        ("2027-11-01", "08:00"),
    ],
)
def test_a_weekly_hour_keeps_its_wall_time(day: str, utc: str) -> None:
    (slot, *_) = on(day, calendar(person("09:00-17:00", days=[1])))
    assert f"{slot.starts_at:%Y-%m-%d %H:%M}" == f"{day} {utc}"


def test_an_edge_inside_the_gap_moves_to_the_first_valid_instant() -> None:
    assert shown("2026-03-29", "02:30-05:00", "Europe/Berlin") == ["03:00+02:00", "04:00+02:00"]
    assert shown("2026-03-29", "00:00-02:30", "Europe/Berlin") == ["00:00+01:00", "01:00+01:00"]
    assert shown("2026-03-29", "02:15-02:45", "Europe/Berlin", 15, 15) == []
    assert shown("2026-10-04", "02:15-03:30", "Australia/Lord_Howe") == ["02:30+11:00"]


def test_an_edge_inside_the_overlap_is_there_twice() -> None:
    assert shown("2026-10-25", "01:30-02:30", "Europe/Berlin", 30, 30) == ["01:30+02:00", "02:00+02:00", "02:00+01:00"]
    assert shown("2026-10-25", "02:30-03:30", "Europe/Berlin", 30, 30) == ["02:30+02:00", "02:30+01:00", "03:00+01:00"]


def test_a_night_shift_is_an_hour_shorter_or_longer() -> None:
    def length(first: date) -> int:
        item = calendar(person("22:00-06:00", days=[first.isoweekday()]), rules=offer(60, 60))
        return len(find_slots(item, first, first + timedelta(days=1), LONG_AGO))

    assert [length(day) for day in (date(2026, 3, 21), date(2026, 3, 28), date(2026, 10, 24))] == [8, 7, 9]


def test_wall_time_is_whole_seconds_and_zones_are_known() -> None:
    day = datetime(2026, 3, 29)  # noqa: DTZ001 wall time
    assert stretches(day, day + timedelta(days=1), "Europe/Berlin") == ((1774738800, 1774738800 + 23 * 3600),)
    with pytest.raises(ZoneUnknown):
        stretches(day, day, "Europe/Atlantis")
