"""Questions that want more than a key: some lines, fields to type into, and `y` or a typed word to agree.

`tab` goes through the fields and back to the question; only there `y` agrees, so that nothing happens while one types.
`esc` always leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input

from screens.base import Result
from screens.dialogs import Dialog
from widgets.line_view import LineView
from widgets.pieces import Ground, Line, Piece, Tone, fitted, wrapped
from widgets.safe_text import safe_text

WIDTH = 78
"""Cells of a form where there is room."""

ROOMY = 26
"""From so many lines on, a form has margins."""

LABEL = 14

KEY = 10
"""Cells of a key in front of what it does."""

LONGEST = 256
"""Characters that a field takes."""


@dataclass(frozen=True, slots=True)
class Blank:
    """One field of a form."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    """Shown in the empty field."""


class Field(Input):
    """An input without blinking; what is pasted comes in harmless and short."""

    def __init__(self, name: str, value: str = "", hint: str = "") -> None:
        super().__init__(
            value, placeholder=hint, id=f"field-{name}", max_length=LONGEST, compact=True, select_on_focus=False
        )
        self.blank_name = name
        self.cursor_blink = False

    def on_paste(self, event: events.Paste) -> None:
        """Pasted text comes in harmless and short."""
        event.stop()
        event.prevent_default()
        self.insert_text_at_cursor(safe_text(event.text, LONGEST))


class FieldRow(Horizontal):
    """A label and its field."""

    DEFAULT_CSS = """
    FieldRow { height: 1; }
    FieldRow > LineView { width: 16; }
    FieldRow > Field { width: 1fr; background: $ground-panel; }
    FieldRow > Field:focus { background: $ground-rest; }
    """

    def __init__(self, blank: Blank, ground: Ground = Ground.PANEL) -> None:
        super().__init__()
        self._blank = blank
        self._ground = ground

    def compose(self) -> ComposeResult:
        """Label and field."""
        yield LineView()
        yield Field(self._blank.name, self._blank.value, self._blank.hint)

    def on_mount(self) -> None:
        """Show the label."""
        label = Piece(f"  {self._blank.label:<{LABEL}}", Tone.DIM)
        self.query_one(LineView).show([Line((label,), self._ground)])


class Form(Dialog[Result]):
    """A dialog with fields. Subclasses give `blanks`, what stands above and below, and what agreeing does."""

    DEFAULT_CSS = """
    Form #form { width: 78; max-width: 100%; height: auto; max-height: 100%; background: $ground-panel;
                 scrollbar-size-vertical: 1; }
    """
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", priority=True),
        Binding("ctrl+c", "leave", "leave", priority=True),
        Binding("tab,down", "step(1)", "next", priority=True),
        Binding("shift+tab,up", "step(-1)", "back", priority=True),
        Binding("y", "agree", "yes"),
    ]
    FIRST: ClassVar[str] = ""
    """The field that has the keys at first; without one the question has them."""

    def blanks(self) -> Sequence[Blank]:
        """The fields, from top to bottom."""
        return ()

    def above(self, width: int) -> Iterable[Line]:
        """What stands above the fields."""
        return ()

    def below(self, width: int) -> Iterable[Line]:
        """What stands below them."""
        return ()

    def action_agree(self) -> None:
        """`y`, or enter in the last field of a form that takes it."""

    def action_leave(self) -> None:
        """Do nothing."""
        self.dismiss(None)

    def changed(self, name: str, value: str) -> None:
        """Something else stands in a field."""

    def entered(self, name: str) -> None:
        """Enter in a field: on to the next."""
        self.action_step(1)

    # For subclasses

    @property
    def width(self) -> int:
        """Cells across."""
        return min(WIDTH, self.app.size.width)

    def value(self, name: str) -> str:
        """What stands in a field."""
        found = self.query(f"#field-{name}")
        return found.first(Field).value.strip() if found else ""

    @property
    def typing(self) -> str:
        """The field that has the keys; empty when the question has them."""
        return self.focused.blank_name if isinstance(self.focused, Field) else ""

    def draw(self) -> None:
        """Draw what stands above and below anew."""
        if not self.is_mounted or not self.query("#above"):
            return
        width = self.width
        above, below = list(self.above(width)), list(self.below(width))
        if self.app.size.height < ROOMY:
            # On a small terminal the margins go before anything that is said.
            above, below = above[1:], below[:-1]
        self.query_one("#above", LineView).show([Line(line.pieces, Ground.PANEL) for line in above])
        self.query_one("#below", LineView).show([Line(line.pieces, Ground.PANEL) for line in below])

    def show_fields(self, *, shown: bool) -> None:
        """Show the fields or hide them."""
        for row in self.query(FieldRow):
            row.display = shown

    # Inside

    def compose(self) -> ComposeResult:
        """Lines, fields, lines."""
        with VerticalScroll(id="form", can_focus=False):
            yield LineView(id="above")
            for blank in self.blanks():
                yield FieldRow(blank)
            yield LineView(id="below")

    def on_mount(self) -> None:
        """Draw it, and give the keys to the first field if there is to be one."""
        self.draw()
        if self.FIRST:
            # At once, so that no key typed ahead is lost.
            self.set_focus(self.query_one(f"#field-{self.FIRST}", Field))

    def on_resize(self) -> None:
        """Lines are broken anew."""
        self.draw()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Tell the form."""
        event.stop()
        if isinstance(event.input, Field):
            self.changed(event.input.blank_name, event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in a field."""
        event.stop()
        if isinstance(event.input, Field):
            self.entered(event.input.blank_name)

    def action_step(self, by: int) -> None:
        """To the next field, and after the last one to the question."""
        fields = [field for field in self.query(Field) if field.parent is not None and field.parent.display]
        places: list[Field | None] = [None, *fields]
        focused = self.focused if isinstance(self.focused, Field) else None
        here = places.index(focused) if focused in places else 0
        field = places[(here + by) % len(places)]
        self.set_focus(field)
        if field is not None:
            field.cursor_position = len(field.value)
        self.draw()


def told(text: str, width: int, tone: Tone = Tone.TEXT, *, most: int = 12) -> list[Line]:
    """Text between the margins of a dialog."""
    return [Line((Piece("  "), *line.pieces)) for line in wrapped(text, width - 4, tone, most=most)]


def fact(label: str, *pieces: Piece, width: int) -> Line:
    """A labelled fact of a dialog."""
    return Line((Piece(f"  {label:<{LABEL}}", Tone.DIM), *fitted(pieces, width - LABEL - 4)))


def choice(key: str, title: str, more: str = "", *, possible: bool = True) -> Line:
    """A key and what it does; one that does nothing now stands in brackets, so that it shows without colour too."""
    tones = (Tone.ACCENT, Tone.TEXT, Tone.DIM) if possible else (Tone.FAINT, Tone.FAINT, Tone.FAINT)
    pieces = fitted(Piece(f"  {key}" if possible else f" ({key})", tones[0]), KEY)
    if not more:
        return Line((*pieces, Piece(title, tones[1])))
    return Line((*pieces, *fitted(Piece(title, tones[1]), max(26, len(title) + 2)), Piece(more, tones[2])))
