"""Queues: what waits, how long, whether it gets fewer; what is held and why; what is in force and what was decided."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.containers import Container
from textual.widget import Widget

from backend.watch.snapshots import HeldGroup, QueuesSnapshot, SlotChange, TroubleRow
from screens.base import ConsoleScreen
from screens.held_actions import Scope
from screens.host import Arrived
from screens.in_force import LANES, NOTES, Lane, Note, lanes, news_line, notes
from screens.queue_actions import QueueActions
from screens.queue_deeds import Deed
from screens.queue_lists import (
    CAUSES,
    JOB_TYPES,
    PROVIDERS,
    QUEUES,
    Expected,
    ProviderLine,
    QueueLine,
    TypeLine,
    provider_rows,
    queue_rows,
    type_rows,
)
from screens.queue_room import HEAD, ORDER, SIDE, heights, reachable
from screens.queue_scopes import scopes_of
from widgets.figures import age_text, count_text, with_unit
from widgets.line_view import LineView
from widgets.pieces import Line, Piece, Tone, rule
from widgets.row_book import Sorting
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.snapshots import Snapshot

TITLES = {"causes": "Held", "lanes": "In force", "notes": "Decisions", "providers": "Providers", "types": "Job types"}
"""The lists as the line that stands for them calls them."""

EXPECTED_S = 5.0
"""What was asked for is shown for so long until a snapshot tells of it."""


def intake_line(snapshot: QueuesSnapshot, width: int) -> Line:
    """What stands in front of the queues: deliveries accepted, waiting, refused, without a company."""
    waiting = snapshot.inbox_waiting
    refused = ", ".join(
        f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(snapshot.rejected_by_reason_1h.items())
    )
    pieces: list[Piece] = [
        Piece(" Accepted, 1 h "),
        Piece(count_text(snapshot.accepted_1h), Tone.BRIGHT),
        Piece("   without effect yet ", Tone.DIM),
        Piece(count_text(waiting)),
    ]
    if waiting:
        pieces += [Piece(", oldest ", Tone.DIM), *with_unit(age_text(snapshot.inbox_oldest_s))]
    pieces += [
        Piece("   quarantined ", Tone.DIM),
        Piece(f"▲ {snapshot.quarantined}", Tone.WARN) if snapshot.quarantined else Piece("0"),
        Piece("   refused, 1 h ", Tone.DIM),
        Piece(count_text(snapshot.rejected_1h)),
    ]
    if refused and Line(tuple(pieces)).width + len(refused) + 4 < width:
        pieces.append(Piece(f" ({refused})", Tone.DIM))
    return Line(tuple(pieces))


def calendar_lines(snapshot: QueuesSnapshot) -> list[Line]:
    """What is on its way to calendars; nothing while no provider is called."""
    if not (snapshot.providers or snapshot.calendar_pending or snapshot.calendar_failed):
        return []
    pieces: list[Piece] = [Piece(" Calendars, not written yet "), Piece(count_text(snapshot.calendar_pending))]
    if snapshot.calendar_pending:
        pieces += [Piece(", oldest ", Tone.DIM), *with_unit(age_text(snapshot.calendar_oldest_s))]
    failed = snapshot.calendar_failed
    pieces += [
        Piece("   refused ", Tone.DIM),
        Piece(f"✖ {failed}", Tone.CRIT) if failed else Piece("0"),
    ]
    return [Line(tuple(pieces))]


class QueuesScreen(QueueActions):
    """Queues on top, under them what is held, what is in force, what was decided, providers, job types."""

    NAME = "queues"
    TITLE = "Queues"
    DOMAINS: ClassVar[tuple[str, ...]] = ("queues",)
    CSS_PATH = "queues.tcss"

    def __init__(self) -> None:
        super().__init__()
        self._snapshot: QueuesSnapshot | None = None
        self._expected: dict[str, tuple[Expected, float]] = {}
        self._wanted = "causes"
        self._sizes: dict[str, int] = {}
        self._is_explained = False
        """Whether a line under the lists says why they are old."""

    def body(self) -> Iterable[Widget]:
        """Queues, what stands in front of them, the lists."""
        yield VirtualTable(
            QUEUES,
            key=lambda line: line.row.queue,
            title="Queues",
            nouns=("queue", "queues"),
            empty="No queue is known yet.",
            id="queues",
        )
        yield LineView(id="intake", classes="body")
        yield LineView(id="news", classes="body")
        with Container(id="lists", classes="body"):
            with Container(id="side"):
                yield self._lanes()
                yield self._notes()
                yield VirtualTable(
                    PROVIDERS,
                    key=lambda line: line.provider,
                    title="Providers",
                    nouns=("provider", "providers"),
                    empty="No provider was called lately.",
                    id="providers",
                )
            with Container(id="main"):
                yield VirtualTable(
                    CAUSES,
                    key=lambda row: row.fingerprint,
                    title="Held, by cause",
                    nouns=("cause", "causes"),
                    empty="No held jobs. A job that fails its last attempt waits here, with its payload and traceback.",
                    sorting=Sorting("last", descending=True),
                    id="causes",
                )
                yield VirtualTable(
                    JOB_TYPES,
                    key=lambda line: line.row.entrypoint,
                    title="Job types, last 15 min",
                    nouns=("type", "types"),
                    empty="No job has run yet.",
                    id="types",
                )

    @staticmethod
    def _lanes() -> VirtualTable[Lane]:
        return VirtualTable(
            LANES,
            key=lambda lane: lane.key,
            title="In force",
            nouns=("thing", "things"),
            empty="Nothing is paused, held back or under way.",
            id="lanes",
        )

    @staticmethod
    def _notes() -> VirtualTable[Note]:
        return VirtualTable(
            NOTES,
            key=lambda note: note.key,
            title="Decisions and troubles",
            nouns=("entry", "entries"),
            empty="No trouble within 15 minutes, and no slot was shifted.",
            natural=Sorting("at", descending=True),
            id="notes",
        )

    # What is shown

    @property
    def snapshot(self) -> QueuesSnapshot | None:
        """The newest figures."""
        return self._snapshot

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """New figures."""
        if isinstance(snapshot, QueuesSnapshot):
            self._snapshot = snapshot
            self._forget_expected(snapshot)
            self._show_queues()
            rows: dict[str, list[object]] = {
                "causes": list(snapshot.held),
                "lanes": list(lanes(snapshot)),
                "notes": list(notes(snapshot)),
                "providers": list(provider_rows(snapshot)),
                "types": list(type_rows(snapshot)),
            }
            for name, found in rows.items():
                self._list(name).set_rows(found)
            self._sizes = {name: len(found) for name, found in rows.items()}
            self._arrange()

    def expect(self, queue: str, expected: Expected | None) -> None:
        """Show at once what was asked for."""
        if expected is None:
            self._expected.pop(queue, None)
        else:
            self._expected[queue] = (expected, time.monotonic())
        if self.is_mounted and self._snapshot is not None:
            self._show_queues()

    def tick(self) -> None:
        """What was expected is forgotten after a while."""
        super().tick()
        if self._expected and self._snapshot is not None:
            self._forget_expected(self._snapshot)
            self._show_queues()

    def on_resize(self) -> None:
        """The lists share the new room."""
        self._arrange()

    def on_arrived(self, message: Arrived) -> None:
        """The line that says why data is old takes room from the lists."""
        if self._is_explained != bool(message.seen.error):
            self._is_explained = not self._is_explained
            self._arrange()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Another list has the keys: its own are shown."""
        self.refresh_hints()

    def on_virtual_table_highlighted(self, event: VirtualTable.Highlighted) -> None:
        """Another row: what can be done with it is shown."""
        if event.table is self.table:
            self.refresh_hints()

    # Where one goes

    def action_next_list(self) -> None:
        """The next list gets the keys, and room."""
        self._go(1)

    def action_previous_list(self) -> None:
        """The list before gets the keys, and room."""
        self._go(-1)

    async def action_history(self) -> None:
        """What the queue or job type under the cursor did over the last hours and days."""
        rows = self.chosen()
        if self.is_one(rows, "History is of one row at a time"):
            await self.app.push_screen(history_of(rows[0] if rows else None))

    async def on_virtual_table_opened(self, event: VirtualTable.Opened) -> None:
        """A cause opens into its jobs, a trouble into its job, a queue into its past; what is in force can be ended."""
        row = event.row
        match row:
            case HeldGroup():
                from screens.cause import CauseScreen

                await self.app.push_screen(CauseScreen(row))
            case TypeLine():
                self._list("causes").set_filter(row.row.entrypoint)
                self._focus("causes")
            case QueueLine():
                await self.app.push_screen(history_of(row))
            case Note(ref=TroubleRow(job_id=int() as job_id)):
                from screens.things import open_thing

                await open_thing(self.app, "job", f"{job_id}", crumbs=(self.TITLE,))
            case Note(ref=SlotChange() as changed):
                self.host.say(changed.why)
            case Lane() | ProviderLine():
                if not self.host.read_only:
                    self.action_pause()

    def scopes(self) -> tuple[Scope, ...]:
        """The held jobs of what is chosen."""
        return scopes_of(self.chosen())

    def title_of(self, action_id: str, title: str) -> str | None:
        """Which actions apply to what is chosen, and what they would do there."""
        return hint_title(action_id, title, self.chosen(), self.meant().deed)

    # Inside

    def _list(self, name: str) -> VirtualTable[object]:
        return self.query_one(f"#{name}", VirtualTable)

    def _show_queues(self) -> None:
        if self._snapshot is not None:
            expected = {queue: told for queue, (told, _) in self._expected.items()}
            self.query_one("#queues", VirtualTable).set_rows(queue_rows(self._snapshot, expected))

    def _forget_expected(self, snapshot: QueuesSnapshot) -> None:
        """What a snapshot tells of, and what has waited too long for one."""
        now = time.monotonic()
        for line in queue_rows(snapshot, {}):
            told, since = self._expected.get(line.row.queue, (None, 0.0))
            if told is None:
                continue
            is_paused = line.pause is not None and line.pause.resumed_at is None
            if told.slots is not None:
                is_there = told.slots == line.decided
            else:
                is_there = is_paused == told.text.startswith("pause")
            if is_there or now - since > EXPECTED_S:
                del self._expected[line.row.queue]

    def _go(self, by: int) -> None:
        places = ("queues", *reachable(self._sizes))
        focused = self.focused.id if self.focused is not None else None
        here = places.index(focused) if focused in places else 0
        self._focus(places[(here + by) % len(places)])

    def _focus(self, name: str) -> None:
        if name in ORDER:
            self._wanted = name
            self._arrange()
        self.set_focus(self._list(name))

    def _arrange(self) -> None:
        """Give each list its lines."""
        if not self.children:
            return
        width, height = self.app.size
        snapshot = self._snapshot
        queues = self._list("queues")
        queues.styles.height = HEAD + max(4, len(snapshot.queues) if snapshot is not None else 4)
        short, wide = height < 30, width >= 200
        room = height - 1 - (1 if short else 2) - (1 if self._is_explained else 0)
        room -= HEAD + max(4, len(snapshot.queues) if snapshot is not None else 4)
        room -= self._show_intake(width, height) if snapshot is not None else 0
        given = self._share(room, wide=wide)
        hidden = [(TITLES[name], self._sizes.get(name, 0)) for name in reachable(self._sizes) if name not in given]
        news = self.query_one("#news", LineView)
        news.display = short and snapshot is not None
        if short and snapshot is not None:
            news.show([news_line(snapshot, width, time.time(), hidden)])

    def _share(self, room: int, *, wide: bool) -> dict[str, int]:
        """Lines for each list that is shown."""
        if wide:
            main = tuple(name for name in ORDER if name not in SIDE)
            given = heights(room, self._sizes, self._wanted if self._wanted in main else "", names=main)
            given |= heights(room, self._sizes, self._wanted if self._wanted in SIDE else "", names=SIDE)
        else:
            given = heights(room, self._sizes, self._wanted)
        for name in ORDER:
            table = self._list(name)
            table.display = name in given
            if name in given:
                table.styles.height = given[name]
        self.query_one("#side").display = any(name in given for name in SIDE)
        focused = self.focused
        if focused is not None and focused.id in ORDER and focused.id not in given:
            self.set_focus(self._list("queues"))
        return given

    def _show_intake(self, width: int, height: int) -> int:
        """What stands in front of the queues, in as many lines as there is room for; how many those are."""
        snapshot = self._snapshot
        assert snapshot is not None
        lines = [intake_line(snapshot, width), *calendar_lines(snapshot)]
        if height < 30:
            lines = lines[:1] if height >= 22 else []
        else:
            lines = [rule(Piece("Intake", Tone.BRIGHT), width), *lines]
        self.query_one("#intake", LineView).show(lines)
        return len(lines) + (1 if height < 30 else 0)


