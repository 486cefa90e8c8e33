"""A real console on a pseudo-terminal of its own, for the kill loop: opened, looked at, killed."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping

from backend.stack.failures import StackFailure

ROWS, COLUMNS = 40, 160

PATIENCE_S = 60.0
"""For live data, on a busy machine and while the system comes up again."""

REPAINT_EVERY_S = 1.0
"""Only a whole paint, which a change of size brings, has each word in one piece."""

LIVE = re.compile(rb"LIVE +([0-9.]+) s ")
"""The badge at the top of a screen whose data is new, with the data's age in seconds."""

ROUNDING_S = 0.1

CALLS = b"2"
"""The key of the screen that changes with every delivery."""

ANSWERS = {b"\x1b[?2026$p": b"\x1b[?2026;2$y", b"\x1b[c": b"\x1b[?62;22c"}
"""What a modern terminal answers when asked."""

TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the controlling terminal, as a login does, then becomes the console."""


class ConsoleOnPty:
    """One console at a time; a bystander of the kill loop."""

    name = "console"

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._terminal = -1
        self._painted = bytearray()
        self._taller = False

    @property
    def pid(self) -> int:
        """Its process; 0 before `open`."""
        return self._process.pid if self._process else 0

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def open(self, environment: Mapping[str, str]) -> None:
        """Attach a console to the system of that environment; returns once it shows live data. Raises StackFailure."""
        self._terminal, inside = pty.openpty()
        self._resize()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "askpro_console"),
                stdin=inside,
                stdout=inside,
                stderr=inside,
                env={**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "", **environment},
                start_new_session=True,
            )
        finally:
            os.close(inside)
        self._painted.clear()
        asyncio.get_running_loop().add_reader(self._terminal, self._take)
        await self._until_live()

    async def shows_live(self) -> None:
        """Return once it shows data that came in after this was called. Raises StackFailure."""
        began = time.monotonic()
        with contextlib.suppress(OSError):
            os.write(self._terminal, CALLS)
        await self._until_live(lambda age_s: age_s + ROUNDING_S < time.monotonic() - began)

    async def kill(self) -> None:
        """End it with SIGKILL, and close its terminal."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        if self._terminal >= 0:
            asyncio.get_running_loop().remove_reader(self._terminal)
            os.close(self._terminal)
        self._process, self._terminal = None, -1

    async def _until_live(self, new_enough: Callable[[float], bool] = lambda _: True) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            self._painted.clear()
            self._resize()
            again = time.monotonic() + REPAINT_EVERY_S
            while time.monotonic() < again:
                if (badge := LIVE.search(self._painted)) and new_enough(float(badge[1])):
                    return
                if not self.lives:
                    raise StackFailure(f"The console ended by itself; its last bytes: {bytes(self._painted[-500:])!r}.")
                await asyncio.sleep(0.02)
            if time.monotonic() > end:
                told = bytes(self._painted[-2000:])
                raise StackFailure(f"The console showed no live data within {PATIENCE_S:.0f} s: {told!r}.")

    def _resize(self) -> None:
        self._taller = not self._taller
        size = struct.pack("HHHH", ROWS + self._taller, COLUMNS, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def _take(self) -> None:
        try:
            data = os.read(self._terminal, 65536)
        except OSError:
            # The kernel's way to say that nobody has the other end open.
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._terminal)
            return
        self._painted += data
        for question, answer in ANSWERS.items():
            if question in data:
                with contextlib.suppress(OSError):
                    os.write(self._terminal, answer)
