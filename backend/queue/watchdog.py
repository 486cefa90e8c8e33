"""Guards a worker against handlers that block its event loop: no time limit can fire while the loop stands still.

A thread of its own counts how long the loop has not answered; first it reports where the loop is stuck, then it ends
the process. The job counts as one that crashed its worker, so a third time it is held instead of run.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable

logger = logging.getLogger(__name__)

TICK_S = 1.0
EXIT_CODE = 75
"""Temporary failure (sysexits.h): the supervisor starts another."""


class Watchdog:
    """Use as a context manager around the worker's life, in the loop's own thread."""

    def __init__(
        self,
        limit_s: float,
        running: Callable[[], str],
        *,
        report_s: float = 5.0,
        tick_s: float = TICK_S,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """`running` names the jobs in work, for the report; `end` is told the exit code after `limit_s`."""
        self._limit_s = limit_s
        self._report_s = report_s
        self._tick_s = tick_s
        self._running = running
        self._end = end
        self._stop = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watched = threading.get_ident()

    def __enter__(self) -> Watchdog:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _watch(self) -> None:
        # Counted in ticks of this thread, which stands still with the process when that is suspended: a clock would
        # call every suspension a block.
        ticks = 0
        while not self._stop.wait(self._tick_s):
            if self._answered.is_set() or ticks == 0:
                self._answered.clear()
                ticks = 1
                try:
                    self._loop.call_soon_threadsafe(self._answered.set)
                except RuntimeError:
                    return
                continue
            ticks += 1
            stuck_s = (ticks - 1) * self._tick_s
            if self._report_s <= stuck_s < self._report_s + self._tick_s:
                logger.error("the event loop is blocked in:\n%s\nwhile running %s", self._place(), self._running())
            if stuck_s >= self._limit_s:
                logger.critical("the event loop has been blocked for %.0f s: ending the process", stuck_s)
                self._end(EXIT_CODE)
                return

    def _place(self) -> str:
        frame = sys._current_frames().get(self._watched)
        return "".join(traceback.format_stack(frame)[-6:]) if frame else "an unknown place"
