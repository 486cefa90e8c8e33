"""The console without a terminal: say why, bring the system up, then print snapshots as text until interrupted.

A system that this process started is stopped when it is interrupted (SIGINT, SIGTERM); one that ran already stays.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from askpro_console.commands.up import Progress, refuse
from askpro_console.refusal import Refused
from askpro_console.system import System

if TYPE_CHECKING:
    from backend.stack.status import Status

DOMAINS = ("business", "calls", "queues")
"""What is printed, in this order."""

INTERVAL_S = 5.0
"""From one print to the next."""

STOP_LIMIT_S = 90.0
ROWS = 10


def run(system: System, reason: str, *, demo: bool) -> int:
    """Print until interrupted; 1 when the system does not become ready."""
    print(f"{reason}: text snapshots are printed instead of the console. Ctrl-C ends this.", flush=True)  # noqa: T201
    return asyncio.run(_run(system, demo=demo))


async def _run(system: System, *, demo: bool) -> int:
    from backend.stack.client import is_running, take_down

    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    attached = is_running(system.layout)
    try:
        await _until(interrupted, _bring_up(system, demo=demo))
        if not interrupted.is_set():
            await _until(interrupted, _print_for_ever(system))
    finally:
        if not attached and is_running(system.layout):
            _say("Stopping the system that was started here ...")
            async for _ in take_down(system.layout, limit_s=STOP_LIMIT_S):
                pass
            _say("Stopped.")
    return 0


async def _until(interrupted: asyncio.Event, work: Coroutine[object, object, None]) -> None:
    """Do `work` until it ends or the person interrupts. Raises what it raises."""
    working = asyncio.create_task(work)
    waiting = asyncio.create_task(interrupted.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not working.done():
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return
    working.result()


async def _bring_up(system: System, *, demo: bool) -> None:
    from backend.stack.client import bring_up

    status: Status | None = None
    limit_s = system.settings.stack.start_timeout_s
    progress = Progress(quiet=False)
    async for status in bring_up(system.layout, demo=demo, limit_s=limit_s):
        progress.show(status)
    if status is None:
        raise Refused(f"The supervisor has not answered within {limit_s:.0f} s.", "`askpro doctor` may say why.")
    if not status.ready:
        refuse(status, limit_s)
    _say(f"ready: {status.api_url}")


async def _print_for_ever(system: System) -> None:
    from backend.watch.text import render

    reader = system.reader()
    try:
        while True:
            started = time.monotonic()
            _say(f"\n=== {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
            for domain in DOMAINS:
                _say(render(await reader.read(domain), rows=ROWS))
            await asyncio.sleep(max(0.0, INTERVAL_S - (time.monotonic() - started)))
    finally:
        await reader.aclose()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
