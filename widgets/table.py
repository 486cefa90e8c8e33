"""The virtual table: draws only the lines on screen, repaints only the cells that changed, keeps its place by key.

A hundred thousand rows cost what a hundred cost. Rows are data records, columns are `Column`s. While somebody reads
below the top, values change in place but rows keep their order; new ones are counted (`12 new ↑`) and come when the
reader goes home, sorts, filters, or has rested for a while.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from widgets.columns import Column, Placed, lay_out
from widgets.painted import Painted
from widgets.palette import palette_of
from widgets.pieces import Line, Tone
from widgets.row_book import RowBook, Sorting
from widgets.sliced_work import SlicedWork
from widgets.table_lines import GUTTER, RowLook, empty_lines, header_line, row_line, title_line

Row = TypeVar("Row")

REST_S = 20.0
"""After so long without a key the reader is taken to rest, and the waiting order is shown."""

REMEMBERED_LINES = 600


class DrawnRow(NamedTuple):
    """A row as it was drawn, and all that it depended on."""

    row: object
    look: RowLook
    layout: object
    now: float
    timed: tuple[object, ...]
    line: Line


class RowMessage(Message):
    """Something about one row of a table."""

    def __init__(self, table: VirtualTable[Any], row: object) -> None:
        super().__init__()
        self.table = table
        self.row = row
        """The record; check its type."""

    @property
    def control(self) -> VirtualTable[Any]:
        """The table, for `@on` selectors."""
        return self.table


class VirtualTable(ScrollView, Generic[Row], can_focus=True, inherit_bindings=False):
    """A list of records: `VirtualTable(COLUMNS, key=lambda row: row.id, title="Calls")`, then `set_rows`.

    Its actions (`cursor_down`, `open`, `mark` …) are bound by the console's registry as `list.cursor_down` and so on.
    """

    DEFAULT_CSS = """
    VirtualTable {
        height: 1fr; width: 1fr;
        overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 0;
    }
    """
    ALLOW_SELECT = False

    class Highlighted(RowMessage):
        """The cursor is on another row, or the row under it has new values."""

        def can_replace(self, message: Message) -> bool:
            """Only the last of several matters."""
            return isinstance(message, VirtualTable.Highlighted) and message.table is self.table

    class Opened(RowMessage):
        """Someone wants to see the row itself (enter, double click)."""

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        *,
        key: Callable[[Row], str],
        title: str,
        nouns: tuple[str, str] = ("row", "rows"),
        empty: str = "",
        sorting: Sorting | None = None,
        natural: Sorting | None = None,
        row_tone: Callable[[Row], Tone | None] | None = None,
        clock: Callable[[], float] = time.time,
        id: str | None = None,  # noqa: A002 -- Textual's name
        classes: str | None = None,
    ) -> None:
        """A table without rows that says it is loading.

        Args:
            columns: What it shows, in this order.
            key: A row's identity; cursor, marks and place follow it.
            title: For the rule above the table.
            nouns: What one row and several rows are called, for counts.
            empty: What to say when there are no rows at all: what that means and what to do.
            sorting: The order at first; without one, as the rows are given.
            natural: What the order in which rows are given amounts to, for the mark in the header.
            row_tone: A tone for a whole row (its plain pieces), such as dim for what is over.
            clock: Unix time, for timed cells.
            id: Widget id.
            classes: CSS classes.
        """
        super().__init__(id=id, classes=classes)
        self.book: RowBook[Row] = RowBook(columns, key)
        self.book.sorting = sorting or Sorting()
        self.natural = natural or Sorting()
        self.title = title
        self.nouns = nouns
        self.empty_text = empty
        self._row_tone = row_tone
        self._clock = clock
        self._loaded = False
        self._note = ""
        self._cursor: str | None = None
        self._on_row = False
        """False while the cursor floats on the first row, whatever row that is."""
        self._touched_at = float("-inf")
        self._last_index = 0
        self._told: object = None
        self._work = SlicedWork()
        self._place: tuple[int | None, int] = (None, 0)
        self._placed: tuple[Placed[Row], ...] = ()
        self._placed_width = -1
        self._painted = Painted(self)
        self._row_lines: dict[str, DrawnRow] = {}

    # What there is

    @property
    def cursor_row(self) -> Row | None:
        """The row under the cursor."""
        return self.book.row(self._cursor)

    @property
    def acting_rows(self) -> list[Row]:
        """What an action acts on: the marked rows, else the one under the cursor, if it still exists."""
        marked = self.book.marked_rows()
        if marked:
            return marked
        row = self.cursor_row
        return [row] if row is not None and self._cursor not in self.book.gone else []

    @property
    def columns_shown(self) -> tuple[str, ...]:
        """Keys of the columns that fit on the screen now."""
        return tuple(placed.column.key for placed in self._layout())

    # What changes it

    def set_rows(self, rows: Iterable[Row], *, at_once: bool = False) -> None:
        """Show these rows in place of all others; `at_once` also while somebody reads, because they asked for it."""
        self._loaded = True
        rows = rows if isinstance(rows, (tuple, list)) else list(rows)
        self._do(self.book.replace(rows, hold=self._reading() and not at_once), len(rows))

    def update_rows(self, changed: Iterable[Row]) -> None:
        """Take new values of some rows, or new rows; costs what is changed, not what there is."""
        self._loaded = True
        if self.book.update(changed) and not self._work.busy:
            self._do(self.book.arrange(hold=self._reading()), self.book.total)
        else:
            self._show()

    def set_filter(self, text: str) -> None:
        """Show only what matches; an empty text shows everything."""
        self.book.set_filter(text)
        self._do(self.book.arrange(), self.book.total)

    def sort_by(self, column: str | None, *, descending: bool | None = None) -> None:
        """Sort by a column, or with None as the rows were given. Raises KeyError for an unknown column."""
        if column is not None:
            found = {candidate.key: candidate for candidate in self.book.columns}[column]
            descending = found.descending if descending is None else descending
        self.book.sorting = Sorting(column, bool(descending))
        self._do(self.book.arrange(), self.book.total)

    def note(self, text: str) -> None:
        """A short remark at the end of the rule above the table; empty for none."""
        self._note = text
        self._show()

    def tick(self) -> None:
        """Let timed cells and the reader's rest catch up with the clock; call it about once a second."""
        if self.book.waiting and not self._reading():
            self._release()
        else:
            self._show()

    def go_to(self, key: str) -> bool:
        """Put the cursor on a row; False when it is not shown."""
        index = self.book.index(key)
        if index is None:
            return False
        self._move_to(index)
        return True

    # Actions

    def action_cursor_down(self) -> None:
        """One row down."""
        self._step(1)

    def action_cursor_up(self) -> None:
        """One row up."""
        self._step(-1)

    def action_page_down(self) -> None:
        """One page down."""
        self._step(max(1, self._body_height - 1))

    def action_page_up(self) -> None:
        """One page up."""
        self._step(-max(1, self._body_height - 1))

    def action_home(self) -> None:
        """To the first row; shows what is new."""
        self._release()
        self._move_to(0)
        self._on_row = False
        self._touched_at = float("-inf")
        self._show()

    def action_end(self) -> None:
        """To the last row."""
        self._move_to(len(self.book) - 1)

    def action_open(self) -> None:
        """Open the row under the cursor."""
        row = self.cursor_row
        if row is not None:
            self.post_message(self.Opened(self, row))

    def action_mark(self) -> None:
        """Mark or unmark the row under the cursor and go on to the next."""
        if self._cursor is not None:
            self.book.toggle_mark(self._cursor)
            self._step(1)

    def action_unmark_all(self) -> None:
        """Take all marks away."""
        self.book.marked.clear()
        self._show()

    def action_sort_next(self) -> None:
        """Sort by the next column to the right."""
        self._sort_step(1)

    def action_sort_previous(self) -> None:
        """Sort by the next column to the left."""
        self._sort_step(-1)

    def action_sort_flip(self) -> None:
        """Turn the order round."""
        sorting = self._sorting
        column = sorting.column or self._layout()[0].column.key
        self.sort_by(column, descending=not sorting.descending)

    # Input

    def on_click(self, event: events.Click) -> None:
        """On a row: the cursor; twice: open; on a header: sort by it."""
        event.stop()
        y = event.y
        if y == 1:
            x = event.x - GUTTER
            for placed in self._layout():
                if placed.x <= x < placed.x + placed.width + 2:
                    same = self._sorting.column == placed.column.key
                    self.sort_by(placed.column.key, descending=not self._sorting.descending if same else None)
                    return
        elif y >= 2:
            index = self._top + y - 2
            if index < len(self.book):
                self._move_to(index)
                if event.chain == 2:
                    self.action_open()
        elif self.book.waiting:
            self.action_home()

    def on_focus(self, event: events.Focus) -> None:
        """The cursor shows where keys go."""
        self._take_focus(event, events.DescendantFocus(self))

    def on_blur(self, event: events.Blur) -> None:
        """The cursor fades."""
        self._take_focus(event, events.DescendantBlur(self))

    def _take_focus(self, event: events.Event, told: events.Event) -> None:
        event.prevent_default()  # the base class would repaint the whole table
        self.has_focus = isinstance(event, events.Focus)
        if self.parent is not None:
            self.parent.post_message(told)
        self._show()

    def on_mount(self) -> None:
        """Draw anew when the theme changes."""
        self.app.theme_changed_signal.subscribe(self, self._repaint)

    def on_unmount(self) -> None:
        """Nothing is left to do."""
        self._work.drop()

    def on_resize(self) -> None:
        """Columns and lines are laid out anew."""
        self._show(everything=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Repaint what differs, instead of everything."""
        if round(old_value) != round(new_value):
            self._touched_at = time.monotonic()
            self._show()

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One line: the rule, the header, or a row."""
        lines = self._painted.lines
        drawn = lines[y] if y < len(lines) else Line()
        return self._painted.strip(drawn, self._width, palette_of(self.app))

    @property
    def _sorting(self) -> Sorting:
        return self.book.sorting if self.book.sorting.column else self.natural

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _body_height(self) -> int:
        return max(0, self.scrollable_content_region.height - 2)

    @property
    def _top(self) -> int:
        return round(self.scroll_y)

    def _layout(self) -> tuple[Placed[Row], ...]:
        width = max(1, self._width - GUTTER)
        if width != self._placed_width:
            self._placed = lay_out(self.book.columns, width)
            self._placed_width = width
        return self._placed

    def _show(self, *, everything: bool = False) -> None:
        """Bring the screen up to date: size, scroll offset, and the cells that changed."""
        if not self.is_mounted or not self.size:
            return
        self._keep_cursor()
        virtual = Size(self._width, len(self.book) + 2)
        if virtual != self.virtual_size:
            self.virtual_size = virtual
        lines, keys = self._lines()
        regions = self._painted.renew(lines, keys)
        if everything or regions is None:
            self.refresh()
        elif regions:
            self.refresh(*regions)

    def _repaint(self, _theme: object) -> None:
        self._show(everything=True)

    def _lines(self) -> tuple[list[Line], list[str | None]]:
        """All lines of the widget, and what stands on those below the header."""
        width, height = self._width, self._body_height
        book = self.book
        # Whole seconds, so that all timed cells move on in one repaint.
        top, now = self._top, math.floor(self._clock())
        below = max(0, len(book) - top - height)
        title = title_line(self.title, book, width, loaded=self._loaded, note=self._note, above=top, below=below)
        layout = self._layout()
        lines = [title, header_line(layout, self._sorting)]
        keys = [book.key_at(index) for index in range(top, top + height)]
        focused = self.has_focus
        lines += [self._row_line(key, now, layout, focused) for key in keys if key is not None]
        if not len(book):
            lines += empty_lines(book, self.nouns, self.empty_text, width, loaded=self._loaded)
        lines += [Line()] * (height + 2 - len(lines))
        return lines[: height + 2], keys

    def _row_line(self, key: str, now: float, layout: tuple[Placed[Row], ...], focused: bool) -> Line:
        row = self.book.row(key)
        assert row is not None
        cursor = key == self._cursor and (focused or self._on_row)  # else there is no place to keep
        look = RowLook(cursor, cursor and focused, key in self.book.marked, key in self.book.gone)
        known = self._row_lines.get(key)
        if known is not None and known.row is row and known.look == look and known.layout is layout:
            if known.now == now:
                return known.line
            timed = _timed_cells(layout, row, now)
            if timed == known.timed:
                self._row_lines[key] = known._replace(now=now)
                return known.line
        drawn = row_line(layout, row, now, look, self._row_tone(row) if self._row_tone else None)
        if len(self._row_lines) >= REMEMBERED_LINES:
            self._row_lines.clear()
        self._row_lines[key] = DrawnRow(row, look, layout, now, _timed_cells(layout, row, now), drawn)
        return drawn

    # Place

    def _reading(self) -> bool:
        """Whether somebody reads below the top, so that nothing may move."""
        if not self._on_row and self._top == 0:
            return False
        return time.monotonic() - self._touched_at < REST_S

    def _keep_cursor(self) -> None:
        """The cursor floats at the top, or stays on its row; a row that is gone gives it to its neighbour."""
        if not len(self.book):
            self._set_cursor(None)
            return
        index = self.book.index(self._cursor)
        if not self._on_row or index is None:
            fallback = 0 if not self._on_row else min(self._last_index, len(self.book) - 1)
            self._set_cursor(self.book.key_at(fallback))
            index = fallback
        self._last_index = index
        self._tell_if_new()

    def _set_cursor(self, key: str | None) -> None:
        self._cursor = key
        if key is None:
            self._tell_if_new()

    def _tell_if_new(self) -> None:
        row = self.cursor_row
        if row is not self._told:
            self._told = row
            self.post_message(self.Highlighted(self, row))

    def _step(self, rows: int) -> None:
        self._move_to((self.book.index(self._cursor) or 0) + rows)

    def _move_to(self, index: int) -> None:
        if not len(self.book):
            return
        self._touched_at = time.monotonic()
        index = max(0, min(index, len(self.book) - 1))
        self._cursor = self.book.key_at(index)
        self._last_index = index
        self._on_row = True
        top, height = self._top, self._body_height
        if index < top:
            top = index
        elif index >= top + height:
            top = index - height + 1
        self._scroll_top_to(top)
        self._show()

    def _scroll_top_to(self, top: int) -> None:
        virtual = Size(self._width, len(self.book) + 2)
        if virtual != self.virtual_size:
            self.virtual_size = virtual
        if top != self._top:
            self.scroll_to(y=top, animate=False, force=True)

    def _release(self) -> None:
        """Show the waiting order."""
        if not self._work.busy:
            self._remember_place()
            if self.book.release():
                self._settle()

    def _settle(self) -> None:
        """After another order: the cursor's row stays where it was on the screen."""
        before, top = self._place
        after = self.book.index(self._cursor)
        if self._on_row and before is not None and after is not None:
            self._scroll_top_to(max(0, min(top + after - before, len(self.book) - self._body_height)))
        self._show()

    def _sort_step(self, by: int) -> None:
        keys = [placed.column.key for placed in self._layout()]
        current = self._sorting.column
        index = keys.index(current) + by if current in keys else (0 if by > 0 else len(keys) - 1)
        self.sort_by(keys[index % len(keys)])

    def _do(self, work: Iterator[None], size: int) -> None:
        self._work.do(work, size, self._remember_place, self._settle)

    def _remember_place(self) -> None:
        self._place = (self.book.index(self._cursor), self._top)


def _timed_cells(layout: Sequence[Placed[Row]], row: Row, now: float) -> tuple[object, ...]:
    return tuple(placed.column.timed(row, now) for placed in layout if placed.column.timed is not None)
