"""Figures have one format each."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widgets.figures import (
    age_text,
    chart,
    count_text,
    length_text,
    meter,
    money_text,
    ratio_text,
    resampled,
    short_text,
    size_text,
    span_text,
    sparkline,
)
from widgets.safe_text import safe_text


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (None, "–"),
        (-3, "0.0 s"),
        (0.42, "0.4 s"),
        (12.4, "12 s"),
        (59.6, "1 m"),
        (180, "3 m"),
        (7200, "2 h"),
        (432_000, "5 d"),
    ],
)
def test_ages_have_one_unit(seconds: float | None, wanted: str) -> None:
    assert age_text(seconds) == wanted


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_can_be_shown(number: float) -> None:
    for text in (age_text(number), length_text(number), short_text(number), size_text(number)):
        assert text
        assert "nan" not in text
        assert "inf" not in text


@pytest.mark.parametrize(("seconds", "wanted"), [(48, "0:48"), (724.9, "12:04"), (3730, "1:02:10")])
def test_lengths_are_to_the_second(seconds: float, wanted: str) -> None:
    assert length_text(seconds) == wanted


def test_counts_sizes_shares_and_money() -> None:
    assert safe_text(count_text(1204)) == "1 204"
    assert size_text(41 * 2**20) == "41 MB"
    assert size_text(2.1 * 2**30) == "2.1 GB"
    assert ratio_text(0.9997, 2) == "99.97 %"
    assert money_text(21) == "0.21 €"
    assert short_text(1234) == "1.2 k"
    assert short_text(3) == "3"


@given(st.lists(st.floats(0, 1e6), max_size=80), st.integers(0, 100))
def test_a_sparkline_has_a_cell_for_each_step_and_no_more_than_its_width(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == (min(width, len(values)) if width else 0)


def test_a_sparkline_shows_the_peak_and_an_empty_step() -> None:
    assert sparkline([0, 5, 10], 3) == "▁▅█"


@given(st.floats(-1, 2), st.integers(1, 40))
def test_a_meter_is_as_wide_as_asked(ratio: float, width: int) -> None:
    assert len(meter(ratio, width)) == width


def test_a_meter_is_full_at_one() -> None:
    assert meter(1.0, 4) == "████"
    assert not math.isclose(len(meter(0.5, 4).replace("·", "")), 4)


def test_short_durations_are_told_to_the_millisecond() -> None:
    assert [span_text(seconds) for seconds in (None, 0.0042, 0.999, 0.9996, 90)] == [
        "–",
        "4 ms",
        "999 ms",
        "1.0 s",
        "2 m",
    ]


def test_a_chart_is_as_high_as_asked_for_and_leaves_gaps_where_nothing_is_known() -> None:
    assert chart([0, 4, None, 8, 16], 2) == ["    █", "▁▄ ██"]
    assert chart([None, None], 1) == ["  "]
    assert chart([0.0, 0.0], 2) == ["  ", "▁▁"]


def test_values_share_cells_when_there_are_too_many_and_fill_them_when_there_are_few() -> None:
    assert resampled([1, 3, None, 8], 2) == [2, 8]
    assert resampled([1, 3, None, None], 2, worst=True) == [3, None]
    assert resampled([1, None], 5) == [1, 1, 1, None, None]
    assert resampled([], 5) == []
