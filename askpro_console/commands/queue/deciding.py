"""`askpro queue retry`, `discard`, `move`, `bulk`: what becomes of held jobs, and what is being done."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from askpro_console.at_database import reaching
from askpro_console.commands.queue.at_queue import (
    APPLICATION,
    QUEUES,
    acting,
    add_choice,
    at_queue,
    chosen,
    number,
    refuse_unused,
    who,
)
from askpro_console.printed import agree, capital, clock, print_json, print_table
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.system import System
from askpro_console.terminal import harmless
from backend.domain.vocabulary import BulkAction, BulkState, QueueName

if TYPE_CHECKING:
    from backend.services.held_jobs.bulk import BulkResult, Progress
    from backend.services.held_jobs.selecting import HeldFilter, Preview

DOING = {BulkAction.RETRY: "retry", BulkAction.DISCARD: "discard", BulkAction.MOVE: "move"}
SKIPPED = {
    BulkAction.RETRY: "an equal one waits already",
    BulkAction.MOVE: "stands there already, or an equal one waits",
}
DONE = {BulkAction.RETRY: "Retried", BulkAction.DISCARD: "Discarded", BulkAction.MOVE: "Moved"}


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, or with `--dry-run` would be."""

    action: str
    state: str
    """done, cancelled, failed; planned for a dry run."""
    matched: int
    done: int
    skipped: int
    why_skipped: dict[str, int]
    bulk: str | None
    """Its number in the record."""
    error: str = ""
    would: Preview | None = None
    """What it would touch, for a dry run."""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs."""
    retry = verbs.add_parser("retry", help="run held jobs again")
    discard = verbs.add_parser("discard", help="delete held jobs for good; what is known about their failure stays")
    move = verbs.add_parser("move", help="run held jobs in another queue; the held ones stay as a record")
    for verb, action in ((retry, BulkAction.RETRY), (discard, BulkAction.DISCARD), (move, BulkAction.MOVE)):
        verb.add_argument("jobs", type=number, nargs="*", metavar="JOB", help="numbers of held jobs")
        add_choice(verb)
        verb.add_argument("--all", action="store_true", help="all held jobs, when nothing else chooses")
        verb.add_argument("--rate", type=float, metavar="N", help="at most N jobs per second")
        verb.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
        verb.add_argument("--dry-run", action="store_true", help="only say what would be done, and what it would touch")
        verb.add_argument("--yes", action="store_true", help="do not ask")
        verb.set_defaults(act=_decide, action=action, to=None)
    move.add_argument("--to", required=True, choices=QUEUES, metavar="QUEUE", help="the queue to run in")
    bulk = verbs.add_parser("bulk", help="what is being done with many held jobs, or was lately; stop it")
    bulk.add_argument("cancel", nargs="?", type=UUID, metavar="NUMBER", help="stop this one after its present batch")
    bulk.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
    bulk.add_argument("--dry-run", action="store_true", help="only say whether there is anything to stop")
    bulk.set_defaults(act=_bulk)


def _decide(system: System, args: argparse.Namespace) -> int:
    from backend.services.held_jobs.pace import is_rate
    from backend.services.held_jobs.selecting import HeldFilter, preview

    held, action = chosen(args), args.action
    if held.is_everything and not args.all:
        raise WrongUsage(
            "Which held jobs?", "Give job numbers, --queue, --cause, …, or --all; `askpro queue held` lists them."
        )
    if args.rate is not None and not is_rate(args.rate):
        raise WrongUsage(f"--rate {args.rate:g} is no rate.", "Give a number above 0, or leave it out.")
    to = None if args.to is None else QueueName(args.to)
    would = at_queue(system, lambda connection: preview(connection, held, per_s=args.rate, to=to))
    if would.matched and (missing := max(0, len(held.job_ids or ()) - would.matched)):
        also = ", or left out by the other choices" if held != HeldFilter(job_ids=held.job_ids) else ""
        print(f"{missing:,} of the jobs you named {'is' if missing == 1 else 'are'} not held{also}.", file=sys.stderr)
    if args.dry_run or not would.matched:
        return _planned(would, args)
    if not (args.yes or args.json):
        _print_preview(would, action)
    agree(f"{capital(_wish(args, would.matched))}?", yes=args.yes)
    if would.newest_at is not None:
        # What is held from now on was neither counted nor agreed to; with --before all of them are older than that.
        held = replace(held, until=would.newest_at + timedelta(microseconds=1))
    result = asyncio.run(reaching(_work(system, args, held)))
    return _tell(result, args)


async def _work(system: System, args: argparse.Namespace, held: HeldFilter) -> BulkResult:
    """Do it, with progress for who looks; ctrl+c ends it after the batch that is under way."""
    from backend.postgres.address import Role
    from backend.postgres.pools import connect
    from backend.services.held_jobs.bulk import run_bulk
    from backend.services.operating.refusals import NotPossible

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(RuntimeError, ValueError):  # only the program's main thread hears of ctrl+c
        loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        return await run_bulk(
            lambda: connect(system.postgres(), Role.WORKER, application=APPLICATION),
            who(system),
            args.action,
            held,
            per_s=args.rate,
            reason=args.reason,
            queue=QueueName(args.to) if args.to else None,
            on_progress=_show_progress if sys.stderr.isatty() else lambda _progress: None,
            stop=stop,
        )
    except NotPossible as wrong:
        raise Refused(wrong.sentence, wrong.hint) from None
    finally:
        with suppress(RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)


def _show_progress(progress: Progress) -> None:
    if progress.state is not BulkState.RUNNING:
        print(end="\r\x1b[K", file=sys.stderr, flush=True)
        return
    skipped = f", {progress.skipped:,} skipped" if progress.skipped else ""
    left = "" if progress.left_s is None else f", {progress.left_s:,.0f} s left"
    waits = f" – waiting for {harmless(progress.waiting_for)}"[:60] if progress.waiting_for else ""
    line = f"{progress.done:,} of {progress.matched:,}{skipped}{left}{waits}; ctrl+c stops"
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _planned(would: Preview, args: argparse.Namespace) -> int:
    """Say what would be done; 1 when jobs were named and none of them is held."""
    action: BulkAction = args.action
    if args.json:
        plan = Decision(
            action=action.value, state="planned", matched=would.matched, done=0, skipped=0, why_skipped={}, bulk=None,
            would=would,
        )  # fmt: skip
        print_json(plan)
    elif args.jobs and not would.matched:
        raise Refused("None of these jobs is held.", "`askpro queue held` lists those that are.")
    elif not would.matched:
        print("No held job matches.")
    else:
        _print_preview(would, action)
        print(f"\nWould {_wish(args, would.matched)}. Nothing was changed.")
    return 1 if args.jobs and not would.matched else 0


def _print_preview(would: Preview, action: BulkAction) -> None:
    """What it would touch."""
    facts = [
        ("jobs", f"{would.matched:,}"),
        ("types", _counts(would.by_type)),
        ("companies", _companies(would)),
        ("deliveries", f"{would.deliveries:,} webhook deliveries are held with them" if would.deliveries else ""),
    ]
    if would.oldest_at is not None and would.newest_at is not None:
        facts.append(("held", f"{clock(would.oldest_at)} to {clock(would.newest_at)}"))
    if action is not BulkAction.DISCARD:
        facts += [
            ("calls", ", ".join(would.providers)),
            ("paused", f"{', '.join(would.queue_paused)}: they will wait" if would.queue_paused else ""),
            ("quarantine", f"{', '.join(would.quarantined)}: may hold them again" if would.quarantined else ""),
            ("ahead", f"{would.ahead:,} jobs wait there already" if would.ahead else ""),
            ("skipped", f"{would.would_skip:,}: {SKIPPED[action]}" if would.would_skip else ""),
        ]
    if would.seconds_at_rate is not None:
        facts.append(("takes", f"{would.seconds_at_rate:,.0f} s at that rate"))
    for name, value in facts:
        if value:
            print(f"{name:12}{harmless(value)}")
    print()
    print_table(
        ("JOBS", "CAUSE", "ERROR"),
        (
            (f"{cause.jobs:,}", cause.fingerprint, f"{cause.error_type}: {cause.message}"[:100])
            for cause in would.by_cause
        ),
    )
    if would.causes > len(would.by_cause):
        print(f"and {would.causes - len(would.by_cause):,} further causes")


def _companies(would: Preview) -> str:
    """Whose they are; empty when they are nobody's."""
    counts = _counts((slug or "none", jobs) for slug, jobs in would.by_company)
    return f"{would.companies:,}: {counts}" if would.companies else ""


