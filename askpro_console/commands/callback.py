"""`askpro callback`: who is to be called back, until when; settle it as done or dropped."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import msgspec

from askpro_console.at_database import with_database
from askpro_console.operator_name import operator_name
from askpro_console.printed import clock, print_json, print_table
from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.system import System
from backend.domain.phones import masked
from backend.domain.vocabulary import CallbackState

if TYPE_CHECKING:
    from backend.postgres.address import Role
    from backend.postgres.pools import Connection
    from backend.services.callbacks.desk import CallbackLine

NAME = "callback"
HELP = "list the customers who are to be called back, and settle them"

Result = TypeVar("Result")

SETTLE = {"done": CallbackState.DONE, "drop": CallbackState.DROPPED}


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What settling one did."""

    id: UUID
    state: CallbackState
    by: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("ls", help="open requests, what is due first at the top")
    listing.add_argument("--company", metavar="SLUG", help="of this company only")
    listing.add_argument("--overdue", action="store_true", help="only what should have been settled by now")
    listing.add_argument("--all", action="store_true", help="settled ones, too")
    listing.add_argument("--reveal", action="store_true", help="whole phone numbers; needs --reason, and is recorded")
    listing.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
    done = verbs.add_parser("done", help="the customer was called")
    drop = verbs.add_parser("drop", help="nobody needs to call any more")
    for verb in (done, drop):
        verb.add_argument("id", type=_id, metavar="ID")
        verb.add_argument("--note", default="", metavar="TEXT", help="what came of it")
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    system = System.load()
    if args.verb == "ls":
        return _list(system, args)
    return _settle(system, args)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no id; `askpro callback ls` lists them") from None


def _list(system: System, args: argparse.Namespace) -> int:
    from backend.postgres.address import Role
    from backend.services.callbacks.desk import list_callbacks

    if args.overdue and args.all:
        raise WrongUsage("--overdue and --all contradict each other: what is settled is not overdue.")
    if args.reveal and not args.reason.strip():
        raise WrongUsage("Whole phone numbers are shown for a reason.", "Add --reason and say why in a few words.")
    if args.reason and not args.reveal:
        raise WrongUsage("--reason means nothing without --reveal.", "Masked numbers need none.")
    now = datetime.now(UTC)
    states = tuple(CallbackState) if args.all else (CallbackState.OPEN,)

    async def read(connection: Connection) -> list[CallbackLine]:
        if args.company is not None:
            slugs = [row["slug"] for row in await connection.fetch("select slug from companies")]
            if args.company not in slugs:
                near = nearest(args.company, slugs)
                hint = f"Did you mean {near}?" if near else "`askpro company list`"
                raise Refused(f"There is no company {args.company}.", hint)
        return await list_callbacks(connection, now, company=args.company, states=states, overdue=args.overdue)

    lines = _with_database(system, Role.CONSOLE, read)
    if args.reveal:
        _record_reveal(system, lines, args.reason)
    else:
        lines = [msgspec.structs.replace(line, phone=masked(line.phone)) for line in lines]
    if args.json:
        print_json(lines)
    elif not lines:
        print("Nobody is waiting to be called back." if not args.overdue else "Nothing is overdue.")
    else:
        _print(lines, now)
    return 0


def _record_reveal(system: System, lines: Sequence[CallbackLine], reason: str) -> None:
    """Recorded before anything is shown. Raises Refused."""
    from backend.postgres.address import Role
    from backend.services.callbacks.revealing import record_reveal
    from backend.services.operating.audit import By

    by = By(operator_name(), system.node)
    _with_database(system, Role.WORKER, lambda connection: record_reveal(connection, by, lines, reason=reason))


def _print(lines: Sequence[CallbackLine], now: datetime) -> None:
    print_table(
        ("ID", "COMPANY", "DUE", "", "STATE", "NAME", "PHONE", "REASON", "BY", "NOTE"),
        (
            (
                str(line.id),
                line.company,
                f"{line.due_at.astimezone():%a %Y-%m-%d %H:%M}",
                _when(line, now),
                f"{line.state}{', urgent' if line.is_urgent and line.state is CallbackState.OPEN else ''}",
                line.name or "-",
                line.phone or "-",
                line.reason[:60],
                f"{line.closed_by} {clock(line.closed_at)}" if line.closed_by and line.closed_at else "-",
                line.note[:60] or "-",
            )
            for line in lines
        ),
    )


def _when(line: CallbackLine, now: datetime) -> str:
    if line.state is not CallbackState.OPEN:
        return ""
    return f"{_span(now - line.due_at)} overdue" if line.is_overdue else f"in {_span(line.due_at - now)}"


def _span(length: timedelta) -> str:
    minutes = int(length.total_seconds()) // 60
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def _settle(system: System, args: argparse.Namespace) -> int:
    from backend.postgres.address import Role
    from backend.postgres.pools import tenant_transaction
    from backend.services.callbacks.desk import CallbackClosed, close_callback, company_of

    actor = operator_name()
    state = SETTLE[args.verb]
    missing = Refused(f"There is no callback request {args.id}.", "`askpro callback ls` lists them.")
    company_id = _with_database(system, Role.CONSOLE, lambda connection: company_of(connection, args.id))
    if company_id is None:
        raise missing

    async def settle(connection: Connection) -> bool:
        async with tenant_transaction(connection, company_id):
            return await close_callback(
                connection, company_id, args.id, state, actor=actor, note=args.note, now=datetime.now(UTC)
            )

    try:
        settled = _with_database(system, Role.WORKER, settle)
    except CallbackClosed as closed:
        raise Refused(f"Nothing was changed: {closed}.") from closed
    if not settled:
        raise missing
    if args.json:
        print_json(Settled(id=args.id, state=state, by=actor))
    else:
        print(f"Noted: {args.id} is {state}.")
    return 0


def _with_database(system: System, role: Role, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    return with_database(system, role, "askpro-callback", work)
