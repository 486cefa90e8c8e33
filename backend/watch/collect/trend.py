"""Trends that no table remembers: each collection adds to the trend of the one before."""

from __future__ import annotations

from backend.watch.snapshots import Trend

STEPS = 60
"""Steps of every trend."""


def extend(before: Trend | None, before_at: float, now: float, value: float, *, step_s: float, unit: str) -> Trend:
    """`before`, which ended at `before_at`, carried on to `now` (Unix seconds) with `value`.

    Within one step the largest value counts; steps in which nobody looked repeat the last value seen.
    """
    moved = int(now // step_s) - int(before_at // step_s)
    if before is None or before.step_s != step_s or not 0 <= moved < STEPS or not before.values:
        return Trend(values=(0.0,) * (STEPS - 1) + (value,), step_s=step_s, unit=unit)
    if moved == 0:
        return Trend(values=(*before.values[:-1], max(before.values[-1], value)), step_s=step_s, unit=unit)
    values = (*before.values, *(before.values[-1],) * (moved - 1), value)
    return Trend(values=values[-STEPS:], step_s=step_s, unit=unit)
