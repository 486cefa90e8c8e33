"""The jobs held for one cause; each opens into its payload, attempts and traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message
from textual.widget import Widget

from backend.watch.snapshots import HeldGroup
from screens.base import ConsoleScreen
from screens.detail import READ_S, fact_lines
from screens.moments import day_text, moment_text
from screens.things import open_thing
from widgets.columns import Column
from widgets.figures import count_text
from widgets.line_view import LineView
from widgets.pieces import Piece, Tone
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.details import HeldJob

JOBS: tuple[Column[HeldJob], ...] = (
    Column(
        "held", "Held", timed=lambda row, now: Piece(moment_text(row.held_at, now)), width=12,
        sort=lambda row: row.held_at, descending=True, searched=False,
    ),
    Column("job", "Job", cell=lambda row: Piece(f"{row.job_id}", Tone.BRIGHT), width=10, align="right",
           sort=lambda row: row.job_id),
    Column("company", "Company", cell=lambda row: Piece(row.company or "–", Tone.DIM), width=18, priority=2),
    Column(
        "attempts", "Tries", cell=lambda row: f"{row.attempts}", width=5, align="right",
        sort=lambda row: row.attempts, descending=True, searched=False, priority=3,
    ),
    Column("message", "Error", cell=lambda row: Piece(row.message), width=30, grow=1),
)  # fmt: skip


class Found(Message):
    """The jobs were read, or could not be."""

    def __init__(self, jobs: tuple[HeldJob, ...], problem: str = "") -> None:
        super().__init__()
        self.jobs = jobs
        self.problem = problem


class CauseScreen(ConsoleScreen):
    """One cause and its held jobs."""

    NAME = "cause"
    TITLE = "Held jobs"
    CRUMBS = ("Queues",)
    DOMAINS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, group: HeldGroup) -> None:
        super().__init__()
        self._group = group

    def body(self) -> Iterable[Widget]:
        """The cause, then its jobs."""
        yield LineView(id="facts", classes="body")
        yield VirtualTable(
            JOBS,
            key=lambda row: f"{row.job_id}",
            title="Jobs",
            nouns=("job", "jobs"),
            empty="None is held for this cause any more.",
        )

    def on_mount(self) -> None:
        """Read the jobs."""
        super().on_mount()
        self._draw()
        self.action_reload()

    def on_resize(self) -> None:
        """The facts are laid out anew."""
        super().on_resize()
        self._draw()

    def action_reload(self) -> None:
        """Read them anew."""
        self.run_worker(self._load(), exclusive=True, group="detail", exit_on_error=False)

    def on_found(self, message: Found) -> None:
        """Show them, or why there are none."""
        if message.problem:
            self.host.say(message.problem, severity="error")
            return
        self.query_one(VirtualTable).set_rows(message.jobs)

    def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """A job opens."""
        open_thing(self.app, "job", f"{event.row.job_id}", crumbs=(*self.CRUMBS, self.TITLE))  # type: ignore[attr-defined]  # rows are HeldJobs

    async def _load(self) -> None:
        address = self.host.postgres
        if address is None:
            self.post_message(Found((), "The database is not known: no system runs here."))
            return
        details = (await asyncio.to_thread(import_module, "backend.watch.details")).Details(address)
        try:
            async with asyncio.timeout(READ_S):
                jobs = await details.held_jobs(self._group.fingerprint)
        except TimeoutError:
            self.post_message(Found((), f"The database did not answer within {READ_S:.0f} s. ctrl+r tries again."))
        except Exception as error:
            self.post_message(Found((), f"The jobs cannot be read: {error}. ctrl+r tries again."))
        else:
            self.post_message(Found(jobs))
        finally:
            await details.aclose()

    def _draw(self) -> None:
        group = self._group
        facts = (
            ("Job type", Piece(group.entrypoint, Tone.BRIGHT)),
            ("Queue", Piece(group.queue)),
            ("First", Piece(day_text(group.first_at))),
            ("Last", Piece(day_text(group.last_at))),
            ("Held now", Piece(count_text(group.held_total), Tone.WARN)),
            ("Companies", Piece(count_text(group.companies))),
            ("", (Piece(f" {'Cause':<14}", Tone.DIM), Piece(f"{group.error_type}: {group.message}", Tone.CRIT))),
        )
        self.query_one("#facts", LineView).show(fact_lines(facts, self.app.size.width))
