"""Schedule: what comes round by itself, when it did last and how that went; run now, pause, resume."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message
from textual.widget import Widget
from textual.worker import Worker

from backend.domain.vocabulary import PauseKind
from backend.watch.snapshots import PauseRow
from screens.base import ConsoleScreen
from screens.changing import change
from screens.dialogs import ConfirmDialog
from screens.link import Link, NotDone, module
from screens.moments import moment_text, until_text
from screens.pausing import (
    Offer,
    PauseAnswer,
    PauseForm,
    ResumeAnswer,
    ResumeForm,
    Target,
    pause_all,
    paused_text,
    resume_all,
)
from screens.queue_lists import listed
from widgets.columns import Column
from widgets.figures import DASH, age_text, span_text, with_unit
from widgets.line_view import LineView
from widgets.pieces import Content, Line, Piece, Tone, fitted, line, rule, verdict
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.queue.schedule import ScheduledRun, ScheduleRow
    from backend.services.operating.audit import By

RENEW_S = 5.0
"""It is read anew so often."""

EMPTY = "Nothing comes round by itself."

LATE_S = 120.0
"""What was due for so long and does not wait was left out: the publisher stands still."""


def run_tone(outcome: str | None) -> Tone:
    """How a run ended."""
    if outcome == "done":
        return Tone.OK
    return Tone.CRIT if outcome == "held" else Tone.WARN


def state_cell(row: ScheduleRow, now: float) -> Content:
    """What it does now; only what wants somebody stands out."""
    if row.paused is not None:
        until = until_text(row.paused.until.timestamp() if row.paused.until else None, now).removeprefix("until")
        return (Piece("▲ paused", Tone.WARN), Piece(until))
    if row.is_running:
        return Piece("● runs", Tone.ACCENT)
    if row.is_waiting:
        return Piece("  waits", Tone.DIM)
    if row.next_run is not None and now - row.next_run.timestamp() > LATE_S:
        return verdict(Tone.WARN, "late")
    if row.last_outcome not in {None, "done"}:
        return verdict(run_tone(row.last_outcome), f"last {row.last_outcome}")
    return Piece("●")


def next_cell(row: ScheduleRow, now: float) -> Content:
    """When it comes round next."""
    if row.next_run is None:
        return Piece(DASH, Tone.DIM)
    left = row.next_run.timestamp() - now
    if row.paused is not None:
        return Piece(DASH, Tone.DIM)
    if left <= 0:
        return Piece("now", Tone.DIM)
    return (Piece("in ", Tone.DIM), *with_unit(age_text(left if left < 60 else left // 60 * 60)))


def runs_cell(row: ScheduleRow) -> Content:
    """The last runs, newest at the right: a dot for each that went well."""
    marks = {"done": Piece("·", Tone.DIM), "held": Piece("✖", Tone.CRIT)}
    return tuple(marks.get(run.outcome, Piece("▲", Tone.WARN)) for run in reversed(row.runs))


def last_cell(row: ScheduleRow, now: float) -> Content:
    """When it last started."""
    if row.last_run is None:
        return Piece("never", Tone.DIM)
    return Piece(moment_text(row.last_run.timestamp(), now), Tone.TEXT if row.runs else Tone.DIM)


def _sort_moment(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None


COLUMNS: tuple[Column[ScheduleRow], ...] = (
    Column("type", "Job type", cell=lambda row: Piece(row.entrypoint, Tone.BRIGHT), width=26, grow=1, most=38),
    Column("state", "State", timed=state_cell, width=14, grow=1, most=22),
    Column("every", "Comes round", cell=lambda row: Piece(row.expression, Tone.DIM), width=14, grow=1,
           most=24, priority=3),
    Column("next", "Next", timed=next_cell, width=8, align="right", sort=lambda row: _sort_moment(row.next_run),
           searched=False),
    Column("last", "Last", timed=last_cell, width=12, sort=lambda row: _sort_moment(row.last_run), descending=True,
           searched=False),
    Column("took", "took", cell=lambda row: with_unit(span_text(row.last_took_s)), width=7, align="right",
           sort=lambda row: row.last_took_s, descending=True, searched=False, priority=2),
    Column("runs", "Last 10", cell=runs_cell, width=10, align="right", searched=False, priority=4),
)  # fmt: skip


class ScheduleRead(Message):
    """It was read, or could not be."""

    def __init__(self, rows: tuple[ScheduleRow, ...], problem: str = "") -> None:
        super().__init__()
        self.rows = rows
        self.problem = problem


class ScheduleScreen(ConsoleScreen):
    """The list, and the runs of the line under the cursor."""

    NAME = "schedule"
    TITLE = "Schedule"
    CRUMBS: ClassVar[tuple[str, ...]] = ("Queues",)
    CSS_PATH = "schedule.tcss"

    def __init__(self) -> None:
        super().__init__()
        self._link: Link | None = None
        self._read_at = float("-inf")
        self._reading: Worker[None] | None = None
        self._problem = ""

    def body(self) -> Iterable[Widget]:
        """The list, then one's runs."""
        yield VirtualTable(
            COLUMNS,
            key=lambda row: row.entrypoint,
            title="Comes round by itself",
            nouns=("job type", "job types"),
            empty=EMPTY,
        )
        yield LineView(id="runs", classes="body")

    def on_mount(self) -> None:
        """Read it."""
        self._link = Link(self.host)
        self.query_one("#runs", LineView).show([line(Piece(" Reading the schedule …", Tone.DIM))])
        self.action_reload()

    async def on_unmount(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.aclose()

    def on_resize(self) -> None:
        """The runs are laid out anew."""
        self._draw()

    def tick(self) -> None:
        """Read anew now and then, after what is being read has come."""
        super().tick()
        is_reading = self._reading is not None and not self._reading.is_finished
        if not self.host.paused and not is_reading and time.monotonic() - self._read_at > RENEW_S:
            self.action_reload()

    def action_reload(self) -> None:
        """Read it anew."""
        self._read_at = time.monotonic()
        self._reading = self.run_worker(self._read(), exclusive=True, group="schedule", exit_on_error=False)

    def on_schedule_read(self, message: ScheduleRead) -> None:
        """Show it; what was read before stays when it cannot be had."""
        table = self.query_one(VirtualTable)
        if message.problem and not table.book.total:
            self._problem = ""
            table.empty_text = f"✖ {message.problem}"
            table.set_rows(())
        elif message.problem:
            self._problem = message.problem
        else:
            self._problem, table.empty_text = "", EMPTY
            table.set_rows(message.rows)
        self._draw()
        self.refresh_hints()

    def on_virtual_table_highlighted(self, event: VirtualTable.Highlighted) -> None:
        """Another line: its runs."""
        self._draw()
        self.refresh_hints()

    def title_of(self, action_id: str, title: str) -> str | None:
        """What `P` would do."""
        if action_id == "schedule.pause" and any(row.paused is not None for row in self._chosen()):
            return "resume"
        return title

    def action_run_now(self) -> None:
        """Put the chosen ones in, due or not."""
        names = [row.entrypoint for row in self._chosen()]
        if not names:
            return

        async def work(connection: Connection, by: By) -> list[str]:
            schedule = await module("backend.queue.schedule")
            return [name for name in names if await schedule.run_now(connection, by, name) is None]

        def told(busy: list[str]) -> str:
            put_in = [name for name in names if name not in busy]
            parts = [f"{listed(put_in)} put in."] if put_in else []
            return " ".join([*parts, *([f"{listed(busy)} waits or runs already."] if busy else [])])

        def answered(yes: bool | None) -> None:
            if yes:
                change(self, work, said=told, done=self._reload_if_here)

        more = "It is put in at once, due or paused or not. When it comes round next does not change."
        self.app.push_screen(ConfirmDialog(f"Run {listed(names)} now?", more, "run"), answered)

    def action_pause(self) -> None:
        """Let the chosen ones not come round, or come round again."""
        rows = self._chosen()
        paused = [row for row in rows if row.paused is not None]
        if paused:
            effect = "It comes round again at its next time; what it missed meanwhile is not made up for."
            self.app.push_screen(ResumeForm([_as_pause(row) for row in paused], effect, ramps=False), self._resumed)
        elif rows:
            targets = tuple(Target(PauseKind.SCHEDULE, row.entrypoint) for row in rows)
            effect = "It does not come round until then. One that waits or runs now goes on; `R` still runs it by hand."
            self.app.push_screen(PauseForm([Offer(targets, effect)], self.host.user, ramps=False), self._paused)

    def _paused(self, answer: PauseAnswer | None) -> None:
        if answer is None:
            return

        async def work(connection: Connection, by: By) -> None:
            await pause_all(connection, by, answer)

        change(self, work, said=lambda _: paused_text(answer), done=self._reload_if_here)

    def _resumed(self, answer: ResumeAnswer | None) -> None:
        if answer is None:
            return

        async def work(connection: Connection, by: By) -> None:
            await resume_all(connection, by, answer)

        names = listed([target.name for target in answer.targets])
        change(self, work, said=lambda _: f"{names} comes round again.", done=self._reload_if_here)

    def _reload_if_here(self) -> None:
        if self.is_attached:
            self.action_reload()

    def _chosen(self) -> Sequence[ScheduleRow]:
        rows: list[ScheduleRow] = self.query_one(VirtualTable).acting_rows if self.children else []
        return rows

    async def _read(self) -> None:
        assert self._link is not None
        schedule = await module("backend.queue.schedule")
        try:
            rows = await self._link.run(schedule.schedule)
        except NotDone as problem:
            self.post_message(ScheduleRead((), str(problem)))
        else:
            self.post_message(ScheduleRead(rows))

    def _draw(self) -> None:
        if not self.children:
            return
        lines: list[Line] = []
        if self._problem:
            lines.append(line(Piece(f" ✖ {self._problem}", Tone.CRIT)))
        table = self.query_one(VirtualTable)
        width, height = self.app.size
        row = table.cursor_row
        if row is not None:
            title = (Piece("Last runs", Tone.BRIGHT), Piece(f"  {row.entrypoint}", Tone.DIM))
            lines += [rule(title, width), *run_lines(row, time.time(), 3 if height < 30 else 10)]
        table.styles.height = min(2 + max(2, table.book.total), height - 3 - len(lines))
        self.query_one("#runs", LineView).show(lines)


def run_lines(row: ScheduleRow, now: float, most: int) -> list[Line]:
    """The last runs of one job type, and why it is paused."""
    lines: list[Line] = []
    if row.paused is not None:
        since = moment_text(row.paused.paused_at.timestamp(), now)
        why = f": {row.paused.reason}" if row.paused.reason else ""
        lines.append(line(Piece(" ▲ paused", Tone.WARN), Piece(f" by {row.paused.paused_by} since {since}{why}")))
    if not row.runs:
        lines.append(line(Piece(f" {row.entrypoint} has not run within what is kept.", Tone.DIM)))
    return lines + [_run_line(run, now) for run in row.runs[: most - len(lines)]]


def _run_line(run: ScheduledRun, now: float) -> Line:
    tone = run_tone(run.outcome)
    glyph = {Tone.OK: "●", Tone.CRIT: "✖"}.get(tone, "▲")
    mark = Piece(f" {glyph} {run.outcome:<10}", Tone.TEXT if tone is Tone.OK else tone)
    took = fitted(with_unit(span_text(run.took_s)), 8, right=True)
    return line(mark, Piece(f"{moment_text(run.at.timestamp(), now):<14}", Tone.DIM), *took)


def _as_pause(row: ScheduleRow) -> PauseRow:
    assert row.paused is not None
    return PauseRow(
        id=0,
        kind=PauseKind.SCHEDULE,
        name=row.entrypoint,
        reason=row.paused.reason,
        paused_by=row.paused.paused_by,
        paused_at=row.paused.paused_at.timestamp(),
    )
