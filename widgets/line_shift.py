"""Lines that move up or down as a whole: a terminal can move them itself, for a dozen bytes instead of thousands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from textual.widget import Widget

FURTHEST = 12
"""Lines by which a move is looked for."""

ENOUGH = 0.6
"""Share of the lines that must come along for a move to be worth it."""


@runtime_checkable
class MovesLines(Protocol):
    """An app whose terminal can move lines."""

    def move_lines(self, widget: Widget, first: int, count: int, by: int) -> bool:
        """Move lines on the terminal together with the next repaint.

        Args:
            widget: Whose lines they are.
            first: The first line of the range, within the widget.
            count: Lines of the range; what is moved out of it is lost, what becomes free is undefined.
            by: Lines to move down; negative for up.

        Returns:
            False when that cannot be done now; then everything that changed must be repainted.
        """


def shift_of(old: Sequence[str | None], new: Sequence[str | None]) -> int:
    """By how many lines the keys of `old` have moved down in `new`; negative for up, 0 for no common move."""
    height = len(new)
    if len(old) != height or height < 4:
        return 0
    still = sum(1 for was, now in zip(old, new, strict=True) if was == now and was is not None)
    best, gain = 0, still
    for by in range(1, min(FURTHEST, height - 1) + 1):
        for signed in (by, -by):
            moved = _common(old, new, signed)
            if moved > gain:
                best, gain = signed, moved
    return best if gain >= ENOUGH * height and gain > still + 3 else 0


def _common(old: Sequence[str | None], new: Sequence[str | None], by: int) -> int:
    pairs = zip(old, new[by:], strict=False) if by > 0 else zip(old[-by:], new, strict=False)
    return sum(1 for was, now in pairs if was == now and was is not None)
