"""Reports of several API processes add up to one table of routes."""

from __future__ import annotations

import pytest

from backend.watch.histogram import Histogram
from backend.watch.route_timings import LIFE_S, RouteReport, TimingsReport, decode, encode, timings

NOW = 1_767_607_200.0


def report(pid: int, seconds: list[float], *, errors: int = 0, refused: int = 0, at: float = NOW) -> TimingsReport:
    histogram = Histogram()
    for value in seconds:
        histogram.add(value)
    route = RouteReport(buckets=histogram.buckets, total_s=histogram.total, errors=errors, refused=refused)
    return TimingsReport(node="n1", pid=pid, at=at, window_s=60.0, routes={"/api/retell/webhook": route})


def test_two_processes_count_as_one_route() -> None:
    (row,) = timings([report(1, [0.010] * 60, errors=2), report(2, [0.100] * 60, refused=3)], now=NOW)
    assert row.route == "/api/retell/webhook"
    assert row.per_s == pytest.approx(2.0)
    assert row.p50_ms == pytest.approx(10.0, rel=0.011)
    assert row.p99_ms == pytest.approx(100.0, rel=0.011)
    assert (row.errors, row.refused) == (2, 3)


def test_a_report_survives_its_way_through_the_store() -> None:
    before = report(1, [0.001, 0.5, 3.0], errors=1)
    assert decode(encode(before)) == before


def test_a_process_that_fell_silent_no_longer_counts() -> None:
    assert timings([report(1, [0.01], at=NOW - LIFE_S - 1)], now=NOW) == ()
