"""The lines of a table as plain data: the rule above it, its header, its rows, and what stands there without rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from widgets.columns import Placed
from widgets.figures import count_text
from widgets.pieces import Ground, Line, Piece, Tone, fitted, line, rule
from widgets.row_book import RowBook, Sorting

Row = TypeVar("Row")

GUTTER = 1
"""Cells left of the first column: marks live there."""


class RowLook(NamedTuple):
    """How a row is drawn, apart from its values."""

    cursor: bool = False
    focused: bool = False
    marked: bool = False
    gone: bool = False
    """Its data is no more; it stays only so that nothing moves under the reader."""

    @property
    def ground(self) -> Ground:
        """What the row is drawn on."""
        if self.cursor:
            return Ground.CURSOR if self.focused else Ground.REST
        return Ground.MARK if self.marked else Ground.BASE


def title_line(
    title: str, book: RowBook[Row], width: int, *, loaded: bool, note: str = "", above: int = 0, below: int = 0
) -> Line:
    """Title, count, filter with its matches, marks; at the right what is new and how much is above and below."""
    parts: list[Piece] = [Piece(title, Tone.BRIGHT)]
    if loaded:
        count = count_text(len(book))
        if book.filter:
            parts += [
                Piece(f"  {count} of {count_text(book.total)}"),
                Piece("  /", Tone.DIM),
                Piece(book.filter.text, Tone.ACCENT),
            ]
        else:
            parts.append(Piece(f"  {count}"))
        if book.marked:
            parts.append(Piece(f"  {count_text(len(book.marked))} marked", Tone.ACCENT))
    right: list[Piece] = []
    if book.new_count:
        right.append(Piece(f"{count_text(book.new_count)} new ↑", Tone.ACCENT))
    elif book.waiting:
        right.append(Piece("new order ↑", Tone.ACCENT))
    if note:
        right.append(Piece(f"{'  ' if right else ''}{note}", Tone.DIM))
    if above or below:
        arrows = " ".join(f"{sign}{count_text(count)}" for sign, count in (("↑", above), ("↓", below)) if count)
        right.append(Piece(f"{'  ' if right else ''}{arrows}", Tone.DIM))
    return rule(parts, width, right)


def header_line(layout: Sequence[Placed[Row]], sorting: Sorting) -> Line:
    """The columns' titles; the one that is sorted by has a mark."""
    pieces: list[Piece] = [Piece(" " * GUTTER)]
    end = 0
    for placed in layout:
        column = placed.column
        title: list[Piece] = [Piece(column.title, Tone.DIM)]
        if column.key == sorting.column:
            title = [Piece(f"{column.title}{'▼' if sorting.descending else '▲'}", Tone.ACCENT)]
        pieces.append(Piece(" " * (placed.x - end)))
        pieces += fitted(title, placed.width, right=column.align == "right")
        end = placed.x + placed.width
    return Line(tuple(piece for piece in pieces if piece.text))


def row_line(layout: Sequence[Placed[Row]], row: Row, now: float, look: RowLook, tone: Tone | None) -> Line:
    """One row; `tone` is for its plain pieces."""
    whole = Tone.FAINT if look.gone else tone
    pieces: list[Piece] = [Piece("▌", Tone.ACCENT) if look.marked else Piece(" " * GUTTER)]
    end = 0
    for placed in layout:
        if placed.x > end:
            pieces.append(Piece(" " * (placed.x - end)))
        cell = fitted(placed.column.content(row, now), placed.width, right=placed.column.align == "right")
        if whole is not None:
            cell = tuple(Piece(text, whole if look.gone or own is Tone.TEXT else own) for text, own in cell)
        pieces += cell
        end = placed.x + placed.width
    return Line(tuple(pieces), look.ground)


def empty_lines(book: RowBook[Row], nouns: tuple[str, str], empty: str, width: int, *, loaded: bool) -> list[Line]:
    """What to say when no row is shown, and the next step."""
    hint = ""
    if not loaded:
        text = f"Loading {nouns[1]} …"
    elif book.filter:
        text, hint = f"No {nouns[0]} matches.", "esc shows all again"
    else:
        text = empty or f"No {nouns[1]}."
    tone = Tone.CRIT if text.startswith("✖") else Tone.DIM
    lines = [Line(), line(Piece("  "), fitted(Piece(text, tone), max(1, width - 4)))]
    if hint:
        lines.append(line(Piece(f"  {hint}", Tone.DIM)))
    return lines
