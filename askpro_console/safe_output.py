"""The last line of defence: whatever reaches a line of the screen, no control character leaves for the terminal."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter


class HarmlessLines(LineFilter):
    """Drops every character that a terminal could obey from drawn text.

    Text is made safe before it is measured (`widgets.safe_text`); this catches what came another way, such as through
    a widget of Textual's own. Dropped characters have no width, so nothing shifts.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments without control characters."""
        if all(segment.text.isprintable() for segment in segments):
            return segments
        return [
            segment
            if segment.text.isprintable()
            else Segment("".join(filter(str.isprintable, segment.text)), segment.style)
            for segment in segments
        ]
