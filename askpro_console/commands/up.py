"""`askpro up`: start the system, tell each step as it happens, return when it is ready or say what is not."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING

from askpro_console.refusal import Refused
from askpro_console.system import System
from askpro_console.terminal import harmless, rewritable

if TYPE_CHECKING:
    from backend.stack.status import Status, Step

NAME = "up"
HELP = "start the system and wait until it is ready"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--demo", action="store_true", help="with a demo company and simulated traffic")
    parser.add_argument("--foreground", action="store_true", help="stay here until interrupted; for service managers")
    parser.add_argument("--json", action="store_true", help="print the status when it is ready, instead of the steps")


def run(args: argparse.Namespace) -> int:
    """Bring it up; 1 when it does not become ready."""
    system = System.load()
    system.secrets.unlock_by_asking()
    return bring_up(system, demo=args.demo, foreground=args.foreground, as_json=args.json)


def bring_up(system: System, *, demo: bool = False, foreground: bool, as_json: bool) -> int:
    """Start the system, or attach to the one that runs, and tell how it goes; the exit code. Raises Refused."""
    system.refuse_demo(demo)
    told = Progress(quiet=as_json)
    if foreground:
        return _foreground(system, told, demo=demo)
    status = asyncio.run(_detached(system, told, demo=demo))
    if as_json:
        print(json_text(status))
    if status.ready:
        if not as_json:
            print(f"ready: {status.api_url}")
            if demo and not status.demo:
                print("It ran already, without demo traffic; `askpro down`, then `askpro up --demo` starts it with.")
        return 0
    if not as_json:
        refuse(status, system.settings.stack.start_timeout_s)
    return 1


def _foreground(system: System, told: Progress, *, demo: bool) -> int:
    from backend.stack.supervisor import run_supervisor

    def on_change(status: Status) -> None:
        told.show(status)
        if status.ready and told.once("ready"):
            print(f"ready: {status.api_url}", flush=True)
        if status.error and told.once(status.error):
            print(harmless_lines(f"{status.error}\n{status.hint}"), file=sys.stderr, flush=True)

    return asyncio.run(run_supervisor(system.stack_config(demo=demo), on_change=on_change))


async def _detached(system: System, told: Progress, *, demo: bool) -> Status:
    from backend.stack.client import bring_up

    status: Status | None = None
    limit_s = system.settings.stack.start_timeout_s
    try:
        async for status in bring_up(system.layout, demo=demo, limit_s=limit_s):
            told.show(status)
    finally:
        told.clear()
    if status is None:
        raise Refused(
            f"The supervisor runs but has not answered within {limit_s:.0f} s.", "`askpro logs supervisor` may say why."
        )
    return status


def refuse(status: Status, limit_s: float) -> None:
    """Say what is not ready and what to do. Raises Refused."""
    if status.error:
        raise Refused(harmless_lines(status.error), status.hint)
    waiting = [process for process in status.processes if process.state != "ready"]
    names = ", ".join(f"{process.name} ({process.state})" for process in waiting) or "the system"
    raise Refused(
        f"Not ready within {limit_s:.0f} s: {names}.",
        f"It goes on starting: `askpro status` shows how far it is, `askpro logs {waiting[0].name if waiting else ''}`"
        " what it says.",
    )


def harmless_lines(text: str) -> str:
    """`harmless` for a text of several lines."""
    return "\n".join(harmless(line.expandtabs(4)) for line in text.splitlines())


def json_text(status: Status) -> str:
    """The status as `--json` prints it."""
    import msgspec

    return json.dumps(msgspec.to_builtins(status), ensure_ascii=False, indent=2)


class Progress:
    """Prints each step once when it is over; on a terminal also what runs now, on a line that is replaced."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = rewritable(sys.stdout, os.environ)
        self._told: set[str] = set()

    def once(self, what: str) -> bool:
        """Whether this has not been told yet; from now on it has."""
        if what in self._told:
            return False
        self._told.add(what)
        return True

    def show(self, status: Status) -> None:
        """Print what is new."""
        if self._quiet:
            return
        self.clear()
        for step in status.steps:
            if step.state in {"done", "failed"} and self.once(f"{step.name} {step.state}"):
                print(_line(step), flush=True)
        running = [step for step in status.steps if step.state == "running"]
        if self._live and running:
            words = ", ".join(f"{step.name} {step.detail}".strip() for step in running)
            print(f"  ...    {harmless(words)[:60]}", end="", flush=True)

    def clear(self) -> None:
        """Remove the line that is replaced."""
        if self._live and not self._quiet:
            print("\r\x1b[K", end="", flush=True)


def _line(step: Step) -> str:
    mark = "ok    " if step.state == "done" else "FAILED"
    seconds = f"{step.seconds:6.1f} s" if step.seconds is not None else " " * 8
    return harmless(f"  {mark} {seconds}  {step.name}  {step.detail.partition(chr(10))[0]}").rstrip()
