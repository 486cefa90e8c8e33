"""Columns are data: one definition gives header, cells, sort, filter and export, so they can never disagree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from widgets.pieces import Content, Piece, pieces_of
from widgets.safe_text import safe_text

Row = TypeVar("Row")


class Comparable(Protocol):
    """What can be sorted: numbers, text, tuples of them."""

    def __lt__(self, other: Any, /) -> bool: ...  # noqa: ANN401 -- each type compares with itself


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column of a table over rows of one type."""

    key: str
    """How commands, keymaps and exports name it."""
    title: str
    cell: Callable[[Row], Content] | None = None
    """What a cell shows; must depend on the row alone."""
    timed: Callable[[Row, float], Content] | None = None
    """Instead of `cell`, for what also depends on the time (Unix seconds): ages, running durations."""
    width: int = 10
    """Cells; for a growing column the least."""
    grow: int = 0
    """Share of the width that is left over; 0 keeps `width`."""
    most: int = 1000
    """Widest that a growing column gets."""
    align: Literal["left", "right"] = "left"
    priority: int = 1
    """1 is always shown; columns with the highest number are dropped first when the screen is narrow."""
    sort: Callable[[Row], Comparable | None] | None = None
    """What to sort by (None comes last, whatever the direction); the cell's text when not given."""
    descending: bool = False
    """The direction one wants first: newest, largest."""
    searched: bool = True
    """Whether the filter looks at it."""
    export: Callable[[Row], str] | None = None
    """The raw value; the cell's text when not given."""

    def content(self, row: Row, now: float) -> tuple[Piece, ...]:
        """The cell's pieces."""
        if self.timed is not None:
            return pieces_of(self.timed(row, now))
        assert self.cell is not None, f"column {self.key} has neither cell nor timed"
        return pieces_of(self.cell(row))

    def text(self, row: Row, now: float = 0.0) -> str:
        """The cell's text, safe."""
        return "".join(safe_text(piece.text) for piece in self.content(row, now)).strip()

    def raw_text(self, row: Row) -> str:
        """The cell's text as it came, for comparing only, never for showing."""
        content = self.cell(row) if self.cell is not None else self.content(row, 0.0)
        if isinstance(content, str):
            return content
        return content.text if isinstance(content, Piece) else "".join(piece.text for piece in content)

    def sort_key(self, row: Row) -> Comparable | None:
        """What the column sorts by."""
        return self.sort(row) if self.sort is not None else self.raw_text(row).casefold()

    def exported(self, row: Row) -> str:
        """What an export writes: raw data, not yet escaped for its format."""
        return self.export(row) if self.export is not None else self.text(row)


@dataclass(frozen=True, slots=True)
class Placed(Generic[Row]):
    """A column at its place on the screen."""

    column: Column[Row]
    x: int
    width: int


def lay_out(columns: Sequence[Column[Row]], width: int, *, gap: int = 2) -> tuple[Placed[Row], ...]:
    """Places for the columns that fit into `width` cells: the least important go first, growing ones share the rest."""
    kept = list(columns)
    while len(kept) > 1 and sum(column.width + gap for column in kept) - gap > width:
        victim = max(range(len(kept)), key=lambda index: (kept[index].priority, index))
        if kept[victim].priority <= 1:
            break
        del kept[victim]
    spare = width - (sum(column.width + gap for column in kept) - gap)
    widths = [column.width for column in kept]
    growing = [index for index, column in enumerate(kept) if column.grow]
    while spare > 0 and growing:
        share = sum(kept[index].grow for index in growing)
        given = 0
        for index in list(growing):
            extra = min(max(1, spare * kept[index].grow // share), spare - given, kept[index].most - widths[index])
            widths[index] += extra
            given += extra
            if widths[index] >= kept[index].most:
                growing.remove(index)
        if not given:
            break
        spare -= given
    placed: list[Placed[Row]] = []
    x = 0
    for column, cells in zip(kept, widths, strict=True):
        shown = min(cells, width - x)
        if shown <= 0:
            break
        placed.append(Placed(column, x, shown))
        x += cells + gap
    return tuple(placed)