def history_of(row: object) -> ConsoleScreen:
    """The screen that tells what a queue or a job type did; of anything else, what all did."""
    from screens.history import HistoryScreen

    match row:
        case QueueLine(row=line):
            return HistoryScreen(queue=line.queue)
        case TypeLine(row=line):
            return HistoryScreen(entrypoint=line.entrypoint)
        case HeldGroup(entrypoint=entrypoint):
            return HistoryScreen(entrypoint=entrypoint)
    return HistoryScreen()


ON_QUEUES = frozenset({"queues.more", "queues.fewer", "queues.unpin"})
"""Actions on a queue's slots."""

ON_CAUSES = ("held.",)
"""Groups of actions on held jobs."""

ON_PAUSES = frozenset({"queues.pause", "queues.breaker"})
"""Actions that hold something back, or let it go on."""


def hint_title(action_id: str, title: str, rows: Sequence[object], deed: Deed) -> str | None:
    """What an action would do with the chosen rows, in a word or two; None when it does not apply to them."""
    row = rows[0] if rows else None
    if action_id in ON_QUEUES:
        return title if isinstance(row, QueueLine) else None
    if action_id.startswith(ON_CAUSES):
        return title if isinstance(row, HeldGroup) else None
    if action_id in ON_PAUSES:
        # On a provider `O` says it; `P` does the same there.
        return (deed.value or None) if isinstance(row, ProviderLine) == (action_id == "queues.breaker") else None
    return title
