"""Sets of whole numbers as sorted, separate intervals `(from, before)`: seconds since 1970, for the calendar's sums."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]
"""From, included, to before: `(3, 5)` is 3 and 4."""

Intervals: TypeAlias = Sequence[Interval]
"""Sorted, without empty ones, and none touches another."""


def union(items: Iterable[Interval]) -> list[Interval]:
    """What any of the intervals holds, which may lie in any way."""
    found: list[Interval] = []
    for first, end in sorted(items):
        if first >= end:
            continue
        if found and first <= found[-1][1]:
            if end > found[-1][1]:
                found[-1] = (found[-1][0], end)
        else:
            found.append((first, end))
    return found


def intersection(ones: Intervals, others: Intervals) -> list[Interval]:
    """What both hold."""
    found: list[Interval] = []
    one = other = 0
    while one < len(ones) and other < len(others):
        first = max(ones[one][0], others[other][0])
        end = min(ones[one][1], others[other][1])
        if first < end:
            found.append((first, end))
        if ones[one][1] < others[other][1]:
            one += 1
        else:
            other += 1
    return found


def difference(ones: Intervals, others: Intervals) -> list[Interval]:
    """What `ones` hold and `others` do not."""
    found: list[Interval] = []
    start = 0
    for first, end in ones:
        while start < len(others) and others[start][1] <= first:
            start += 1
        at, left = start, first
        while at < len(others) and others[at][0] < end:
            if left < others[at][0]:
                found.append((left, others[at][0]))
            left = others[at][1]
            at += 1
        if left < end:
            found.append((left, end))
    return found


def contains(items: Intervals, number: int) -> bool:
    """Whether one of them holds the number."""
    at = bisect_right(items, number, key=lambda item: item[0]) - 1
    return at >= 0 and number < items[at][1]
