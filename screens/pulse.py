"""Pulse: what customers feel, what needs a person, and every figure that says why, on one page."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.widget import Widget

from backend.watch.findings import find
from backend.watch.snapshots import (
    BusinessSnapshot,
    DatabaseSnapshot,
    FleetSnapshot,
    QueuesSnapshot,
)
from screens.base import ConsoleScreen
from screens.pulse_panels import (
    Trails,
    callback_pieces,
    change_lines,
    company_lines,
    feel_lines,
    finding_lines,
    held_lines,
    provider_lines,
    queue_lines,
    route_lines,
    side_by_side,
    store_lines,
    titled,
)
from widgets.line_view import LineView
from widgets.pieces import Line, Piece, Tone, fitted, line

if TYPE_CHECKING:
    from backend.watch.snapshots import Snapshot

KEYS = {"queues": "5", "fleet": "9", "calls": "2"}
"""Which digit leads to the screen that a finding names."""

WIDE = 112
"""Columns from which on panels stand side by side."""

DRAWN_EVERY_S = 1.0
"""Domains come one by one, each a second or two apart; the page is drawn once for those that came meanwhile."""


class PulseScreen(ConsoleScreen):
    """The first screen."""

    NAME = "pulse"
    TITLE = "Pulse"
    DOMAINS: ClassVar[tuple[str, ...]] = ("business", "queues", "database", "fleet")
    CSS_PATH = "pulse.tcss"

    def __init__(self) -> None:
        super().__init__()
        self._snapshots: dict[str, Snapshot] = {}
        self._trails = Trails()
        self._drawn_at = float("-inf")
        self._draws_soon = False

    def body(self) -> Iterable[Widget]:
        """One page of lines."""
        yield LineView(id="page", classes="body")

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Figures of one domain."""
        is_first = snapshot.domain not in self._snapshots
        self._snapshots[snapshot.domain] = snapshot
        self._note(snapshot)
        rest = self._drawn_at + DRAWN_EVERY_S - time.monotonic()
        if is_first or rest <= 0:
            self._draw()
        elif not self._draws_soon:
            self._draws_soon = True
            self.set_timer(rest, self._draw)

    def on_resize(self) -> None:
        """The page is laid out for the new size."""
        super().on_resize()
        self._draw()

    def on_mount(self) -> None:
        """An empty page says that it waits."""
        super().on_mount()
        self._draw()

    def _note(self, snapshot: Snapshot) -> None:
        add, at = self._trails.add, snapshot.taken_at
        if isinstance(snapshot, BusinessSnapshot):
            add("calls", snapshot.calls_ongoing, at)
        elif isinstance(snapshot, DatabaseSnapshot):
            add("connections", snapshot.connections, at)
        elif isinstance(snapshot, FleetSnapshot):
            add("cache", snapshot.cache.used_bytes, at)
            for node in snapshot.nodes:
                add(f"cpu {node.node}", node.cpu_ratio, at)

    def _draw(self) -> None:
        self._drawn_at, self._draws_soon = time.monotonic(), False
        page = self.query_one("#page", LineView)
        width, height = page.size.width or self.app.size.width, page.size.height or self.app.size.height - 3
        page.show(page_lines(self._snapshots, width, height, self._trails)[:height])


def page_lines(snapshots: dict[str, Snapshot], width: int, height: int, trails: Trails) -> list[Line]:
    """The whole page. What does not fit is left out from the end: the verdict and the queues come first."""
    business = snapshots.get("business")
    queues = snapshots.get("queues")
    database = snapshots.get("database")
    fleet = snapshots.get("fleet")
    if not isinstance(business, BusinessSnapshot):
        business = None
    if not isinstance(queues, QueuesSnapshot):
        queues = None
    if not isinstance(database, DatabaseSnapshot):
        database = None
    if not isinstance(fleet, FleetSnapshot):
        fleet = None
    if not snapshots:
        return [line(), line(Piece(" Waiting for the first figures …", Tone.DIM))]
    roomy = height >= 34
    lines: list[Line] = []
    if business:
        lines += titled("Customers feel", feel_lines(business, queues, width, trails), width)
    lines += _gap(roomy and width >= WIDE) + _attention(snapshots, business, width, height)
    lines += _gap(roomy and width >= WIDE) + _traffic(business, queues, width, height)
    stores = store_lines(database, fleet, width, trails)
    if stores:
        title = "Machines" if database is None else "Stores and machines"
        lines += _gap(roomy) + titled(title, stores, width, Piece("bars 5 min", Tone.DIM) if width >= WIDE else ())
    lines += _rest(business, queues, width, height - len(lines), roomy=roomy)
    return lines if width >= 64 else [Line(fitted(entry.pieces, width)) for entry in lines]


def _attention(
    snapshots: dict[str, Snapshot], business: BusinessSnapshot | None, width: int, height: int
) -> list[Line]:
    """What needs a person, and beside it what changed lately."""
    findings = find(snapshots)
    title = f"Needs you {len(findings)}" if findings else "Needs you"
    callbacks = callback_pieces(business)
    awaited = bool(business and business.callbacks and business.callbacks.overdue)
    room = 3 if height < 24 else 6 if height < 45 else 12
    if width < WIDE or business is None:
        return titled(title, finding_lines(findings, width, room, KEYS, awaited=awaited), width, callbacks)
    left = width // 2 - 1
    right = width - left - 2
    return side_by_side(
        titled(title, finding_lines(findings, left, room, KEYS, awaited=awaited), left, callbacks),
        titled("Changed", change_lines(business, right, room), right),
        left,
    )


def _rest(
    business: BusinessSnapshot | None, queues: QueuesSnapshot | None, width: int, room: int, *, roomy: bool
) -> list[Line]:
    """What the page still has room for: the day by company; beside it what is held and how providers answer."""
    room -= 2 + roomy  # its title, its header, and the gap before
    if room < 1:
        return []
    if width < WIDE:
        lines = titled("Today by company", company_lines(business, width, room), width) if business else []
        return _gap(roomy) + lines if lines else []
    left = width // 2 - 1
    right = width - left - 2
    left_lines = titled("Today by company", company_lines(business, left, room), left) if business else []
    right_lines: list[Line] = []
    if queues:
        providers = [line(), *titled("Providers", provider_lines(queues, right), right)]
        most = room - len(providers)
        if most < 1:
            providers, most = [], room
        right_lines = titled("Held, by cause", held_lines(queues, right, most), right) + providers
    return _gap(roomy) + side_by_side(left_lines, right_lines, left)


def _traffic(business: BusinessSnapshot | None, queues: QueuesSnapshot | None, width: int, height: int) -> list[Line]:
    routes = business.routes if business else ()
    unit = Piece("ms", Tone.DIM)
    if width < WIDE:
        lines = titled("Queues", queue_lines(queues, width), width) if queues else []
        if business and height >= 34:
            lines += titled("Endpoints", route_lines(routes, width, 5), width, unit)
        return lines
    left = width // 2 - 1
    most = 4 if height < 45 else 10
    left_lines = titled("Queues", queue_lines(queues, left), left) if queues else []
    right = width - left - 2
    right_lines = titled("Endpoints", route_lines(routes, right, most), right, unit) if business else []
    return side_by_side(left_lines, right_lines, left)


def _gap(wanted: bool) -> list[Line]:
    return [line()] if wanted else []
