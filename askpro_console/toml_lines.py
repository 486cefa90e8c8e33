"""Where in a TOML file something stands: the line of every table, key and list item, for messages about mistakes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and, in lists, positions from 0: `("staff", 2, "hours")`."""


def key_lines(text: str) -> dict[Path, int]:
    """Line (from 1) on which each table, key and list item first appears; the document must be well formed."""
    return _Scan(text).document()


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of a place, or of the nearest thing around it."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"[\w-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_BARE = re.compile(r"[^,\]}\n#]*")


class _Scan:
    """One pass over a document."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._lines: dict[Path, int] = {}
        self._lengths: dict[Path, int] = {}
        """How many tables each list of tables has so far."""

    def document(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> Path:
        several = self._text.startswith("[[", self._at)
        self._at += 2 if several else 1
        keys = self._keys()
        self._at += 2 if several else 1
        path: Path = ()
        for number, key in enumerate(keys, 1):
            path = (*path, key)
            if several and number == len(keys):
                self._note(path)
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        self._note(path)
        return path

    def _pair(self, table: Path) -> None:
        path = (*table, *self._keys())
        self._note(path)
        self._at += 1  # the equals sign
        self._value(path)

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            if (found := _KEY.match(self._text, self._at)) is None:
                self._at += 1  # not well formed: go on, so that this ends
                return keys
            self._at = found.end()
            keys.append(found[0][1:-1] if found[0][0] in "\"'" else found[0])
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        if found := _STRING.match(self._text, self._at):
            self._at = found.end()
        elif self._text.startswith("[", self._at):
            self._items(path)
        elif self._text.startswith("{", self._at):
            self._inline_table(path)
        else:
            self._skip(_BARE)

    def _items(self, path: Path) -> None:
        self._at += 1
        number = 0
        while self._skip(_BLANK) < len(self._text) and self._text[self._at] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._note((*path, number))
            before = self._at
            self._value((*path, number))
            self._at += self._at == before  # not well formed: go on, so that this ends
            number += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._skip(_BLANK) < len(self._text) and self._text[self._at] != "}":
            if self._text[self._at] == ",":
                self._at += 1
            else:
                self._pair(path)
        self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()
        return self._at

    def _note(self, path: Path) -> None:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], self._line)
