"""`askpro queue`: queues at a glance, jobs found, held jobs, one job's history; retry or discard what is held."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec

from askpro_console.at_database import with_database
from askpro_console.printed import agree, clock, print_json, print_table
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.spans import span
from askpro_console.system import System
from askpro_console.terminal import harmless
from backend.domain.vocabulary import QueueName

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.queue.inspection import HeldLine, JobRecord

NAME = "queue"
HELP = "look at queues and held jobs, retry them"

AT_MOST = 10_000
"""Jobs that one command decides about."""

Result = TypeVar("Result")


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry or discard did, or would do."""

    matched: int
    """Held jobs that were asked for."""
    decided: tuple[int, ...]
    skipped: tuple[int, ...]
    """Decided by somebody else meanwhile, or an equal job waits already."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verbs.add_parser("ls", help="every queue: ready, scheduled, running, held, workers")
    held = verbs.add_parser("held", help="held jobs, newest first")
    held.add_argument("--queue", choices=[queue.value for queue in QueueName])
    held.add_argument("--cause", metavar="FINGERPRINT", help="only those of one cause")
    find = verbs.add_parser("find", help="jobs by number, type, error, payload, company or time, newest first")
    find.add_argument("text", nargs="*", metavar="WORD", help="stands in type, error or payload; a number is an id too")
    find.add_argument("--queue", choices=[queue.value for queue in QueueName])
    find.add_argument("--company", metavar="SLUG")
    find.add_argument("--since", type=span, metavar="SPAN", help="such as 30m, 2h, 3d")
    find.add_argument("--held", action="store_true", help="only jobs that are or were held")
    find.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default 50, most 1000)")
    show = verbs.add_parser("show", help="all that is known about one job")
    show.add_argument("job", type=int, metavar="JOB")
    show.add_argument("--payload", action="store_true", help="print the payload as well: it may hold personal data")
    retry = verbs.add_parser("retry", help="run held jobs again")
    discard = verbs.add_parser("discard", help="delete held jobs for good; what is known about their failure stays")
    for verb in (retry, discard):
        verb.add_argument("jobs", type=int, nargs="*", metavar="JOB")
        verb.add_argument("--queue", choices=[queue.value for queue in QueueName], help="all held jobs of a queue")
        verb.add_argument("--cause", metavar="FINGERPRINT", help="all held jobs of one cause")
        verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
        verb.add_argument("--yes", action="store_true", help="do not ask")
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    system = System.load()
    match args.verb:
        case "ls":
            return _list(system, as_json=args.json)
        case "held":
            return _held(system, args)
        case "find":
            return _find(system, args)
        case "show":
            return _show(system, args)
        case _:
            return _decide(system, args)


def _with_database(system: System, work: Callable[[Connection], Awaitable[Result]], *, changes: bool = False) -> Result:
    from backend.postgres.address import Role

    return with_database(system, Role.WORKER if changes else Role.CONSOLE, "askpro-queue", work)


def _list(system: System, *, as_json: bool) -> int:
    from backend.queue.inspection import queue_lines

    lines = _with_database(system, queue_lines)
    if as_json:
        print_json(lines)
        return 0
    print_table(
        ("QUEUE", "READY", "SCHEDULED", "RUNNING", "HELD", "OLDEST", "WORKERS", "SLOTS"),
        (
            (
                line.queue,
                f"{line.ready:,}",
                f"{line.scheduled:,}",
                f"{line.running:,}",
                f"{line.held:,}",
                "-" if line.oldest_s is None else f"{line.oldest_s:,.1f} s",
                str(line.workers),
                str(line.slots),
            )
            for line in lines
        ),
    )
    return 0


def _held(system: System, args: argparse.Namespace) -> int:
    lines = _matching(system, args, limit=1_000)
    if args.json:
        print_json(lines)
    elif not lines:
        print("No job is held.")
    else:
        _print_held(lines)
        print("\n`askpro queue show JOB` tells more; `askpro queue retry --cause CAUSE` runs all of one cause again.")
    return 0


def _matching(system: System, args: argparse.Namespace, *, limit: int) -> list[HeldLine]:
    from backend.queue.inspection import held_lines

    jobs: list[int] | None = getattr(args, "jobs", None) or None
    queue = QueueName(args.queue) if args.queue else None
    return _with_database(
        system,
        lambda connection: held_lines(connection, queue=queue, fingerprint=args.cause, job_ids=jobs, limit=limit),
    )


def _print_held(lines: Iterable[HeldLine]) -> None:
    print_table(
        ("JOB", "TYPE", "COMPANY", "TRIES", "SINCE", "CAUSE", "ERROR"),
        (
            (
                str(line.job_id),
                line.entrypoint,
                line.company or "-",
                str(line.attempts),
                clock(line.held_at),
                line.fingerprint,
                f"{line.error_type}: {line.message}"[:100],
            )
            for line in lines
        ),
    )


def _find(system: System, args: argparse.Namespace) -> int:
    from backend.queue.search import JobQuestion, NoSuchCompany, find_jobs

    question = JobQuestion(
        text=" ".join(args.text),
        queue=QueueName(args.queue) if args.queue else None,
        company=args.company,
        since=None if args.since is None else datetime.now(UTC) - args.since,
        held_only=args.held,
    )
    limit = max(1, min(args.limit, 1_000))
    try:
        found = _with_database(system, lambda connection: find_jobs(connection, question, limit=limit))
    except NoSuchCompany:
        raise Refused(f"There is no company {args.company}.", "`askpro company list` shows them.") from None
    if args.json:
        print_json(found)
    elif not found:
        print("No job matches. Finished jobs are forgotten after 7 days; of those only the newest are looked through.")
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


def _show(system: System, args: argparse.Namespace) -> int:
    from backend.queue.inspection import job_record

    record = _with_database(system, lambda connection: job_record(connection, args.job))
    if record is None:
        raise Refused(f"Nothing is known about job {args.job}.", "Finished jobs are forgotten after 7 days.")
    if not args.payload and record.payload is not None:
        record = msgspec.structs.replace(record, payload=f"({len(record.payload):,} characters, see --payload)")
    if args.json:
        print_json(record)
    else:
        _print_record(record)
    return 0


def _print_record(record: JobRecord) -> None:
    facts = {
        "job": f"{record.job_id} {record.entrypoint}",
        "state": record.state if record.held_state is None else f"{record.state} ({record.held_state})",
        "company": record.company,
        "enqueued": clock(record.enqueued_at) if record.enqueued_at else None,
        "next start": clock(record.execute_after) if record.execute_after and record.state == "queued" else None,
        "payload": record.payload,
        "cause": record.fingerprint,
        "error": record.error_type and f"{record.error_type}: {record.message}",
    }
    for name, value in facts.items():
        if value is not None:
            print(f"{name:11}{harmless(value)}")
    for run_line in record.runs:
        took = "still open" if run_line.ended_at is None else f"{run_line.ended_at - run_line.started_at}"
        ending = " ".join(part for part in (run_line.outcome, run_line.error) if part)
        print(f"{'run':11}{clock(run_line.started_at)}  try {run_line.attempt}  {took}  {harmless(ending)}".rstrip())
    if record.traceback:
        print()
        for line in record.traceback.rstrip().splitlines():
            print(harmless(line))


def _decide(system: System, args: argparse.Namespace) -> int:
    from backend.queue.port import JobQueue

    if not (args.jobs or args.queue or args.cause):
        raise WrongUsage("Which held jobs?", "Give job numbers, --queue or --cause; `askpro queue held` lists them.")
    lines = _matching(system, args, limit=AT_MOST)
    ids = [line.job_id for line in lines]
    verb, done = ("Retry", "Retried") if args.verb == "retry" else ("Discard", "Discarded")
    if args.dry_run or not ids:
        return _tell(Decision(matched=len(ids), decided=(), skipped=()), f"Would {verb.lower()}", args, lines)
    agree(f"{verb} {len(ids):,} held jobs?", yes=args.yes)

    async def decide(connection: Connection) -> list[int]:
        async with connection.transaction():
            if args.verb == "retry":
                return await JobQueue().retry_held(connection, ids)
            return await JobQueue().discard_held(connection, ids)

    decided = _with_database(system, decide, changes=True)
    skipped = tuple(sorted(set(ids) - set(decided)))
    return _tell(Decision(matched=len(ids), decided=tuple(decided), skipped=skipped), done, args, lines)


def _tell(decision: Decision, verb: str, args: argparse.Namespace, lines: list[HeldLine]) -> int:
    if args.json:
        print_json(decision)
    elif not decision.matched:
        print("No held job matches.")
    elif args.dry_run:
        _print_held(lines[:20])
        print(f"\n{verb} {decision.matched:,} held jobs.")
    else:
        skipped = f"; {len(decision.skipped):,} skipped" if decision.skipped else ""
        print(f"{verb} {len(decision.decided):,} held jobs{skipped}.")
    asked_for_missing = bool(args.jobs) and decision.matched < len(set(args.jobs))
    return 1 if asked_for_missing and not decision.matched else 0
