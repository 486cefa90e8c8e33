"""The base of every screen: header strip, body, key hints; snapshots in, ages shown, repaints that wait.

A screen declares `NAME`, `TITLE` and `DOMAINS`, yields its widgets from `body`, and shows what arrives in
`show_snapshot`. Nothing else reads data, and no worker ever touches a widget.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast
from zoneinfo import ZoneInfo

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from screens.host import Arrived, Host, Seen
from widgets.header import Badge, HeaderFacts, HeaderStrip
from widgets.key_hints import KeyHints, hint_line
from widgets.line_view import LineView
from widgets.pieces import Line, Piece, Tone
from widgets.table import VirtualTable

if TYPE_CHECKING:
    from backend.watch.snapshots import Snapshot

ZONE = "Europe/Berlin"
"""The console's wall clock; days (`today`) are this zone's in every snapshot."""

WIDTHS = [(0, "-tiny"), (40, "-slim"), (80, "-narrow"), (120, "-normal"), (200, "-wide")]
"""CSS class of a screen by the least width; below 40 nothing fits."""

HEIGHTS = [(0, "-flat"), (10, "-short"), (30, "-tall")]
"""CSS class of a screen by the least height; below 10 nothing fits."""

BEHIND = 3
"""Writes that wait for the terminal from which on repaints wait too."""

RETRY_S = 0.05
"""Time until a repaint that waited is tried again."""

OPEN_S = 2.0
"""Keys wait no longer than that for what a row opens."""


Result = TypeVar("Result")


class PatientScreen(Screen[Result]):
    """A screen whose repaints wait while the terminal does not take what was written.

    All repaints of a screen go through `_compositor_refresh` (Textual 8.2.8; a canary test watches it). What is not
    drawn now stays marked as changed: nothing is lost and nothing is drawn twice.
    """

    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    """As Textual's, but for the repaint of the whole screen whenever keys go elsewhere."""

    _repaint_waits = False

    def _compositor_refresh(self) -> None:
        if terminal_backlog(self.app) < BEHIND:
            super()._compositor_refresh()
        elif not self._repaint_waits:
            self._repaint_waits = True
            self.set_timer(RETRY_S, self._repaint_again)

    def _repaint_again(self) -> None:
        self._repaint_waits = False
        self._compositor_refresh()


