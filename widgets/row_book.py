"""Which rows a table shows and in what order: sorted, filtered, marked, and held still while somebody reads.

Plain data, no terminal. Work that grows with the number of rows comes as a generator of slices, so that the caller
can answer keys in between: a hundred thousand rows never block for longer than one slice.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from widgets.columns import Column
from widgets.row_filter import RowFilter, parse_filter, search_form

Row = TypeVar("Row")

SLICE = 300
"""Rows that are looked at between two chances to answer a key."""

LONGEST_TEXT = 4000
"""Characters of a row that the filter looks at."""

REMEMBERED_TEXTS = 20_000
"""Most rows whose searchable text is kept."""


@dataclass(frozen=True, slots=True)
class Sorting:
    """What a table is sorted by; no column means the order in which the rows were given."""

    column: str | None = None
    descending: bool = False


class RowBook(Generic[Row]):
    """Rows by key, the order in which they are shown, and the order that waits while someone reads."""

    def __init__(self, columns: Sequence[Column[Row]], key: Callable[[Row], str]) -> None:
        self.columns = tuple(columns)
        self._key = key
        self._rows: dict[str, Row] = {}
        self._shown: list[str] = []
        self._position: dict[str, int] | None = None
        self._waiting: list[str] | None = None
        self._texts: dict[str, tuple[Row, str]] = {}
        self.gone: set[str] = set()
        """Keys that are still shown while the order is held, though their rows are no more."""
        self.marked: set[str] = set()
        self.sorting = Sorting()
        self.filter = RowFilter()
        self.new_count = 0
        """Rows that wait to be shown."""

    def __len__(self) -> int:
        """How many rows are shown."""
        return len(self._shown)

    @property
    def total(self) -> int:
        """How many rows there are, whatever the filter."""
        return len(self._rows) - len(self.gone)

    @property
    def waiting(self) -> bool:
        """Whether another order is ready to be shown."""
        return self._waiting is not None

    def key_of(self, row: Row) -> str:
        """The row's identity."""
        return self._key(row)

    def key_at(self, index: int) -> str | None:
        """Identity of the row at this place; None beyond the end."""
        return self._shown[index] if 0 <= index < len(self._shown) else None

    def row(self, key: str | None) -> Row | None:
        """The row with this identity."""
        return None if key is None else self._rows.get(key)

    def row_at(self, index: int) -> Row | None:
        """The row at this place; None beyond the end."""
        return self.row(self.key_at(index))

    def index(self, key: str | None) -> int | None:
        """Place of a row; None when it is not shown."""
        return None if key is None else self._positions.get(key)

    def shown_rows(self) -> Iterator[Row]:
        """The rows as they are shown."""
        return (self._rows[key] for key in self._shown)

    def marked_rows(self) -> list[Row]:
        """The marked rows that still exist, in the order shown first, then those a filter hides."""
        shown = [key for key in self._shown if key in self.marked]
        hidden = sorted(self.marked.difference(shown))
        return [self._rows[key] for key in (*shown, *hidden) if key in self._rows and key not in self.gone]

    def replace(self, rows: Iterable[Row], *, hold: bool) -> Iterator[None]:
        """Take these rows in place of all others. With `hold` the order stays until `release`; values change at once.

        A generator: run it to its end (`finish`) or slice by slice.
        """
        fresh: dict[str, Row] = {}
        known = self._rows
        for count, row in enumerate(rows, 1):
            key = self._key(row)
            old = known.get(key)
            # An equal row stays the same object, which is what every cache of drawn and searched text goes by.
            fresh[key] = row if old is None or old != row else old
            if not count % SLICE:
                yield
        held = hold and bool(self._shown)
        self.gone = {key for key in self._shown if key not in fresh} if held else set()
        for key in self.gone:
            fresh[key] = known[key]
        self._rows = fresh
        self.marked = {key for key in self.marked if key in fresh and key not in self.gone}
        if len(self._texts) > len(fresh):
            self._texts = {key: entry for key, entry in self._texts.items() if key in fresh}
        yield from self.arrange(hold=held)

    def update(self, changed: Iterable[Row]) -> bool:
        """Take new values of rows, or new rows; whether the order may have changed (then `arrange`)."""
        stale = False
        column = self._sort_column()
        for row in changed:
            key = self._key(row)
            old = self._rows.get(key)
            if (
                old is None
                or bool(self.filter)
                or (column is not None and column.sort_key(old) != column.sort_key(row))
            ):
                stale = True
            self._rows[key] = row
            self.gone.discard(key)
        return stale

    def arrange(self, *, hold: bool = False) -> Iterator[None]:
        """Work out filter and order anew, in slices; with `hold` the result waits for `release`."""
        keys = [key for key in self._rows if key not in self.gone]
        if self.filter:
            found: list[str] = []
            for start in range(0, len(keys), SLICE):
                found.extend(key for key in keys[start : start + SLICE] if self.filter.matches(self._text(key)))
                yield
            keys = found
        column = self._sort_column()
        if column is not None:
            yield from self._sort(keys, column, self.sorting.descending)
        if hold and self._shown:
            self.new_count = sum(1 for key in keys if key not in self._positions)
            self._waiting = None if keys == self._shown else keys
            return
        self._waiting = keys
        self.release()

    def release(self) -> bool:
        """Show the order that waits; whether there was one."""
        if self._waiting is None:
            return False
        self._shown = self._waiting
        self._waiting = None
        self._position = None
        self.new_count = 0
        for key in self.gone:
            self._rows.pop(key, None)
        self.gone = set()
        return True

    def set_filter(self, text: str) -> None:
        """Take another filter; `arrange` applies it."""
        self.filter = parse_filter(text)

    def toggle_mark(self, key: str) -> None:
        """Mark or unmark a row."""
        if key in self.marked:
            self.marked.discard(key)
        elif key in self._rows:
            self.marked.add(key)

    @property
    def _positions(self) -> dict[str, int]:
        if self._position is None:
            self._position = {key: index for index, key in enumerate(self._shown)}
        return self._position

    def _sort_column(self) -> Column[Row] | None:
        wanted = self.sorting.column
        return next((column for column in self.columns if column.key == wanted), None) if wanted else None

    def _text(self, key: str) -> str:
        row = self._rows[key]
        known = self._texts.get(key)
        if known is not None and known[0] is row:
            return known[1]
        text = search_form("\n".join(column.raw_text(row) for column in self.columns if column.searched))[:LONGEST_TEXT]
        if len(self._texts) < REMEMBERED_TEXTS:
            self._texts[key] = (row, text)
        return text

    def _sort(self, keys: list[str], column: Column[Row], descending: bool) -> Iterator[None]:
        """Sort in place: slices are sorted singly and then merged, each in its turn. Rows without a value come last.

        Equal values keep the order in which they were given, whatever the direction.
        """
        rows = self._rows
        # One dictionary of plain values rather than a tuple for each row: nothing for the garbage collector to walk.
        values: dict[str, Any] = {}
        runs: list[list[str]] = []
        without: list[str] = []
        for start in range(0, len(keys), SLICE):
            run: list[str] = []
            for key in keys[start : start + SLICE]:
                value = column.sort_key(rows[key])
                if value is None:
                    without.append(key)
                else:
                    values[key] = value
                    run.append(key)
            run.sort(key=values.__getitem__, reverse=descending)
            runs.append(run)
            if start:
                yield
        merged: list[str] = []
        ordered = runs[0] if len(runs) == 1 else heapq.merge(*runs, key=values.__getitem__, reverse=descending)
        for count, key in enumerate(ordered):
            merged.append(key)
            if count % SLICE == SLICE - 1:
                yield
        keys[:] = merged + without


def finish(work: Iterator[None]) -> None:
    """Do all slices of `work` at once."""
    for _ in work:
        pass
