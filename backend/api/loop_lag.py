"""How late the event loop is: what tells a busy process from a stuck one."""

from __future__ import annotations

import asyncio
import time
from collections import deque

EVERY_S = 0.5

REMEMBERED = 20
"""Measurements that count: the last ten seconds."""


class LoopLag:
    """Measures the lag of one process's event loop."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=REMEMBERED)
        self._due_at: float | None = None

    @property
    def worst_s(self) -> float:
        """The worst lag of the last ten seconds, one that is still growing included."""
        overdue = 0.0 if self._due_at is None else time.monotonic() - self._due_at
        return max([0.0, overdue, *self._lags])

    async def measure(self) -> None:
        """Measure for ever."""
        while True:
            self._due_at = time.monotonic() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self._lags.append(max(0.0, time.monotonic() - self._due_at))
