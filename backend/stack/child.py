"""What a child process owes its supervisor: say when it is ready, stop when told, and not outlive it.

Used by every Python process of the stack. Started by hand, without a supervisor, everything here still works.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time

READY_FD = "ASKPRO_READY_FD"
"""Environment variable: the pipe on which a child says that it is ready."""

LIFELINE_FD = "ASKPRO_LIFELINE_FD"
"""Environment variable: a pipe that reaches its end when the supervisor dies."""

LISTEN_FD = "ASKPRO_LISTEN_FD"
"""Environment variable: a listening socket that the supervisor keeps across restarts of its server."""

ORPHAN_LIMIT_S = 4.0
"""How long an orphan may take to stop; its stores are going down as well, so draining is in vain."""

ORPHAN_EXIT_CODE = 70

_started: set[int] = set()


def announce_ready() -> None:
    """Tell the supervisor that this process does its work now. Further calls do nothing."""
    descriptor = _inherited(READY_FD)
    if descriptor is None:
        return
    os.environ.pop(READY_FD, None)
    try:
        os.write(descriptor, b"ready\n")
        os.close(descriptor)
    except OSError:
        # The supervisor is gone: the lifeline says so too.
        return


def inherited_listener() -> socket.socket | None:
    """The listening socket that the supervisor holds for this process, None without one."""
    descriptor = _inherited(LISTEN_FD)
    return None if descriptor is None else socket.socket(fileno=os.dup(descriptor))


def stop_event() -> asyncio.Event:
    """An event of the running loop, set by SIGTERM, SIGINT and the supervisor's death.

    An orphan that has not stopped 4 s after its supervisor's death is ended, whatever it is doing.
    """
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    descriptor = _inherited(LIFELINE_FD)
    if descriptor is not None and descriptor not in _started:
        _started.add(descriptor)
        threading.Thread(target=_watch_lifeline, args=(descriptor, loop, event), name="lifeline", daemon=True).start()
    return event


def _watch_lifeline(descriptor: int, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Wait for the end of the pipe in a thread, which runs even while the loop is stuck."""
    try:
        while os.read(descriptor, 1):
            pass
    except OSError:
        return
    with contextlib.suppress(RuntimeError):
        # A closed loop: the process is ending already.
        loop.call_soon_threadsafe(event.set)
    time.sleep(ORPHAN_LIMIT_S)
    os._exit(ORPHAN_EXIT_CODE)


def _inherited(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else None
