"""Request timings of every API process, as they lie in Valkey, and the figures of all of them together.

Each process keeps the last minute and writes the whole of it once a second to a key of its own that ends by itself;
readers add the histograms. Nothing durable: without Valkey the process still answers `/metrics` itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from backend.watch.histogram import Histogram
from backend.watch.snapshots import Timing

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEY_PREFIX = "askpro:timings:"
"""Followed by `<node>:<pid>`."""

LIFE_S = 10
"""A process that has been silent for so long no longer counts."""

WINDOW_S = 60
"""The span that a report covers."""


class RouteReport(msgspec.Struct, frozen=True, kw_only=True):
    """One route in one process over the window."""

    buckets: dict[int, int]
    """Answers by bucket of `backend.watch.histogram` (seconds)."""
    total_s: float
    errors: int
    """Answers with a 5xx."""
    refused: int
    """Answers with a 4xx."""


class TimingsReport(msgspec.Struct, frozen=True, kw_only=True):
    """One process over the last `window_s` seconds."""

    node: str
    pid: int
    at: float
    """Unix time of the report."""
    window_s: float
    """Less than a minute while the process is young."""
    routes: dict[str, RouteReport]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(TimingsReport)


def encode(report: TimingsReport) -> bytes:
    """The report as JSON."""
    return _encoder.encode(report)


def decode(data: bytes | str) -> TimingsReport:
    """The report from JSON. Raises msgspec.DecodeError."""
    return _decoder.decode(data)


async def read_reports(client: Redis) -> list[TimingsReport]:
    """What every live API process reported last. Raises redis errors; the caller bounds the wait."""
    keys = [key async for key in client.scan_iter(match=KEY_PREFIX + "*", count=1000)]
    if not keys:
        return []
    reports = []
    for data in await client.mget(keys):
        if data is None:
            continue
        try:
            reports.append(decode(data))
        except msgspec.DecodeError:
            continue  # another version's report: unknown is better than a wrong figure
    return reports


def timings(reports: Iterable[TimingsReport], *, now: float | None = None) -> tuple[Timing, ...]:
    """The figures of each route over all processes, by route.

    Reports older than LIFE_S at `now` (Unix seconds) are left out.
    """
    moment = time.time() if now is None else now
    histograms: dict[str, Histogram] = {}
    rates: dict[str, float] = {}
    errors: dict[str, int] = {}
    refused: dict[str, int] = {}
    for report in reports:
        if moment - report.at > LIFE_S:
            continue
        for route, part in report.routes.items():
            histogram = Histogram(part.buckets, part.total_s)
            histograms.setdefault(route, Histogram()).merge(histogram)
            rates[route] = rates.get(route, 0.0) + histogram.count / max(report.window_s, 1.0)
            errors[route] = errors.get(route, 0) + part.errors
            refused[route] = refused.get(route, 0) + part.refused
    return tuple(
        Timing(
            route=route,
            per_s=rates[route],
            p50_ms=_milliseconds(histogram.quantile(0.50)),
            p95_ms=_milliseconds(histogram.quantile(0.95)),
            p99_ms=_milliseconds(histogram.quantile(0.99)),
            errors=errors[route],
            refused=refused[route],
        )
        for route, histogram in sorted(histograms.items())
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
