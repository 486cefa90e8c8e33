"""`askpro serve`: a node without servers of its own, which works on another system's PostgreSQL and Valkey."""

from __future__ import annotations

import argparse
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
        if is_running(system.layout):
            raise Refused("This node runs.", "`askpro down` first; it takes another join file when it starts.")
        accept(system, Path(args.join).expanduser())
        system = System.load()
    if system.join is None:
        raise Refused(
            "It is not known which system this node belongs to.",
            "`askpro node invite > FILE` on that system, then `askpro serve --join FILE` here.",
        )
    return bring_up(system, foreground=args.foreground, as_json=args.json)