class ConsoleScreen(PatientScreen[None]):
    """A screen of the console.

    Subclasses set the class variables and implement `body` and `show_snapshot`. The reader of this class's public
    methods finds what a screen may rely on:

    - `host` is the console (see `screens.host.Host`);
    - `seen` holds the newest reading of each of its domains;
    - `tick` runs about once a second while the screen is shown: override it, and call `super().tick()`;
    - tables in the body tick by themselves; filter, sort and mark keys work on the focused one.
    """

    NAME: ClassVar[str] = ""
    """How actions, keymaps and commands name it."""
    TITLE: ClassVar[str] = ""
    CRUMBS: ClassVar[tuple[str, ...]] = ()
    DOMAINS: ClassVar[tuple[str, ...]] = ()
    """Snapshots it shows; the first is the one whose age the header tells when all are live."""
    ALLOW_SELECT = False
    ESCAPE_TO_MINIMIZE = False
    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Seen] = {}
        self._has_opened = asyncio.Event()
        """Set when what opening a row asks for is done."""

    # For subclasses

    def body(self) -> Iterable[Widget]:
        """The widgets between header and hints."""
        return ()

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Show a new snapshot of one of `DOMAINS`. Runs on the event loop: must be quick, must not wait."""

    def title_parts(self) -> tuple[tuple[str, ...], str]:
        """The breadcrumbs and the title in the header."""
        return self.CRUMBS, self.TITLE

    def title_of(self, action_id: str, title: str) -> str | None:
        """What the key hints call an action here and now; None while it does not apply to what the cursor is on."""
        return title

    def tick(self) -> None:
        """About once a second while the screen is shown and `stands`, and after every action."""
        self._tell_header()
        self.refresh_hints()
        if not self.host.paused:
            for table in self.query(VirtualTable):
                table.tick()

    # What it offers

    async def action_open_row(self) -> None:
        """Open the row under the cursor. Keys typed after it wait until what it opens is there."""
        table = self.table
        if table is None or table.cursor_row is None:
            return
        self._has_opened.clear()
        table.action_open()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_opened.wait(), OPEN_S)

    def _on_virtual_table_opened(self) -> None:
        # Called after the subclass's own.
        self._has_opened.set()

    @property
    def host(self) -> Host:
        """The console."""
        return cast("Host", self.app)

    @property
    def stands(self) -> bool:
        """Whether all its widgets are there: not before it is mounted, though it may be shown, nor while it goes."""
        return self.is_mounted and self.is_running and bool(self.query(HeaderStrip))

    @property
    def table(self) -> VirtualTable[object] | None:
        """The table that list keys act on: the focused one, else the first."""
        if isinstance(self.focused, VirtualTable):
            return self.focused
        tables = self.query(VirtualTable)
        return tables.first() if tables else None

    def badge(self) -> Badge:
        """Age of the oldest thing shown."""
        known = [self.seen[domain] for domain in self.DOMAINS if domain in self.seen]
        if not self.DOMAINS:
            return Badge("timeless")
        if not known:
            return Badge("waiting")
        now = time.monotonic()
        missing = [seen for seen in known if seen.snapshot is None]
        if missing:
            return Badge("none", None, missing[0].error)
        ages = [(seen.age_s + now - seen.at, seen) for seen in known]
        age, oldest = max(ages, key=lambda entry: entry[0])
        if self.host.paused:
            return Badge("paused", age)
        stale = [seen for _, seen in ages if seen.stale]
        if stale or age > 8:
            return Badge("stale", age, (stale[0] if stale else oldest).error)
        return Badge("live", ages[0][0], next((seen.error for seen in known if seen.error), ""))

    def refresh_hints(self) -> None:
        """Show the key hints anew: after the focus, the marks or the mode changed."""
        if not self.children:
            return
        hints = self.query_one(KeyHints)
        width = self.app.size.width
        own, ways, tail = self.host.hints(self.NAME)
        if not ways and not tail:
            hints.show([hint_line(own, width)])
        elif self.app.size.height >= 30:
            hints.show([hint_line(own, width), hint_line(ways, width, tail)])
        else:
            hints.show([hint_line(own, width, [*ways, *tail])])

    async def show_bar(self, bar: Widget) -> None:
        """Put a typing bar in the place of the key hints. Returns when it takes the keys: none typed ahead is lost."""
        hints = self.query_one(KeyHints)
        hints.display = False
        await self.mount(bar, before=hints)
        self.set_focus(bar.query_one(Input))

    def hide_bar(self, bar: Widget) -> None:
        """Take the bar away; keys go to the table again."""
        bar.remove()
        self.query_one(KeyHints).display = True
        if self.table is not None:
            self.table.focus()

    # Inside

    def compose(self) -> ComposeResult:
        """Header, body, hints."""
        yield HeaderStrip()
        with Vertical(id="body"):
            yield from self.body()
        yield ReasonLine()
        yield KeyHints()
        yield TooSmall()

    def on_mount(self) -> None:
        """Show what is known already."""
        self._tell_header()
        self.refresh_hints()

    def on_screen_resume(self) -> None:
        """Read this screen's domains, and only those."""
        self.host.show_domains(self.DOMAINS)
        for domain in self.DOMAINS:
            seen = self.host.seen(domain)
            if seen is not None and seen is not self.seen.get(domain):
                self._take(seen)
        self._tell_header()
        self.refresh_hints()

    def on_resize(self) -> None:
        """Header and hints are laid out anew."""
        self._tell_header()
        self.refresh_hints()
        if self.app.size.width < 40 or self.app.size.height < 10:
            self.query_one(TooSmall).tell(self.app.size.width, self.app.size.height)

    def on_arrived(self, message: Arrived) -> None:
        """A domain was read anew."""
        if self.query(ReasonLine):
            self._take(message.seen)

    def _take(self, seen: Seen) -> None:
        before = self.seen.get(seen.domain)
        self.seen[seen.domain] = seen
        if seen.snapshot is not None and (before is None or seen.snapshot is not before.snapshot):
            self.show_snapshot(seen.snapshot)
        self.query_one(ReasonLine).tell(self.badge())
        if before is None or before.stale != seen.stale or before.snapshot is None:
            self._tell_header()

    def _tell_header(self) -> None:
        crumbs, title = self.title_parts()
        host = self.host
        facts = HeaderFacts(
            screen=title,
            crumbs=crumbs,
            scope=host.scope,
            user=host.user,
            read_only=host.read_only,
            badge=self.badge(),
            zone_name=ZONE.rpartition("/")[2],
        )
        self.query_one(HeaderStrip).tell(facts, wall_clock())


class ReasonLine(LineView):
    """Under the body while data is old: why, and what the console does about it."""

    DEFAULT_CSS = """
    ReasonLine { height: auto; }
    """

    def tell(self, badge: Badge) -> None:
        """Show the reason, or nothing when all is well."""
        if not badge.reason:
            if self.lines:
                self.show([])
            return
        tone, glyph, more = {
            "none": (Tone.CRIT, "✖", "tried again all the time"),
            "stale": (Tone.WARN, "▲", "tried again all the time"),
        }.get(badge.state, (Tone.DIM, "▲", "read from the database meanwhile"))
        mark = Piece(f" {glyph} ", Tone.WARN if tone is Tone.DIM else tone)
        self.show([Line((mark, Piece(badge.reason, tone), Piece(f"  {more}", Tone.DIM)))])


class TooSmall(LineView):
    """Instead of everything when the terminal is too small to show anything right."""

    DEFAULT_CSS = """
    TooSmall { display: none; height: 1fr; }
    """

    def tell(self, width: int, height: int) -> None:
        """Say how much room there is and how much is needed."""
        self.show([Line((Piece(text, tone),)) for text, tone in _too_small(width, height)][: max(1, height)])


def _too_small(width: int, height: int) -> Sequence[tuple[str, Tone]]:
    return (
        ("Too small", Tone.BRIGHT),
        (f"{width}×{height}, needs 40×10", Tone.DIM),
        ("q quit", Tone.DIM),
    )


def wall_clock() -> datetime:
    """The time in the console's zone."""
    return datetime.now(ZoneInfo(ZONE))


def terminal_backlog(app: object) -> int:
    """Writes that the terminal has not taken yet; 0 where that is not known."""
    driver = getattr(app, "_driver", None)
    return int(getattr(driver, "backlog", 0))
