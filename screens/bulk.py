"""Deciding about held jobs: a dry run first, then progress that can be cancelled, then what came of it.

The work itself belongs to the console, not to the dialog: who leaves the dialog is told the result later, and every key
is answered meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from backend.domain.vocabulary import BulkAction, QueueName
from screens import bulk_lines
from screens.bulk_lines import DOING, DONE, MEANING, VERBS, jobs_text, scope_line
from screens.forms import Blank, Form, choice, fact, told
from screens.link import Link, NotDone, connected, module, sentence_of, who
from widgets.figures import age_text, count_text
from widgets.pieces import Line, Piece, Tone

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.held_jobs.bulk import BulkResult, Progress
    from backend.services.held_jobs.selecting import HeldFilter, Preview
    from screens.host import Host

PROGRESS_S = 0.25
"""At least so long between two repaints of the progress."""

TYPED = 2
"""From so many jobs on, discarding them wants their number typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which held jobs are meant; what is empty does not narrow it."""

    queue: str = ""
    entrypoint: str = ""
    fingerprint: str = ""
    company: str = ""
    text: str = ""
    since: datetime | None = None
    job_ids: tuple[int, ...] | None = None

    def as_filter(self, selecting: Any) -> HeldFilter:  # noqa: ANN401 -- the module, which is imported late
        """As the backend takes it."""
        held: HeldFilter = selecting.HeldFilter(
            queue=QueueName(self.queue) if self.queue else None,
            entrypoint=self.entrypoint or None,
            fingerprint=self.fingerprint or None,
            company=self.company or None,
            text=self.text,
            since=self.since,
            job_ids=self.job_ids,
        )
        return held


@dataclass(frozen=True, slots=True)
class Scope:
    """Some held jobs, in words and as a choice."""

    words: str
    """`job 123`, `3 marked jobs`, `all of this cause`."""
    choice: Choice
    entrypoint: str = ""
    """Their job type, when they have one in common."""
    company: str = ""
    """Their company's slug, when they have one in common."""
    fingerprint: str = ""
    """Their cause, when they have one in common."""


class BulkRun:
    """One decision at work, in the console's background."""

    def __init__(
        self, host: Host, action: str, chosen: Choice, *, per_s: float | None, reason: str, queue: str
    ) -> None:
        self.host = host
        self.action = action
        self.chosen = chosen
        self.per_s = per_s
        self.reason = reason
        self.queue = queue
        self.matched = 0
        self.done = 0
        self.skipped = 0
        self.is_over = False
        self.is_stopping = False
        self.is_cancelled = False
        self.problem = ""
        self.waiting_for = ""
        self.why_skipped: Mapping[str, int] = {}
        self.started = time.monotonic()
        self.ended = 0.0
        self.watcher: Callable[[], None] | None = None
        """Is told of each step while a dialog shows it."""
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def elapsed_s(self) -> float:
        """How long it has been at work, or took."""
        return (self.ended or time.monotonic()) - self.started

    def stand(self) -> bulk_lines.Stand:
        """How far it is."""
        return bulk_lines.Stand(
            action=self.action,
            matched=self.matched,
            done=self.done,
            skipped=self.skipped,
            elapsed_s=self.elapsed_s,
            is_stopping=self.is_stopping,
            is_cancelled=self.is_cancelled,
            problem=self.problem,
            waiting_for=self.waiting_for,
            why_skipped=self.why_skipped,
        )

    def begin(self, after: Callable[[BulkRun], None]) -> None:
        """Start; `after` is told when it is over. Returns at once."""
        self._task = asyncio.create_task(self._work(), name=f"{self.action} held jobs")
        RUNNING.add(self)

        def ended(_task: asyncio.Task[None]) -> None:
            RUNNING.discard(self)
            self.is_over, self.ended = True, time.monotonic()
            self._tell()
            after(self)

        self._task.add_done_callback(ended)

    def cancel(self) -> None:
        """Stop after the batch that is under way."""
        self.is_stopping = True
        self._stop.set()
        self._tell()

    def sentence(self) -> str:
        """What came of it, in a sentence."""
        if self.problem:
            return f"{VERBS[self.action]}: {self.problem}"
        text = f"{DONE[self.action]} {count_text(self.done)} of {jobs_text(self.matched)}"
        skipped = f"; {count_text(self.skipped)} skipped" if self.skipped else ""
        return f"{text}{skipped}{', then cancelled' if self.is_cancelled else ''}."

    def take(self, progress: Progress) -> None:
        """A step was made."""
        self.matched, self.done, self.skipped = progress.matched, progress.done, progress.skipped
        self.waiting_for = progress.waiting_for
        self._tell()

    def _tell(self) -> None:
        if self.watcher is not None:
            self.watcher()

    async def _work(self) -> None:
        try:
            bulk = await module("backend.services.held_jobs.bulk")
            selecting = await module("backend.services.held_jobs.selecting")
            by = await who(self.host)
            result: BulkResult = await bulk.run_bulk(
                lambda: connected(self.host, changes=True),
                by,
                BulkAction(self.action),
                self.chosen.as_filter(selecting),
                per_s=self.per_s,
                reason=self.reason,
                queue=QueueName(self.queue) if self.queue else None,
                on_progress=self.take,
                stop=self._stop,
            )
        except asyncio.CancelledError:
            self.is_cancelled = True
        except NotDone as problem:
            self.problem = str(problem)
        except Exception as error:
            self.problem = sentence_of(error)
        else:
            self.matched, self.done, self.skipped = result.matched, result.done, result.skipped
            self.is_cancelled, self.problem = result.cancelled, result.error
            self.why_skipped = result.why_skipped


