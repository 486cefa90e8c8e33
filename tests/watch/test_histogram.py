"""The log-bucket histogram keeps its promises: 1 % of error, merging by addition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.watch.histogram import ALPHA, GAMMA, LARGEST, SMALLEST, Histogram, bucket_of, merged, value_of

seconds = st.floats(min_value=SMALLEST, max_value=LARGEST, allow_nan=False)


def histogram_of(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(seconds)
def test_a_bucket_stands_for_its_values_within_one_percent(value: float) -> None:
    assert value_of(bucket_of(value)) == pytest.approx(value, rel=ALPHA * 1.0001)


@given(st.lists(seconds, min_size=1), st.floats(0, 1))
def test_every_quantile_is_within_one_percent_of_the_exact_one(values: list[float], q: float) -> None:
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    assert histogram_of(values).quantile(q) == pytest.approx(exact, rel=ALPHA * 1.0001)


@given(st.lists(seconds), st.lists(seconds))
def test_merging_is_the_same_as_counting_everything_in_one(left: list[float], right: list[float]) -> None:
    together = histogram_of(left + right)
    joined = merged([histogram_of(left), histogram_of(right)])
    assert joined.buckets == together.buckets
    assert joined.count == together.count
    assert joined.total == pytest.approx(together.total)


@given(st.lists(seconds), st.lists(seconds, min_size=1, unique=True))
def test_cumulative_counts_never_fall_and_lie_within_one_percent_of_the_bound(
    values: list[float], bounds: list[float]
) -> None:
    ordered = sorted(bounds)
    counts = histogram_of(values).cumulative(ordered)
    assert counts == sorted(counts)
    for bound, count in zip(ordered, counts, strict=True):
        assert sum(value <= bound / GAMMA for value in values) <= count
        assert count <= sum(value <= bound * GAMMA for value in values)


@pytest.mark.parametrize(
    ("value", "stands_for"),
    [
        (math.nan, SMALLEST),
        (-1.0, SMALLEST),
        (0.0, SMALLEST),
        (-math.inf, SMALLEST),
        (math.inf, LARGEST),
        (1e300, LARGEST),
    ],
)
def test_impossible_values_count_as_the_nearest_possible_one(value: float, stands_for: float) -> None:
    histogram = histogram_of([value])
    assert histogram.count == 1
    assert histogram.quantile(0.5) == pytest.approx(stands_for, rel=ALPHA * 1.0001)
    assert math.isfinite(histogram.total)


def test_an_empty_histogram_knows_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().cumulative([0.1, 1.0]) == [0, 0]


def test_a_quantile_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        histogram_of([1.0]).quantile(1.5)
