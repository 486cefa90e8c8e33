"""History: what queues and job types did over the last hour, day or week: how much, how fast, what failed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from textual.containers import Container
from textual.message import Message
from textual.widget import Widget
from textual.worker import Worker

from screens.base import ConsoleScreen
from screens.history_lines import COLUMNS, HistoryRow, Picture, Span, chart_lines
from screens.link import Link, NotDone, module
from widgets.line_view import LineView
from widgets.pieces import Line, Piece, Tone, line
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.history import History

SPANS = {
    "hour": Span("last hour", timedelta(hours=1)),
    "day": Span("last 24 h", timedelta(hours=24)),
    "week": Span("last 7 d", timedelta(days=7)),
}

QUEUES = ("webhooks", "appointments", "default", "notifications")

RENEW_S = 30.0
"""The picture is read anew so often: counts come by the minute."""

EVERYTHING = "all queues"

EMPTY = "Nothing has been counted yet: figures come a minute after the first job."


@dataclass(frozen=True, slots=True)
class Asked:
    """What a picture is of."""

    span: str
    key: str


class ListRead(Message):
    """The figures of all queues and job types were read."""

    def __init__(self, span: str, rows: list[HistoryRow], whole: History) -> None:
        super().__init__()
        self.span = span
        self.rows = rows
        self.whole = whole


class PictureRead(Message):
    """The picture of one of them was read."""

    def __init__(self, asked: Asked, history: History) -> None:
        super().__init__()
        self.asked = asked
        self.history = history


class Unread(Message):
    """It could not be read."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


