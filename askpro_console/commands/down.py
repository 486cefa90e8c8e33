"""`askpro down`: stop the system in good order: finish what runs, then shut the stores down."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

from askpro_console.system import System

NAME = "down"
HELP = "stop the system: finish what runs, then shut down"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="print one object when it is over")


def run(args: argparse.Namespace) -> int:
    """Stop it; 0 as well when nothing ran."""
    from backend.stack.client import is_running

    system = System.load()
    began = time.monotonic()
    ran = is_running(system.layout)
    if ran:
        asyncio.run(_take_down(system, quiet=args.json))
    seconds = round(time.monotonic() - began, 1)
    if args.json:
        print(json.dumps({"ran": ran, "running": False, "seconds": seconds}))
    else:
        print(f"stopped after {seconds} s" if ran else "The system does not run.")
    return 0


async def _take_down(system: System, *, quiet: bool) -> None:
    """Tell which process has ended, as it happens."""
    from backend.stack.client import STOP_LIMIT_S, take_down

    ended: set[str] = set()
    async for status in take_down(system.layout, limit_s=STOP_LIMIT_S):
        for process in status.processes:
            if process.state == "stopped" and process.name not in ended:
                ended.add(process.name)
                if not quiet:
                    print(f"  ended  {process.name}", flush=True)
