"""Repaints as terminal text, in as few bytes as the standard allows.

Textual ends every piece of text with a reset and begins the next with all its colours, and it begins a partial repaint
at the left edge of the widget in which something changed. Here only what differs from the piece before is said, only
the changed columns are written, and lines that moved as a whole are moved by the terminal itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.strip import SGR_STYLES


class Pen(NamedTuple):
    """The colours and attributes with which a terminal writes, as SGR parameters."""

    attributes: str = ""
    foreground: str = ""
    background: str = ""


PLAIN = Pen()


@lru_cache(2048)
def pen_of(style: Style | None, colours: ColorSystem) -> Pen:
    """The pen for a style on a terminal with these colours."""
    if style is None:
        return PLAIN
    bits = style._attributes & style._set_attributes
    attributes = ";".join(SGR_STYLES[bit] for bit in range(bits.bit_length()) if bits & (1 << bit))
    foreground = "" if style.color is None else ";".join(style.color.downgrade(colours).get_ansi_codes())
    background = "" if style.bgcolor is None else ";".join(style.bgcolor.downgrade(colours).get_ansi_codes(False))
    return Pen(attributes, "" if foreground == "39" else foreground, "" if background == "49" else background)


def change_of_pen(old: Pen, new: Pen) -> str:
    """The shortest sequence from one pen to another."""
    if old == new:
        return ""
    if new == PLAIN:
        return "\x1b[0m"
    if old.attributes == new.attributes:
        changes = []
        if old.foreground != new.foreground:
            changes.append(new.foreground or "39")
        if old.background != new.background:
            changes.append(new.background or "49")
        return f"\x1b[{';'.join(changes)}m"
    wanted = ";".join(part for part in new if part)
    return f"\x1b[{wanted}m" if old == PLAIN else f"\x1b[0;{wanted}m"


class TerminalText:
    """Collects the text of one repaint; begins and ends with a plain pen."""

    def __init__(self, console: Console) -> None:
        self._colours = console._color_system or ColorSystem.TRUECOLOR
        self._parts: list[str] = []
        self._pen = PLAIN

    def move_to(self, x: int, y: int) -> None:
        """Go on at this cell, both from 0."""
        self._parts.append(f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H")

    def write(self, segments: Iterable[Segment]) -> None:
        """Write text in its styles."""
        for text, style, _ in segments:
            if text:
                pen = pen_of(style, self._colours)
                self._parts += (change_of_pen(self._pen, pen), text)
                self._pen = pen

    def sequence(self, sequence: str) -> None:
        """A sequence that leaves the pen alone."""
        self._parts.append(sequence)

    def finish(self) -> str:
        """All of it."""
        self._parts.append(change_of_pen(self._pen, PLAIN))
        return "".join(self._parts)


class TightUpdate(ChopsUpdate):
    """A partial repaint that writes the changed columns only."""

    before = ""
    """Written first: sequences that move lines of the terminal."""

    @classmethod
    def of(cls, update: ChopsUpdate, before: str = "") -> TightUpdate:
        """The same repaint, tighter."""
        tight = cls(update.chops, update.spans, update.chop_ends)
        tight.before = before
        return tight

    def render_segments(self, console: Console) -> str:
        """The text of the repaint."""
        text = TerminalText(console)
        text.sequence(self.before)
        for y, start, end in self.spans:
            cursor = -1
            for chop_end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                left, right = max(x, start), min(chop_end, end)
                if strip is None or left >= right:
                    continue
                if cursor != left:
                    text.move_to(left, y)
                text.write(strip if (left, right) == (x, chop_end) else strip.crop(left - x, right - x))
                cursor = right
        return text.finish()


class TightLayout(LayoutUpdate):
    """A repaint of the whole screen."""

    @classmethod
    def of(cls, update: LayoutUpdate) -> TightLayout:
        """The same repaint, tighter."""
        return cls(update.strips, update.region)

    def render_segments(self, console: Console) -> str:
        """The text of the repaint."""
        text = TerminalText(console)
        for y, strips in enumerate(self.strips, self.region.y):
            text.move_to(self.region.x, y)
            for strip in strips:
                text.write(strip)
        return text.finish()


def moved_lines(first: int, count: int, by: int) -> str:
    """The sequences that move `count` lines of the terminal from line `first` (from 0) down by `by`, or up."""
    operation = f"\x1b[{by}L" if by > 0 else f"\x1b[{-by}M"
    return f"\x1b[{first + 1};{first + count}r\x1b[{first + 1}H{operation}\x1b[r"
