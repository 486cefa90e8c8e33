"""`askpro calendar`: how far appointments have got into calendars at Cal.com, and pushing again what was refused."""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from askpro_console.at_database import with_database
from askpro_console.refusal import WrongUsage
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.postgres.address import Role
    from backend.postgres.pools import Connection
    from backend.services.calendars.status import CalendarsStatus

NAME = "calendar"
HELP = "appointments in calendars at Cal.com: what is written, what was refused; push again"

Result = TypeVar("Result")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    status = verbs.add_parser("status", help="how far calendars have got, and why not further")
    status.add_argument("--limit", type=int, default=20, metavar="N", help="list so many appointments (20)")
    push = verbs.add_parser("push", help="write appointments again")
    push.add_argument("appointments", nargs="*", metavar="ID", help="appointments")
    push.add_argument("--all-failed", action="store_true", help="all that were refused")
    push.add_argument("--never-written", action="store_true", help="upcoming ones that were never written")
    for verb in (status, push):
        verb.add_argument("--company", metavar="SLUG", help="of one company only")
        verb.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    return _status(args) if args.verb == "status" else _push(args)


def _at(role: Role, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    return with_database(System.load(), role, "askpro-calendar", work)


def _status(args: argparse.Namespace) -> int:
    import msgspec

    from backend.postgres.address import Role
    from backend.services.calendars.status import read_status

    found = _at(Role.CONSOLE, lambda connection: read_status(connection, args.company, at_most=max(0, args.limit)))
    print(msgspec.json.encode(found).decode() if args.json else _told(found))
    return 0


def _told(found: CalendarsStatus) -> str:
    if not found.companies:
        return "No company writes to Cal.com: declare `[calcom]` in its file (`askpro company example`)."
    lines = _table(
        ("company", "pending", "oldest", "synced", "refused", "off", ""),
        [
            (
                row.company,
                str(row.pending),
                "" if row.oldest_s is None else f"{row.oldest_s:.0f} s",
                str(row.synced),
                str(row.failed),
                str(row.off),
                "" if row.syncs else "writes no longer",
            )
            for row in found.companies
        ],
    )
    now = time.time()
    for provider in found.providers:
        lines.append(
            f"{provider.provider}: breaker {provider.breaker} for {now - provider.since:.0f} s,"
            f" {provider.calls} calls, {provider.failures} without an answer"
        )
    if found.open:
        lines += ["", *_table(
            ("appointment", "company", "state", "starts (UTC)", "tries", "why"),
            [
                (
                    str(row.appointment),
                    row.company,
                    "refused" if row.state == "failed" else row.state,
                    f"{datetime.fromtimestamp(row.starts_at, UTC):%Y-%m-%d %H:%M}",
                    str(row.attempts),
                    row.error[:200],
                )
                for row in found.open
            ],
        )]  # fmt: skip
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    table = [head, *(tuple(map(harmless, row)) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _push(args: argparse.Namespace) -> int:
    import json

    from backend.postgres.address import Role
    from backend.services.calendars.status import push

    try:
        appointments = [UUID(text) for text in args.appointments]
    except ValueError:
        raise WrongUsage("An appointment is named by its id, as `askpro calendar status` prints it.") from None
    if not (appointments or args.all_failed or args.never_written):
        raise WrongUsage("Say what to push: ids, --all-failed or --never-written.")
    pushed = _at(
        Role.SETUP,
        lambda connection: push(
            connection,
            args.company,
            appointments=appointments,
            failed=args.all_failed,
            never_written=args.never_written,
        ),
    )
    if args.json:
        print(json.dumps({"pushed": pushed}))
    else:
        print(f"{pushed} appointment{'' if pushed == 1 else 's'} will be written.")
    return 0 if pushed or not appointments else 1
