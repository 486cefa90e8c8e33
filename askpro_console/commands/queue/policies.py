"""`askpro queue policies`: what holds for queues and job types as it is in force, and where each value comes from."""

from __future__ import annotations

import argparse

import msgspec

from askpro_console.commands.queue.at_queue import at_queue
from askpro_console.printed import print_json, print_table
from askpro_console.refusal import WrongUsage
from askpro_console.system import NotRunning, System
from backend.domain.nearest import perhaps


class _Line(msgspec.Struct, frozen=True):
    """One value."""

    subject: str
    name: str
    value: str
    source: str
    node: str
    """Where it holds; empty: everywhere."""
    is_in_force: bool
    """False: a worker started now would work by it."""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    policies = verbs.add_parser(
        "policies", help="limits, retries, priorities, alerts in force, and where they come from"
    )
    policies.add_argument("subject", nargs="?", metavar="QUEUE|TYPE", help="only of one queue or job type")
    policies.add_argument("--set", dest="only_set", action="store_true", help="only what is not built in")
    policies.set_defaults(act=_policies)


def _policies(system: System, args: argparse.Namespace) -> int:
    known = (*(queue.value for queue in system.loaded.policies.queues), *system.loaded.policies.job_types())
    if args.subject not in {None, *known}:
        raise WrongUsage(
            f"There is no queue or job type `{args.subject}`{perhaps(args.subject, known) or '.'}",
            "`askpro queue policies` lists them all.",
        )
    lines = [line for line in _in_force(system) if _concerns(line, args.subject)]
    # What no worker has told: that of queues without one, which is what the settings say.
    told = {_queue(line.subject) for line in lines}
    lines += [
        _Line(line.subject, line.name, line.value, line.source, "", False)
        for line in system.loaded.policies.lines(args.subject)
        if _queue(line.subject) not in told
    ]
    if args.only_set:
        lines = [line for line in lines if line.source not in {"built in", f"queue {_queue(line.subject)}"}]
    if args.json:
        print_json(lines)
        return 0
    where = {line.node for line in lines} - {""}
    print_table(
        ("OF", "WHAT", "VALUE", "FROM", *(("NODE",) if where else ())),
        (
            (line.subject, line.name, line.value, line.source, *((line.node or "all",) if where else ()))
            for line in lines
        ),
    )
    if not lines:
        print("Everything is as it is built in.")
    elif idle := sorted({_queue(line.subject) for line in lines if not line.is_in_force}):
        print(f"\nNo worker works on {', '.join(idle)}: these values are what the settings say.")
    return 0


def _in_force(system: System) -> list[_Line]:
    from backend.queue.policies_in_force import read_policies

    try:
        rows = at_queue(system, read_policies)
    except NotRunning:
        return []
    return [_Line(row.subject, row.name, row.value, row.source, row.node, True) for row in rows]


def _concerns(line: _Line, subject: str | None) -> bool:
    return subject in {None, line.subject, _queue(line.subject)}


def _queue(subject: str) -> str:
    return subject.partition(".")[0]
