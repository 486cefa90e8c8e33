"""One process: the end of its log, renewed while one looks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.message import Message
from textual.widget import Widget

from screens.base import ConsoleScreen
from widgets.columns import Column
from widgets.pieces import Content, Piece, Tone
from widgets.table import VirtualTable

RENEW_TICKS = 2
"""The log is read again every so many seconds."""

_LEVELS = {
    "warning": Tone.WARN,
    "error": Tone.CRIT,
    "critical": Tone.CRIT,
    "fatal": Tone.CRIT,
    "panic": Tone.CRIT,
}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log."""

    number: int
    time: str
    level: str
    text: str
    key: str
    """Stays the same when lines before it are no longer read."""


class LogRead(Message):
    """The end of a log was read."""

    def __init__(self, process: str, lines: Sequence[str]) -> None:
        super().__init__()
        self.process = process
        self.lines = tuple(lines)


_POSTGRES = re.compile(r"\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d)\.\d+ \S+ \[\d+\] (?:(\S.*?): )??([A-Z]+):\s+(.*)", re.DOTALL)
_VALKEY = re.compile(r"\d+:[A-Z] \d+ \w+ \d+ (\d\d:\d\d:\d\d)\.\d+ ([*#.-]) (.*)", re.DOTALL)


def log_lines(raw: Sequence[str]) -> list[LogLine]:
    """The lines of a log, newest first; a line that begins with a space goes on with the one before."""
    whole: list[str] = []
    for line in raw:
        if whole and (not line or line[0].isspace()):
            whole[-1] = f"{whole[-1]} {line.strip()}".rstrip()
        else:
            whole.append(line)
    counts: Counter[str] = Counter()
    lines: list[LogLine] = []
    for number, text in enumerate(whole):
        counts[text] += 1
        lines.append(_log_line(number, text, f"{text}#{counts[text]}"))
    return lines[::-1]


def _log_line(number: int, raw: str, key: str) -> LogLine:
    """A line taken apart when it is a JSON record of ours, or PostgreSQL's or Valkey's."""
    if raw.startswith("{"):
        try:
            record = json.loads(raw)
        except ValueError:
            record = None
        if isinstance(record, dict):
            text = str(record.get("message", ""))
            error = record.get("error") or record.get("exception")
            if isinstance(error, str) and error.strip():
                text = f"{text}  {error.strip().splitlines()[-1]}"
            return LogLine(number, str(record.get("at", ""))[11:19], str(record.get("level", "")), text, key)
    if found := _POSTGRES.match(raw):
        time, who, level, text = found.groups()
        return LogLine(number, time, level.lower(), f"{who}: {text}" if who else text, key)
    if found := _VALKEY.match(raw):
        return LogLine(number, found[1], "warning" if found[2] == "#" else "", found[3], key)
    return LogLine(number, "", "", raw, key)


def level_cell(line: LogLine) -> Content:
    """The level; only trouble stands out."""
    return Piece(line.level, _LEVELS.get(line.level, Tone.DIM))


COLUMNS: tuple[Column[LogLine], ...] = (
    Column("time", "UTC", cell=lambda line: Piece(line.time, Tone.DIM), width=8, sort=lambda line: line.number),
    Column("level", "Level", cell=level_cell, width=9, priority=2),
    Column("text", "What", cell=lambda line: Piece(line.text, _LEVELS.get(line.level, Tone.TEXT)), width=30, grow=1),
)


class ProcessScreen(ConsoleScreen):
    """The log of one process, newest line first."""

    NAME = "process"
    TITLE = "Process"
    CRUMBS: ClassVar[tuple[str, ...]] = ("Fleet",)

    def __init__(self, process: str, node: str, *, here: bool) -> None:
        super().__init__()
        self.process = process
        self.node = node
        self.here = here
        self._ticks = 0

    def body(self) -> Iterable[Widget]:
        """One list."""
        where = "" if self.here else f"Its log is on {self.node}: `askpro logs {self.process}` there."
        yield VirtualTable(
            COLUMNS,
            key=lambda line: line.key,
            title=f"Log of {self.process}",
            nouns=("line", "lines"),
            empty=where or "It has written nothing yet.",
        )

    def title_parts(self) -> tuple[tuple[str, ...], str]:
        """Where one came from, and the process."""
        return self.CRUMBS, self.process

    def on_mount(self) -> None:
        """Read at once."""
        self._read()

    def tick(self) -> None:
        """Read again now and then."""
        super().tick()
        self._ticks += 1
        if self._ticks % RENEW_TICKS == 0 and not self.host.paused:
            self._read()

    def on_log_read(self, message: LogRead) -> None:
        """New lines."""
        if message.process == self.process:
            self.query_one(VirtualTable).set_rows(log_lines(message.lines))

    def _read(self) -> None:
        if self.here:
            self.host.read_log(self.process, lambda lines: self.post_message(LogRead(self.process, lines)))
        else:
            self.query_one(VirtualTable).set_rows([])
