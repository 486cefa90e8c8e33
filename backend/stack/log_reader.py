"""Reading the logs: last lines across rotated and compressed files, several processes in one order, and new lines."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backend.stack.client import START_LOG
from backend.stack.logs import LINE_LIMIT, rotated_files

BLOCK = 256 * 1024

_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?")
_VALKEY = re.compile(r"\d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3}")
_HEAD = 96
"""A line's own time stands within so many characters of its start."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one process."""

    process: str
    text: str
    """As the process wrote it: hostile until printed harmlessly."""


def names(directory: Path) -> list[str]:
    """The processes that have a log."""
    return sorted({path.name.partition(".")[0] for path in directory.glob("*.log*") if path.name != START_LOG})


def last_lines(directory: Path, processes: Sequence[str], count: int) -> list[LogLine]:
    """The last `count` lines of these processes together, in the order of their own times. Raises OSError."""
    lines: list[tuple[float, LogLine]] = []
    for process in processes:
        moment = 0.0
        for text in _last_of(directory, process, count):
            # A line without a time belongs to the one before it.
            moment = _moment(text) or moment
            lines.append((moment, LogLine(process, text)))
    lines.sort(key=lambda pair: pair[0])
    return [line for _, line in lines[-count:]]


def _last_of(directory: Path, process: str, count: int) -> list[str]:
    files = [*rotated_files(directory, process), directory / f"{process}.log"]
    found: list[bytes] = []
    for path in reversed(files):
        missing = count - len(found)
        if missing <= 0:
            break
        try:
            part = _tail_compressed(path, missing) if path.suffix == ".gz" else _tail(path, missing)
        except (FileNotFoundError, EOFError, zlib.error, gzip.BadGzipFile):
            # Rotated away meanwhile, or cut short by a full disk: the rest is still worth reading.
            continue
        found = part + found
    return [line.decode("utf-8", "replace") for line in found]


def _tail_compressed(path: Path, count: int) -> list[bytes]:
    with gzip.open(path, "rb") as file:
        return [line.rstrip(b"\n") for line in deque(file, count)]


def _tail(path: Path, count: int) -> list[bytes]:
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        data = b""
        while position > 0 and data.count(b"\n") <= count:
            step = min(BLOCK, position)
            position -= step
            file.seek(position)
            data = file.read(step) + data
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    return lines[-count:]


def _moment(text: str) -> float | None:
    """The time that a line begins with, Unix seconds."""
    head = text[:_HEAD]
    if found := _ISO.search(head):
        stamp = found[0].replace(" ", "T").replace(",", ".")
        return _seconds(stamp, "%Y-%m-%dT%H:%M:%S.%f" if "." in stamp else "%Y-%m-%dT%H:%M:%S")
    if found := _VALKEY.search(head):
        return _seconds(found[0], "%d %b %Y %H:%M:%S.%f")
    return None


def _seconds(stamp: str, layout: str) -> float | None:
    try:
        return datetime.strptime(stamp, layout).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


class Follower:
    """New lines of one process's log, across rotations."""

    def __init__(self, directory: Path, process: str, *, from_start: bool = False) -> None:
        """Begins at the end of what is there, unless `from_start`."""
        self._path = directory / f"{process}.log"
        self._process = process
        self._file = _open_or_none(self._path)
        self._rest = b""
        if self._file is not None and not from_start:
            os.lseek(self._file, 0, os.SEEK_END)

    def new_lines(self) -> Iterator[LogLine]:
        """What has come since the last call. Raises OSError."""
        if self._file is not None:
            yield from self._read(self._file)
        fresh = _open_or_none(self._path)
        if fresh is None:
            return
        if self._file is not None and os.fstat(fresh).st_ino == os.fstat(self._file).st_ino:
            os.close(fresh)
            return
        self.close()
        self._file = fresh
        yield from self._read(fresh)

    def _read(self, descriptor: int) -> Iterator[LogLine]:
        while chunk := os.read(descriptor, BLOCK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                yield LogLine(self._process, line[:LINE_LIMIT].decode("utf-8", "replace"))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _open_or_none(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
