"""`askpro queue find`: jobs by whatever is known of them."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from askpro_console.commands.queue.at_queue import QUEUES, at_queue, how_many, named_queue
from askpro_console.printed import clock, print_json, print_table
from askpro_console.refusal import Refused
from askpro_console.spans import span
from askpro_console.system import System


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    find = verbs.add_parser("find", help="jobs by number, type, error, payload, company or time, newest first")
    find.add_argument("text", nargs="*", metavar="WORD", help="stands in type, error or payload; a number is an id too")
    find.add_argument("--queue", choices=QUEUES, help="of this queue")
    find.add_argument("--company", metavar="SLUG", help="of this company")
    find.add_argument("--type", metavar="TYPE", help="of exactly this job type")
    find.add_argument("--before", type=span, metavar="SPAN", help="longer ago than this")
    find.add_argument("--since", type=span, metavar="SPAN", help="within this time, such as 30m, 2h, 3d")
    find.add_argument("--held", action="store_true", help="only jobs that are or were held")
    find.add_argument("--limit", type=how_many, default=50, metavar="N", help="at most so many (default 50, most 1000)")
    find.set_defaults(act=_find)


def _find(system: System, args: argparse.Namespace) -> int:
    from backend.queue.search import JobQuestion, NoSuchCompany, search_jobs

    question = JobQuestion(
        text=" ".join(args.text),
        queue=named_queue(args),
        company=args.company,
        entrypoint=args.type,
        since=None if args.since is None else datetime.now(UTC) - args.since,
        until=None if args.before is None else datetime.now(UTC) - args.before,
        held_only=args.held,
    )
    limit = min(args.limit, 1_000)
    try:
        answer = at_queue(system, lambda connection: search_jobs(connection, question, limit=limit))
    except NoSuchCompany:
        raise Refused(f"There is no company {args.company}.", "`askpro company list` shows them.") from None
    found = answer.jobs
    if not answer.is_whole:
        print("Older held jobs were not looked through: add a word that few jobs have, or --since.", file=sys.stderr)
    if args.json:
        print_json(found)
    elif not found:
        print("No job matches. Finished jobs are forgotten after an hour, failed attempts after 7 days.")
    else:
        print_table(
            ("JOB", "STATE", "TYPE", "COMPANY", "TRIES", "AT", "CAUSE", "ERROR"),
            (
                (
                    str(job.job_id),
                    job.state,
                    job.entrypoint,
                    job.company or "-",
                    str(job.attempts),
                    clock(job.at),
                    job.fingerprint or "-",
                    job.error[:100],
                )
                for job in found
            ),
        )
        if len(found) == limit:
            print(f"\nThe newest {limit:,}; there may be more: add words, or --since, or a larger --limit.")
    return 0
