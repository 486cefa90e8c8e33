"""`askpro queue quarantine`: jobs that are held before they run."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from askpro_console.commands.queue.at_queue import acting, at_queue, number, refuse_unused
from askpro_console.commands.queue.steering import add_changing, add_until, queues_now, until
from askpro_console.printed import agree, clock, print_json, print_table
from askpro_console.refusal import WrongUsage
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.quarantines import Matching
    from backend.watch.snapshots import QuarantineRow


class WouldHold(msgspec.Struct, frozen=True, kw_only=True):
    """What a dry run tells."""

    entrypoint: str
    company: str | None
    contains: str
    fingerprint: str | None
    matching: Matching


class Lifted(msgspec.Struct, frozen=True, kw_only=True):
    """What lifting did."""

    id: int
    entrypoint: str
    held: int
    """Jobs that stay held."""
    is_dry_run: bool


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    verb = verbs.add_parser("quarantine", help="hold jobs of a type, company or payload before they run")
    verb.add_argument("entrypoint", nargs="?", metavar="TYPE", help="the job type; nothing: list what is in quarantine")
    verb.add_argument("--company", metavar="SLUG", help="only jobs of one company")
    verb.add_argument("--contains", metavar="TEXT", default="", help="only jobs with this in their payload")
    verb.add_argument("--cause", metavar="FINGERPRINT", help="type and company of the held jobs of this cause")
    verb.add_argument("--lift", type=number, metavar="ID", help="let such jobs run again")
    add_until(verb)
    add_changing(verb, reason="why: stands in each job that is held; it must be said")
    verb.set_defaults(act=_quarantine)


def _quarantine(system: System, args: argparse.Namespace) -> int:
    if args.lift is not None:
        if args.entrypoint is not None:
            raise WrongUsage("--lift ends a quarantine by its number alone.", "Leave the job type out.")
        sort = ("company", "contains", "cause", "until")
        refuse_unused(args, sort, "with --lift, which goes by its number alone", "Leave it out.")
        return _lift(system, args)
    if args.entrypoint is None and args.cause is None:
        sort = ("company", "contains", "until", "reason")
        refuse_unused(args, sort, "without a job type", "Name a job type, or --cause FINGERPRINT, which has one.")
        return _list(system, args)
    return _make(system, args)


def _make(system: System, args: argparse.Namespace) -> int:
    from backend.services.operating.quarantines import quarantine

    wish = at_queue(system, lambda connection: _wish(system, connection, args))
    if not args.reason.strip():
        raise WrongUsage("A quarantine needs a reason.", 'Add --reason "…": it stands in each job that it holds.')
    agree(f"Hold {_sort(wish)} before they run? {_matching(wish)}.", yes=args.yes or args.dry_run)
    made = acting(
        system,
        lambda connection, by: quarantine(
            connection,
            by,
            wish.entrypoint,
            company=wish.company,
            contains=wish.contains,
            fingerprint=wish.fingerprint,
            reason=args.reason,
            until=until(args),
            policies=system.loaded.policies,
        ),
        dry_run=args.dry_run,
    )
    if args.dry_run:
        if args.json:
            print_json(wish)
        else:
            print(f"Would hold {_sort(wish)} before they run: {_matching(wish)}.")
        return 0
    if args.json:
        print_json(made)
    else:
        print(f"Quarantine {made.id} holds {_sort(wish)} before they run: {_matching(wish)}.")
        print(f"`askpro queue quarantine --lift {made.id}` ends it; what it holds is retried by hand.")
    return 0


async def _wish(system: System, connection: Connection, args: argparse.Namespace) -> WouldHold:
    """What is to be held, and what of it waits."""
    from backend.services.operating.quarantines import cause_of, would_match
    from backend.services.operating.subjects import known_type

    entrypoint, company = args.entrypoint, args.company
    if args.cause is not None:
        cause = await cause_of(connection, args.cause)
        entrypoint = entrypoint or cause.entrypoint
        # What only one company's jobs cause need not cost the others theirs.
        company = company or (cause.companies[0] if len(cause.companies) == 1 else None)
    await known_type(connection, entrypoint, system.loaded.policies)
    matching = await would_match(connection, entrypoint, company=company, contains=args.contains)
    return WouldHold(
        entrypoint=entrypoint, company=company, contains=args.contains, fingerprint=args.cause, matching=matching
    )


def _sort(wish: WouldHold) -> str:
    of = f" of {wish.company}" if wish.company else ""
    having = f" with {harmless(wish.contains)!r} in their payload" if wish.contains else ""
    return f"{wish.entrypoint} jobs{of}{having}"


def _matching(wish: WouldHold) -> str:
    waiting, companies = wish.matching.waiting, wish.matching.companies
    of = f", of {companies:,} compan{'y' if companies == 1 else 'ies'}" if companies else ""
    return f"{waiting:,} wait{'s' * (waiting == 1)} now{of}"


def _lift(system: System, args: argparse.Namespace) -> int:
    from backend.services.operating.quarantines import lift

    rows = {row.id: row for row in queues_now(system).quarantines}
    held = rows[args.lift].held if args.lift in rows else 0
    stays = f"{held:,} job{'s' * (held != 1)} that it holds stay{'s' * (held == 1)} held"
    agree(f"Lift quarantine {args.lift}? {stays}.", yes=args.yes or args.dry_run)
    entrypoint = acting(
        system, lambda connection, by: lift(connection, by, args.lift, reason=args.reason), dry_run=args.dry_run
    )
    if args.json:
        print_json(Lifted(id=args.lift, entrypoint=entrypoint, held=held, is_dry_run=args.dry_run))
        return 0
    if args.dry_run:
        print(f"Would lift quarantine {args.lift}: {entrypoint} jobs would run again. {stays}.")
        return 0
    print(f"Quarantine {args.lift} is lifted: {entrypoint} jobs run again.")
    if held:
        print(f"{stays}: `askpro queue held` lists them, `askpro queue retry` runs them.")
    return 0


def _list(system: System, args: argparse.Namespace) -> int:
    rows = queues_now(system).quarantines
    if args.json:
        print_json(rows)
    elif not rows:
        print("Nothing is in quarantine.")
    else:
        print_table(("ID", "TYPE", "COMPANY", "PAYLOAD HAS", "HOLDS", "SINCE", "UNTIL", "BY", "WHY"), map(_cells, rows))
    return 0


def _cells(row: QuarantineRow) -> tuple[str, ...]:
    return (
        str(row.id),
        row.entrypoint,
        row.company or "any",
        row.contains or "anything",
        f"{row.held:,}",
        clock(datetime.fromtimestamp(row.made_at, UTC)),
        clock(datetime.fromtimestamp(row.until, UTC)) if row.until is not None else "somebody lifts it",
        row.made_by,
        row.reason or "-",
    )
