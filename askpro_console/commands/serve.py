"""`askpro serve`: a node without servers of its own, which works on another system's PostgreSQL and Valkey."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from askpro_console.refusal import Refused
from askpro_console.system import System

NAME = "serve"
HELP = "start a node that works on another system's database, with no servers of its own"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--join", metavar="FILE", help="what `askpro node invite` wrote; kept, so needed once")
    parser.add_argument("--foreground", action="store_true", help="stay here until interrupted; for service managers")
    parser.add_argument("--json", action="store_true", help="print the status when it is ready, instead of the steps")


def run(args: argparse.Namespace) -> int:
    """Bring the node up; 1 when it does not become ready."""
    from askpro_console.commands.up import bring_up
    from askpro_console.joining import accept
    from backend.stack.client import is_running

    system = System.load()
    system.secrets.unlock_by_asking()
    if args.join is not None:
        if is_running(system.layout) and not asyncio.run(_is_over(system)):
            raise Refused("This node runs.", "`askpro down` first; it takes another join file when it starts.")
        accept(system, Path(args.join).expanduser())
        system = System.load()
    if system.join is None:
        raise Refused(
            "It is not known which system this node belongs to.",
            "`askpro node invite > FILE` on that system, then `askpro serve --join FILE` here.",
        )
    return bring_up(system, foreground=args.foreground, as_json=args.json)


async def _is_over(system: System) -> bool:
    """Whether what runs is the end of a start that failed: it lingers for some seconds to say why, and is seen off."""
    from backend.stack.client import STOP_LIMIT_S, ControlClient, ControlUnavailable, take_down
    from backend.stack.status import Phase

    async with ControlClient(system.layout) as client:
        try:
            phase = (await client.status()).phase
        except ControlUnavailable:
            return False
    if phase not in {Phase.FAILED, Phase.STOPPING}:
        return False
    async for _ in take_down(system.layout, limit_s=STOP_LIMIT_S):
        pass
    return True
