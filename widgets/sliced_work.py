"""Work that comes as a generator of slices, done in turns of the event loop so that keys are answered in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

SMALL = 2000
"""Up to so many rows the work is done at once: it takes a few milliseconds."""

BUDGET_S = 0.006
"""Time that one turn may take."""


class SlicedWork:
    """At most one piece of work at a time; a new one takes the place of an unfinished one."""

    def __init__(self) -> None:
        self._work: Iterator[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether work is unfinished."""
        return self._work is not None

    def do(self, work: Iterator[None], size: int, begin: Callable[[], object], done: Callable[[], object]) -> None:
        """Do `work` at once when `size` is small, else in turns.

        Args:
            work: Yields after each slice.
            size: About how many rows it looks at.
            begin: Called before each turn.
            done: Called when the work is finished, in the same turn as its last slice.
        """
        if size <= SMALL:
            self._work = None
            begin()
            for _ in work:
                pass
            done()
            return
        self._work = work
        self._turn(work, begin, done)

    def drop(self) -> None:
        """Forget unfinished work."""
        self._work = None

    def _turn(self, work: Iterator[None], begin: Callable[[], object], done: Callable[[], object]) -> None:
        if work is not self._work:
            return
        begin()
        deadline = time.monotonic() + BUDGET_S
        for _ in work:
            if time.monotonic() >= deadline:
                asyncio.get_running_loop().call_soon(self._turn, work, begin, done)
                return
        self._work = None
        done()
