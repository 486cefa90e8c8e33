"""When calls arrive: a Poisson process whose rate follows weekday, hour and bursts, on a virtual clock.

Instants are Unix seconds (UTC, float); weights apply to local time in the companies' zone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from backend.simulate.businesses import ZONE
from backend.simulate.dice import seeded
from backend.simulate.presets import (
    BURST_FACTOR,
    BURST_HOURS,
    BURST_S,
    BURSTS_PER_DAY,
    DAY_S,
    HOUR_WEIGHTS,
    WEEKDAY_WEIGHTS,
    Pace,
)

_MEAN_HOUR = sum(HOUR_WEIGHTS) / len(HOUR_WEIGHTS)
_MEAN_WEEKDAY = sum(WEEKDAY_WEIGHTS) / len(WEEKDAY_WEIGHTS)
_PEAK = max(HOUR_WEIGHTS) / _MEAN_HOUR * max(WEEKDAY_WEIGHTS) / _MEAN_WEEKDAY * BURST_FACTOR


class Arrivals:
    """The arrival process of one run; the same seed and pace give the same instants."""

    def __init__(self, pace: Pace, seed: str) -> None:
        self._pace = pace
        self._seed = seed

    def before(self, end: float) -> Iterator[float]:
        """Instants before `end`, latest first, without end."""
        return self._walk(end, -1)

    def after(self, start: float) -> Iterator[float]:
        """Instants after `start`, earliest first, without end."""
        return self._walk(start, 1)

    def rate(self, at: float) -> float:
        """Calls per second expected at an instant."""
        mean = self._pace.calls_per_day / DAY_S
        if not self._pace.shaped:
            return mean
        local = datetime.fromtimestamp(at, UTC).astimezone(ZONE)
        weight = HOUR_WEIGHTS[local.hour] / _MEAN_HOUR * WEEKDAY_WEIGHTS[local.weekday()] / _MEAN_WEEKDAY
        if any(begin <= at < begin + BURST_S for begin in _bursts(self._seed, local.date())):
            weight *= BURST_FACTOR
        return mean * weight

    def _walk(self, origin: float, direction: int) -> Iterator[float]:
        """Thinning (Lewis and Shedler): candidates at the peak rate, each kept with its share of the peak."""
        rng = seeded(self._seed, "arrivals")
        peak = self._pace.calls_per_day / DAY_S * (_PEAK if self._pace.shaped else 1.0)
        at = origin
        while True:
            at += direction * rng.expovariate(peak)
            if rng.random() * peak < self.rate(at):
                yield at


@lru_cache(maxsize=512)
def _bursts(seed: str, day: date) -> tuple[float, ...]:
    """When the day's bursts begin."""
    rng = seeded(seed, "bursts", day)
    midnight = datetime.combine(day, time(), ZONE)
    first, last = (timedelta(hours=hour).total_seconds() for hour in BURST_HOURS)
    return tuple(midnight.timestamp() + rng.uniform(first, last - BURST_S) for _ in range(BURSTS_PER_DAY))
