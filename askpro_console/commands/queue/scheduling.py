"""`askpro queue schedule`: what comes round by itself, how it went; put one in now, pause it, resume it."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from askpro_console.commands.queue.at_queue import acting, at_queue, refuse_unused
from askpro_console.commands.queue.pausing import pause_subject, resume_subject
from askpro_console.commands.queue.steering import add_changing, add_ramp, add_until
from askpro_console.printed import agree, clock, print_json, print_table
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.system import System
from backend.domain.vocabulary import PauseKind

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.queue.schedule import ScheduleRow
    from backend.services.operating.audit import By


class PutIn(msgspec.Struct, frozen=True, kw_only=True):
    """What `run` did."""

    entrypoint: str
    job_id: int | None
    """None: it waits or runs already, or this was a dry run."""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    schedule = verbs.add_parser("schedule", help="what comes round by itself; run, pause, resume one of it")
    schedule.add_argument("what", nargs="?", default="ls", choices=("ls", "run", "pause", "resume"))
    schedule.add_argument("type", nargs="?", metavar="TYPE", help="a job type of the schedule")
    add_until(schedule)
    add_ramp(schedule)
    add_changing(schedule)
    schedule.set_defaults(act=_schedule)


def _schedule(system: System, args: argparse.Namespace) -> int:
    unused = {"ls": ("until", "ramp", "reason"), "run": ("until", "ramp"), "resume": ("until",), "pause": ()}[args.what]
    refuse_unused(args, unused, f"with {args.what}", "Leave it out.")
    if args.what == "ls":
        return _list(system, args)
    if args.type is None:
        raise WrongUsage(f"Which of the schedule: {args.what} what?", "`askpro queue schedule` lists it.")
    if args.what == "pause":
        return pause_subject(system, args, PauseKind.SCHEDULE, args.type)
    if args.what == "resume":
        return resume_subject(system, args, PauseKind.SCHEDULE, args.type)
    return _run(system, args)


def _list(system: System, args: argparse.Namespace) -> int:
    from backend.queue.schedule import schedule

    rows = at_queue(system, schedule)
    if args.type is not None:
        rows = tuple(row for row in rows if row.entrypoint == args.type)
        if not rows:
            raise Refused(f"{args.type} does not come round by itself.", "`askpro queue schedule` lists what does.")
    if args.json:
        print_json(rows)
        return 0
    print_table(
        ("TYPE", "COMES ROUND", "NEXT", "LAST", "TOOK", "OUTCOME", "LATELY", "STATE"), (_line(row) for row in rows)
    )
    return 0


def _line(row: ScheduleRow) -> tuple[str, ...]:
    state = "runs" if row.is_running else "waits" if row.is_waiting else ""
    if row.paused is not None:
        until = f" until {clock(row.paused.until)}" if row.paused.until else ""
        why = f": {row.paused.reason}" if row.paused.reason else ""
        state = f"paused by {row.paused.paused_by}{until}{why}"
    return (
        row.entrypoint,
        row.expression,
        "-" if row.next_run is None else _next(row.next_run),
        "-" if row.last_run is None else clock(row.last_run),
        "-" if row.last_took_s is None else f"{row.last_took_s:.2f} s",
        row.last_outcome or "-",
        # The latest is on the right.
        "".join("." if run.outcome == "done" else run.outcome[0] for run in reversed(row.runs)) or "-",
        state,
    )


def _next(moment: datetime) -> str:
    """Times of today alone, others with their day."""
    far = moment - datetime.now(UTC)
    return clock(moment) if far.total_seconds() < 20 * 3_600 else f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _run(system: System, args: argparse.Namespace) -> int:
    from backend.queue.schedule import run_now

    agree(f"Put {args.type} in now?", yes=args.yes or args.dry_run)

    async def put_in(connection: Connection, by: By) -> int | None:
        return await run_now(connection, by, args.type, reason=args.reason)

    job_id = acting(system, put_in, dry_run=args.dry_run)
    if args.json:
        print_json(PutIn(entrypoint=args.type, job_id=None if args.dry_run else job_id))
    elif job_id is None:
        print(f"{args.type} waits or runs already; nothing {'would be' if args.dry_run else 'was'} put in.")
    elif args.dry_run:
        print(f"Would put {args.type} in.")
    else:
        print(f"{args.type} is put in as job {job_id}; `askpro queue show {job_id}` tells how it goes.")
    return 0
