"""Editing a held job's payload and running it: the original stays as it was, and both jobs know of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, TextArea

from screens.changing import carry_out
from screens.dialogs import Dialog
from screens.forms import Blank, Field, FieldRow, told
from screens.link import module
from screens.payloads import MOST, Edited, edited, laid_out, pasted
from widgets.key_hints import Hint, hint_line
from widgets.line_view import LineView
from widgets.pieces import Ground, Line, Piece, Tone, fitted, rule

if TYPE_CHECKING:
    from textual.timer import Timer

    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from screens.host import Host, Severity

REST_S = 0.15
"""So long after the last key the text is looked at."""


class PayloadArea(TextArea):
    """The editor itself: quiet, tab leaves it."""

    DEFAULT_CSS = """
    PayloadArea { height: 1fr; border: none; padding: 0; background: $ground-base; color: $tone-text;
                  scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1; }
    PayloadArea:focus { border: none; }
    PayloadArea .text-area--cursor-line { background: $ground-rest; }
    PayloadArea .text-area--gutter { color: $tone-faint; background: $ground-base; }
    PayloadArea .text-area--cursor-gutter { color: $tone-dim; background: $ground-rest; }
    PayloadArea .text-area--selection { background: $ground-mark; }
    """

    def __init__(self, text: str) -> None:
        super().__init__(text, tab_behavior="focus", show_line_numbers=True, soft_wrap=True)
        self.cursor_blink = False

    async def on_paste(self, event: events.Paste) -> None:
        """Pasted text comes in harmless, and no longer than can be edited."""
        event.stop()
        event.prevent_default()
        self.insert(pasted(event.text[:MOST]))


class EditDialog(Dialog[int]):
    """The whole screen: the payload, what is wrong or changed, and the job's number to be typed to run it."""

    DEFAULT_CSS = """
    EditDialog { layout: vertical; align: left top; background: $ground-base; }
    EditDialog #head, EditDialog #foot { height: auto; }
    EditDialog FieldRow > Field { background: $ground-base; }
    """
    AUTO_FOCUS = "PayloadArea"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", priority=True),
        Binding("ctrl+c", "leave", "leave", priority=True),
        Binding("ctrl+s", "confirm", "run it", priority=True),
        Binding("tab", "step(1)", "next", priority=True),
        Binding("shift+tab", "step(-1)", "back", priority=True),
    ]

    def __init__(
        self, job_id: int, entrypoint: str, payload: bytes, *, reason: str = "", after: Callable[[], None] | None = None
    ) -> None:
        """An editor for the payload of a held job; `after` is called when another job was put in."""
        super().__init__()
        self._job_id = job_id
        self._entrypoint = entrypoint
        self._payload = payload
        self._reason = reason
        self._after = after
        self._edited = Edited(payload)
        self._wrong = ""
        self._is_leaving = False
        self._busy = False
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """Heading, editor, fields, what the keys do."""
        yield LineView(id="head")
        yield PayloadArea(laid_out(self._payload))
        yield FieldRow(Blank("reason", "Why", self._reason, "for the record"), Ground.BASE)
        yield FieldRow(Blank("number", "Type number", hint=f"{self._job_id}, to run it with this payload"), Ground.BASE)
        yield LineView(id="foot")

    def on_mount(self) -> None:
        """Draw it; the editor has the keys at once, so that none typed ahead is lost."""
        self._draw()
        self.set_focus(self.query_one(PayloadArea))

    def on_resize(self) -> None:
        """Lines are broken anew."""
        self._draw()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Look at the text once the typing rests."""
        event.stop()
        self._is_leaving = False
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(REST_S, self._look)

    def on_input_changed(self, event: Input.Changed) -> None:
        """The number may be right by now."""
        event.stop()
        self._wrong = ""
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the reason goes on, in the number runs it."""
        event.stop()
        if isinstance(event.input, Field) and event.input.blank_name == "number":
            self.action_confirm()
        else:
            self.action_step(1)

    def action_step(self, by: int) -> None:
        """Between editor and fields."""
        places = [self.query_one(PayloadArea), *self.query(Field)]
        here = next((index for index, place in enumerate(places) if place is self.focused), 0)
        self.set_focus(places[(here + by) % len(places)])
        self._draw()

    def action_leave(self) -> None:
        """Leave; what was changed is thrown away after a second escape, unless it is being put in."""
        self._look()
        if self._busy:
            self._say(f"The new payload of job {self._job_id} is being put in; the result is told when it is there.")
            self.dismiss(None)
            return
        if (self._edited.changes or self._edited.problem) and not self._is_leaving:
            self._is_leaving = True
            self._draw()
            return
        self.dismiss(None)

    def action_confirm(self) -> None:
        """Run it, when it is right, changed, and the number was typed."""
        self._look()
        self._is_leaving = False
        if self._busy:
            return
        if self._edited.payload is None:
            self._wrong = "It has to be JSON first."
        elif not self._edited.changes:
            self._wrong = "Nothing was changed. To run it as it is: esc, then r retries it."
        elif self._value("number") != f"{self._job_id}":
            self._wrong = f"Type {self._job_id} to run it with this payload."
            self.query_one("#field-number", Field).focus()
        else:
            self._busy, self._wrong = True, ""
            self._put_in(self._edited.payload)
        self._draw()

    def _put_in(self, payload: bytes) -> None:
        reason = self._value("reason")

        async def edit(connection: Connection, by: By) -> int:
            editing = await module("backend.services.held_jobs.editing")
            new_id: int = await editing.edit_and_retry(
                connection, by, self._job_id, payload, expected=self._payload, reason=reason
            )
            return new_id

        carry_out(self.app, edit, done=self._done, failed=self._refused)

    def _done(self, new_id: int) -> None:
        """Say so, with the editor open or not."""
        self._say(f"Job {new_id} was put in with the new payload. Job {self._job_id} stays as it was.")
        if self._after is not None:
            self._after()
        if self.is_current:
            self.dismiss(new_id)

    def _refused(self, problem: str) -> None:
        """Say why not."""
        self._busy = False
        if self.is_current:
            self._wrong = problem
            self._draw()
        else:
            self._say(problem, severity="error")

    def _say(self, text: str, *, severity: Severity = "information") -> None:
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        host.say(text, severity=severity)

    def _value(self, name: str) -> str:
        return self.query_one(f"#field-{name}", Field).value.strip()

    def _look(self) -> None:
        self._edited = edited(self._payload, self.query_one(PayloadArea).text)
        self._draw()

    def _draw(self) -> None:
        if not self.query("#foot"):
            return
        width = self.app.size.width
        head = rule(
            Piece(f"Edit and run job {self._job_id}  {self._entrypoint}", Tone.BRIGHT),
            width,
            Piece("esc back", Tone.DIM),
        )
        self.query_one("#head", LineView).show([head])
        self.query_one("#foot", LineView).show([Line(line.pieces, Ground.BASE) for line in self._foot(width)])

    def _foot(self, width: int) -> Iterable[Line]:
        found = self._edited
        if found.problem:
            yield Line(fitted(Piece(f"  ✖ {found.problem}", Tone.CRIT), width))
        elif found.changes:
            changes = ", ".join(found.changes)
            yield Line(fitted((Piece("  JSON  ", Tone.DIM), Piece(f"changed: {changes}", Tone.BRIGHT)), width))
        else:
            yield Line(fitted(Piece("  unchanged", Tone.DIM), width))
        if self._is_leaving:
            yield from told("▲ esc again throws your changes away.", width, Tone.WARN, most=1)
        elif self._wrong:
            yield from told(f"▲ {self._wrong}", width, Tone.WARN, most=2)
        elif self._busy:
            yield from told("Putting it in …", width, Tone.DIM, most=1)
        else:
            yield from told(
                "A new job is put in; this one stays as it was, marked as replaced.", width, Tone.DIM, most=1
            )
        is_right = self._value("number") == f"{self._job_id}" and bool(found.changes) and not self._busy
        keys = (Hint("ctrl+s", "run it", is_right), Hint("tab", "editor, why, number"), Hint("escape", "leave"))
        yield Line((Piece(" "), *hint_line(keys, width - 1).pieces))
