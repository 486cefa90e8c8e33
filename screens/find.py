"""Finding jobs while one types: by number, type, company, time, and what stands in their error or payload."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from backend.domain.vocabulary import QueueName
from screens.forms import Field
from screens.held_actions import Choice, HeldActions, Scope
from screens.link import Link, NotDone, module
from screens.moments import moment_text
from screens.things import open_thing
from screens.until import Unreadable, span_of
from widgets.columns import Column
from widgets.figures import count_text
from widgets.key_hints import Hint, KeyHints, hint_line
from widgets.line_view import LineView
from widgets.pieces import Line, Piece, Tone, fitted
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from textual.timer import Timer

    from backend.postgres.pools import Connection
    from backend.queue.search import Answer as Searched
    from backend.queue.search import FoundJob

REST_S = 0.06
"""So long after the last key it is looked for; a fast typist's keys make one question."""

MOST = 200
"""Jobs shown."""

EMPTY = (
    "No job matches. company=SLUG queue=NAME since=2h held narrow it; of finished jobs the newest are looked through."
)

TOO_COMMON = (
    "No job matches among the newest. These words are too common or too short to look further: add a rarer one."
)

STATE_TONES = {"held": Tone.CRIT, "failed": Tone.WARN, "discarded": Tone.DIM, "done": Tone.DIM, "running": Tone.ACCENT}

