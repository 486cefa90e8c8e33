"""Deciding about held jobs: a dry run first, then progress that can be cancelled, then what came of it.

The work itself belongs to the console, not to the dialog: who leaves the dialog is told the result later, and every key
is answered meanwhile.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from backend.domain.vocabulary import QueueName
from screens import bulk_lines
from screens.bulk_lines import DOING, DONE, MEANING, VERBS, jobs_text, scope_line
from screens.bulk_run import BulkRun, Scope
from screens.forms import Blank, Form, choice, fact, told
from screens.link import Link, NotDone, module
from widgets.figures import age_text
from widgets.pieces import Line, Piece, Tone

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.held_jobs.selecting import Preview
    from screens.host import Host

PROGRESS_S = 0.25
"""At least so long between two repaints of the progress."""

RATE = re.compile(r"([0-9]{1,5}(?:[.,][0-9]{1,3})?) *(?:/ *s)?")
"""Jobs per second, as typed."""

SLOWEST, FASTEST = 0.01, 10_000
"""Bounds of that rate."""

TYPED = 2
"""From so many jobs on, discarding them wants their number typed."""


class Stepped(Message):
    """The work has got on."""

    def can_replace(self, message: Message) -> bool:
        """Only the last of several matters."""
        return isinstance(message, Stepped)


class Counted(Message):
    """The dry run is there, or why not."""

    def __init__(self, asked: tuple[int, str], preview: Preview | None, problem: str = "") -> None:
        super().__init__()
        self.asked = asked
        self.preview = preview
        self.problem = problem


class BulkDialog(Form[None]):
    """Dry run, `y`, progress, result. Nothing is touched before `y`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "next_scope", "about more or fewer"),
        Binding("c", "cancel", "cancel"),
        Binding("ctrl+r", "count", "count again"),
        Binding("enter", "enter", "close"),
        *(Binding(f"{number}", f"target({number - 1})", "queue") for number in range(1, len(QueueName) + 1)),
    ]

    def __init__(self, action: str, scopes: Sequence[Scope], *, after: Callable[[], None] | None = None) -> None:
        """A dialog about `scopes`, the first of them at first.

        Args:
            action: A word of `BulkAction`: retry, discard or move.
            scopes: What it can be about, at least one.
            after: Called when something was decided, with the dialog open or not.
        """
        super().__init__()
        self.action = action
        self.scopes = tuple(scopes)
        self.chosen = 0
        self.target = ""
        self.preview: Preview | None = None
        self.counted: tuple[int, str] | None = None
        """About which scope and target queue the preview is."""
        self.problem = ""
        self.run: BulkRun | None = None
        self._after = after
        self._link: Link | None = None
        self._drawn_at = 0.0
        self._wrong = ""

    def blanks(self) -> Sequence[Blank]:
        """Rate and reason, and the number to be typed."""
        rate = Blank("rate", "At most", hint="no limit; a number is jobs per second")
        reason = Blank("reason", "Why", hint="for the record")
        if self.action != "discard":
            return rate, reason
        return rate, reason, Blank("count", "Type number", hint="how many, to agree")

    def on_mount(self) -> None:
        """Count."""
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        self._link = Link(host)
        self.action_count()

    async def on_unmount(self) -> None:
        """Close the connection; work that runs goes on."""
        if self.run is not None:
            self.run.watcher = None
        if self._link is not None:
            await self._link.aclose()

    # What it shows

    @property
    def phase(self) -> str:
        """counting, asking, nothing, running, over."""
        if self.run is not None:
            return "over" if self.run.is_over else "running"
        if self.problem:
            return "nothing"
        if self.preview is None:
            return "counting"
        return "asking" if self.preview.matched else "nothing"

    @property
    def asked(self) -> tuple[int, str]:
        """What is asked about now: which scope, and which target queue."""
        return self.chosen, self.target

    @property
    def all_stand_there(self) -> bool:
        """Whether nothing is left to be moved."""
        preview = self.preview
        return bool(self.target) and preview is not None and 0 < preview.matched == preview.standing

    @property
    def needs_number(self) -> bool:
        """Whether the number of jobs has to be typed."""
        return self.action == "discard" and self.preview is not None and self.preview.matched >= TYPED

    def above(self, width: int) -> Iterable[Line]:
        """Heading and dry run, or progress, or result."""
        yield Line()
        run = self.run
        if run is not None:
            title = DOING if not run.is_over else DONE
            yield from told(f"{title[self.action]}: {self.scopes[self.chosen].words}", width, Tone.BRIGHT)
            yield Line()
            tell = bulk_lines.result_lines if run.is_over else bulk_lines.progress_lines
            yield from tell(run.stand(), width)
            yield Line()
            return
        preview = self.preview
        what = jobs_text(preview.matched) if preview is not None else "held jobs"
        where = f" to {self.target or 'another queue'}" if self.action == "move" else ""
        yield from told(f"{VERBS[self.action]} {what}{where}?", width, Tone.BRIGHT)
        yield from told(MEANING[self.action], width, Tone.DIM)
        yield Line()
        yield scope_line([scope.words for scope in self.scopes], self.chosen, width)
        if self.action == "move":
            yield self._targets(width)
        if self.problem:
            yield Line()
            yield from told(f"✖ {self.problem}", width, Tone.CRIT)
        elif preview is None:
            yield fact("Dry run", Piece("counting …", Tone.DIM), width=width)
        elif not preview.matched:
            yield Line()
            yield from told("None of them is held any more: somebody has decided about them.", width)
        else:
            whole = self.counted == self.asked
            yield from bulk_lines.preview_lines(preview, self.action, width, target=self.target, is_whole=whole)
        yield Line()

    def below(self, width: int) -> Iterable[Line]:
        """What the keys do."""
        phase = self.phase
        if phase == "asking":
            yield from self._asking(width)
        elif phase == "running":
            yield choice("c", "cancel", "what was done stays done")
            yield choice("esc", "leave it running", "the result is told when it is there")
        else:
            if len(self.scopes) > 1 and phase == "nothing":
                yield choice("a", "about others")
            if self.problem:
                yield choice("ctrl+r", "count again")
            yield choice("esc", "back")
        yield Line()

    def _asking(self, width: int) -> Iterable[Line]:
        assert self.preview is not None
        rate = self._rate()
        matched = self.preview.matched
        if rate:
            yield fact("", Piece(f"at {rate:g} /s: about {age_text(matched / rate)}", Tone.DIM), width=width)
        if self._wrong:
            yield from told(f"▲ {self._wrong}", width, Tone.WARN)
        yield Line()
        title = f"{VERBS[self.action].lower()} {jobs_text(matched)}"
        if self.needs_number:
            yield choice("⏎", title, f"after {matched} was typed above", possible=self._number_is_right)
        else:
            yield choice("y", title, possible=not self.typing and not self._not_yet())
        if len(self.scopes) > 1:
            yield choice("a", "about more or fewer", possible=not self.typing)
        yield choice("tab", self._fields_text() if not self.typing else "on, then back to the question")
        yield choice("esc", "do nothing")

    def _fields_text(self) -> str:
        return "rate, reason, number" if self.needs_number else "rate, reason"

    def _targets(self, width: int) -> Line:
        pieces: list[Piece] = []
        for number, queue in enumerate(QueueName, 1):
            is_chosen, is_here = queue.value == self.target, queue.value == self._here
            pieces += [
                Piece(f"{number} ", Tone.FAINT if is_here else Tone.ACCENT),
                Piece(
                    f"▸ {queue.value}" if is_chosen else f"({queue.value})" if is_here else queue.value,
                    Tone.BRIGHT if is_chosen else Tone.FAINT if is_here else Tone.TEXT,
                ),
                Piece("  "),
            ]
        return fact("To queue", *pieces, width=width)

    def draw(self) -> None:
        """Draw it; fields stand there only while something is asked."""
        super().draw()
        if self.is_mounted and self.query("#above"):
            self.show_fields(shown=self.phase == "asking")
            for field in self.query("#field-count"):
                if field.parent is not None:
                    field.parent.display = self.phase == "asking" and self.needs_number

    # Keys

    def action_next_scope(self) -> None:
        """About others of the scopes."""
        if self.run is None and len(self.scopes) > 1:
            self.chosen = (self.chosen + 1) % len(self.scopes)
            self.action_count(anew=True)

    def action_target(self, index: int) -> None:
        """To which queue; what waits there is counted at once."""
        if self.run is not None or self.action != "move":
            return
        target = list(QueueName)[index].value
        self._wrong = ""
        if target == self._here:
            self._wrong = f"They stand in {target} already."
            self.draw()
        elif target != self.target:
            self.target = target
            self.action_count()

    def action_cancel(self) -> None:
        """Stop what runs."""
        if self.run is not None:
            self.run.cancel()

    def action_enter(self) -> None:
        """Close what is over."""
        if self.phase in {"over", "nothing"}:
            self.dismiss(None)

    def action_agree(self) -> None:
        """Do it, when everything is there."""
        if self.phase != "asking":
            return
        if self.needs_number and not self._number_is_right:
            self._wrong = "Type how many they are, then ⏎."
        elif wrong := self._not_yet():
            self._wrong = wrong
        elif (rate := self._rate()) is None:
            self._wrong = "At most: a number of jobs per second, such as 10; empty for no limit."
        else:
            self._begin(rate or None)
        self.draw()

    def changed(self, name: str, value: str) -> None:
        """Rate and number change what is said below."""
        self._wrong = ""
        self.draw()

    def entered(self, name: str) -> None:
        """Enter in the number's field agrees."""
        if name == "count":
            self.action_agree()
        else:
            super().entered(name)

    def action_leave(self) -> None:
        """Leave; what runs goes on."""
        if self.phase == "running":
            self._say("It goes on in the background; the result is told when it is there.")
        self.dismiss(None)

    # Work

    def on_stepped(self) -> None:
        """Show how far it is."""
        self._drawn_at = time.monotonic()
        self.draw()

    def on_counted(self, message: Counted) -> None:
        """Show the dry run, unless something else is asked by now."""
        if message.asked == self.asked and self.run is None:
            self.preview, self.problem = message.preview, message.problem
            self.counted, self._wrong = message.asked, ""
            self.draw()

    def action_count(self, *, anew: bool = False) -> None:
        """Count what it would be about; `anew` forgets what was counted before, with its fields."""
        if self.run is not None:
            return
        self.problem, self.counted = "", None
        if anew:
            self.preview = None
        self.draw()
        self.run_worker(self._preview(self.asked), exclusive=True, group="count", exit_on_error=False)

    @property
    def _here(self) -> str:
        """The queue in which all of them stand; empty when they stand in several, or that is not known."""
        preview = self.preview
        if preview is None or sum(jobs for _, jobs in preview.by_type) != preview.matched:
            return ""
        queues = {name.partition(".")[0] for name, _ in preview.by_type}
        return queues.pop() if len(queues) == 1 else ""

    def _not_yet(self) -> str:
        """Why it cannot be agreed to yet; empty when it can."""
        if self.action == "move" and not self.target:
            return f"To which queue? 1 to {len(QueueName)} choose it."
        if self.counted != self.asked:
            return "What would be touched is still being counted."
        return f"They all stand in {self.target} already." if self.all_stand_there else ""

    @property
    def _number_is_right(self) -> bool:
        typed = self.value("count").replace(",", "").replace(" ", "")
        return self.preview is not None and typed == str(self.preview.matched)

    def _rate(self) -> float | None:
        """Jobs per second; 0 for no limit, None for what is no rate."""
        text = self.value("rate")
        if not text:
            return 0.0
        found = RATE.fullmatch(text)
        rate = float(found[1].replace(",", ".")) if found is not None else 0.0
        return rate if SLOWEST <= rate <= FASTEST else None

    def _begin(self, rate: float | None) -> None:
        assert self.preview is not None
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        chosen = self.scopes[self.chosen].choice
        if self.preview.newest_at is not None:
            # What is held from now on was neither counted nor agreed to.
            chosen = replace(chosen, until=self.preview.newest_at + timedelta(microseconds=1))
        run = BulkRun(host, self.action, chosen, per_s=rate, reason=self.value("reason"), queue=self.target)
        run.matched = self.preview.matched
        run.watcher = self._step
        self.run = run
        self.set_focus(None)
        run.begin(self._ended)

    def _step(self) -> None:
        run = self.run
        if run is not None and (run.is_over or time.monotonic() - self._drawn_at >= PROGRESS_S):
            self.post_message(Stepped())

    def _ended(self, run: BulkRun) -> None:
        if not self.is_current:
            self._tell_result(run)
        if self._after is not None:
            self._after()

    def _tell_result(self, run: BulkRun) -> None:
        run.host.say(run.sentence(), severity="error" if run.problem else "information")

    def _say(self, text: str) -> None:
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        host.say(text)

    async def _preview(self, asked: tuple[int, str]) -> None:
        assert self._link is not None
        scope, target = asked
        try:
            selecting = await module("backend.services.held_jobs.selecting")
            held = self.scopes[scope].choice.as_filter(selecting)

            async def read(connection: Connection) -> Preview:
                to = QueueName(target) if target else None
                found: Preview = await selecting.preview(connection, held, to=to)
                return found

            preview = await self._link.run(read)
        except NotDone as problem:
            self.post_message(Counted(asked, None, f"It cannot be counted: {problem}"))
        else:
            self.post_message(Counted(asked, preview))
