"""`askpro queue ls`, `held`, `show`: queues at a glance, held jobs, one job's history."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec

from askpro_console.commands.queue.at_queue import QUEUES, at_queue, matching, print_held
from askpro_console.printed import clock, print_json, print_table
from askpro_console.refusal import Refused
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.queue.inspection import JobRecord


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    listing = verbs.add_parser("ls", help="every queue: ready, scheduled, running, held, workers")
    listing.set_defaults(act=_list)
    held = verbs.add_parser("held", help="held jobs, newest first")
    held.add_argument("--queue", choices=QUEUES)
    held.add_argument("--cause", metavar="FINGERPRINT", help="only those of one cause")
    held.set_defaults(act=_held)
    show = verbs.add_parser("show", help="all that is known about one job")
    show.add_argument("job", type=int, metavar="JOB")
    show.add_argument("--payload", action="store_true", help="print the payload as well: it may hold personal data")
    show.set_defaults(act=_show)


def _list(system: System, args: argparse.Namespace) -> int:
    from backend.queue.inspection import queue_lines

    lines = at_queue(system, queue_lines)
    if args.json:
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
    lines = matching(system, args, limit=1_000)
    if args.json:
        print_json(lines)
    elif not lines:
        print("No job is held.")
    else:
        print_held(lines)
        print("\n`askpro queue show JOB` tells more; `askpro queue retry --cause CAUSE` runs all of one cause again.")
    return 0


def _show(system: System, args: argparse.Namespace) -> int:
    from backend.queue.inspection import job_record

    record = at_queue(system, lambda connection: job_record(connection, args.job))
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
