"""A widget that draws lines, and on a new set of lines repaints only the cells that differ."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from widgets.painted import Painted
from widgets.palette import palette_of
from widgets.pieces import Line


class LineView(Widget):
    """Draws what `show` was last given. Its height is the number of lines, unless its CSS says otherwise."""

    DEFAULT_CSS = """
    LineView { height: auto; width: 1fr; }
    """
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 -- Textual's name
        super().__init__(id=id, classes=classes)
        self._painted = Painted(self)

    @property
    def lines(self) -> Sequence[Line]:
        """What is shown."""
        return self._painted.lines

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines from now on; costs the terminal only the cells that changed."""
        regions = self._painted.renew(list(lines))
        width = self.size.width
        if regions is None:
            self.refresh(layout=True)
        elif regions := [region for region in regions if region.x < width]:
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
        return len(self._painted.lines)

    def render_line(self, y: int) -> Strip:
        """One line of the content."""
        lines = self._painted.lines
        return self._painted.strip(lines[y] if y < len(lines) else Line(), self.size.width, palette_of(self.app))