class HistoryScreen(ConsoleScreen):
    """Pictures of the row under the cursor over a list of queues and job types."""

    NAME = "history"
    TITLE = "History"
    CRUMBS: ClassVar[tuple[str, ...]] = ("Queues",)
    CSS_PATH = "history.tcss"

    def __init__(self, *, queue: str | None = None, entrypoint: str | None = None) -> None:
        """What happened, with the cursor on a queue or a job type, or on all of them."""
        super().__init__()
        self._first = entrypoint or queue or EVERYTHING
        self._span = "day" if queue is None and entrypoint is None else "hour"
        self._picture: tuple[Asked, History] | None = None
        self._known: dict[Asked, History] = {}
        self._problem = ""
        self._read_at = float("-inf")
        self._reading: Worker[None] | None = None
        self._link: Link | None = None

    def body(self) -> Iterable[Widget]:
        """The picture, then the list."""
        with Container(id="both", classes="body"):
            yield LineView(id="charts")
            yield VirtualTable(
                COLUMNS,
                key=lambda row: row.key,
                title=f"Queues and job types, {SPANS[self._span].title}",
                nouns=("line", "lines"),
                empty=EMPTY,
            )

    def on_mount(self) -> None:
        """Read."""
        self._link = Link(self.host)
        self._draw()
        self.action_reload()

    async def on_unmount(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.aclose()

    def on_resize(self) -> None:
        """The picture is drawn anew."""
        self._draw()

    def tick(self) -> None:
        """Read anew now and then, after what is being read has come."""
        super().tick()
        is_reading = self._reading is not None and not self._reading.is_finished
        if not self.host.paused and not is_reading and time.monotonic() - self._read_at > RENEW_S:
            self.action_reload()

    def title_parts(self) -> tuple[tuple[str, ...], str]:
        """What the picture is of."""
        return self.CRUMBS, f"{self.TITLE}, {SPANS[self._span].title}"

    def action_reload(self) -> None:
        """Read everything anew."""
        self._read_at = time.monotonic()
        self._reading = self.run_worker(self._read_list(), exclusive=True, group="history", exit_on_error=False)

    def action_hour(self) -> None:
        """The last hour."""
        self._show_span("hour")

    def action_day(self) -> None:
        """The last 24 hours."""
        self._show_span("day")

    def action_week(self) -> None:
        """The last seven days."""
        self._show_span("week")

    def on_virtual_table_highlighted(self, event: VirtualTable.Highlighted) -> None:
        """Another row: its picture."""
        if isinstance(event.row, HistoryRow):
            self._show_picture(event.row)

    def on_list_read(self, message: ListRead) -> None:
        """The list, and the picture of everything with it."""
        if message.span != self._span:
            return
        self._problem = ""
        self._known = {Asked(message.span, EVERYTHING): message.whole}
        table = self.query_one(VirtualTable)
        table.title = f"Queues and job types, {SPANS[self._span].title}"
        table.empty_text = EMPTY
        table.set_rows(message.rows)
        if self._first:
            table.go_to(self._first)
            self._first = ""
        row = table.cursor_row
        if isinstance(row, HistoryRow):
            self._show_picture(row)
        else:
            self._picture = (Asked(message.span, EVERYTHING), message.whole)
            self._draw()

    def on_picture_read(self, message: PictureRead) -> None:
        """The picture of one row."""
        self._known[message.asked] = message.history
        row = self.query_one(VirtualTable).cursor_row
        if isinstance(row, HistoryRow) and message.asked == Asked(self._span, row.key):
            self._picture = (message.asked, message.history)
            self._draw()

    def on_unread(self, message: Unread) -> None:
        """What is shown stays; why it is not newer stands above it."""
        table = self.query_one(VirtualTable)
        if not table.book.total:
            table.empty_text = "✖ There are no figures to list."
            table.set_rows(())
        self._problem = message.problem
        self._draw()

    def _show_span(self, span: str) -> None:
        if span != self._span:
            self._span = span
            self._tell_header()
            self.action_reload()

    def _show_picture(self, row: HistoryRow) -> None:
        asked = Asked(self._span, row.key)
        known = self._known.get(asked)
        if known is not None:
            self._picture = (asked, known)
            self._draw()
        else:
            self.run_worker(self._read_picture(asked, row), exclusive=True, group="picture", exit_on_error=False)

    async def _read_list(self) -> None:
        span = self._span
        rows: list[HistoryRow] = []
        try:
            whole = await self._read(span)
            rows.append(HistoryRow(EVERYTHING, None, None, whole.total))
            for queue in QUEUES:
                of_queue = [told for told in whole.lines if told.queue == queue]
                if of_queue:
                    rows.append(HistoryRow(queue, queue, None, (await self._read(span, queue=queue)).total))
                    rows += [HistoryRow(told.entrypoint, None, told.entrypoint, told.tally) for told in of_queue]
        except NotDone as problem:
            self.post_message(Unread(str(problem)))
        else:
            self.post_message(ListRead(span, rows if whole.lines else [], whole))

    async def _read_picture(self, asked: Asked, row: HistoryRow) -> None:
        try:
            history = await self._read(asked.span, queue=row.queue, entrypoint=row.entrypoint)
        except NotDone as problem:
            self.post_message(Unread(str(problem)))
        else:
            self.post_message(PictureRead(asked, history))

    async def _read(self, span: str, *, queue: str | None = None, entrypoint: str | None = None) -> History:
        """Raises NotDone."""
        assert self._link is not None
        history = await module("backend.watch.history")
        length = SPANS[span].length
        read: History = await self._link.run(
            lambda connection: history.read_history(
                connection, span=length, step_s=history.steps_for(length), queue=queue, entrypoint=entrypoint
            )
        )
        return read

    def _draw(self) -> None:
        if not self.children:
            return
        width, height = self.app.size
        wide = width >= 200
        lines: list[Line] = []
        if self._problem:
            lines.append(line(Piece(f" ✖ {self._problem}", Tone.CRIT)))
        if self._picture is not None:
            asked, history = self._picture
            chart_width = width // 2 if wide else width
            room = height - 3 if wide else height // 2
            picture = Picture(history, asked.key, SPANS[asked.span])
            lines += chart_lines(picture, chart_width, room - len(lines), time.time())
        elif not self._problem:
            lines.append(line(Piece(" Reading the figures …", Tone.DIM)))
        self.query_one("#charts", LineView).show(lines)
