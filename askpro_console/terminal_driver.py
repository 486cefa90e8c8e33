"""Textual's terminal driver, made for a console that stays open for days on any line.

It writes from a thread of its own and never makes the event loop wait for a terminal that does not read; it guards
pastes; it sleeps until a key comes instead of waking ten times a second; and it takes the end of its terminal for what
it is, a hang-up. Textual 8.2.8 is pinned; tests watch the private points that are used here.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from askpro_console.paste_guard import Pasted, PasteGuard

if TYPE_CHECKING:
    from textual.app import App

ESCAPE_S = 0.05
"""After so long without more, an escape is the escape key."""

CHUNK = 65536
LAST_WRITES_S = 0.5
"""How long the end waits for the terminal to take the last writes."""

MOST_WAITING = 4_000_000
"""Characters kept for a terminal that takes nothing; more is dropped (screens stop repainting long before)."""


class TerminalWriter:
    """Writes to a file descriptor from a thread; `write` never waits."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()
        self._characters = 0
        self._in_hand = 0
        self._changed = threading.Condition()
        self._closed = False
        self.dead = False
        """The terminal is gone."""
        self._thread = threading.Thread(target=self._run, name="terminal-writer", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Writes that the terminal has not taken."""
        return len(self._waiting) + self._in_hand

    def write(self, text: str) -> None:
        """Queue text."""
        with self._changed:
            if self._closed or self.dead or self._characters > MOST_WAITING:
                return
            self._waiting.append(text)
            self._characters += len(text)
            self._changed.notify()

    def close(self, timeout_s: float = LAST_WRITES_S) -> bool:
        """Write what waits, for a bounded time; whether all of it was written."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                parts = list(self._waiting)
                self._waiting.clear()
                self._characters = 0
                self._in_hand = len(parts)
            data = memoryview("".join(parts).encode("utf-8", "replace"))
            try:
                while data:
                    data = data[self._write_some(data[:CHUNK]) :]
            except OSError:
                self.dead = True
                return
            finally:
                self._in_hand = 0

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            select.select([], [self._descriptor], [], 1.0)
            return 0


class ConsoleDriver(LinuxDriver):
    """The driver. `output` must be set to the terminal's descriptor before the app runs (see `terminal_guard`)."""

    output: int = 2
    """Descriptor of the terminal that is written to."""

    def __init__(
        self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._out: TerminalWriter | None = None
        self._wake_read, self._wake_write = os.pipe()
        self._input_over = False

    @property
    def backlog(self) -> int:
        """Writes that the terminal has not taken yet."""
        return self._out.backlog if self._out is not None else 0

    def write(self, data: str) -> None:
        """Queue data for the terminal; never waits."""
        if self._out is None:
            self._out = TerminalWriter(self.output)
        self._out.write(data)

    def flush(self) -> None:
        """Nothing to do: the writer's thread writes at once."""

    def disable_input(self) -> None:
        """Stop reading keys."""
        self._input_over = True
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")
        super().disable_input()

    def close(self) -> None:
        """Write what is left, for a bounded time."""
        if self._out is not None:
            self._out.close()
            self._out = None
        super().close()

    def run_input_thread(self) -> None:
        """Read the terminal until told to stop; keys are parsed by Textual, pastes are guarded."""
        parser = XTermParser(self._debug)
        guard = PasteGuard()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._input_over = False
        while not self._input_over:
            # Half a sequence is waited for briefly; otherwise the thread sleeps until something comes.
            pending = guard.holds or parser._timeout_time is not None
            ready, _, _ = select.select([self.fileno, self._wake_read], [], [], ESCAPE_S if pending else None)
            if self._wake_read in ready:
                os.read(self._wake_read, 64)
                continue  # told to stop, or a left-over of an earlier stop
            if not ready:
                self._parse(parser, guard.idle())
                for event in parser.tick():
                    self.process_message(event)
                continue
            try:
                data = os.read(self.fileno, 4096)
            except OSError:
                data = b""
            if not data:
                self._hung_up()
                return
            for part in guard.feed(decoder.decode(data)):
                if isinstance(part, Pasted):
                    self.process_message(events.Paste(part.text))
                else:
                    self._parse(parser, part)

    def _parse(self, parser: XTermParser, text: str) -> None:
        if text:
            for event in parser.feed(text):
                self.process_message(event)

    def _hung_up(self) -> None:
        loop = self._loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._app.exit, 0)
