"""The terminal is given back whatever happens: hang-up, SIGTERM, a fault, an event loop that hangs.

While the console draws, descriptor 2 belongs to the log, so that nothing a library prints can reach the screen; the
console writes through a descriptor of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

RESTORE = (
    "\x1b[?2026l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?2004l\x1b[?2048l\x1b[?1004l"
    "\x1b[<u\x1b[?7h\x1b[0m\x1b[?1049l\x1b[?25h"
)
"""Ends every mode that the console sets: synchronised output, mouse, paste, resize and focus reports, keyboard
protocol, no-wrap, alternate screen, hidden cursor."""

PATIENCE_S = 0.8
"""From a signal to the moment at which the terminal is restored without the event loop's help."""


class TerminalGuard:
    """Restores the terminal of this process. Use as a context manager around the whole life of the app."""

    def __init__(self, log_file: Path | None) -> None:
        """A guard of standard input and error.

        Args:
            log_file: Where descriptor 2 goes while the console draws; None for nowhere.
        """
        self._log_file = log_file
        self._attributes: list[int | list[bytes | int]] | None = None
        self._quiet: Callable[[], None] = lambda: None
        self._timer: threading.Timer | None = None
        self._signalled: int | None = None
        self._before: dict[int, object] = {}
        self.output = -1
        """The terminal, for the driver to write to."""

    @property
    def signalled(self) -> int | None:
        """The signal that ended the console, or None."""
        return self._signalled

    def on_signal(self, leave: Callable[[], None]) -> None:
        """What to do first on SIGHUP and SIGTERM: ask the app to end. Called from the main thread."""
        self._quiet = leave

    def __enter__(self) -> TerminalGuard:
        """Take descriptor 2 away from everybody else and watch for signals."""
        with contextlib.suppress(termios.error, OSError, ValueError):
            self._attributes = termios.tcgetattr(0)
        self.output = os.dup(1 if os.isatty(1) else 2)
        self._stderr = os.dup(2)
        sink = os.open(self._log_file or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(sink, 2)
        os.close(sink)
        for number in (signal.SIGHUP, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        """Give everything back. The driver has restored the screen unless the app broke."""
        if self._timer is not None:
            self._timer.cancel()
        for number in self._before:
            # Once the console is ending, a second signal must not kill it half way.
            signal.signal(number, signal.SIG_IGN if self._signalled else signal.SIG_DFL)
        if fault is not None:
            self.restore()
        self._restore_attributes()
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        os.close(self.output)

    def restore(self) -> None:
        """Put the terminal into the state that a shell expects; never waits for it."""
        with _not_blocking(self.output) as descriptor, contextlib.suppress(OSError):
            os.write(descriptor, RESTORE.encode())
        self._restore_attributes()

    def _restore_attributes(self) -> None:
        if self._attributes is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(0, termios.TCSANOW, self._attributes)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._signalled is not None:
            return
        self._signalled = number
        self._timer = threading.Timer(PATIENCE_S, self._give_up)
        self._timer.daemon = True
        self._timer.start()
        self._quiet()

    def _give_up(self) -> None:
        """The loop did not end in time: restore and end here. The stack is other processes' and stays."""
        self.restore()
        os._exit(128 + (self._signalled or signal.SIGTERM))


@contextlib.contextmanager
def _not_blocking(descriptor: int) -> Iterator[int]:
    """The descriptor in non-blocking mode; a terminal that reads nothing must not hold the end up."""
    blocking = True
    with contextlib.suppress(OSError):
        blocking = os.get_blocking(descriptor)
        os.set_blocking(descriptor, False)
    try:
        yield descriptor
    finally:
        with contextlib.suppress(OSError):
            os.set_blocking(descriptor, blocking)


def print_after(text: str) -> None:
    """A sentence on the shell's screen after the console has gone; nothing when that is gone too."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