RUNNING: set[BulkRun] = set()
"""What is at work in this console; keeps it alive."""


class Stepped(Message):
    """The work has got on."""

    def can_replace(self, message: Message) -> bool:
        """Only the last of several matters."""
        return isinstance(message, Stepped)


class Counted(Message):
    """The dry run is there, or why not."""

    def __init__(self, scope: int, preview: Preview | None, problem: str = "") -> None:
        super().__init__()
        self.scope = scope
        self.preview = preview
        self.problem = problem


class BulkDialog(Form[None]):
    """Dry run, `y`, progress, result. Nothing is touched before `y`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "next_scope", "about more or fewer"),
        Binding("c", "cancel", "cancel"),
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
        self._count()

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
            yield from bulk_lines.preview_lines(preview, self.action, width)
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
            yield choice("y", title, possible=not self.typing and (self.action != "move" or bool(self.target)))
        if len(self.scopes) > 1:
            yield choice("a", "about more or fewer", possible=not self.typing)
        yield choice("tab", "rate, reason" if not self.typing else "on, then back to the question")
        yield choice("esc", "do nothing")

    def _targets(self, width: int) -> Line:
        pieces: list[Piece] = []
        for number, queue in enumerate(QueueName, 1):
            is_chosen = queue.value == self.target
            pieces += [
                Piece(f"{number} ", Tone.ACCENT),
                Piece(f"{'▸ ' if is_chosen else ''}{queue.value}", Tone.BRIGHT if is_chosen else Tone.TEXT),
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
            self._count()

    def action_target(self, index: int) -> None:
        """To which queue."""
        if self.run is None and self.action == "move":
            self.target = list(QueueName)[index].value
            self.draw()

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
        elif self.action == "move" and not self.target:
            self._wrong = f"To which queue? 1 to {len(QueueName)} choose it."
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
        """Show the dry run."""
        if message.scope == self.chosen and self.run is None:
            self.preview, self.problem = message.preview, message.problem
            self.draw()

    @property
    def _number_is_right(self) -> bool:
        typed = self.value("count").replace(",", "").replace(" ", "")
        return self.preview is not None and typed == str(self.preview.matched)

    def _rate(self) -> float | None:
        """Jobs per second; 0 for no limit, None for what is no rate."""
        text = self.value("rate").replace(",", ".").removesuffix("/s").strip()
        try:
            rate = float(text) if text else 0.0
        except ValueError:
            return None
        return rate if 0 <= rate <= 10_000 and (rate or not text) else None

    def _begin(self, rate: float | None) -> None:
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        chosen = self.scopes[self.chosen].choice
        run = BulkRun(host, self.action, chosen, per_s=rate, reason=self.value("reason"), queue=self.target)
        run.matched = self.preview.matched if self.preview is not None else 0
        run.watcher = self._step
        self.run = run
        self.set_focus(None)
        run.begin(self._ended)

    def _step(self) -> None:
        run = self.run
        if run is not None and (run.is_over or time.monotonic() - self._drawn_at >= PROGRESS_S):
            self.post_message(Stepped())

    def _ended(self, run: BulkRun) -> None:
        if not self.is_attached:
            self._tell_result(run)
        if self._after is not None:
            self._after()

    def _tell_result(self, run: BulkRun) -> None:
        run.host.say(run.sentence(), severity="error" if run.problem else "information")

    def _say(self, text: str) -> None:
        host: Host = self.app  # type: ignore[assignment]  # the app is the host
        host.say(text)

    def _count(self) -> None:
        self.preview, self.problem = None, ""
        self.draw()
        self.run_worker(self._preview(self.chosen), exclusive=True, group="count", exit_on_error=False)

    async def _preview(self, scope: int) -> None:
        assert self._link is not None
        try:
            selecting = await module("backend.services.held_jobs.selecting")

            async def read(connection: Connection) -> Preview:
                found: Preview = await selecting.preview(connection, self.scopes[scope].choice.as_filter(selecting))
                return found

            preview = await self._link.run(read)
        except NotDone as problem:
            self.post_message(Counted(scope, None, f"It cannot be counted: {problem}"))
        else:
            self.post_message(Counted(scope, preview))
