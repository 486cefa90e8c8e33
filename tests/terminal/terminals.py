"""A terminal for tests: a program on a real pty, what it wrote as raw bytes, and its screen as an emulator shows it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType

import psutil
import pyte
from ptyprocess import PtyProcess

PATIENCE_S = 30.0

KEYS = {
    "enter": "\r",
    "esc": "\x1b",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "pagedown": "\x1b[6~",
    "home": "\x1b[H",
    "ctrl+p": "\x10",
}

ANSWERS = {b"\x1b[?2026$p": b"\x1b[?2026;2$y", b"\x1b[c": b"\x1b[?62;22c"}
"""What a modern terminal answers when asked."""


class Terminal:
    """Runs a program; use as a context manager, so that it ends with the test."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 100,
        rows: int = 30,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            **(environment or {}),
        }
        self.raw = bytearray()
        self.rows, self.columns = rows, columns
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._reading = threading.Event()
        self._reading.set()
        self.process = PtyProcess.spawn(list(command), dimensions=(rows, columns), env=env)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._reading.set()
        if self.process.isalive():
            self.process.kill(signal.SIGKILL)
        self.process.wait()
        self._thread.join(5)

    @property
    def text(self) -> str:
        """The screen's lines without the spaces at their ends."""
        # Not pyte's own `display`: it stumbles over half of a wide character while a repaint is under way.
        with self._lock:
            rows = [self._screen.buffer[row] for row in range(self._screen.lines)]
            columns = range(self._screen.columns)
            return "\n".join("".join(row[column].data for column in columns).rstrip() for row in rows)

    @property
    def output(self) -> bytes:
        """All bytes so far."""
        with self._lock:
            return bytes(self.raw)

    def press(self, *keys: str) -> None:
        """Type keys by name, or characters."""
        for key in keys:
            self.write(KEYS.get(key, key).encode())

    def write(self, data: bytes) -> None:
        """What the terminal sends, all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.process.fd, view[:4096]) :]

    def paste(self, data: bytes) -> None:
        """A bracketed paste."""
        self.write(b"\x1b[200~" + data + b"\x1b[201~")

    def resize(self, columns: int, rows: int) -> None:
        """Another size, as when a window is dragged."""
        with self._lock:
            self._screen.resize(rows, columns)
        self.process.setwinsize(rows, columns)

    def stop_reading(self) -> None:
        """From now on the program's output is not taken, as by a suspended laptop."""
        self._reading.clear()

    def go_on_reading(self) -> None:
        """Take the output again."""
        self._reading.set()

    def until(self, condition: Callable[[], bool], what: str = "") -> None:
        """Wait for a condition; fails with the screen when it does not come."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"waited in vain{f' for {what}' if what else ''}; the screen:\n{self.text}"
            time.sleep(0.02)

    def until_shows(self, *texts: str) -> None:
        """Wait until all texts are on the screen."""
        self.until(lambda: all(text in self.text for text in texts), f"{texts}")

    def until_ended(self) -> int:
        """Wait for the end; the exit code, negative for a signal."""
        self.until(lambda: not self.process.isalive(), "the end")
        status = self.process.exitstatus
        return int(status) if status is not None else -int(self.process.signalstatus)

    def resident_bytes(self) -> int:
        """Memory of the program."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def colours(self) -> set[tuple[str, str]]:
        """Foregrounds and backgrounds on the screen."""
        with self._lock:
            return {
                (cell.fg, cell.bg)
                for row in range(self._screen.lines)
                for cell in (self._screen.buffer[row][column] for column in range(self._screen.columns))
            }

    def _read(self) -> None:
        for data in self._chunks():
            with self._lock:
                self.raw += data
                self._stream.feed(data)
            for question, answer in ANSWERS.items():
                if question in data:
                    self.write(answer)

    def _chunks(self) -> Iterator[bytes]:
        while True:
            self._reading.wait()
            try:
                data = os.read(self.process.fd, 65536)
            except (OSError, ValueError):
                return
            if not data:
                return
            yield data
