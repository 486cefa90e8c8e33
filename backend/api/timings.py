"""How long requests take, by route: for `/metrics` since the start, and for everybody else the last minute.

Once a second the last minute goes to Valkey (`backend.watch.timings`); without Valkey nothing else changes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque

import msgspec

from backend.valkey.client import ValkeyUnavailable, exchange, open_valkey
from backend.watch import timings as reported
from backend.watch.histogram import Histogram

FLUSH_S = 1.0

SLOT_S = 5.0
"""The last minute moves on in steps of this length."""


class RouteTimings:
    """Answers of one route: durations and how many were errors."""

    __slots__ = ("durations", "statuses")

    def __init__(self) -> None:
        self.durations = Histogram()
        """Seconds."""
        self.statuses: dict[int, int] = {}
        """Answers by status."""

    @property
    def errors(self) -> int:
        """Answers with a 5xx."""
        return sum(count for status, count in self.statuses.items() if status >= 500)

    @property
    def refused(self) -> int:
        """Answers with a 4xx."""
        return sum(count for status, count in self.statuses.items() if 400 <= status < 500)

    def merge(self, other: RouteTimings) -> None:
        """Add another one's answers."""
        self.durations.merge(other.durations)
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count


Slot = dict[str, RouteTimings]


class Timings:
    """Collects timings of one process. `observe` is for the hot path; everything else happens once a second."""

    def __init__(self, node: str, *, pid: int | None = None) -> None:
        self.node = node
        self.pid = os.getpid() if pid is None else pid
        self._current: Slot = {}
        self._slots: deque[tuple[float, Slot]] = deque()
        self._before: Slot = {}
        """Everything older than the slots: the totals without the last minute."""
        self._born = time.monotonic()
        self._current_since = self._born

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        timings = self._current.get(route)
        if timings is None:
            timings = self._current[route] = RouteTimings()
        timings.durations.add(seconds)
        statuses = timings.statuses
        statuses[status] = statuses.get(status, 0) + 1

    def totals(self) -> Slot:
        """Answers by route since the start."""
        return _merged([self._before, *(slot for _, slot in self._slots), self._current])

    def report(self) -> reported.TimingReport:
        """The last minute; also moves the window on."""
        now = time.monotonic()
        if now - self._current_since >= SLOT_S:
            self._slots.append((self._current_since, self._current))
            self._current, self._current_since = {}, now
        while self._slots and self._slots[0][0] < now - reported.WINDOW_S:
            _, old = self._slots.popleft()
            self._before = _merged([self._before, old])
        start = self._slots[0][0] if self._slots else self._current_since
        window = _merged([*(slot for _, slot in self._slots), self._current])
        return reported.TimingReport(
            window_s=max(now - start, 1.0),
            routes={
                route: reported.RouteTimings(
                    count=timings.durations.count,
                    errors=timings.errors,
                    refused=timings.refused,
                    total_s=timings.durations.total,
                    buckets=timings.durations.buckets,
                )
                for route, timings in window.items()
            },
        )

    async def publish(self, valkey_url: str) -> None:
        """Write the last minute to Valkey once a second, until cancelled."""
        client = open_valkey(valkey_url, size=1)
        key = f"{reported.TIMINGS_KEY}{self.node}:{self.pid}"
        try:
            while True:
                report = msgspec.json.encode(self.report())
                try:
                    async with exchange():
                        await client.set(key, report, ex=reported.LIFE_S)
                except ValkeyUnavailable:
                    pass  # the next second's report says everything that this one did
                await asyncio.sleep(FLUSH_S)
        finally:
            await client.aclose()


def _merged(slots: list[Slot]) -> Slot:
    result: Slot = {}
    for slot in slots:
        for route, timings in slot.items():
            mine = result.get(route)
            if mine is None:
                mine = result[route] = RouteTimings()
            mine.merge(timings)
    return result
