"""A log-bucket histogram: any quantile within 1 %, merged by addition.

Bucket `i` holds the values in (GAMMA^(i-1), GAMMA^i]. Values are seconds (any positive unit works); what is below
1e-6, negative or not a number counts as 1e-6, what is above 1e6 or infinite counts as 1e6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

ALPHA = 0.01
"""Relative error of a quantile."""

GAMMA = (1 + ALPHA) / (1 - ALPHA)
"""Ratio of two neighbouring bucket borders."""

SMALLEST = 1e-6
LARGEST = 1e6

PER_LOG = 1.0 / math.log(GAMMA)
"""Buckets by which a value lies higher than another that is e times smaller."""

_MIDDLE = 2.0 / (GAMMA + 1.0)
_log = math.log
_ceil = math.ceil


def bucket_of(value: float) -> int:
    """The bucket that `value` falls into."""
    if not value > SMALLEST:  # also true of NaN
        value = SMALLEST
    elif value > LARGEST:
        value = LARGEST
    return _ceil(_log(value) * PER_LOG)


def value_of(bucket: int) -> float:
    """The value that stands for `bucket`: at most ALPHA away from every value in it."""
    return _MIDDLE * GAMMA**bucket


class Histogram:
    """Counts by bucket, with the exact number and sum of the values."""

    __slots__ = ("buckets", "count", "total")

    def __init__(self, buckets: Mapping[int, int] | None = None, total: float = 0.0) -> None:
        self.buckets: dict[int, int] = dict(buckets or {})
        self.count: int = sum(self.buckets.values())
        self.total: float = total
        """Sum of the values, seconds."""

    def add(self, value: float) -> None:
        """Count one value."""
        if not value > SMALLEST:
            value = SMALLEST
        elif value > LARGEST:
            value = LARGEST
        bucket = _ceil(_log(value) * PER_LOG)
        buckets = self.buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += value

    def merge(self, other: Histogram) -> None:
        """Add another histogram's values to this one's."""
        buckets = self.buckets
        for bucket, count in other.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total

    def quantile(self, q: float) -> float | None:
        """The value of rank `floor(q * (count - 1))`, within ALPHA; None when nothing was counted.

        Raises ValueError unless 0 <= q <= 1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
        if not self.count:
            return None
        rank = math.floor(q * (self.count - 1))
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen > rank:
                return value_of(bucket)
        raise AssertionError("the buckets hold fewer values than were counted")

    def cumulative(self, bounds: Iterable[float]) -> list[int]:
        """How many values are at most each bound (ascending, seconds), within ALPHA of the bound."""
        counts: list[int] = []
        seen = 0
        ordered = sorted(self.buckets.items())
        position = 0
        for bound in bounds:
            last = math.floor(_log(bound) * PER_LOG + 0.5)
            while position < len(ordered) and ordered[position][0] <= last:
                seen += ordered[position][1]
                position += 1
            counts.append(seen)
        return counts


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """One histogram of all values."""
    result = Histogram()
    for histogram in histograms:
        result.merge(histogram)
    return result
