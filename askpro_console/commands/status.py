"""`askpro status`: whether the system is ready, and its processes."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import TYPE_CHECKING

from askpro_console.commands.up import harmless_lines, json_text
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.stack.layout import Layout
    from backend.stack.status import ProcessStatus, Status

NAME = "status"
HELP = "say whether the system is ready, and list its processes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="ready, api_url, processes[] and more as one object")


def run(args: argparse.Namespace) -> int:
    """Print it; 1 when the system is not ready."""
    from backend.stack.client import is_running, last_failure

    system = System.load()
    if not is_running(system.layout):
        failed = last_failure(system.layout)
        if args.json:
            error = failed.error if failed else ""
            print(json.dumps({"ready": False, "api_url": None, "phase": "stopped", "processes": [], "error": error}))
        else:
            what = "The system" if system.join is None else "This node"
            print(f"{what} does not run. Start it with `{system.start_command}`.")
            if failed is not None:
                print(harmless_lines(f"The last start failed: {failed.error}\n{failed.hint}"))
        return 1
    status = asyncio.run(_ask(system.layout))
    if args.json:
        print(json_text(status))
    else:
        print("\n".join(_told(status, time.time())))
    return 0 if status.ready else 1


async def _ask(layout: Layout) -> Status:
    from backend.stack.client import ControlClient

    async with ControlClient(layout) as client:
        return await client.status()


def _told(status: Status, now: float) -> list[str]:
    """The lines for a person."""
    head = f"{status.phase}, {status.api_url}, version {status.version}, up {span(now - status.started_at)}"
    lines = [f"{head}{', demo' if status.demo else ''}, supervisor {status.supervisor_pid}"]
    rows = [("PROCESS", "STATE", "PID", "MEMORY", "CPU", "RESTARTS", "SINCE", "")]
    rows.extend(_row(process, now) for process in status.processes)
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    for row in rows:
        cells = [
            cell.rjust(width) if column in {2, 3, 4, 5, 6} else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append(("  ".join(cells) + f"  {row[7]}").rstrip())
    if status.error:
        lines.extend(("", harmless_lines(status.error), status.hint))
    return lines


def _row(process: ProcessStatus, now: float) -> tuple[str, str, str, str, str, str, str, str]:
    return (
        process.name,
        process.state,
        str(process.pid or "-"),
        f"{process.rss_bytes / 2**20:.0f} MiB" if process.pid else "-",
        f"{process.cpu_ratio * 100:.0f} %" if process.pid else "-",
        str(process.restarts),
        span(now - process.since) if process.since else "-",
        harmless(process.detail.partition("\n")[0])[:100],
    )


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = max(0, int(seconds))
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part}{smaller}"
    return f"{whole}s"