FOUND: tuple[Column[FoundJob], ...] = (
    Column("at", "At", timed=lambda row, now: Piece(moment_text(row.at.timestamp(), now), Tone.DIM), width=12,
           sort=lambda row: row.at, descending=True, searched=False),
    Column("job", "Job", cell=lambda row: Piece(f"{row.job_id}", Tone.BRIGHT), width=10, align="right",
           sort=lambda row: row.job_id),
    Column("state", "State", cell=lambda row: Piece(row.state, STATE_TONES.get(row.state, Tone.TEXT)), width=9),
    Column("type", "Job type", cell=lambda row: row.entrypoint, width=22),
    Column("company", "Company", cell=lambda row: Piece(row.company or "–", Tone.DIM), width=14, priority=3),
    Column("tries", "Tries", cell=lambda row: f"{row.attempts}", width=5, align="right",
           sort=lambda row: row.attempts, descending=True, searched=False, priority=4),
    Column("error", "Error", cell=lambda row: row.error or Piece("–", Tone.DIM), width=16, grow=1, priority=2),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """What was typed, understood."""

    words: str = ""
    company: str | None = None
    queue: str | None = None
    since: timedelta | None = None
    held_only: bool = False
    problem: str = ""
    """What cannot be meant; empty when all can."""


def question_of(text: str) -> Question:
    """`429 company=nord since=2h queue=default held`: what has no `=` is looked for in type, error and payload."""
    asked = Question()
    words: list[str] = []
    for word in text.split():
        name, mark, value = word.partition("=")
        if word == "held":
            asked = replace(asked, held_only=True)
        elif not mark or name not in {"company", "queue", "since"}:
            words.append(word)
        elif not value:
            continue  # still being typed
        elif name == "company":
            asked = replace(asked, company=value)
        elif name == "queue":
            if value in {queue.value for queue in QueueName}:
                asked = replace(asked, queue=value)
            else:
                asked = replace(asked, problem=f"There is no queue {value}; there are {', '.join(QueueName)}.")
        else:
            try:
                asked = replace(asked, since=span_of(value))
            except Unreadable as wrong:
                asked = replace(asked, problem=str(wrong))
    return replace(asked, words=" ".join(words))


class FindField(Field):
    """The field: letters are text, the rest moves in the list."""

    class Pressed(Message):
        """A key that is not text."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    KEYS: ClassVar[frozenset[str]] = frozenset({"up", "down", "pageup", "pagedown", "enter", "tab", "escape", "ctrl+c"})

    def on_key(self, event: events.Key) -> None:
        """Keys that are the list's."""
        if event.key in self.KEYS:
            event.stop()
            event.prevent_default()
            self.post_message(self.Pressed(event.key))


class FindBar(Horizontal):
    """The prompt, the field, and at its right what came of it."""

    DEFAULT_CSS = """
    FindBar { height: 1; }
    FindBar > .prompt { width: 8; }
    FindBar > FindField { width: 2fr; background: $ground-base; }
    FindBar > .came { width: 1fr; min-width: 24; }
    """

    def compose(self) -> ComposeResult:
        """Prompt, field, answer."""
        yield LineView(classes="prompt")
        yield FindField("find", hint="number, words of type, error or payload; company=  queue=  since=2h  held")
        yield LineView(classes="came")

    def on_mount(self) -> None:
        """Show the prompt."""
        self.query_one(".prompt", LineView).show([Line((Piece(" find › ", Tone.ACCENT),))])

    def tell(self, text: str, tone: Tone = Tone.DIM) -> None:
        """Say what came of it."""
        view = self.query_one(".came", LineView)
        view.show([Line(fitted(Piece(text, tone), max(1, view.size.width - 1), right=True))])


class Answer(Message):
    """What was found, or why nothing was."""

    def __init__(
        self, asked: str, jobs: tuple[FoundJob, ...], took_s: float, problem: str = "", *, is_whole: bool = True
    ) -> None:
        super().__init__()
        self.asked = asked
        self.jobs = jobs
        self.took_s = took_s
        self.problem = problem
        self.is_whole = is_whole


class FindScreen(HeldActions):
    """A field over a list; what is typed is looked for at once, and the answer to the last key counts."""

    NAME = "find"
    TITLE = "Find jobs"
    CRUMBS = ("Queues",)
    DOMAINS: ClassVar[tuple[str, ...]] = ()
    AUTO_FOCUS = "FindField"

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._text = text
        self._has_decided = False
        self._timer: Timer | None = None
        self._link: Link | None = None

    def body(self) -> Iterable[Widget]:
        """The field, then what was found."""
        yield FindBar()
        yield VirtualTable(
            FOUND,
            key=lambda row: f"{row.job_id}",
            title="Found",
            nouns=("job", "jobs"),
            empty=EMPTY,
        )

    def on_mount(self) -> None:
        """Look at once: without a word, the newest jobs."""
        self._link = Link(self.host)
        super().on_mount()
        field = self.query_one(FindField)
        field.value = self._text
        field.cursor_position = len(self._text)
        # At once, so that no key typed ahead is lost or taken for an action.
        self.set_focus(field)
        self.action_reload()

    async def on_unmount(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.aclose()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look once the typing rests."""
        event.stop()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(REST_S, self.action_reload)

    def on_find_field_pressed(self, event: FindField.Pressed) -> None:
        """What is not text moves in the list."""
        table = self.query_one(VirtualTable)
        if event.key in {"escape", "ctrl+c"}:
            self.app.pop_screen()
        elif event.key == "tab":
            table.focus()
        elif event.key == "enter":
            table.action_open()
        else:
            move = {"up": "cursor_up", "down": "cursor_down", "pageup": "page_up", "pagedown": "page_down"}[event.key]
            getattr(table, f"action_{move}")()

    def refresh_hints(self) -> None:
        """While one types, letters are text: the hints tell the keys that are not."""
        if not isinstance(self.focused, FindField):
            super().refresh_hints()
        elif self.children:
            keys = ("up", "choose"), ("enter", "open"), ("tab", "keys of the list"), ("escape", "back")
            self.query_one(KeyHints).show([hint_line([Hint(key, title) for key, title in keys], self.app.size.width)])

    def on_descendant_focus(self) -> None:
        """Other keys do something now."""
        self.refresh_hints()

    def look_for(self, text: str) -> None:
        """Look for something else."""
        field = self.query_one(FindField)
        field.value, field.cursor_position = text, len(text)
        field.focus()

    def action_type(self) -> None:
        """Back to the field."""
        self.query_one(FindField).focus()

    def action_reload(self) -> None:
        """Look for what stands there now; an answer that is still awaited is given up."""
        self.run_worker(self._look(self.query_one(FindField).value), exclusive=True, group="find", exit_on_error=False)

    def on_answer(self, message: Answer) -> None:
        """Show it, unless something else stands there by now."""
        if message.asked != self.query_one(FindField).value:
            return
        bar = self.query_one(FindBar)
        table = self.query_one(VirtualTable)
        if message.problem:
            bar.tell(message.problem, Tone.WARN)
            if not table.book.total:
                table.empty_text = f"✖ {message.problem}"
                table.set_rows(())
            return
        table.empty_text = EMPTY if message.is_whole else TOO_COMMON
        table.note("" if message.is_whole else "older ones may be missing: add a rarer word, or since=")
        is_another = message.asked != self._text or self._has_decided
        self._text, self._has_decided = message.asked, False
        count = len(message.jobs)
        shown = f"{count_text(count)} found" if count < MOST else f"the newest {count_text(count)}"
        bar.tell(f"{shown}  {message.took_s * 1000:.0f} ms")
        table.set_rows(message.jobs, at_once=is_another)

    async def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """A job opens."""
        job = f"{event.row.job_id}"  # type: ignore[attr-defined]  # rows are FoundJobs
        await open_thing(self.app, "job", job, crumbs=(*self.CRUMBS, self.TITLE))

    def scopes(self) -> tuple[Scope, ...]:
        """The marked jobs or the one under the cursor; and all held ones that match what was typed."""
        table = self.query_one(VirtualTable)
        rows: list[FoundJob] = list(table.acting_rows)
        held = [row for row in rows if row.state == "held"]
        asked = question_of(self._text)
        since = None if asked.since is None else datetime.now(UTC) - asked.since
        every = Choice(queue=asked.queue or "", company=asked.company or "", text=asked.words, since=since)
        here: tuple[Scope, ...] = ()
        if held:
            ids = tuple(row.job_id for row in held)
            words = f"job {ids[0]}" if len(ids) == 1 else f"{len(ids)} marked jobs"
            entrypoint = held[0].entrypoint if len({row.entrypoint for row in held}) == 1 else ""
            company = held[0].company or "" if len({row.company for row in held}) == 1 else ""
            fingerprint = held[0].fingerprint or "" if len({row.fingerprint for row in held}) == 1 else ""
            here = (Scope(words, Choice(job_ids=ids), entrypoint, company=company, fingerprint=fingerprint),)
        if asked.problem or not (asked.words or asked.company or asked.queue or since):
            return here
        return (*here, Scope(f"all held jobs that match “{self._text.strip()}”", every))

    def _decided(self) -> None:
        self._has_decided = True
        super()._decided()

    async def _look(self, text: str) -> None:
        assert self._link is not None
        asked = question_of(text)
        if asked.problem:
            self.post_message(Answer(text, (), 0.0, asked.problem))
            return
        started = time.monotonic()
        try:
            search = await module("backend.queue.search")

            async def find(connection: Connection) -> Searched:
                question = search.JobQuestion(
                    text=asked.words,
                    queue=None if asked.queue is None else QueueName(asked.queue),
                    company=asked.company,
                    since=None if asked.since is None else datetime.now(UTC) - asked.since,
                    held_only=asked.held_only,
                )
                try:
                    found: Searched = await search.search_jobs(connection, question, limit=MOST)
                except search.NoSuchCompany:
                    raise NotDone(f"There is no company {asked.company}.") from None
                return found

            found = await self._link.run(find)
        except NotDone as problem:
            self.post_message(Answer(text, (), 0.0, str(problem)))
        else:
            self.post_message(Answer(text, found.jobs, time.monotonic() - started, is_whole=found.is_whole))
