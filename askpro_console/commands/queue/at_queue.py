"""What the verbs of `askpro queue` share: connections, who acts, and which held jobs the arguments mean."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from askpro_console.at_database import in_transaction, with_database
from askpro_console.operator_name import operator_name
from askpro_console.printed import clock, print_table
from askpro_console.refusal import Refused, WrongUsage
from askpro_console.spans import span
from askpro_console.system import System
from backend.domain.vocabulary import QueueName

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.held_jobs.selecting import HeldFilter, HeldLine
    from backend.services.operating.audit import By

QUEUES = tuple(queue.value for queue in QueueName)

APPLICATION = "askpro-queue"

LARGEST_NUMBER, LONGEST_NUMBER = 2**63 - 1, 19
"""What the database counts to, and its digits."""

Result = TypeVar("Result")


def at_queue(system: System, work: Callable[[Connection], Awaitable[Result]], *, changes: bool = False) -> Result:
    """The result of `work` on one connection, with the role that may change queues or only read. Raises Refused."""
    from backend.postgres.address import Role
    from backend.services.operating.refusals import NotPossible

    try:
        return with_database(system, Role.WORKER if changes else Role.CONSOLE, APPLICATION, work)
    except NotPossible as wrong:
        raise Refused(wrong.sentence, wrong.hint) from None


def acting(system: System, work: Callable[[Connection, By], Awaitable[Result]], *, dry_run: bool = False) -> Result:
    """The result of `work` in one transaction that may change queues, done by whoever runs the command.

    A dry run takes it back, so that it is refused what would be refused. Raises Refused.
    """
    by = who(system)
    return at_queue(
        system,
        lambda connection: in_transaction(connection, lambda: work(connection, by), keep=not dry_run),
        changes=True,
    )


def who(system: System) -> By:
    """Who runs the command, and where."""
    from backend.services.operating.audit import By

    return By(actor=operator_name(), node=system.node)


def number(text: str) -> int:
    """The number of a job, a quarantine or the like; for `type=` of an argument. Raises argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER and 0 < int(text) <= LARGEST_NUMBER):
        short = text if len(text) <= 40 else f"{text[:40]}…"
        raise argparse.ArgumentTypeError(f"{short!r} is no number that anything has")
    return int(text)


def how_many(text: str) -> int:
    """How many lines at most; for `type=` of an argument. Raises argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        short = text if len(text) <= 40 else f"{text[:40]}…"
        raise argparse.ArgumentTypeError(f"{short!r} is no number of lines such as 50")
    return int(text)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose held jobs."""
    parser.add_argument("--queue", choices=QUEUES, help="of this queue")
    parser.add_argument("--type", metavar="TYPE", help="of this job type, such as default.calendar_sync")
    parser.add_argument("--cause", metavar="FINGERPRINT", help="held for this cause")
    parser.add_argument("--company", metavar="SLUG", help="of this company")
    parser.add_argument("--text", metavar="WORDS", default="", help="each word stands in type, error or payload")
    parser.add_argument("--since", type=span, metavar="SPAN", help="held within this time, such as 30m, 2h, 3d")
    parser.add_argument("--before", type=span, metavar="SPAN", help="held longer ago than this")


def chosen(args: argparse.Namespace) -> HeldFilter:
    """The held jobs that the arguments mean."""
    from backend.services.held_jobs.selecting import HeldFilter

    now = datetime.now(UTC)
    jobs: list[int] | None = getattr(args, "jobs", None)
    return HeldFilter(
        queue=named_queue(args),
        entrypoint=args.type,
        fingerprint=args.cause,
        company=args.company,
        text=args.text,
        since=None if args.since is None else now - args.since,
        until=None if args.before is None else now - args.before,
        job_ids=tuple(sorted(set(jobs))) if jobs else None,
    )


def refuse_unused(args: argparse.Namespace, options: Iterable[str], where: str, hint: str) -> None:
    """Raises WrongUsage that names those of `options` that were given: nothing that was typed is ignored in silence."""
    unset: tuple[object, ...] = (None, "", False)
    given = [f"--{option}" for option in options if getattr(args, option) not in unset]
    if given:
        named = given[0] if len(given) == 1 else f"{', '.join(given[:-1])} and {given[-1]}"
        raise WrongUsage(f"{named} mean{'s' * (len(given) == 1)} nothing {where}.", hint)


def named_queue(args: argparse.Namespace) -> QueueName | None:
    """The queue that `--queue` names."""
    return QueueName(args.queue) if args.queue else None


def print_held(lines: Iterable[HeldLine]) -> None:
    """A table of held jobs."""
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
