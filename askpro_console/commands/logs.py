"""`askpro logs`: the last lines of one process or of all, rotated ones too, and new ones as they come."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from pathlib import Path

    from backend.stack.log_reader import LogLine

NAME = "logs"
HELP = "print or follow the logs of the processes"

FOLLOW_S = 0.25


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("process", nargs="?", metavar="NAME", help="api, postgres, worker-webhooks, ...; all without")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new lines until interrupted")
    parser.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="how many of the last lines (50)")
    parser.add_argument("--json", action="store_true", help="one object a line: process, line")


def run(args: argparse.Namespace) -> int:
    """Print them. Nothing in a line reaches the terminal as anything but text."""
    from backend.stack.log_reader import last_lines, names

    if args.lines < 0:
        raise WrongUsage("--lines must not be negative.")
    directory = System.load().layout.logs
    known = names(directory)
    if not known:
        raise Refused(f"There are no logs in {directory} yet.", "`askpro up` starts the system.")
    if args.process is not None and args.process not in known:
        near = nearest(args.process, known)
        hint = f"Did you mean `{near}`?" if near else f"There are {', '.join(known)}."
        raise WrongUsage(f"No process `{args.process}` has a log.", hint)
    wanted = [args.process] if args.process else known
    width = max(map(len, wanted)) if len(wanted) > 1 else 0
    try:
        _print(last_lines(directory, wanted, args.lines) if args.lines else (), width, as_json=args.json)
        if args.follow:
            _follow(directory, args.process, width, as_json=args.json)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise Refused(f"{directory} cannot be read: {error.strerror or error}.") from error
    return 0


def _follow(directory: Path, process: str | None, width: int, *, as_json: bool) -> None:
    from backend.stack.log_reader import Follower, names

    followers: dict[str, Follower] = {}
    first = True
    while True:
        for name in [process] if process else names(directory):
            if name not in followers:
                followers[name] = Follower(directory, name, from_start=not first)
        first = False
        for follower in followers.values():
            _print(follower.new_lines(), width, as_json=as_json)
        time.sleep(FOLLOW_S)


def _print(lines: Iterable[LogLine], width: int, *, as_json: bool) -> None:
    for line in lines:
        if as_json:
            print(json.dumps({"process": line.process, "line": line.text}), flush=True)
        else:
            head = f"{line.process:<{width}}  " if width else ""
            print(head + harmless(line.text.expandtabs(4)), flush=True)
