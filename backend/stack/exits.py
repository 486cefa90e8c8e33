"""Waiting in an event loop: for a child's end, and for the first of several events."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Coroutine

POLL_S = 0.1
"""Where the system has no pid file descriptors (macOS)."""


class ExitWatch:
    """Calls back once, in the running loop, when the child has ended; reaps it."""

    def __init__(self, child: subprocess.Popen[bytes], on_exit: Callable[[], None]) -> None:
        self._child = child
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._descriptor = -1
        try:
            self._descriptor = os.pidfd_open(child.pid)
        except (AttributeError, OSError):
            self._poll()
        else:
            self._loop.add_reader(self._descriptor, self._poll)

    def _poll(self) -> None:
        if self._child.poll() is not None:
            self.close()
            self._on_exit()
        elif self._descriptor < 0:
            self._timer = self._loop.call_later(POLL_S, self._poll)

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


async def first_of(*waits: Coroutine[object, object, object]) -> None:
    """Return when the first one does; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
