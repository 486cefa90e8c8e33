"""What the verbs of `askpro queue` that steer queues share: their options, what they name and what that touches."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import msgspec

from askpro_console.commands.queue.at_queue import QUEUES, at_queue
from askpro_console.refusal import WrongUsage
from askpro_console.spans import span
from askpro_console.system import System
from backend.domain.vocabulary import PauseKind

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.blast import Blast
    from backend.services.operating.subjects import Subject
    from backend.watch.connection import Connection as OwnConnection
    from backend.watch.snapshots import QueuesSnapshot


class Would(msgspec.Struct, frozen=True, kw_only=True):
    """What a dry run tells."""

    would: str
    kind: PauseKind
    name: str
    touches: Blast


BY_OPTION = (PauseKind.COMPANY, PauseKind.PROVIDER, PauseKind.NODE, PauseKind.SCHEDULE)
"""Subjects that are named by an option; a queue or job type stands by itself."""


def queues_now(system: System) -> QueuesSnapshot:
    """What the database says of all queues at this moment. Raises Refused."""
    from backend.watch.collect import Sources
    from backend.watch.collect.queues import collect

    return at_queue(system, lambda connection: collect(cast("OwnConnection", connection), Sources()))


def add_changing(parser: argparse.ArgumentParser, *, reason: str = "why, for the record and for whoever looks") -> None:
    """The options of whatever changes something."""
    parser.add_argument("--reason", metavar="TEXT", default="", help=reason)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done and what it would touch")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def add_until(parser: argparse.ArgumentParser) -> None:
    """`--until SPAN`."""
    parser.add_argument("--until", type=span, metavar="SPAN", help="ends by itself after 30m, 2h, 3d; else never")


def add_ramp(parser: argparse.ArgumentParser) -> None:
    """`--ramp SPAN`."""
    parser.add_argument("--ramp", type=span, metavar="SPAN", help="after its end to full speed over so long: 5m")


def until(args: argparse.Namespace) -> datetime | None:
    """The end that `--until` says."""
    return None if args.until is None else datetime.now(UTC) + args.until


def seconds(length: timedelta | None) -> int | None:
    """Of a span."""
    return None if length is None else int(length.total_seconds())


def add_subject(parser: argparse.ArgumentParser) -> None:
    """What is paused or resumed."""
    parser.add_argument("subject", nargs="?", metavar="QUEUE|TYPE", help="a queue such as webhooks, or a job type")
    parser.add_argument("--company", metavar="SLUG", help="all jobs of one company")
    parser.add_argument("--provider", metavar="NAME", help="all jobs that need a provider: retell, calcom")
    parser.add_argument("--node", metavar="NAME", help="all workers of one machine")
    parser.add_argument("--schedule", metavar="TYPE", help="a job type that comes round by itself")


def named(args: argparse.Namespace) -> tuple[PauseKind, str]:
    """The one thing that the arguments name. Raises WrongUsage."""
    found = [(kind, getattr(args, kind.value)) for kind in BY_OPTION if getattr(args, kind.value) is not None]
    if args.subject is not None:
        found.append((PauseKind.QUEUE if "." not in args.subject else PauseKind.JOB_TYPE, args.subject))
    if len(found) != 1:
        raise WrongUsage(
            "What is it about?" if not found else "It is about one thing at a time.",
            f"Name a queue ({', '.join(QUEUES)}), a job type, --company, --provider, --node or --schedule.",
        )
    return found[0]


def subject_and_blast(system: System, kind: PauseKind, name: str) -> tuple[Subject, Blast]:
    """The thing, if it is there, and what pausing it would touch. Raises Refused."""
    from backend.services.operating.blast import blast_radius
    from backend.services.operating.subjects import subject

    async def read(connection: Connection) -> tuple[Subject, Blast]:
        of = await subject(connection, kind, name, system.loaded.policies)
        return of, await blast_radius(connection, of, system.loaded.policies)

    return at_queue(system, read)
