"""How fast many held jobs are gone through: at most so many a second, whatever kept it up in between."""

from __future__ import annotations

import math

BATCH = 100
"""Jobs of one transaction at most."""

WINDOW = 10_000
"""Jobs whose numbers are read ahead."""


class Pace:
    """When the next batch may go, and how large it is. Times are seconds of a clock that never goes back."""

    def __init__(self, per_s: float | None, now: float) -> None:
        """`per_s` is None without a bound, else a rate that `is_rate`."""
        self._per_s = per_s
        self._due = now
        self.batch = BATCH if per_s is None else max(1, min(BATCH, round(per_s)))
        """Jobs of one transaction."""
        self.window = WINDOW if per_s is None else max(BATCH, 10 * self.batch)
        """Jobs whose numbers are read ahead."""

    def wait_s(self, now: float) -> float:
        """How long until the next batch may go; 0 when it may go now."""
        return max(0.0, self._due - now)

    def went(self, began: float, done: int) -> None:
        """A batch began then, and `done` jobs of it count: what was only skipped costs nobody anything.

        From when it began, not from when it was due: what a stall cost is not caught up on.
        """
        if self._per_s is not None:
            self._due = max(self._due, began) + done / self._per_s


def is_rate(per_s: float) -> bool:
    """Whether so many a second is a rate: above 0, and a number."""
    return per_s > 0 and math.isfinite(per_s)
