"""`askpro serve`: a node without servers of its own, which works on another system's PostgreSQL and Valkey."""

from __future__ import annotations

import argparse
import asyncio
import os
from getpass import getpass
from pathlib import Path

from askpro_console.refusal import Refused
from askpro_console.settings_file import SettingsWrong, load
from askpro_console.system import System
from backend.stack.join import JoinWrong
from backend.stack.layout import Layout

NAME = "serve"
HELP = "start a node that works on another system's database, with no servers of its own"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--join", metavar="FILE", help="what `askpro node invite` wrote; needed once, and asks for its key"
    )
    parser.add_argument("--foreground", action="store_true", help="stay here until interrupted; for service managers")
    parser.add_argument("--json", action="store_true", help="print the status when it is ready, instead of the steps")


def run(args: argparse.Namespace) -> int:
    """Bring the node up; 1 when it does not become ready."""
    from askpro_console.commands.up import bring_up
    from askpro_console.joining import accept, refuse_own_database
    from backend.stack.client import is_running

    system = System.load() if args.join is None else _whatever_it_joined()
    system.secrets.unlock_by_asking()
    if args.join is not None:
        refuse_own_database(system)
        if is_running(system.layout) and not asyncio.run(_is_over(system)):
            raise Refused("This node runs.", "`askpro down` first; it takes another join file when it starts.")
        accept(system, Path(args.join).expanduser(), lambda: getpass(f"Key of {args.join}: "))
        system = System.load()
    if system.join is None:
        raise Refused(
            "It is not known which system this node belongs to.",
            "`askpro node invite FILE` on that system, then `askpro serve --join FILE` here.",
        )
    return bring_up(system, foreground=args.foreground, as_json=args.json)


def _whatever_it_joined() -> System:
    """This node, also when what it kept of an earlier system cannot be used any more: another join puts that right."""
    try:
        return System.load()
    except (JoinWrong, SettingsWrong):
        layout = Layout.from_environment()
        return System(layout=layout, loaded=load(layout.config_file, os.environ), environ=os.environ)


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
