"""Logs of the processes: captured line by line, rotated by size and day, compressed, capped in total.

A full disk drops lines and counts them; it never stops a process.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.stack.failures import place_unusable

LINE_LIMIT = 64 * 1024
"""Longest line in bytes; the rest of a longer one is dropped, with a mark."""

CUT = b" ... [line cut]"

TAIL_LINES = 20

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much the logs may grow."""

    file_bytes: int = 50 * 1024 * 1024
    """A larger file is rotated."""
    total_bytes: int = 1024 * 1024 * 1024
    """Of all logs together; the oldest rotated files go first."""
    files: int = 14
    """Rotated files kept for each process."""


class LogStore:
    """The directory of all logs."""

    def __init__(
        self, directory: Path, limits: LogLimits | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.directory = directory
        self.limits = limits or LogLimits()
        self._clock = clock
        self._logs: dict[str, ProcessLog] = {}
        self._compressing = threading.Lock()

    def log(self, name: str) -> ProcessLog:
        """The log of one process; always the same object for the same name."""
        if name not in self._logs:
            self._logs[name] = ProcessLog(self, name, self._clock)
        return self._logs[name]

    def close(self) -> None:
        """Close all files."""
        for log in self._logs.values():
            log.close()

    def tidy(self, *, compress: bool = True) -> None:
        """Compress rotated files and remove the oldest beyond the limits. May take seconds; one at a time."""
        with self._compressing, contextlib.suppress(OSError):
            if compress:
                for path in rotated_files(self.directory):
                    if path.suffix == ".log":
                        _compress(path)
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        kept: dict[str, int] = {}
        files = rotated_files(self.directory)
        total = sum(path.stat().st_size for path in self.directory.glob("*.log"))
        total += sum(path.stat().st_size for path in files if path.suffix != ".log")
        surplus: list[Path] = []
        for path in reversed(files):
            name = log_name(path)
            kept[name] = kept.get(name, 0) + 1
            if kept[name] > self.limits.files:
                surplus.append(path)
        for path in files:
            if total <= self.limits.total_bytes and path not in surplus:
                continue
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


class ProcessLog:
    """One process's log: takes chunks of bytes as they come, writes whole lines."""

    def __init__(self, store: LogStore, name: str, clock: Callable[[], float]) -> None:
        self.path = store.directory / f"{name}.log"
        self.name = name
        self.dropped = 0
        """Lines lost because the disk refused them."""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        """The last lines, as text."""
        self._store = store
        self._clock = clock
        self._rest = b""
        self._cutting = False
        self._descriptor = -1
        self._size = 0
        self._day = 0

    def feed(self, chunk: bytes) -> None:
        """Take what the process wrote; never raises."""
        *lines, rest = (self._rest + chunk).split(b"\n")
        written = []
        for line in lines:
            if self._cutting:
                self._cutting = False
                continue
            written.append(line if len(line) <= LINE_LIMIT else line[:LINE_LIMIT] + CUT)
        if len(rest) > LINE_LIMIT:
            if not self._cutting:
                written.append(rest[:LINE_LIMIT] + CUT)
            self._cutting, rest = True, b""
        self._rest = rest
        if written:
            self._write(written)

    def line(self, text: str) -> None:
        """Write one line of the supervisor's own."""
        self.finish()
        self.feed(text.encode("utf-8", "replace") + b"\n")

    def descriptor(self) -> int:
        """The open file, for a short-lived child that writes to it directly. Raises PlaceUnusable."""
        try:
            self._open()
        except OSError as error:
            raise place_unusable(self.path, error) from error
        return self._descriptor

    def finish(self) -> None:
        """Write what came without an end of line."""
        if self._rest and not self._cutting:
            self._write([self._rest])
        self._rest, self._cutting = b"", False

    def close(self) -> None:
        """Write the rest and close the file; the next line opens it again."""
        self.finish()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, lines: list[bytes]) -> None:
        self.tail.extend(line.decode("utf-8", "replace") for line in lines[-TAIL_LINES:])
        data = b"\n".join(lines) + b"\n"
        try:
            self._open()
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            self._size += len(data)
        except OSError:
            self.dropped += len(lines)

    def _open(self) -> None:
        """Have the file open, a fresh one when size or day ask for it."""
        now = self._clock()
        full = self._size >= self._store.limits.file_bytes or int(now // DAY_S) != self._day
        if self._descriptor >= 0 and full:
            self._rotate(now)
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
            found = os.fstat(self._descriptor)
            self._size = found.st_size
            self._day = int((found.st_mtime if found.st_size else now) // DAY_S)
            if self.dropped:
                os.write(self._descriptor, f"[{self.dropped} lines were lost: no space]\n".encode())
                self.dropped = 0

    def _rotate(self, now: float) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        if self._size:
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
            number = int(now % 1 * 1_000_000)
            while (target := self.path.with_name(f"{self.name}.{stamp}-{number:06}.log")).exists():
                number += 1
            with contextlib.suppress(OSError):
                self.path.rename(target)
            threading.Thread(target=self._store.tidy, name="log-tidy", daemon=True).start()


def log_name(path: Path) -> str:
    """The process whose log a file is: `api` for `api.log` and `api.20250626T031200-….log.gz`."""
    return path.name.partition(".")[0]


def rotated_files(directory: Path, name: str = "*") -> list[Path]:
    """Rotated files of one process or of all, oldest first."""
    found = [*directory.glob(f"{name}.*.log"), *directory.glob(f"{name}.*.log.gz")]
    return sorted(found, key=lambda path: path.name.partition(".")[2])


def _compress(path: Path) -> None:
    target = path.with_name(path.name + ".gz")
    temporary = target.with_suffix(".part")
    try:
        with path.open("rb") as source, gzip.open(temporary, "wb", compresslevel=6) as sink:
            shutil.copyfileobj(source, sink, 1024 * 1024)
        temporary.chmod(0o600)
        temporary.replace(target)
        path.unlink()
    except OSError:
        temporary.unlink(missing_ok=True)
