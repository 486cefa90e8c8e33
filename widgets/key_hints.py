"""The line at the bottom: which key does what, here and now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from widgets.line_view import LineView
from widgets.pieces import Line, Piece, Tone

KEY_NAMES = {
    "enter": "⏎",
    "escape": "esc",
    "space": "space",
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "equals_sign": "=",
    "plus": "+",
    "minus": "-",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
}


def key_name(key: str) -> str:
    """A key as it is printed: `⏎`, `?`, `ctrl+p`, `R`."""
    *modifiers, last = key.split("+")
    shown = KEY_NAMES.get(last, last)
    if modifiers == ["shift"] and len(last) == 1:
        return last.upper()
    return "+".join([*modifiers, shown])


@dataclass(frozen=True, slots=True)
class Hint:
    """One key and what it does."""

    key: str
    title: str
    enabled: bool = True
    current: bool = False
    """For the screens: the one that is shown."""


def hint_line(hints: Sequence[Hint], width: int, right: Sequence[Hint] = ()) -> Line:
    """The hints that fit, in their order; those at the right end are always kept."""
    tail = [piece for hint in right for piece in _pieces(hint)]
    room = width - sum(len(piece.text) for piece in tail) - 1
    pieces: list[Piece] = []
    used = 0
    for hint in hints:
        own = _pieces(hint)
        cells = sum(len(piece.text) for piece in own)
        if used + cells > room:
            continue
        pieces += own
        used += cells
    return Line((*pieces, Piece(" " * max(0, room - used)), *tail))


def _pieces(hint: Hint) -> tuple[Piece, ...]:
    key_tone = Tone.ACCENT if hint.enabled else Tone.FAINT
    title_tone = Tone.BRIGHT if hint.current else Tone.DIM if hint.enabled else Tone.FAINT
    return (Piece(f" {key_name(hint.key)}", key_tone), Piece(f" {hint.title} ", title_tone))


class KeyHints(LineView):
    """Draws hints at the bottom of a screen."""

    DEFAULT_CSS = """
    KeyHints { height: auto; }
    """
