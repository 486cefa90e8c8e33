"""`askpro queue retry`, `discard`: what becomes of held jobs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec

from askpro_console.commands.queue.at_queue import QUEUES, at_queue, matching, print_held
from askpro_console.printed import agree, print_json
from askpro_console.refusal import WrongUsage
from askpro_console.system import System

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.queue.inspection import HeldLine

AT_MOST = 10_000
"""Jobs that one command decides about."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry or discard did, or would do."""

    matched: int
    """Held jobs that were asked for."""
    decided: tuple[int, ...]
    skipped: tuple[int, ...]
    """Decided by somebody else meanwhile, or an equal job waits already."""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    retry = verbs.add_parser("retry", help="run held jobs again")
    discard = verbs.add_parser("discard", help="delete held jobs for good; what is known about their failure stays")
    for verb in (retry, discard):
        verb.add_argument("jobs", type=int, nargs="*", metavar="JOB")
        verb.add_argument("--queue", choices=QUEUES, help="all held jobs of a queue")
        verb.add_argument("--cause", metavar="FINGERPRINT", help="all held jobs of one cause")
        verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
        verb.add_argument("--yes", action="store_true", help="do not ask")
        verb.set_defaults(act=_decide)


def _decide(system: System, args: argparse.Namespace) -> int:
    from askpro_console.operator_name import operator_name
    from backend.queue.held import discard_held, retry_held

    if not (args.jobs or args.queue or args.cause):
        raise WrongUsage("Which held jobs?", "Give job numbers, --queue or --cause; `askpro queue held` lists them.")
    lines = matching(system, args, limit=AT_MOST)
    ids = [line.job_id for line in lines]
    verb, done = ("Retry", "Retried") if args.verb == "retry" else ("Discard", "Discarded")
    if args.dry_run or not ids:
        return _tell(Decision(matched=len(ids), decided=(), skipped=()), f"Would {verb.lower()}", args, lines)
    agree(f"{verb} {len(ids):,} held jobs?", yes=args.yes)

    async def decide(connection: Connection) -> list[int]:
        async with connection.transaction():
            if args.verb == "retry":
                return await retry_held(connection, ids, by=operator_name())
            return await discard_held(connection, ids, by=operator_name())

    decided = at_queue(system, decide, changes=True)
    skipped = tuple(sorted(set(ids) - set(decided)))
    return _tell(Decision(matched=len(ids), decided=tuple(decided), skipped=skipped), done, args, lines)


def _tell(decision: Decision, verb: str, args: argparse.Namespace, lines: list[HeldLine]) -> int:
    if args.json:
        print_json(decision)
    elif not decision.matched:
        print("No held job matches.")
    elif args.dry_run:
        print_held(lines[:20])
        print(f"\n{verb} {decision.matched:,} held jobs.")
    else:
        skipped = f"; {len(decision.skipped):,} skipped" if decision.skipped else ""
        print(f"{verb} {len(decision.decided):,} held jobs{skipped}.")
    asked_for_missing = bool(args.jobs) and decision.matched < len(set(args.jobs))
    return 1 if asked_for_missing and not decision.matched else 0
