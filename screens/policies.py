"""Policies: what holds for each queue and job type as workers work by it, and where each value comes from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message
from textual.widget import Widget

from screens.base import ConsoleScreen
from screens.link import Link, NotDone, module
from widgets.columns import Column
from widgets.line_view import LineView
from widgets.pieces import Content, Piece, Tone, line
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.queue.policies_in_force import PolicyInForce

BUILT_IN = "built in"

EMPTY = "No worker lives that could tell what it works by. `askpro queue policies` tells what is set here."

MEANINGS = {
    "concurrency": "jobs at once of one worker",
    "batch": "jobs claimed in one round trip",
    "floor": "slots that the balancer never takes away",
    "ceiling": "slots that nobody goes beyond",
    "pausable": "whether it may be paused",
    "timeout_s": "a job that runs longer has failed",
    "attempts": "attempts before a job is held",
    "backoff_s": "wait before each retry",
    "jitter": "each wait varies by up to this share",
    "crash_starts": "starts without an end that make a job poison",
    "permanent": "errors that no further attempt can mend",
    "priority": "higher starts first within its queue",
    "provider": "what it cannot do without",
    "keep_done_minutes": "life of the record of a run that succeeded",
    "keep_failed_minutes": "life of the record of a run that did not",
    "keep_held_minutes": "life of a held job after somebody decided",
    "alert_oldest_s": "age of the oldest ready job that is warned of",
    "alert_drain_s": "time to clear what is ready that is warned of",
    "alert_backlog": "ready jobs that are warned of",
    "alert_silence_s": "time without a new job that is warned of",
    "alert_failure_share": "share of failing runs that is warned of",
}
"""What each value means, in a few words."""


def source_tone(row: PolicyInForce) -> Tone:
    """What somebody set stands out; what is built in or comes from the queue is dim."""
    if row.source == BUILT_IN or row.source == f"queue {row.subject.partition('.')[0]}":
        return Tone.DIM
    return Tone.ACCENT


def _name(row: PolicyInForce) -> str:
    return row.name.removesuffix("_s").removesuffix("_minutes").replace("_", " ")


def _subject_cell(row: PolicyInForce) -> Content:
    return Piece(row.subject, Tone.DIM if "." in row.subject else Tone.TEXT)


def _value_cell(row: PolicyInForce) -> Content:
    return Piece(row.value, Tone.TEXT if source_tone(row) is Tone.DIM else Tone.BRIGHT)


def _where_cell(row: PolicyInForce) -> Content:
    return Piece(row.node or "every node", Tone.ACCENT if row.node else Tone.DIM)


COLUMNS: tuple[Column[PolicyInForce], ...] = (
    Column("subject", "Queue, job type", cell=_subject_cell, width=24, grow=1, most=38),
    Column("name", "Policy", cell=_name, width=14, grow=1, most=20),
    Column("value", "Value", cell=_value_cell, width=14, grow=2, most=44),
    Column("source", "From", cell=lambda row: Piece(row.source, source_tone(row)), width=16, grow=3, most=60),
    Column("node", "Where", cell=_where_cell, width=12, priority=3),
    Column("means", "Means", cell=lambda row: Piece(MEANINGS.get(row.name, ""), Tone.DIM), width=24, grow=2,
           priority=4, searched=False),
)  # fmt: skip


class PoliciesRead(Message):
    """They were read, or could not be."""

    def __init__(self, rows: tuple[PolicyInForce, ...], problem: str = "") -> None:
        super().__init__()
        self.rows = rows
        self.problem = problem


class PoliciesScreen(ConsoleScreen):
    """One line for each value in force."""

    NAME = "policies"
    TITLE = "Policies"
    CRUMBS: ClassVar[tuple[str, ...]] = ("Queues",)

    def __init__(self) -> None:
        super().__init__()
        self._link: Link | None = None

    def body(self) -> Iterable[Widget]:
        """A list, and what the line under the cursor means."""
        yield VirtualTable(
            COLUMNS,
            key=lambda row: f"{row.subject} {row.name} {row.node}",
            title="Policies in force",
            nouns=("value", "values"),
            empty=EMPTY,
        )
        yield LineView(id="means", classes="body")

    def on_mount(self) -> None:
        """Read them."""
        self._link = Link(self.host)
        self.query_one("#means", LineView).show([line(Piece(" Reading what workers work by …", Tone.DIM))])
        self.action_reload()

    async def on_unmount(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.aclose()

    def action_reload(self) -> None:
        """Read them anew."""
        self.run_worker(self._read(), exclusive=True, group="policies", exit_on_error=False)

    def on_policies_read(self, message: PoliciesRead) -> None:
        """Show them; what was read before stays when they cannot be had."""
        table, below = self.query_one(VirtualTable), self.query_one("#means", LineView)
        if message.problem and table.book.total:
            below.show([line(Piece(f" ✖ {message.problem}", Tone.CRIT))])
            return
        table.empty_text = f"✖ {message.problem}" if message.problem else EMPTY
        table.set_rows(message.rows)
        if message.problem or not message.rows:
            below.show([line()])
        elif isinstance(table.cursor_row, type(message.rows[0])):
            below.show([line(*meaning(table.cursor_row))])

    def on_virtual_table_highlighted(self, event: VirtualTable.Highlighted) -> None:
        """What the value under the cursor means, and where to set it."""
        row = event.row
        if row is not None:
            self.query_one("#means", LineView).show([line(*meaning(row))])  # type: ignore[arg-type]  # rows are policies

    async def _read(self) -> None:
        assert self._link is not None
        in_force = await module("backend.queue.policies_in_force")
        try:
            rows = await self._link.run(in_force.read_policies)
        except NotDone as problem:
            self.post_message(PoliciesRead((), str(problem)))
        else:
            self.post_message(PoliciesRead(rows))


def meaning(row: PolicyInForce) -> tuple[Piece, ...]:
    """What a value means, and the table of the settings file where it can be set."""
    name = row.subject if "." not in row.subject else f'"{row.subject}"'
    table = "jobs" if "." in row.subject else "queues"
    place = f"   [profiles.….{table}.{name}] {row.name}"
    return (Piece(f" {_name(row)}: {MEANINGS.get(row.name, row.name)}"), Piece(place, Tone.DIM))
