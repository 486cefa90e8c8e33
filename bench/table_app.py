"""The program that `bench.table` watches: a list of calls in which ten rows change each second.

`python -m bench.table_app ROWS [peer]`: the console's Calls screen, or as the peer of its table Textual's DataTable.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncGenerator
from functools import partial

import msgspec
from textual.app import App, ComposeResult
from textual.widgets import DataTable

from askpro_console.app import AskProApp
from askpro_console.sitting import Sitting
from askpro_console.terminal_driver import ConsoleDriver
from askpro_console.terminal_guard import TerminalGuard
from backend.watch.reader import Reading
from backend.watch.snapshots import CallRow
from tests.screens import samples

CHANGED = 10
"""Rows that get new values each second, all of them among the newest hundred."""

PEER_COLUMNS = ("id", "caller", "from_number", "company", "status", "outcome", "duration_s", "summary")


def rows_of(count: int) -> list[CallRow]:
    """Calls, newest first."""
    dice = random.Random(1)
    now = time.time()
    return [
        CallRow(
            id=f"{number:032x}",
            provider_call_id=f"call_{number}",
            company=f"company-{number % 7}",
            branch="main",
            direction="inbound",
            from_number=f"+4930{number:07}",
            to_number="+49301234",
            caller=f"Caller {number:06}",
            status="ended",
            outcome=dice.choice(("booked", "enquiry", "callback")),
            sentiment="neutral",
            started_at=now - number,
            ended_at=now - number + 60,
            duration_s=dice.uniform(6, 300),
            cost_cents=dice.randrange(5, 90),
            customer_id=None,
            appointment_id=None,
            summary="Asked for a date",
        )
        for number in range(count)
    ]


class GrowingCalls:
    """Reads a snapshot of many calls; each second ten of them have changed."""

    def __init__(self, count: int) -> None:
        self._rows = rows_of(count)
        self._dice = random.Random(2)

    async def read(self, domain: str) -> Reading:
        """The calls as they are now."""
        if domain != "calls":
            return Reading(domain, None, "nowhere", None, "nothing was collected yet", "unknown")
        empty = samples.calls_snapshot(0, now=time.time())
        return Reading(domain, msgspec.structs.replace(empty, rows=tuple(self._rows)), "valkey", 0.2, None, "live")

    async def changes(self) -> AsyncGenerator[str, None]:
        """The calls, once a second."""
        while True:
            yield "calls"
            await asyncio.sleep(1.0)
            change(self._rows, self._dice)

    async def aclose(self) -> None:
        """Nothing is open."""


def change(rows: list[CallRow], dice: random.Random) -> list[int]:
    """Give ten of the newest rows new values; where they stand."""
    places = dice.sample(range(min(100, len(rows))), CHANGED)
    for place in places:
        rows[place] = msgspec.structs.replace(rows[place], duration_s=(rows[place].duration_s or 0.0) + 1)
    return places


class PeerTable(App[None]):
    """Textual's DataTable, told of each changed cell."""

    def __init__(self, rows: list[CallRow]) -> None:
        super().__init__()
        self.rows = rows
        self.dice = random.Random(2)

    def compose(self) -> ComposeResult:
        """The table alone."""
        self.table: DataTable[str] = DataTable(cursor_type="row")
        yield self.table

    def on_mount(self) -> None:
        """Show all rows, then change them."""
        for name in PEER_COLUMNS:
            self.table.add_column(name, key=name)
        for row in self.rows:
            self.table.add_row(*(str(getattr(row, name)) for name in PEER_COLUMNS), key=row.id)
        self.set_interval(1.0, self.change)

    def change(self) -> None:
        """New values for ten rows."""
        for place in change(self.rows, self.dice):
            row = self.rows[place]
            self.table.update_cell(row.id, "duration_s", f"{row.duration_s:.1f}")


async def connected(count: int) -> GrowingCalls:
    """The console's reader."""
    return GrowingCalls(count)


def main(count: int, peer: bool) -> None:
    """Run it on this terminal."""
    if peer:
        PeerTable(rows_of(count)).run()
        return
    with TerminalGuard(None) as guard:
        ConsoleDriver.output = guard.output
        app = AskProApp(partial(connected, count), Sitting(user="anna"), first="calls")
        app.driver_class = ConsoleDriver
        app.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] == ["peer"])
