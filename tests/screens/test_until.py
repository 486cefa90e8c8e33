"""Spans and moments as people type them."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from screens.moments import until_text
from screens.until import Unreadable, span_of, until_of

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 14, 0, tzinfo=BERLIN)
"""A Tuesday."""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("30 m", datetime(2026, 11, 24, 14, 30, tzinfo=BERLIN)),
        ("2H", datetime(2026, 11, 24, 16, 0, tzinfo=BERLIN)),
        ("14:30", datetime(2026, 11, 24, 14, 30, tzinfo=BERLIN)),
        ("8:00", datetime(2026, 11, 25, 8, 0, tzinfo=BERLIN)),
        ("tomorrow  8:00", datetime(2026, 11, 25, 8, 0, tzinfo=BERLIN)),
        ("fri 9:00", datetime(2026, 11, 27, 9, 0, tzinfo=BERLIN)),
        ("tue 13:00", datetime(2026, 12, 1, 13, 0, tzinfo=BERLIN)),
    ],
)
def test_a_moment_is_the_next_of_its_kind(text: str, wanted: datetime) -> None:
    assert until_of(text, NOW) == wanted


def test_nothing_typed_is_no_end_and_no_span() -> None:
    assert until_of("  ", NOW) is None
    assert span_of("") == timedelta()


@pytest.mark.parametrize("text", ["soon", "25:00", "14:75", "0 m", "today 13:00", "99999 d"])
def test_what_cannot_be_meant_is_refused_in_words(text: str) -> None:
    with pytest.raises(Unreadable, match=r"is no moment|say how long|is over today|too long"):
        until_of(text, NOW)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 10,
        "9" * 5_000,
        f"{10**30}",
        f"{10**30} d",
        "999999999 d",
        "1e999",
        "٣ h",
        "²",
        "½",
        "🕐",
        "1\0m",
        "-5 m",
        "x" * 10_000,
    ],
)
def test_whatever_is_typed_is_refused_in_a_short_sentence_or_understood(text: str) -> None:
    for read in (span_of, lambda typed: until_of(typed, NOW)):
        with pytest.raises(Unreadable, match=r"is no span|is no moment|is too long") as refused:
            read(text)
        assert len(str(refused.value)) < 100


def test_a_span_lasts_as_long_in_the_night_when_the_clock_is_put_back() -> None:
    evening = datetime(2026, 10, 25, 1, 30, tzinfo=BERLIN)
    until = until_of("3 h", evening)
    assert until is not None
    assert until.timestamp() - evening.timestamp() == 3 * 3600
    assert f"{until:%H:%M}" == "03:30"


def test_leading_zeros_are_no_digits_too_many() -> None:
    assert span_of("0" * 40 + "90") == timedelta(seconds=90)
    assert span_of("720 h") == timedelta(days=30)


def test_a_bare_number_is_seconds_for_a_span() -> None:
    assert span_of("90") == span_of("90 s") == timedelta(seconds=90)
    with pytest.raises(Unreadable, match="is no span"):
        span_of("a while")


def test_the_end_of_something_today_has_no_date() -> None:
    at = NOW.timestamp()
    assert until_text(at + 1800, at) == "until 14:30"
    assert until_text(at + 3 * 86_400, at) == "until 27.11. 14:00"
    assert until_text(None, at) == ""
