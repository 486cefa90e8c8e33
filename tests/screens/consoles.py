"""The console for tests: over snapshots that the test gives, driven by keys, looked at as text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from textual.pilot import Pilot

from askpro_console.app import AskProApp
from askpro_console.local_stack import Stack
from askpro_console.sitting import Sitting
from backend.watch.reader import Reading
from backend.watch.snapshots import Snapshot

PATIENCE_S = 20.0


class GivenReader:
    """Reads what the test put into it; `put` and `fail` tell of a change at once."""

    def __init__(self, *snapshots: Snapshot) -> None:
        self.readings: dict[str, Reading] = {}
        self.reads: list[str] = []
        """Domains in the order in which they were read."""
        self._changed: asyncio.Queue[str] = asyncio.Queue()
        for snapshot in snapshots:
            self.put(snapshot)

    def put(self, snapshot: Snapshot, *, age_s: float = 0.2, error: str | None = None) -> None:
        """A new snapshot of its domain; with an error it was had from the database because the store was not there."""
        self._tell(Reading(snapshot.domain, snapshot, "database" if error else "valkey", age_s, error, "live"))

    def fail(self, domain: str, error: str, *, age_s: float | None = None) -> None:
        """From now on the stores are dead: an old snapshot or none, and the reason."""
        known = self.readings.get(domain)
        snapshot = known.snapshot if known is not None and age_s is not None else None
        if snapshot is None:
            self._tell(Reading(domain, None, "nowhere", None, error, "unknown"))
        else:
            self._tell(Reading(domain, snapshot, "memory", age_s, error, "stale"))

    def _tell(self, reading: Reading) -> None:
        self.readings[reading.domain] = reading
        self._changed.put_nowait(reading.domain)

    async def read(self, domain: str) -> Reading:
        """What was put there."""
        self.reads.append(domain)
        return self.readings.get(domain) or Reading(
            domain, None, "nowhere", None, "nothing was collected yet", "unknown"
        )

    async def changes(self) -> AsyncGenerator[str, None]:
        """Domains as they are put."""
        while True:
            yield await self._changed.get()

    async def aclose(self) -> None:
        """Nothing is open."""


class Console:
    """The running console and its pilot."""

    def __init__(self, app: AskProApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def lines(self) -> list[str]:
        """The shown screen without the spaces at its lines' ends."""
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        """The shown screen."""
        return "\n".join(self.lines)

    async def press(self, *keys: str) -> None:
        """Press keys."""
        await self.pilot.press(*keys)

    async def until(self, condition: Callable[[], bool], what: str = "") -> None:
        """Wait for a condition; fails with the screen when it does not come."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what or 'a condition'}; the screen:\n{self.text}"
            await asyncio.sleep(0.01)

    async def until_shows(self, *texts: str) -> None:
        """Wait until all texts are on the screen."""
        await self.until(lambda: all(text in self.text for text in texts), f"{texts}")

    async def until_gone(self, text: str) -> None:
        """Wait until a text is no longer on the screen."""
        await self.until(lambda: text not in self.text, f"{text} to go")


@asynccontextmanager
async def console(
    reader: GivenReader,
    *,
    first: str = "calls",
    size: tuple[int, int] = (120, 40),
    read_only: bool = False,
    keys: Mapping[str, tuple[str, ...]] | None = None,
    stack: Stack | None = None,
) -> AsyncIterator[Console]:
    """The console at work."""

    async def connect() -> GivenReader:
        return reader

    sitting = Sitting(user="anna", node="node-1", read_only=read_only, keys=keys or {})
    app = AskProApp(connect, sitting, first=first, stack=stack)
    async with app.run_test(size=size, notifications=True) as pilot:
        yield Console(app, pilot)
