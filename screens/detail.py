"""One thing and everything around it: facts on top, its timeline below, its long text beside or under that.

Call, customer, appointment, job and delivery are opened from lists and from each other's timelines; `esc` goes back.
What is read on demand comes from `backend.watch.details`; every wait is bounded and says what it waits for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from textual.containers import Container, VerticalScroll
from textual.message import Message
from textual.widget import Widget

from screens.base import ConsoleScreen, ReasonLine
from screens.moments import moment_text
from widgets.columns import Column
from widgets.figures import span_text, with_unit
from widgets.header import Badge
from widgets.line_view import LineView
from widgets.pieces import Content, Line, Piece, Tone, fitted, line, pieces_of, rule, wrapped
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.details import Details

READ_S = 6.0
"""Longest wait for what is opened."""

RENEW_S = 5.0
"""What is shown is read again so often, where a screen `RENEWS`."""

BEHIND_S = 12.0
"""Older than that it is stale where it should have been renewed."""

LABEL = 14
"""Cells of a fact's label."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline."""

    key: str
    at: float
    kind: str
    """call, webhook, job, appointment, customer, callback, event, message, run: the first five can be opened."""
    id: str
    what: str
    state: str
    took_s: float | None = None
    tone: Tone = Tone.TEXT


@dataclass(frozen=True, slots=True)
class Page:
    """What a detail screen shows."""

    title: str
    facts: tuple[tuple[str, Content], ...]
    entries: tuple[Entry, ...]
    timeline: str = "Timeline"
    text_title: str = ""
    text: str = ""
    """Long and possibly hostile: a transcript, a body, a traceback."""
    spoken: bool = False
    """Whether the text is prose, to be folded at spaces."""
    more_texts: tuple[tuple[str, str], ...] = ()
    """Further long texts under the first, each with its title."""


TONES = {
    "held": Tone.CRIT,
    "retry": Tone.WARN,
    "quarantined": Tone.WARN,
    "refused": Tone.CRIT,
    "cancelled": Tone.WARN,
    "no_show": Tone.WARN,
    "error": Tone.CRIT,
    "failed": Tone.CRIT,
    "crashed": Tone.CRIT,
}
"""States that stand out in a timeline."""

TIMELINE: tuple[Column[Entry], ...] = (
    Column(
        "at", "At", timed=lambda row, now: Piece(moment_text(row.at, now), Tone.DIM), width=12,
        sort=lambda row: row.at, searched=False,
    ),
    Column("kind", "What", cell=lambda row: Piece(row.kind), width=11),
    Column("text", "", cell=lambda row: Piece(row.what, row.tone), width=20, grow=1, most=96),
    Column(
        "state", "State", cell=lambda row: Piece(row.state.replace("_", " "), TONES.get(row.state, Tone.DIM)),
        width=13, priority=2,
    ),
    Column(
        "took", "Took", cell=lambda row: with_unit(span_text(row.took_s)), width=7, align="right",
        sort=lambda row: row.took_s, searched=False, priority=3,
    ),
)  # fmt: skip


class Loaded(Message):
    """The page was read, or could not be."""

    def __init__(self, page: Page | None, problem: str = "", *, was_read: bool = False) -> None:
        super().__init__()
        self.page = page
        self.problem = problem
        self.was_read = was_read
        """Whether it was tried to read it now; else what is known already is only shown in another way."""


