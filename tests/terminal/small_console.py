"""The console on this terminal over snapshots made up for tests: `python -m tests.terminal.small_console`.

Everything but the data is the real thing: driver, terminal guard, app, screens. Settings by environment:
`SAMPLE_TEXTS` is a JSON list of texts, put in turn into everything that a caller or provider could have written;
`HEARTBEATS` names a file to which the event loop writes a byte twenty times a second; `NOISE` is written to
descriptor 2 once the console runs; `NEW_CALLS` names a file with the number of calls that have come in addition to
sixty.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import traceback
from collections.abc import AsyncGenerator, Sequence
from itertools import cycle
from pathlib import Path

import msgspec

from askpro_console.app import AskProApp
from askpro_console.sitting import Sitting
from askpro_console.terminal_driver import ConsoleDriver
from askpro_console.terminal_guard import TerminalGuard
from askpro_console.themes import suitable_theme
from backend.watch.reader import Reading
from backend.watch.snapshots import CallsSnapshot, Snapshot
from tests.screens import samples

START = time.time()


class SampleReader:
    """Reads made-up snapshots."""

    async def read(self, domain: str) -> Reading:
        """The domain's sample; nothing for domains without one."""
        snapshot = sample(domain, json.loads(os.environ.get("SAMPLE_TEXTS", "[]")))
        if snapshot is None:
            return Reading(domain, None, "nowhere", None, "nothing was collected yet", "unknown")
        return Reading(domain, snapshot, "valkey", 0.2, None, "live")

    async def changes(self) -> AsyncGenerator[str, None]:
        """Everything, four times a second."""
        while True:
            for domain in ("business", "calls", "appointments", "queues", "database", "fleet"):
                yield domain
            await asyncio.sleep(0.25)

    async def aclose(self) -> None:
        """Nothing is open."""


def sample(domain: str, texts: Sequence[str]) -> Snapshot | None:
    """A snapshot with these texts in the place of everything that comes from outside."""
    if domain == "calls":
        calls = samples.calls_snapshot(60, now=time.time())
        if path := os.environ.get("NEW_CALLS"):
            count = int(Path(path).read_text() or "0") if Path(path).exists() else 0
            rows = tuple(samples.call_row(number, now=START) for number in range(1000 - count, 1060))
            calls = msgspec.structs.replace(calls, rows=rows)
        return with_texts(calls, texts) if texts else calls
    if domain == "fleet":
        fleet = samples.fleet_snapshot(now=time.time())
        return samples.fleet_with_texts(fleet, texts) if texts else fleet
    return None


def with_texts(snapshot: CallsSnapshot, texts: Sequence[str]) -> CallsSnapshot:
    """Calls whose every text is hostile."""
    rows = tuple(
        msgspec.structs.replace(
            row, caller=text, summary=text, company=text, branch=text, from_number=text, outcome=text, sentiment=text
        )
        for row, text in zip(snapshot.rows, cycle(texts), strict=False)
    )
    return msgspec.structs.replace(snapshot, rows=rows)


class WatchedApp(AskProApp):
    """Writes heartbeats and noise when asked to."""

    async def _on_ready(self) -> None:
        if noise := os.environ.get("NOISE"):
            os.write(2, noise.encode())
        if path := os.environ.get("HEARTBEATS"):
            self._beats = asyncio.create_task(beat(Path(path)))


async def beat(path: Path) -> None:
    """A byte every 50 ms."""
    with path.open("ab", buffering=0) as file:
        while True:
            file.write(b".")
            await asyncio.sleep(0.05)


async def connect() -> SampleReader:
    """The reader."""
    return SampleReader()


def main() -> int:
    """Run it."""
    with TerminalGuard(None) as guard:
        ConsoleDriver.output = guard.output
        sitting = Sitting(user="anna", node="node-1", theme=suitable_theme(os.environ.get("THEME", "auto"), os.environ))
        app = WatchedApp(connect, sitting, first=os.environ.get("FIRST", "calls"))
        app.driver_class = ConsoleDriver

        def leave() -> None:
            if app._loop is not None:
                app._loop.call_soon_threadsafe(app.exit, 0)

        guard.on_signal(leave)
        code = app.run()
    if app.fault is not None:
        traceback.print_exception(app.fault)
    if guard.signalled is None:
        print("farewell")  # noqa: T201
    return code or 0


if __name__ == "__main__":
    raise SystemExit(main())
