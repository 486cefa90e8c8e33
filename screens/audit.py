"""The record: what was done by hand, by whom, why. Newest first, older entries come when one goes down to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message
from textual.widget import Widget
from textual.worker import Worker

from screens.base import ConsoleScreen
from screens.forms import Form, choice, fact, told
from screens.link import Link, NotDone, module
from screens.moments import day_text, moment_text
from widgets.columns import Column
from widgets.pieces import Line, Piece, Tone, line
from widgets.row_book import Sorting
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.watch.audit_log import AuditEntry

MOST = 5_000
"""Entries that the list keeps; the filter looks through these."""

EMPTY = "Nothing was done by hand yet. Retries, pauses, moves, reveals and the like are written down here."

LOOK_TICKS = 3
"""Seconds between two looks for what is new."""


def detail_text(detail: Mapping[str, object]) -> str:
    """The particulars in one line, figures first: `done 196, matched 198, queue default`."""
    told = [(name, value) for name, value in told_values(detail) if isinstance(value, (int, float, str))]
    told.sort(key=lambda entry: isinstance(entry[1], str))
    return ", ".join(f"{name.replace('_', ' ')} {value_text(value)}" for name, value in told)


def told_values(detail: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    """The particulars that say something."""
    return ((name, value) for name, value in detail.items() if value not in (None, "", [], {}))


def value_text(value: object) -> str:
    """One particular."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


ENTRIES: tuple[Column[AuditEntry], ...] = (
    Column(
        "at", "At", timed=lambda row, now: Piece(moment_text(row.at, now)), width=12, sort=lambda row: row.id,
        descending=True, searched=False,
    ),
    Column("who", "Who", cell=lambda row: Piece(row.actor, Tone.BRIGHT), width=10),
    Column("action", "What", cell=lambda row: Piece(row.action), width=16),
    Column("subject", "To what", cell=lambda row: Piece(row.subject), width=12, grow=2, most=60),
    Column("reason", "Why", cell=lambda row: Piece(row.reason or "–", Tone.TEXT if row.reason else Tone.DIM), width=18,
           grow=3, priority=2),
    Column("detail", "Particulars", cell=lambda row: Piece(detail_text(row.detail), Tone.DIM), width=28, grow=3,
           priority=3),
    Column("company", "Company", cell=lambda row: Piece(row.company or "–", Tone.DIM), width=12, priority=4),
    Column("node", "Node", cell=lambda row: Piece(row.node, Tone.DIM), width=12, priority=5),
)  # fmt: skip


class Read(Message):
    """A page was read, or could not be."""

    def __init__(
        self,
        entries: tuple[AuditEntry, ...],
        problem: str = "",
        *,
        is_older: bool = False,
        is_last: bool = False,
        is_apart: bool = False,
    ) -> None:
        super().__init__()
        self.entries = entries
        self.problem = problem
        self.is_older = is_older
        """Whether they are from before those that are known."""
        self.is_last = is_last
        """Whether there is nothing older."""
        self.is_apart = is_apart
        """Whether there are more between them and those that are known."""


