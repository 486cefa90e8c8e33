"""What leaves for the terminal: no control character from data, and of a repaint only the cells that changed."""

from __future__ import annotations

from rich.console import Console
from rich.control import Control
from rich.segment import Segment
from textual._compositor import ChopsUpdate
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


class TightUpdate(ChopsUpdate):
    """A partial repaint that writes the changed columns only.

    Textual's own begins at the left edge of the widget in which something changed: a clock at the right end of a line
    would cost the whole line every second.
    """

    @classmethod
    def of(cls, update: ChopsUpdate) -> TightUpdate:
        """The same repaint, tighter."""
        return cls(update.chops, update.spans, update.chop_ends)

    def render_segments(self, console: Console) -> str:
        """The escape sequences and text of the repaint."""
        written: list[str] = []
        for y, start, end in self.spans:
            cursor = -1
            for chop_end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                left, right = max(x, start), min(chop_end, end)
                if strip is None or left >= right:
                    continue
                if cursor != left:
                    written.append(Control.move_to(left, y).segment.text)
                part = strip if (left, right) == (x, chop_end) else strip.crop(left - x, right - x)
                written.append(part.render(console))
                cursor = right
        return "".join(written)