def _counts(pairs: object) -> str:
    shown = [f"{name} {jobs:,}" for name, jobs in pairs]  # type: ignore[attr-defined]  # pairs of a name and a number
    return ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "")


def _tell(result: BulkResult, args: argparse.Namespace) -> int:
    if args.json:
        print_json(
            Decision(
                action=result.action.value,
                state=result.state.value,
                matched=result.matched,
                done=result.done,
                skipped=result.skipped,
                why_skipped=result.why_skipped,
                bulk=str(result.bulk_id),
                error=result.error,
            )
        )
    else:
        to = f" to {args.to}" if args.to else ""
        print(f"{DONE[result.action]} {_jobs(result.done)}{to} in {result.elapsed_s:,.1f} s.")
        for why, jobs in result.why_skipped.items():
            print(f"Skipped {jobs:,}: {why}.")
        left = result.matched - result.done - result.skipped
        if result.state is not BulkState.DONE:
            why = "Stopped" if result.cancelled else f"Failed: {harmless(result.error)}"
            print(f"{why}. {left:,} are as they were; the same command goes on with them.")
    return 0 if result.state is BulkState.DONE else 1


def _wish(args: argparse.Namespace, count: int) -> str:
    """What is to be done, as in `move 3 held jobs to default`."""
    return f"{DOING[args.action]} {_jobs(count)}{f' to {args.to}' if args.to else ''}"


