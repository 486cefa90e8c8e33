"""The jobs held for one cause: what they have in common, who has them, and what can be done about them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual.message import Message
from textual.widget import Widget

from backend.watch.snapshots import HeldGroup, QueuesSnapshot
from screens.detail import READ_S, fact_lines
from screens.held_actions import Choice, HeldActions, Scope
from screens.link import module
from screens.moments import day_text, moment_text
from screens.things import open_thing
from widgets.columns import Column
from widgets.figures import count_text, meter, sparkline
from widgets.line_view import LineView
from widgets.pieces import Content, Line, Piece, Tone, line
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.details import Details, HeldJob
    from backend.watch.snapshots import BulkRow, Snapshot

MOST = 500
"""Jobs that are listed; there may be more, and `a` in a dialog means all of them."""

TOLD = 100
"""Causes that a snapshot tells of at most; one that is not among so many may be held nevertheless."""

LOOK_S = 5.0
"""So often the jobs of a cause that snapshots do not tell of are read anew."""

EMPTY = "None is held for this cause any more. What was decided about them stands in :audit."

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


class CauseScreen(HeldActions):
    """One cause and its held jobs."""

    NAME = "cause"
    TITLE = "Held jobs"
    CRUMBS = ("Queues",)
    DOMAINS: ClassVar[tuple[str, ...]] = ("queues",)

    def __init__(self, group: HeldGroup) -> None:
        super().__init__()
        self._group = group
        self._is_gone = False
        """Whether none was held when it was read last."""
        self._told: int | None = group.held_total
        """Jobs that the last snapshot told of; None when it did not tell of the cause."""
        self._read_at = 0.0
        self._bulk_rows: tuple[BulkRow, ...] = ()
        self._quarantines = 0
        self._has_decided = False
        self._details: Details | None = None

    def body(self) -> Iterable[Widget]:
        """The cause, then its jobs."""
        yield LineView(id="facts", classes="body")
        yield VirtualTable(
            JOBS,
            key=lambda row: f"{row.job_id}",
            title="Jobs",
            nouns=("job", "jobs"),
            empty=EMPTY,
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

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """New figures of the cause; when their number is another one, the jobs are read anew."""
        if not isinstance(snapshot, QueuesSnapshot):
            return
        group = next((group for group in snapshot.held if group.fingerprint == self._group.fingerprint), None)
        before, self._told = self._told, None if group is None else group.held_total
        if group is not None:
            self._group = group
        self._bulk_rows = tuple(row for row in snapshot.bulk_actions if row.state == "running")
        self._quarantines = sum(row.fingerprint == self._group.fingerprint for row in snapshot.quarantines)
        self._draw()
        is_untold = group is None and len(snapshot.held) >= TOLD and time.monotonic() - self._read_at > LOOK_S
        if before != self._told or is_untold:
            self.action_reload()

    def action_reload(self) -> None:
        """Read them anew."""
        self._read_at = time.monotonic()
        self.run_worker(self._load(), exclusive=True, group="detail", exit_on_error=False)

    def on_found(self, message: Found) -> None:
        """Show them, or why there are none."""
        if not self.query(VirtualTable):
            return
        table = self.query_one(VirtualTable)
        if message.problem:
            self.host.say(message.problem, severity="error")
            table.note("▲ not read anew")
            if not table.book.total:
                table.empty_text = message.problem
                table.set_rows(())
            return
        table.empty_text = EMPTY
        table.note(f"the latest {count_text(MOST)}" if len(message.jobs) >= MOST else "")
        table.set_rows(message.jobs, at_once=self._has_decided)
        self._has_decided = False
        self._is_gone = not message.jobs
        if message.jobs and self._told is None and len(message.jobs) < MOST:
            self._group = counted(self._group, message.jobs, time.time())
        self._draw()

    async def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """A job opens."""
        job = f"{event.row.job_id}"  # type: ignore[attr-defined]  # rows are HeldJobs
        await open_thing(self.app, "job", job, crumbs=(*self.CRUMBS, self.TITLE))

    def scopes(self) -> tuple[Scope, ...]:
        """The marked jobs, or the one under the cursor; those that the filter shows; all of the cause."""
        if not self.query(VirtualTable):
            return ()
        group, table = self._group, self.query_one(VirtualTable)
        rows: list[HeldJob] = list(table.acting_rows)
        scopes = []
        if rows:
            words = f"job {rows[0].job_id}" if len(rows) == 1 else f"{len(rows)} marked jobs"
            scopes.append(self._scope(words, rows))
        if table.book.filter and len(table.book):
            shown: list[HeldJob] = list(table.book.shown_rows())
            scopes.append(self._scope(f"{len(shown)} shown by the filter", shown))
        if not self._is_gone:
            everything = Choice(fingerprint=group.fingerprint)
            words = f"all {count_text(group.held_total)} of this cause"
            scopes.append(Scope(words, everything, group.entrypoint, fingerprint=group.fingerprint))
        return tuple(scopes)

    def _decided(self) -> None:
        self._has_decided = True
        super()._decided()

    def _scope(self, words: str, rows: list[HeldJob]) -> Scope:
        companies = {row.company for row in rows}
        return Scope(
            words,
            Choice(job_ids=tuple(row.job_id for row in rows)),
            self._group.entrypoint,
            company=companies.pop() if len(companies) == 1 else "",
            fingerprint=self._group.fingerprint,
        )

    async def on_unmount(self) -> None:
        """Close the connections."""
        if self._details is not None:
            await self._details.aclose()

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(READ_S):
                if self._details is None:
                    address = self.host.postgres
                    if address is None:
                        self.post_message(Found((), "The database is not known: no system runs here."))
                        return
                    self._details = (await module("backend.watch.details")).Details(address)
                jobs = await self._details.held_jobs(self._group.fingerprint)
        except TimeoutError:
            self.post_message(Found((), f"The database did not answer within {READ_S:.0f} s. ctrl+r tries again."))
        except Exception as error:
            self.post_message(Found((), f"The jobs cannot be read: {error}. ctrl+r tries again."))
        else:
            self.post_message(Found(jobs))

    def _draw(self) -> None:
        if not self.query("#facts"):
            return
        facts = cause_facts(self._group, is_gone=self._is_gone, quarantines=self._quarantines)
        width = self.app.size.width
        lines = fact_lines(facts, width)
        lines += [bulk_line(row, width) for row in self._bulk_rows[:2]]
        self.query_one("#facts", LineView).show(lines)


def counted(group: HeldGroup, jobs: Sequence[HeldJob], now: float) -> HeldGroup:
    """The cause with figures counted among all its jobs, for when no snapshot tells them."""
    held = [job.held_at for job in jobs]
    trend = [0] * 12
    for at in held:
        if at > now - 3600:
            trend[max(0, min(11, int((at - now + 3600) // 300)))] += 1
    return msgspec.structs.replace(
        group,
        held_total=len(held),
        held_7d=sum(at > now - 7 * 86_400 for at in held),
        held_24h=sum(at > now - 86_400 for at in held),
        held_1h=sum(at > now - 3600 for at in held),
        first_at=min(held),
        last_at=max(held),
        trend=tuple(trend),
    )


def cause_facts(group: HeldGroup, *, is_gone: bool, quarantines: int) -> tuple[tuple[str, Content], ...]:
    """What the jobs of a cause have in common."""
    held = Piece("0", Tone.DIM) if is_gone else Piece(count_text(group.held_total), Tone.WARN)
    companies = ", ".join(f"{slug or 'none'} {count_text(jobs)}" for slug, jobs in group.top_companies)
    more = group.companies - len(group.top_companies)
    if companies and more > 0:
        companies += f", +{more} more"
    lately = (
        Piece(f" {'Held now':<14}", Tone.DIM),
        held,
        Piece("   1 h ", Tone.DIM),
        Piece(f"{count_text(group.held_1h)} "),
        Piece(sparkline(group.trend, 12), Tone.DIM),
        Piece(f"   24 h {count_text(group.held_24h)}   7 d {count_text(group.held_7d)}", Tone.DIM),
    )
    whose = (Piece(f" {'Companies':<14}", Tone.DIM), Piece(companies or count_text(group.companies)))
    facts: list[tuple[str, Content]] = [
        ("Job type", Piece(group.entrypoint, Tone.BRIGHT)),
        ("Queue", Piece(group.queue)),
        ("First", Piece(day_text(group.first_at))),
        ("Last", Piece(day_text(group.last_at))),
        ("", lately),
        ("", whose),
    ]
    if quarantines:
        facts.append(("Quarantined", Piece("▲ jobs like these are held before they run", Tone.WARN)))
    facts.append(("", (Piece(f" {'Cause':<14}", Tone.DIM), Piece(f"{group.error_type}: {group.message}", Tone.CRIT))))
    return tuple(facts)


def bulk_line(row: BulkRow, width: int) -> Line:
    """A decision at work, whoever made it."""
    ratio = (row.done + row.skipped) / row.matched if row.matched else 1.0
    return line(
        Piece(f" {row.action} ", Tone.ACCENT),
        Piece(meter(ratio, max(8, min(30, width - 60))), Tone.ACCENT),
        Piece(f" {count_text(row.done + row.skipped)} of {count_text(row.matched)}"),
        Piece(f"  by {row.started_by}{f': {row.reason}' if row.reason else ''}", Tone.DIM),
    )
