"""`askpro queue held`: held jobs, or the causes they are held for."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from askpro_console.commands.queue.at_queue import add_choice, at_queue, chosen, how_many, print_held, refuse_unused
from askpro_console.printed import clock, print_json, print_table
from askpro_console.system import System

USUAL = 1_000

MOST = 10_000


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    held = verbs.add_parser("held", help="held jobs, newest first, or with --causes what they are held for")
    add_choice(held)
    held.add_argument("--causes", action="store_true", help="the causes, with how many jobs of an hour, a day, a week")
    held.add_argument("--limit", type=how_many, metavar="N", help="at most so many (default 1000, most 10000)")
    held.set_defaults(act=_held)


def _held(system: System, args: argparse.Namespace) -> int:
    from backend.services.held_jobs.selecting import held_lines

    if args.causes:
        ignored = ("queue", "type", "cause", "company", "text", "since", "before", "limit")
        refuse_unused(args, ignored, "with --causes, which lists them all", "Leave one of them out.")
        return _causes(system, args)
    held, limit = chosen(args), USUAL if args.limit is None else min(args.limit, MOST)
    lines = at_queue(system, lambda connection: held_lines(connection, held, limit=limit))
    if args.json:
        print_json(lines)
    elif not lines:
        print("No job is held." if held.is_everything else "No held job matches.")
    else:
        print_held(lines)
        print("\n`askpro queue show JOB` tells more; `askpro queue retry --cause CAUSE` runs all of one cause again.")
        if len(lines) == limit:
            print(f"These are the newest {limit:,}; there may be more.")
    return 0


def _causes(system: System, args: argparse.Namespace) -> int:
    from backend.watch.collect.held_groups import held_groups

    groups = at_queue(system, held_groups)
    if args.json:
        print_json(groups)
    elif not groups:
        print("No job is held.")
    else:
        print_table(
            ("CAUSE", "TYPE", "1 H", "24 H", "7 D", "ALL", "FIRST", "LAST", "COMPANIES", "ERROR"),
            (
                (
                    group.fingerprint,
                    group.entrypoint,
                    f"{group.held_1h:,}",
                    f"{group.held_24h:,}",
                    f"{group.held_7d:,}",
                    f"{group.held_total:,}",
                    clock(datetime.fromtimestamp(group.first_at, UTC)),
                    clock(datetime.fromtimestamp(group.last_at, UTC)),
                    ", ".join(slug for slug, _ in group.top_companies) + (", …" if group.companies > 3 else "") or "-",
                    f"{group.error_type}: {group.message}"[:80],
                )
                for group in groups
            ),
        )
    return 0