def _jobs(count: int) -> str:
    return f"{count:,} held job" if count == 1 else f"{count:,} held jobs"


def _bulk(system: System, args: argparse.Namespace) -> int:
    from backend.services.held_jobs.recorded import ask_cancel, latest_actions

    bulk_id: UUID | None = args.cancel
    if bulk_id is not None:
        asked = acting(
            system, lambda connection, by: ask_cancel(connection, by, bulk_id, reason=args.reason), dry_run=args.dry_run
        )
        if not asked:
            raise Refused(f"Nothing that runs has the number {bulk_id}.", "`askpro queue bulk` lists what runs.")
        if args.json:
            print_json({"cancelled": str(bulk_id), "is_dry_run": args.dry_run})
        else:
            print(f"It {'would stop' if args.dry_run else 'stops'} after its present batch.")
        return 0
    refuse_unused(args, ("reason",), "without a number", "`askpro queue bulk NUMBER` stops one.")
    lines = at_queue(system, latest_actions)
    if args.json:
        print_json(lines)
    elif not lines:
        print("Nothing was done with held jobs lately.")
    else:
        print_table(
            ("NUMBER", "ACTION", "STATE", "BY", "SINCE", "MATCHED", "DONE", "SKIPPED", "REASON"),
            (
                (
                    str(line.bulk_id),
                    line.action,
                    line.state,
                    line.started_by,
                    clock(line.started_at),
                    f"{line.matched:,}",
                    f"{line.done:,}",
                    f"{line.skipped:,}",
                    line.error or line.reason,
                )
                for line in lines
            ),
        )
    return 0
