"""Tones and grounds as terminal styles, from the current theme's variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.strip import Strip

from widgets.pieces import Ground, Line, Piece, Tone
from widgets.safe_text import cell_width, head, safe_text

if TYPE_CHECKING:
    from textual.app import App

TONE_VARIABLES: dict[Tone, tuple[str, str]] = {
    Tone.TEXT: ("tone-text", "foreground"),
    Tone.DIM: ("tone-dim", "text-muted"),
    Tone.FAINT: ("tone-faint", "text-disabled"),
    Tone.BRIGHT: ("tone-bright", "foreground"),
    Tone.ACCENT: ("tone-accent", "accent"),
    Tone.OK: ("tone-ok", "success"),
    Tone.WARN: ("tone-warn", "warning"),
    Tone.CRIT: ("tone-crit", "error"),
    Tone.UNKNOWN: ("tone-unknown", "secondary"),
}
"""The theme variable of each tone, and the one to take when a theme does not define it."""

GROUND_VARIABLES: dict[Ground, tuple[str, str]] = {
    Ground.BASE: ("ground-base", "background"),
    Ground.PANEL: ("ground-panel", "panel"),
    Ground.CURSOR: ("ground-cursor", "primary"),
    Ground.REST: ("ground-rest", "surface"),
    Ground.MARK: ("ground-mark", "surface"),
}

BOLD = frozenset({Tone.BRIGHT, Tone.WARN, Tone.CRIT})


@dataclass(slots=True, eq=False)
class Palette:
    """The styles of one theme. Identity is what caches compare: a new theme is a new palette."""

    variables: dict[str, str]
    ansi: bool
    _styles: dict[tuple[Tone, Ground], Style] = field(default_factory=dict)

    def style(self, tone: Tone, ground: Ground = Ground.BASE) -> Style:
        """The style of a tone on a ground."""
        style = self._styles.get((tone, ground))
        if style is None:
            style = self._styles[tone, ground] = self._make(tone, ground)
        return style

    def strip(self, line: Line, width: int) -> Strip:
        """The line in exactly `width` cells. Every text passes `safe_text` here, whatever it passed before."""
        ground = line.ground
        segments: list[Segment] = []
        room = width
        text_so_far = ""
        style_so_far: Style | None = None
        for text, tone in line.pieces:
            safe = safe_text(text)
            cells = cell_width(safe)
            if cells > room:
                safe = head(safe, room)
                cells = cell_width(safe)
            if not safe:
                continue
            room -= cells
            style = self.style(tone, ground)
            if style is style_so_far or (style_so_far is not None and safe.isspace()):
                text_so_far += safe
            else:
                if text_so_far and style_so_far is not None:
                    segments.append(Segment(text_so_far, style_so_far))
                text_so_far, style_so_far = safe, style
            if room <= 0:
                break
        if room > 0:
            text_so_far += " " * room
            style_so_far = style_so_far or self.style(Tone.TEXT, ground)
        if text_so_far and style_so_far is not None:
            segments.append(Segment(text_so_far, style_so_far))
        return Strip(segments, width)

    def _make(self, tone: Tone, ground: Ground) -> Style:
        foreground = self._colour(*TONE_VARIABLES[tone])
        background = self._colour(*GROUND_VARIABLES[ground])
        bold = tone in BOLD
        if self.ansi:
            return self._plain_style(tone, ground, foreground, bold=bold)
        if ground is Ground.CURSOR:
            own = self.variables.get("cursor-text")
            if own and tone in {Tone.TEXT, Tone.DIM, Tone.FAINT, Tone.BRIGHT, Tone.ACCENT}:
                foreground = Color.parse(own)
        return Style(color=foreground.rich_color, bgcolor=background.rich_color, bold=bold or None)

    @staticmethod
    def _plain_style(tone: Tone, ground: Ground, colour: Color, *, bold: bool) -> Style:
        """For terminals with 16 colours or none: attributes carry what colours cannot."""
        dim = tone in {Tone.DIM, Tone.FAINT}
        named = None if tone in {Tone.TEXT, Tone.BRIGHT, Tone.DIM, Tone.FAINT} else colour.rich_color
        if ground is Ground.CURSOR:
            return Style(color=None, reverse=True, bold=bold or None)
        underline = ground is Ground.REST
        return Style(
            color=named,
            bold=bold or ground is Ground.MARK or None,
            dim=(dim and ground is not Ground.MARK) or None,
            underline=underline or None,
        )

    def _colour(self, name: str, otherwise: str) -> Color:
        value = self.variables.get(name) or self.variables.get(otherwise) or "ansi_default"
        if value.startswith("auto"):
            value = self.variables.get("foreground", "ansi_default")
        return Color.parse(value)


_palettes: dict[tuple[str, bool], Palette] = {}


def palette_of(app: App[Any]) -> Palette:
    """The palette of the app's current theme."""
    key = (app.theme, app.native_ansi_color)
    palette = _palettes.get(key)
    if palette is None:
        palette = _palettes[key] = Palette(dict(app.theme_variables), app.native_ansi_color)
    return palette


