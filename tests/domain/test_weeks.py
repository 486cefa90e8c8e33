"""Spans and weeks: what is written is what is read, mistakes are named, and time is never given twice."""

from __future__ import annotations

from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.weeks import (
    WEEKDAYS,
    Span,
    Week,
    Weekday,
    format_spans,
    format_week,
    minutes,
    overlapping,
    parse_spans,
    parse_week,
)

_clock = st.builds(time, st.integers(0, 23), st.integers(0, 59))
_spans = st.lists(st.tuples(_clock, _clock), min_size=1, max_size=3).map(lambda spans: tuple(sorted(spans)))
weeks: st.SearchStrategy[Week] = st.dictionaries(st.sampled_from(WEEKDAYS), _spans).map(
    lambda week: {day: week[day] for day in WEEKDAYS if day in week}
)


@given(weeks)
def test_a_week_is_read_as_it_was_written(week: Week) -> None:
    assert parse_week(format_week(week)) == week


def test_days_with_the_same_spans_are_written_together() -> None:
    text = "Mon-Thu 08:00-12:30 13:30-18:00, Fri 08:00-14:00, Sat 22:00-24:00"
    assert format_week(parse_week(text)) == text
    assert parse_week(text)["sat"] == ((time(22), time(0)),)


def test_german_days_are_understood() -> None:
    assert parse_week("Mo-Do 8:00-18:00, So 10:00–12:00") == parse_week("Mon-Thu 08:00-18:00, Sun 10:00-12:00")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Mon", "needs days and spans"),
        ("Mon 8-12", "'8-12' is no span of time such as 08:00-12:30"),
        ("Mon 08:00-25:00", "no clock shows"),
        ("Mnn 08:00-12:00", "'Mnn' is no day of the week; did you mean Mon?"),
        ("Fri-Tue 08:00-12:00", "runs backwards"),
        ("Mon-Wed 08:00-12:00, Tue 13:00-14:00", "Tue is given twice"),
    ],
)
def test_what_is_no_week_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        parse_week(text)


@pytest.mark.parametrize(
    ("text", "long"), [("08:00-12:30", 270), ("22:00-06:00", 480), ("00:00-24:00", 1440), ("09:00-09:00", 1440)]
)
def test_a_span_that_does_not_end_later_ends_on_the_next_day(text: str, long: int) -> None:
    (span,) = parse_spans(text)
    assert minutes(span) == long
    assert parse_spans(format_spans([span])) == (span,)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (("mon", "08:00-12:00"), ("mon", "12:00-14:00"), False),
        (("mon", "08:00-12:01"), ("mon", "12:00-14:00"), True),
        (("mon", "22:00-06:00"), ("tue", "05:00-09:00"), True),
        (("mon", "22:00-06:00"), ("tue", "06:00-09:00"), False),
        (("sun", "22:00-06:00"), ("mon", "05:00-09:00"), True),
        (("mon", "08:00-12:00"), ("tue", "08:00-12:00"), False),
    ],
)
def test_spans_overlap_over_midnight_and_the_end_of_the_week_too(
    one: tuple[Weekday, str], other: tuple[Weekday, str], overlap: bool
) -> None:
    placed: list[tuple[Weekday, Span]] = [(day, span) for day, text in (one, other) for span in parse_spans(text)]
    assert bool(list(overlapping(placed))) is overlap
    assert bool(list(overlapping(reversed(placed)))) is overlap
