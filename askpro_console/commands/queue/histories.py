"""`askpro queue history`: what queues and job types did over the last hours or days, from counts by the minute."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from askpro_console.commands.queue.at_queue import at_queue, refuse_unused
from askpro_console.printed import capital, clock, print_json, print_table
from askpro_console.refusal import WrongUsage
from askpro_console.spans import span
from askpro_console.system import System

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.watch.connection import Connection as OwnConnection
    from backend.watch.history import History, Tally

DAY = timedelta(days=1)


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    history = verbs.add_parser("history", help="done, failed, held, times of waiting and running; up to 30 days back")
    history.add_argument("subject", nargs="?", metavar="QUEUE|TYPE", help="only this queue or job type")
    history.add_argument("--span", type=span, default=DAY, metavar="SPAN", help="how far back: 1h, 24h (default), 7d")
    history.add_argument("--step", type=span, metavar="SPAN", help="with --steps: 1m, 10m, 1h; else as fits the span")
    history.add_argument("--steps", action="store_true", help="a line for each step of time, not for each job type")
    history.set_defaults(act=_history)


def _history(system: System, args: argparse.Namespace) -> int:
    from backend.services.operating.subjects import known_queue, known_type
    from backend.watch.history import read_history, steps_for

    if not args.steps:
        refuse_unused(args, ("step",), "without --steps", "Add --steps for a line for each step of time.")
    step_s = int(args.step.total_seconds()) if args.step is not None else steps_for(args.span)
    is_type = args.subject is not None and "." in args.subject

    async def read(connection: Connection) -> History:
        if is_type:
            await known_type(connection, args.subject, system.loaded.policies)
        elif args.subject is not None:
            known_queue(args.subject)
        return await read_history(
            cast("OwnConnection", connection),
            span=args.span,
            step_s=step_s,
            queue=None if is_type else args.subject,
            entrypoint=args.subject if is_type else None,
        )

    try:
        history = at_queue(system, read)
    except ValueError as wrong:
        raise WrongUsage(f"{capital(str(wrong))}.", "Leave --step out, or take 1m, 10m, 1h or a multiple.") from None
    if args.json:
        print_json(history)
        return 0
    if not history.total.ended and not history.total.put_in:
        print(f"Nothing{f' of {args.subject}' if args.subject else ''} was counted within this time.")
        return 0
    _print(history, steps=args.steps)
    return 0


def _print(history: History, *, steps: bool) -> None:
    lines = [(line.entrypoint, line.tally) for line in history.lines]
    if steps:
        lines = [(clock(_moment(step.at)), step.tally) for step in history.steps if step.at < history.until]
    print_table(
        (
            "FROM" if steps else "TYPE",
            "IN",
            "DONE",
            "FAILED",
            "HELD",
            "WAIT P50",
            "P95",
            "P99",
            "RUN P50",
            "P95",
            "P99",
        ),
        (_row(name, tally) for name, tally in (*lines, ("all of it", history.total))),
    )
    print(
        f"\nFrom {clock(_moment(history.since))} until {clock(_moment(history.until))}."
        " FAILED: attempts that were followed by another; HELD: the last ones."
    )


def _row(name: str, tally: Tally) -> tuple[str, ...]:
    counts = (tally.put_in, tally.done, tally.failed, tally.held)
    times = (tally.wait.p50_s, tally.wait.p95_s, tally.wait.p99_s, tally.run.p50_s, tally.run.p95_s, tally.run.p99_s)
    return (name, *(f"{count:,}" for count in counts), *(_length(seconds) for seconds in times))


def _length(seconds: float | None) -> str:
    """A length of time with two or three digits."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "<1 ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:,.0f} min"


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
