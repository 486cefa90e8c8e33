"""Guards a worker against handlers that block its event loop: no time limit can fire while the loop stands still.

A thread of its own counts how long the loop has not answered; first it tells where the loop is stuck and in which job,
then it ends the process. The job is held before, if it is known which one it is (backend/queue/blocked.py); else each
one that was running counts as one that crashed its worker.

A handler that does not even let threads run (a regular expression that goes astray) is ended by timers that need no
Python: the kernel's after some seconds of processor time, at whose signal it is written down what was at work, so that
the next worker knows who did it (backend/queue/frozen.py); the interpreter's by the clock, for what waits instead of
reckoning. Meanwhile who watches from outside names it, see `backend/watch/collect/queue_troubles.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import TextIO

logger = logging.getLogger(__name__)

TICK_S = 0.5
EXIT_CODE = 75
"""Temporary failure (sysexits.h): the supervisor starts another."""

FROZEN_S = 5.0
"""A process that uses so much processor time while no other thread of it comes round is ended by the kernel.

Time in which it is suspended does not count, nor is a slow machine taken for a frozen process."""

FROZEN_BEYOND_S = 5.0
"""A process in which no thread runs for this much longer than the loop may be blocked is ended by the interpreter."""


@dataclass(frozen=True, slots=True)
class Block:
    """The loop does not answer."""

    task: str
    """Name of the task that runs in it."""
    place: str
    """Where: file, line and function, the innermost."""
    seconds: float
    """For so long so far."""


class Watchdog:
    """Use as a context manager around the worker's life, in the loop's own thread."""

    def __init__(
        self,
        limit_s: float,
        running: Callable[[], str],
        *,
        report_s: float = 3.0,
        tick_s: float = TICK_S,
        frozen_s: float = FROZEN_BEYOND_S,
        stacks: TextIO | None = None,
        frozen_cpu_s: float = FROZEN_S,
        tell: Callable[[Block], None] = lambda block: None,
        give_up: Callable[[Block], None] = lambda block: None,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """`running` names the jobs in work, for the report; `end` is told the exit code after `limit_s`.

        `tell` is called once after `report_s`, `give_up` before the end; both in the watchdog's thread. `stacks`: an
        open file for what every thread is at when none of them runs for `frozen_cpu_s` of processor time.
        """
        self._limit_s = limit_s
        self._report_s = report_s
        self._tick_s = tick_s
        self._frozen_s = limit_s + frozen_s
        self._frozen_cpu_s = frozen_cpu_s
        self._stacks = stacks
        self._running = running
        self._tell = tell
        self._give_up = give_up
        self._end = end
        self._stop = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watched = threading.get_ident()

    def __enter__(self) -> Watchdog:
        self._loop = asyncio.get_running_loop()
        if self._stacks is not None:
            faulthandler.register(signal.SIGPROF, file=self._stacks, all_threads=True, chain=True)
        # The first job may freeze the process before the thread comes round.
        self._wind()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)
        faulthandler.cancel_dump_traceback_later()
        if self._stacks is not None:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            faulthandler.unregister(signal.SIGPROF)

    def _watch(self) -> None:
        # Counted in ticks of this thread, which stands still with the process when that is suspended: a clock would
        # call every suspension a block.
        ticks = 0
        while not self._stop.wait(self._tick_s):
            self._wind()
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
                self._safely(self._tell, stuck_s)
            if stuck_s >= self._limit_s:
                logger.critical("the event loop has been blocked for %.0f s: ending the process", stuck_s)
                self._safely(self._give_up, stuck_s)
                self._end(EXIT_CODE)
                return

    def _wind(self) -> None:
        """Set the timers anew: they go off only if this thread does not come round any more."""
        if self._stacks is not None:
            signal.setitimer(signal.ITIMER_PROF, self._frozen_cpu_s)
        with contextlib.suppress(ValueError, OSError, AttributeError, RuntimeError):
            # Without a standard error there is nowhere to say it.
            faulthandler.dump_traceback_later(self._frozen_s, exit=True, file=sys.__stderr__ or sys.stderr)

    def _safely(self, tell: Callable[[Block], None], stuck_s: float) -> None:
        """Tell; whatever comes of that, the watch goes on."""
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._watched)
        innermost = traceback.extract_stack(frame)[-1] if frame else None
        place = f"{PurePath(innermost.filename).name}:{innermost.lineno} {innermost.name}" if innermost else "somewhere"
        try:
            tell(Block(task.get_name() if task is not None else "", place, stuck_s))
        except Exception:
            logger.exception("the block could not be told of")

    def _place(self) -> str:
        frame = sys._current_frames().get(self._watched)
        return "".join(traceback.format_stack(frame)[-6:]) if frame else "an unknown place"
