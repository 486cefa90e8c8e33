"""What is drawn, as plain data: pieces of text with a tone, in lines on a ground.

Screens make lines from snapshots with pure functions; `LineView` and `VirtualTable` draw them. A tone says what a text
means (`Tone.WARN`), never its colour: that is the theme's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from widgets.safe_text import ELLIPSIS, cell_width, cut, head, safe_text


class Tone(StrEnum):
    """What a piece of text means."""

    TEXT = "text"
    """Plain: a healthy value."""
    DIM = "dim"
    """Labels, units, what is only context."""
    FAINT = "faint"
    """Rules and separators."""
    BRIGHT = "bright"
    """The figure or name one looks for first."""
    ACCENT = "accent"
    """Focus and keys."""
    OK = "ok"
    """A good end worth noticing; health itself is plain."""
    WARN = "warn"
    CRIT = "crit"
    UNKNOWN = "unknown"


class Ground(StrEnum):
    """What a line is drawn on."""

    BASE = "base"
    PANEL = "panel"
    """Dialogs."""
    CURSOR = "cursor"
    """The row that keys act on."""
    REST = "rest"
    """The cursor's row while its list has no focus."""
    MARK = "mark"
    """A marked row."""


class Piece(NamedTuple):
    """Some text in one tone."""

    text: str
    tone: Tone = Tone.TEXT


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen."""

    pieces: tuple[Piece, ...] = ()
    ground: Ground = Ground.BASE

    @property
    def width(self) -> int:
        """Cells that the pieces take."""
        return sum(cell_width(safe_text(piece.text)) for piece in self.pieces)

    @property
    def plain(self) -> str:
        """The text alone."""
        return "".join(safe_text(piece.text) for piece in self.pieces)


Content = str | Piece | Sequence[Piece]
"""What a cell or a part of a line may be given as; a bare string is plain text."""

GLYPHS = {Tone.OK: "●", Tone.WARN: "▲", Tone.CRIT: "✖", Tone.UNKNOWN: "?"}
"""Every state has a glyph, so that colour never stands alone."""


def verdict(tone: Tone, text: str = "") -> tuple[Piece, ...]:
    """A state's glyph and its text: `▲ 1`. Health is drawn plainly."""
    shown = Tone.TEXT if tone is Tone.OK else tone
    glyph = GLYPHS[tone]
    return (Piece(f"{glyph} {text}" if text else glyph, shown),)


def pieces_of(content: Content) -> tuple[Piece, ...]:
    """The content as pieces."""
    if isinstance(content, str):
        return (Piece(content),)
    if isinstance(content, Piece):
        return (content,)
    return tuple(content)


def line(*parts: Content, ground: Ground = Ground.BASE) -> Line:
    """A line of the parts, one after the other."""
    return Line(tuple(piece for part in parts for piece in pieces_of(part)), ground)


def fitted(content: Content, width: int, *, right: bool = False) -> tuple[Piece, ...]:
    """The content in exactly `width` cells: padded on one side, or cut with an ellipsis."""
    safe = [Piece(safe_text(text), tone) for text, tone in pieces_of(content)]
    room = width - sum(cell_width(text) for text, _ in safe)
    if room >= 0:
        if not room:
            return tuple(safe)
        space = Piece(" " * room)
        return (space, *safe) if right else (*safe, space)
    return _shortened(safe, width)


def _shortened(safe: Sequence[Piece], width: int) -> tuple[Piece, ...]:
    room = width - 1
    kept: list[Piece] = []
    for text, tone in safe:
        cells = cell_width(text)
        if cells <= room:
            kept.append(Piece(text, tone))
            room -= cells
            continue
        part = head(text, room)
        room -= cell_width(part)
        kept.append(Piece(f"{part}{ELLIPSIS}" if width > 0 else "", tone))
        break
    if room > 0:
        kept.append(Piece(" " * room))
    return tuple(kept)


def spread(left: Content, right: Content, width: int) -> tuple[Piece, ...]:
    """`left` and `right` at the two ends of `width` cells; when both do not fit, the left one is cut."""
    tail = pieces_of(right)
    taken = sum(cell_width(safe_text(piece.text)) for piece in tail)
    return (*fitted(left, max(0, width - taken)), *fitted(tail, min(width, taken)))


def rule(title: Content, width: int, right: Content = ()) -> Line:
    """A titled rule: `── Title ───────────── right ──`."""
    head = pieces_of(title)
    tail = pieces_of(right)
    tail_width = sum(cell_width(safe_text(piece.text)) for piece in tail)
    if tail_width + 12 > width:
        tail, tail_width = (), 0
    ending: tuple[Piece, ...] = (Piece(" "), *tail, Piece(" ──", Tone.FAINT)) if tail else ()
    room = width - (tail_width + 4 if tail else 0) - 4
    if not head:
        return Line((Piece("─" * (width - (tail_width + 4 if tail else 0)), Tone.FAINT), *ending))
    head_width = sum(cell_width(safe_text(piece.text)) for piece in head)
    if head_width > room:
        head, head_width = fitted(head, max(0, room)), max(0, room)
    return Line((Piece("── ", Tone.FAINT), *head, Piece(f" {'─' * (room - head_width)}", Tone.FAINT), *ending))


def beside(left: Sequence[Line], left_width: int, right: Sequence[Line], gap: int = 1) -> list[Line]:
    """Two blocks of lines side by side; the left one padded to `left_width`."""
    lines: list[Line] = []
    for index in range(max(len(left), len(right))):
        first = left[index].pieces if index < len(left) else ()
        second = right[index].pieces if index < len(right) else ()
        lines.append(Line((*fitted(first, left_width), Piece(" " * gap), *second)))
    return lines


def wrapped(text: str, width: int, tone: Tone = Tone.TEXT, most: int = 12) -> list[Line]:
    """Text broken at spaces into at most `most` lines of `width` cells."""
    lines: list[str] = []
    current = ""
    for word in safe_text(text, 4000).split():
        shown = cut(word, width)
        if current and cell_width(current) + 1 + cell_width(shown) > width:
            lines.append(current)
            current = shown
        else:
            current = f"{current} {shown}" if current else shown
    if current:
        lines.append(current)
    if len(lines) > most:
        lines = [*lines[: most - 1], cut(f"{lines[most - 1]} {ELLIPSIS}  ", width)]
    return [Line((Piece(entry, tone),)) for entry in lines]


def text_of(lines: Iterable[Line]) -> str:
    """The lines as plain text, for tests and for copying."""
    return "\n".join(entry.plain.rstrip() for entry in lines)
