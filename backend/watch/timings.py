"""Request timings of all API processes: what each one reports through Valkey, and how they become rows.

Each process writes its last minute to a key of its own every second, with a short life, so that a process that
ended is soon no longer counted. Histograms add up, so percentiles over all processes are as good as over one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from backend.valkey.client import exchange
from backend.watch.histogram import Histogram
from backend.watch.snapshots import Timing

if TYPE_CHECKING:
    from redis.asyncio import Redis

TIMINGS_KEY = "askpro:timings:"
"""Followed by `<node>:<pid>`; a `TimingReport` as JSON."""

LIFE_S = 10
"""Life of a report in the store."""

WINDOW_S = 60.0
"""What a report covers."""


class RouteTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Requests to one route within a report's window."""

    count: int
    errors: int = 0
    """Answers with a 5xx."""
    refused: int = 0
    """Answers with a 4xx."""
    total_s: float = 0.0
    """Sum of the durations."""
    buckets: dict[int, int] = {}
    """Of `backend.watch.histogram.Histogram`, durations in seconds."""


class TimingReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one API process saw lately."""

    window_s: float = WINDOW_S
    """What the report covers: a minute, or less when the process is younger."""
    routes: dict[str, RouteTimings] = {}
    """By method and route template, such as `POST /api/retell/webhook`."""


_report = msgspec.json.Decoder(TimingReport)


async def read_reports(client: Redis) -> tuple[TimingReport, ...]:
    """The reports of all living API processes; broken ones are left out. Raises `ValkeyUnavailable`."""
    async with exchange():
        keys = [key async for key in client.scan_iter(match=TIMINGS_KEY + "*", count=1000)]
        values = await client.mget(sorted(keys)) if keys else []
    reports = []
    for value in values:
        if value is None:
            continue
        try:
            reports.append(_report.decode(value))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return tuple(reports)


def timing_rows(reports: Iterable[TimingReport]) -> tuple[Timing, ...]:
    """One row for each route over all processes, busiest first."""
    sums: dict[str, Histogram] = {}
    rates: dict[str, float] = {}
    errors: dict[str, int] = {}
    refused: dict[str, int] = {}
    for report in reports:
        for route, seen in report.routes.items():
            sums.setdefault(route, Histogram()).merge(Histogram(seen.buckets, seen.total_s))
            rates[route] = rates.get(route, 0.0) + seen.count / max(report.window_s, 1.0)
            errors[route] = errors.get(route, 0) + seen.errors
            refused[route] = refused.get(route, 0) + seen.refused
    return tuple(
        Timing(
            route=route,
            per_s=rates[route],
            p50_ms=milliseconds(durations.quantile(0.50)),
            p95_ms=milliseconds(durations.quantile(0.95)),
            p99_ms=milliseconds(durations.quantile(0.99)),
            errors=errors[route],
            refused=refused[route],
        )
        for route, durations in sorted(sums.items(), key=lambda item: (-rates[item[0]], item[0]))
    )


def error_ratio(reports: Iterable[TimingReport]) -> float | None:
    """Share of 5xx among all answers; None when there was none."""
    answers = failed = 0
    for report in reports:
        for seen in report.routes.values():
            answers += seen.count
            failed += seen.errors
    return failed / answers if answers else None


def milliseconds(seconds: float | None) -> float | None:
    """`seconds` in milliseconds."""
    return None if seconds is None else seconds * 1000.0