def changed_spans(old: Line, new: Line, gap: int = 10) -> list[tuple[int, int]]:
    """Column ranges [start, end) in which two lines differ; ranges less than `gap` cells apart are joined."""
    if old.ground is not new.ground:
        return [(0, max(old.width, new.width))]
    first = _equal_pieces(old.pieces, new.pieces)
    offset = sum(cell_width(safe_text(piece.text)) for piece in new.pieces[:first])
    before, after = _cells(old.pieces[first:]), _cells(new.pieces[first:])
    length = max(len(before), len(after))
    before += [_BLANK] * (length - len(before))
    after += [_BLANK] * (length - len(after))
    spans: list[tuple[int, int]] = []
    for column, (was, now) in enumerate(zip(before, after, strict=True)):
        if was == now:
            continue
        if spans and column - spans[-1][1] < gap:
            spans[-1] = (spans[-1][0], column + 1)
        else:
            spans.append((column, column + 1))
    return [
        (offset + _whole_start(before, after, start), offset + _whole_end(before, after, end)) for start, end in spans
    ]


def _equal_pieces(old: Sequence[Piece], new: Sequence[Piece]) -> int:
    """How many pieces are equal from the left; a mark at the beginning of the next belongs to the one before it."""
    count = 0
    for was, now in zip(old, new, strict=False):
        if was != now:
            break
        count += 1
    return max(0, count - 1)


_BLANK: tuple[str, Tone] = (" ", Tone.TEXT)
_TAIL = ""
"""The second cell of a wide character."""


def _cells(pieces: Sequence[Piece]) -> list[tuple[str, Tone]]:
    cells: list[tuple[str, Tone]] = []
    for text, tone in pieces:
        safe = safe_text(text)
        if safe.isascii():
            # The tone of a space does not show.
            cells.extend((character, Tone.TEXT if character == " " else tone) for character in safe)
            continue
        for character in safe:
            width = cell_width(character)
            if width == 0 and cells:
                cells[-1] = (cells[-1][0] + character, cells[-1][1])
                continue
            cells.append((character, Tone.TEXT if character == " " else tone))
            if width == 2:
                cells.append((_TAIL, tone))
    return cells


def _whole_start(before: list[tuple[str, Tone]], after: list[tuple[str, Tone]], column: int) -> int:
    while column > 0 and (before[column][0] == _TAIL or after[column][0] == _TAIL):
        column -= 1
    return column


def _whole_end(before: list[tuple[str, Tone]], after: list[tuple[str, Tone]], column: int) -> int:
    while column < len(before) and (before[column][0] == _TAIL or after[column][0] == _TAIL):
        column += 1
    return column


def blank_piece(width: int) -> Piece:
    """Spaces."""
    return Piece(" " * width)
