"""What a widget has painted: remembers its lines and finds the least that must be repainted for the next ones."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from widgets.line_shift import MovesLines, shift_of
from widgets.palette import Palette, changed_spans
from widgets.pieces import Ground, Line

REMEMBERED_STRIPS = 600

UNKNOWN = Line(ground=Ground.PANEL)
"""A line of which nothing is known: it differs from every other."""


class Painted:
    """The lines of one widget, and their strips."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self.lines: list[Line] = []
        self._keys: list[str | None] = []
        self._strips: dict[Line, Strip] = {}
        self._palette: Palette | None = None
        self._width = 0

    def renew(self, lines: list[Line], keys: list[str | None] | None = None) -> list[Region] | None:
        """Take new lines; what must be repainted for them, or None for everything.

        Args:
            lines: The widget's lines from now on.
            keys: What stands on the last `len(keys)` of them, for lists whose lines move together.
        """
        old, self.lines = self.lines, lines
        old_keys, self._keys = self._keys, keys or []
        if len(old) != len(lines):
            return None
        if keys:
            old = self._moved(old, old_keys, keys)
        return [
            Region(start, y, end - start, 1)
            for y, (was, now) in enumerate(zip(old, lines, strict=True))
            if was is not now and was != now
            for start, end in changed_spans(was, now)
        ]

    def strip(self, line: Line, width: int, palette: Palette) -> Strip:
        """The line as Textual draws it."""
        if self._palette is not palette or self._width != width or len(self._strips) >= REMEMBERED_STRIPS:
            self._strips.clear()
            self._palette, self._width = palette, width
        strip = self._strips.get(line)
        if strip is None:
            strip = self._strips[line] = palette.strip(line, width)
        return strip

    def _moved(self, old: list[Line], old_keys: Sequence[str | None], keys: Sequence[str | None]) -> list[Line]:
        """What is on the terminal after it has moved lines by itself, when rows have moved together."""
        by = shift_of(old_keys, keys)
        app, first = self._widget.app, len(old) - len(keys)
        if not by or not isinstance(app, MovesLines) or not app.move_lines(self._widget, first, len(keys), by):
            return old
        body = old[first:]
        unknown = [UNKNOWN] * abs(by)
        return old[:first] + (unknown + body[:-by] if by > 0 else body[-by:] + unknown)