class DetailScreen(ConsoleScreen):
    """A screen on one thing. Subclasses say what it is called and how its page is made."""

    NAME = "detail"
    CSS_PATH = "detail.tcss"
    DOMAINS: ClassVar[tuple[str, ...]] = ()
    RENEWS: ClassVar[bool] = False
    """Whether it is read again by itself; else only when somebody asks for it, and its age tells how long ago."""

    def __init__(self, thing_id: str) -> None:
        super().__init__()
        self.thing_id = thing_id
        self.crumbs: tuple[str, ...] = ()
        self._page: Page | None = None
        self._details: Details | None = None
        self._read_at: float | None = None
        self._tried_at = time.monotonic()
        self._is_reading = False
        self._problem = ""

    async def read(self, details: Details) -> Page | None:
        """The page, or None when there is no such thing."""
        raise NotImplementedError

    def body(self) -> Iterable[Widget]:
        """Facts, timeline, text."""
        yield LineView(id="facts", classes="body")
        with Container(id="lower", classes="body"):
            yield VirtualTable(
                TIMELINE,
                key=lambda row: row.key,
                title="Timeline",
                nouns=("entry", "entries"),
                empty="Nothing has happened here yet.",
            )
            with VerticalScroll(id="text-frame", can_focus=True):
                yield LineView(id="text")

    def on_mount(self) -> None:
        """Say that it is read, and read it."""
        super().on_mount()
        self.query_one("#facts", LineView).show([line(Piece(f" Reading {self.TITLE.lower()} …", Tone.DIM))])
        self.query_one("#text-frame").display = False
        self.action_reload()

    def tick(self) -> None:
        """Read it again when that is due."""
        super().tick()
        due = (self.RENEWS or self._problem) and time.monotonic() - self._tried_at >= RENEW_S
        if due and not self._is_reading and not self.host.paused:
            self.action_reload()

    def badge(self) -> Badge:
        """How long ago it was read."""
        if self._read_at is None:
            return Badge("none", None, "") if self._problem else Badge("waiting")
        age = time.monotonic() - self._read_at
        if self._problem:
            return Badge("stale", age, self._problem)
        if self.host.paused:
            return Badge("paused", age)
        if not self.RENEWS:
            return Badge("read", age)
        return Badge("stale" if age > BEHIND_S else "live", age)

    def action_reload(self) -> None:
        """Read it anew."""
        self._tried_at, self._is_reading = time.monotonic(), True
        self.run_worker(self._load(), exclusive=True, group="detail", exit_on_error=False)

    async def _load(self) -> None:
        page, problem = None, ""
        try:
            async with asyncio.timeout(READ_S):
                details = await self._connected()
                if details is None:
                    problem = "The database is not known: no system runs here."
                else:
                    page = await self.read(details)
                    problem = "" if page else f"There is no such {self.TITLE.lower()} any more."
        except TimeoutError:
            problem = f"The database did not answer within {READ_S:.0f} s."
        except Exception as error:
            problem = f"It cannot be read: {error}"
        self.post_message(Loaded(page, problem, was_read=True))

    async def _connected(self) -> Details | None:
        if self._details is None and (address := self.host.postgres) is not None:
            # The first import takes a fifth of a second, in which keys are answered.
            module = await asyncio.to_thread(import_module, "backend.watch.details")
            self._details = module.Details(address)
        return self._details

    async def on_unmount(self) -> None:
        """Close the connections."""
        if self._details is not None:
            await self._details.aclose()

    def on_loaded(self, message: Loaded) -> None:
        """Show the page, or why there is none. A page that was read before stays."""
        if message.was_read:
            self._is_reading, self._problem = False, message.problem
        self.query_one("#lower").display = message.page is not None or self._page is not None
        if message.page is not None:
            if message.was_read:
                self._read_at = time.monotonic()
            if message.page != self._page:
                self._show_page(message.page)
        elif self._page is None:
            self.query_one("#facts", LineView).show(
                [line(Piece(f" ✖ {message.problem}", Tone.CRIT), Piece("  tried again all the time", Tone.DIM))]
            )
        self.query_one(ReasonLine).tell(self.badge())
        self._tell_header()

    def _show_page(self, page: Page) -> None:
        self._page = page
        table = self.query_one(VirtualTable)
        table.title = page.timeline
        table.set_rows(page.entries)
        if self.focused is None:
            table.focus()
        self._draw()

    def on_resize(self) -> None:
        """Facts and text are laid out anew."""
        super().on_resize()
        self._draw()

    def title_parts(self) -> tuple[tuple[str, ...], str]:
        """The thing's own name in the header."""
        return self.crumbs, self._page.title if self._page else self.TITLE

    async def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """Follow an entry to the thing it tells of."""
        if isinstance(event.row, Entry):
            from screens.things import open_thing

            if not await open_thing(self.app, event.row.kind, event.row.id, crumbs=(*self.crumbs, self.TITLE)):
                self.host.say(f"That is all there is to this {event.row.kind}.")

    def _draw(self) -> None:
        page = self._page
        if page is None:
            return
        width = self.app.size.width
        self.query_one("#facts", LineView).show(fact_lines(page.facts, width))
        frame = self.query_one("#text-frame")
        frame.display = bool(page.text)
        if page.text:
            room = max(20, (width * 2 // 5 if self.has_class("-wide") else width) - 3)
            lines: list[Line] = []
            for title, text in ((page.text_title, page.text), *page.more_texts):
                lines += [*([Line()] if lines else []), rule(Piece(title, Tone.BRIGHT), room)]
                lines += text_lines(text, room, spoken=page.spoken)
            self.query_one("#text", LineView).show(lines)

    def action_text_down(self) -> None:
        """The long text half a page on."""
        self._scroll_text(1)

    def action_text_up(self) -> None:
        """The long text half a page back."""
        self._scroll_text(-1)

    def _scroll_text(self, by: int) -> None:
        frame = self.query_one("#text-frame", VerticalScroll)
        frame.scroll_relative(y=by * max(1, frame.size.height // 2), animate=False)


def fact_lines(facts: Sequence[tuple[str, Content]], width: int) -> list[Line]:
    """Labelled facts in one column, two from 76 cells on, three from 180; one without a label takes a whole line."""
    columns = 3 if width >= 180 else 2 if width >= 76 else 1
    cell = width // columns
    lines: list[Line] = []
    row: list[Piece] = []
    count = 0
    for label, content in facts:
        name = Piece(f" {label:<{LABEL}}" if label else "", Tone.DIM)
        shown = fitted((name, *pieces_of(content)), cell if label else width)
        if not label:
            if row:
                lines.append(Line(tuple(row)))
                row, count = [], 0
            lines.append(Line(shown))
            continue
        row += shown
        count += 1
        if count == columns:
            lines.append(Line(tuple(row)))
            row, count = [], 0
    if row:
        lines.append(Line(tuple(row)))
    return lines


def text_lines(text: str, width: int, *, spoken: bool = False) -> list[Line]:
    """Text line by line with a margin, long lines folded (at spaces when it is spoken), at most 2,000 lines."""
    room = width - 1
    lines: list[Line] = []
    for entry in text.splitlines():
        if spoken:
            folded = [part.plain for part in wrapped(entry, room, most=100)] or [""]
        else:
            folded = [entry[start : start + room] for start in range(0, max(1, len(entry)), room)]
        lines += [line(Piece(f" {part}")) for part in folded]
        if len(lines) >= 2000:
            return [*lines[:2000], line(Piece(" … and more", Tone.DIM))]
    return lines
