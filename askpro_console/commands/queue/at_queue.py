"""What the verbs of `askpro queue` share."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from askpro_console.at_database import with_database
from askpro_console.printed import clock, print_table
from askpro_console.system import System
from backend.domain.vocabulary import QueueName

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.queue.inspection import HeldLine

QUEUES = tuple(queue.value for queue in QueueName)

Result = TypeVar("Result")


def at_queue(system: System, work: Callable[[Connection], Awaitable[Result]], *, changes: bool = False) -> Result:
    """The result of `work` on one connection, with the role that may change queues or only read. Raises Refused."""
    from backend.postgres.address import Role

    return with_database(system, Role.WORKER if changes else Role.CONSOLE, "askpro-queue", work)


def named_queue(args: argparse.Namespace) -> QueueName | None:
    """The queue that `--queue` names."""
    return QueueName(args.queue) if args.queue else None


def matching(system: System, args: argparse.Namespace, *, limit: int) -> list[HeldLine]:
    """The held jobs that the arguments name, newest first."""
    from backend.queue.inspection import held_lines

    jobs: list[int] | None = getattr(args, "jobs", None) or None
    queue = named_queue(args)
    return at_queue(
        system,
        lambda connection: held_lines(connection, queue=queue, fingerprint=args.cause, job_ids=jobs, limit=limit),
    )


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
