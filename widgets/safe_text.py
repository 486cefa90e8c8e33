"""Text from data, made harmless: no control, no escape, no bidi trick, no pile of marks, known width, bounded length.

Everything a caller, a provider or a company wrote passes `safe_text` before it is measured or drawn.
Nothing here parses markup: a name such as `[red]x[/]` is shown as it is.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import get_character_cell_size

LIMIT = 400
"""Longest text that is drawn anywhere, in characters; more is cut with an ellipsis."""

MARKS_PER_CELL = 8
"""Combining marks that one cell may carry; further ones are dropped."""

REPLACEMENT = "�"
ELLIPSIS = "…"

_SPACES = frozenset("\t\n\r\f\v\u0085\u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
_INVISIBLE = frozenset("\u00ad\u200b\u200c\u200d\u2060\ufeff" + "".join(map(chr, range(0xFE00, 0xFE10))))
"""Joiners and selectors: without them every character has its own, known width."""


def safe_text(text: str, limit: int = LIMIT) -> str:
    """`text` without anything that a terminal could obey, at most `limit` characters long; idempotent."""
    if len(text) <= limit and text.isprintable() and text.isascii():
        return text
    return _made_safe(text if len(text) <= limit else text[:limit] + ELLIPSIS, limit)


@lru_cache(4096)
def _made_safe(text: str, limit: int) -> str:
    cut = len(text) > limit
    if cut:
        text = text[:limit]
    if not text.isprintable() or (text and max(text) >= "\u0300"):
        text = "".join(_harmless(text))
    return f"{text[: limit - 1]}{ELLIPSIS}" if cut else text


def _harmless(text: str) -> list[str]:
    kept: list[str] = []
    marks = 0
    for character in text:
        if character in _INVISIBLE:
            continue
        if character in _SPACES:
            kept.append(" ")
            marks = 0
        elif not character.isprintable():
            kept.append(REPLACEMENT)
            marks = 0
        elif unicodedata.category(character) in {"Mn", "Me"}:
            if not kept:
                kept.append(REPLACEMENT)
            marks += 1
            if marks <= MARKS_PER_CELL:
                kept.append(character)
        else:
            kept.append(character)
            marks = 0
    return kept


def cell_width(text: str) -> int:
    """Cells that safe text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(get_character_cell_size, text))


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Text made safe and exactly `width` cells wide: padded, or cut with an ellipsis."""
    text = safe_text(text)
    cells = cell_width(text)
    if cells > width:
        text = cut(text, width)
        cells = cell_width(text)
    space = " " * (width - cells)
    return space + text if right else text + space


def cut(text: str, width: int) -> str:
    """Safe text in at most `width` cells, with an ellipsis where something was cut off."""
    if width <= 0:
        return ""
    if cell_width(text) <= width:
        return text
    return head(text, width - 1).rstrip() + ELLIPSIS


def head(text: str, width: int) -> str:
    """The beginning of safe text in at most `width` cells, without an ellipsis."""
    if text.isascii():
        return text[:width]
    room = width
    for index, character in enumerate(text):
        room -= get_character_cell_size(character)
        if room < 0:
            return text[:index]
    return text
