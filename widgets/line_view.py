"""A widget that draws lines, and on a new set of lines repaints only the cells that differ."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from widgets.palette import changed_spans, palette_of
from widgets.pieces import Line


class LineView(Widget):
    """Draws what `show` was last given. Its height is the number of lines, unless its CSS says otherwise."""

    DEFAULT_CSS = """
    LineView { height: auto; width: 1fr; }
    """
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 -- Textual's name
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = []

    @property
    def lines(self) -> Sequence[Line]:
        """What is shown."""
        return self._lines

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines from now on; costs the terminal only the cells that changed."""
        old, self._lines = self._lines, list(lines)
        if len(old) != len(self._lines):
            self.refresh(layout=True)
            return
        width = self.size.width
        regions = [
            Region(start, y, end - start, 1)
            for y, (was, now) in enumerate(zip(old, self._lines, strict=True))
            if was != now
            for start, end in changed_spans(was, now)
            if start < width
        ]
        if regions:
            self.refresh(*regions)

    def on_mount(self) -> None:
        """Draw anew when the theme changes."""
        self.app.theme_changed_signal.subscribe(self, self._repaint)

    def _repaint(self, _theme: object) -> None:
        self.refresh()

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """All there is."""
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One row for each line."""
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        """One line of the content."""
        line = self._lines[y] if y < len(self._lines) else Line()
        return palette_of(self.app).strip(line, self.size.width)