class AuditScreen(ConsoleScreen):
    """The record as a list; each entry opens into all its particulars."""

    NAME = "audit"
    TITLE = "Audit"
    DOMAINS: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[int, AuditEntry] = {}
        self._is_whole = False
        self._ticks = 0
        self._link: Link | None = None
        self._problem = ""
        self._reading: Worker[None] | None = None
        self._reading_older: Worker[None] | None = None

    def body(self) -> Iterable[Widget]:
        """The list."""
        yield VirtualTable(
            ENTRIES,
            key=lambda row: f"{row.id}",
            title="What was done by hand, newest first",
            nouns=("entry", "entries"),
            empty=EMPTY,
            sorting=Sorting("at", descending=True),
        )

    def on_mount(self) -> None:
        """Read the newest."""
        self._link = Link(self.host)
        super().on_mount()
        self.action_reload()

    async def on_unmount(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.aclose()

    def tick(self) -> None:
        """Look for what is new now and then; a look that takes longer than that is waited for."""
        super().tick()
        self._ticks += 1
        is_reading = self._reading is not None and not self._reading.is_finished
        if self._ticks % LOOK_TICKS == 0 and not self.host.paused and not is_reading:
            self.action_reload()

    def action_reload(self) -> None:
        """Read the newest entries."""
        self._reading = self.run_worker(self._load_new(), exclusive=True, group="newest", exit_on_error=False)

    def on_virtual_table_highlighted(self, event: VirtualTable.Highlighted) -> None:
        """On the last row: read what is older."""
        table = event.table
        is_reading = self._reading_older is not None and not self._reading_older.is_finished
        if is_reading or self._is_whole or not self._entries or len(self._entries) >= MOST:
            return
        if table.book.index(f"{event.row.id}") == len(table.book) - 1:  # type: ignore[attr-defined]  # rows are entries
            older = self._load_older(min(self._entries))
            self._reading_older = self.run_worker(older, exclusive=True, group="older", exit_on_error=False)

    async def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """All particulars of an entry."""
        await self.app.push_screen(EntryDialog(event.row))  # type: ignore[arg-type]  # rows are entries

    def on_read(self, message: Read) -> None:
        """Show them with those that are known."""
        table = self.query_one(VirtualTable)
        if message.problem:
            if message.problem != self._problem and self._entries:
                self.host.say(message.problem, severity="error")
            self._problem = message.problem
            if self._entries:
                table.note("▲ not read anew")
            else:
                table.empty_text = f"✖ {message.problem}"
                table.set_rows(())
            return
        self._problem = ""
        table.note("")
        table.empty_text = EMPTY
        if message.is_apart:
            # What is known goes, so that the list has no hole; it comes again when somebody goes down to it.
            self._entries, self._is_whole = {}, False
        self._is_whole = self._is_whole or message.is_last
        new = [entry for entry in message.entries if entry.id not in self._entries]
        self._entries |= {entry.id: entry for entry in new}
        if len(self._entries) > MOST:
            self._entries = {each: self._entries[each] for each in sorted(self._entries)[-MOST:]}
            self._is_whole = False
        if new or not self._entries:
            # Older entries were asked for by going down to them; newer ones wait while somebody reads.
            table.set_rows(tuple(self._entries.values()), at_once=message.is_older)

    async def _load_new(self) -> None:
        """The newest entries, page by page down to those that are known."""
        known = frozenset(self._entries)
        entries: tuple[AuditEntry, ...] = ()
        try:
            while True:
                page, is_last = await self._page(entries[-1].id if entries else None)
                entries += page
                meets = is_last or not known.isdisjoint(entry.id for entry in page)
                if meets or not known or len(entries) >= MOST:
                    break
        except NotDone as problem:
            self.post_message(Read((), f"The record cannot be read: {problem}"))
        else:
            self.post_message(Read(entries, is_last=is_last, is_apart=bool(known) and not meets))

    async def _load_older(self, before: int) -> None:
        try:
            entries, is_last = await self._page(before)
        except NotDone as problem:
            self.post_message(Read((), f"The record cannot be read: {problem}"))
        else:
            self.post_message(Read(entries, is_older=True, is_last=is_last))

    async def _page(self, before: int | None) -> tuple[tuple[AuditEntry, ...], bool]:
        """The entries before one, newest first, and whether there is nothing older. Raises NotDone."""
        assert self._link is not None
        audit_log = await module("backend.watch.audit_log")

        async def read(connection: Connection) -> tuple[AuditEntry, ...]:
            entries: tuple[AuditEntry, ...] = await audit_log.audit_entries(connection, before=before)
            return entries

        entries = await self._link.run(read)
        return entries, len(entries) < audit_log.PAGE


class EntryDialog(Form[None]):
    """One entry with everything that was written down."""

    def __init__(self, entry: AuditEntry) -> None:
        super().__init__()
        self._entry = entry

    def above(self, width: int) -> Iterable[Line]:
        """The entry."""
        entry = self._entry
        yield Line()
        yield from told(f"{entry.action}  {entry.subject}", width, Tone.BRIGHT)
        yield Line()
        yield fact("At", Piece(day_text(entry.at)), width=width)
        yield fact("By", Piece(entry.actor), Piece(f"  on {entry.node}, as {entry.db_user}", Tone.DIM), width=width)
        if entry.company:
            yield fact("Company", Piece(entry.company), width=width)
        yield fact(
            "Why", Piece(entry.reason or "no reason was given", Tone.TEXT if entry.reason else Tone.DIM), width=width
        )
        for name, value in told_values(entry.detail):
            first, *more = told(value_text(value), width - 14) or [line(Piece("  –", Tone.DIM))]
            yield fact(name.replace("_", " ")[:13], *first.pieces[1:], width=width)
            yield from (Line((Piece(" " * 14), *part.pieces)) for part in more)
        yield Line()
        yield choice("esc", "back")
        yield Line()
