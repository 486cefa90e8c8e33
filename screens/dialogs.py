"""Small questions and the help: shown over a screen, answered with a key, always left with escape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from screens.base import PatientScreen, Result
from widgets.key_hints import Hint, key_name
from widgets.line_view import LineView
from widgets.pieces import Ground, Line, Piece, Tone, fitted, rule, wrapped


class Dialog(ModalScreen[Result], PatientScreen[Result]):
    """Something over a screen."""

    ALLOW_SELECT = False


class LeaveDialog(Dialog[str]):
    """Leaving a console that started the system: does the system stay? Answers `leave`, `stop` or `stay`."""

    DEFAULT_CSS = """
    LeaveDialog LineView { width: 64; max-width: 100%; height: auto; background: $ground-panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,l,y,q", "answer('leave')", "leave it running"),
        Binding("s", "answer('stop')", "stop it"),
        Binding("escape,n,ctrl+c", "answer('stay')", "stay here"),
    ]

    def compose(self) -> ComposeResult:
        """The question."""
        yield LineView()

    def on_mount(self) -> None:
        """Ask."""
        width = min(64, self.app.size.width)
        text = "This console started the system. It can stay running without it: calls are answered, jobs are done."
        lines = [
            Line(),
            Line((Piece("  Leave the system running?", Tone.BRIGHT),)),
            Line(),
            *(Line((Piece("  "), *line.pieces)) for line in wrapped(text, width - 4, Tone.DIM)),
            Line(),
            _choice("⏎", "leave it running", "`askpro` opens the console again"),
            _choice("s", "stop it", "finishes what runs, then shuts down"),
            _choice("esc", "stay here", ""),
            Line(),
        ]
        self.query_one(LineView).show([Line(line.pieces, Ground.PANEL) for line in lines])

    def action_answer(self, answer: str) -> None:
        """Answer."""
        self.dismiss(answer)


def _choice(key: str, title: str, more: str) -> Line:
    return Line((*fitted(Piece(f"  {key}", Tone.ACCENT), 7), *fitted(Piece(title), 18), Piece(more, Tone.DIM)))


class ConfirmDialog(Dialog[bool]):
    """Names what would be done and to how many; nothing happens without `y`."""

    DEFAULT_CSS = """
    ConfirmDialog LineView { width: 64; max-width: 100%; height: auto; background: $ground-panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("escape,n,q,ctrl+c", "answer(False)", "no"),
    ]

    def __init__(self, question: str, more: str, verb: str) -> None:
        """A question.

        Args:
            question: With what and how many, ending in a question mark.
            more: What it means, in a sentence or two.
            verb: What `y` does, in a word.
        """
        super().__init__()
        self._question = question
        self._more = more
        self._verb = verb

    def compose(self) -> ComposeResult:
        """The question."""
        yield LineView()

    def on_mount(self) -> None:
        """Ask."""
        width = min(64, self.app.size.width)
        lines = [
            Line(),
            *(Line((Piece("  "), *line.pieces)) for line in wrapped(self._question, width - 4, Tone.BRIGHT)),
            Line(),
            *(Line((Piece("  "), *line.pieces)) for line in wrapped(self._more, width - 4, Tone.DIM)),
            Line(),
            _choice("y", self._verb, ""),
            _choice("esc", "do nothing", ""),
            Line(),
        ]
        self.query_one(LineView).show([Line(line.pieces, Ground.PANEL) for line in lines])

    def action_answer(self, yes: bool) -> None:
        """Answer."""
        self.dismiss(yes)


class HelpScreen(Dialog[None]):
    """Every key that does something here, by group, as the registry knows them."""

    DEFAULT_CSS = """
    HelpScreen VerticalScroll { width: 100%; height: 100%; background: $ground-base; scrollbar-size-vertical: 1; }
    HelpScreen LineView { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "close", "close"),
        Binding("down,j", "scroll(1)", "down"),
        Binding("up,k", "scroll(-1)", "up"),
        Binding("pagedown,space", "scroll(10)", "page down"),
        Binding("pageup", "scroll(-10)", "page up"),
    ]

    def __init__(self, title: str, groups: Mapping[str, Sequence[Hint]], more: Sequence[str]) -> None:
        """Help for one screen.

        Args:
            title: The screen's.
            groups: Hints (keys separated by spaces, what they do) by heading.
            more: Paragraphs below, such as the list of `:` commands.
        """
        super().__init__()
        self._title = title
        self._groups = groups
        self._more = more

    def compose(self) -> ComposeResult:
        """One long view that scrolls."""
        with VerticalScroll(can_focus=False):
            yield LineView()

    def on_mount(self) -> None:
        """Show it."""
        self.draw()

    def on_resize(self) -> None:
        """Lines are broken anew."""
        self.draw()

    def draw(self) -> None:
        """Draw everything."""
        lines = help_lines(self._title, self._groups, self._more, self.app.size.width - 1)
        self.query_one(LineView).show(lines)

    def action_close(self) -> None:
        """Back to the screen."""
        self.dismiss(None)

    def action_scroll(self, lines: int) -> None:
        """Move by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


def help_lines(title: str, groups: Mapping[str, Sequence[Hint]], more: Sequence[str], width: int) -> list[Line]:
    """The help as lines; two columns when there is room for whole sentences."""
    lines = [rule(Piece(f"Help: {title}", Tone.BRIGHT), width, Piece("esc back", Tone.DIM)), Line()]
    columns = 2 if width >= 160 else 1
    cell = width // columns
    for group, hints in groups.items():
        lines.append(Line((Piece(f" {group}", Tone.ACCENT),)))
        half = -(-len(hints) // columns)
        for index in range(half):
            row: list[Piece] = []
            for column in range(columns):
                place = index + column * half
                if place < len(hints):
                    row += _help_cell(hints[place], cell)
            lines.append(Line(tuple(row)))
        lines.append(Line())
    for paragraph in more:
        lines += [Line((Piece(" "), *line.pieces)) for line in wrapped(paragraph, width - 2, Tone.DIM, most=30)]
    return lines


def _help_cell(hint: Hint, width: int) -> tuple[Piece, ...]:
    keys = "  ".join(key_name(key) for key in hint.key.split())
    tone = Tone.TEXT if hint.enabled else Tone.FAINT
    text = hint.title if hint.enabled else f"{hint.title} (read only)"
    return (
        Piece("   "),
        *fitted(Piece(keys, Tone.BRIGHT if hint.enabled else Tone.FAINT), 16),
        *fitted(Piece(text, tone), width - 20),
        Piece(" "),
    )
