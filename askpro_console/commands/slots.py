"""`askpro slots COMPANY SERVICE`: the free slots that support staff reads to a caller."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, date, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from askpro_console.at_database import reaching
from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.system import System
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.domain.availability import Slot
    from backend.postgres.pools import Connection
    from backend.services.booking.availability import ReadCalendar

NAME = "slots"
HELP = "list the free slots of a service, to read to a caller"

REASONS = {
    "company_inactive": "{company} is switched off.",
    "service_unknown": "{company} has no service {service}, or it is inactive.",
    "branch_unknown": "{company} has several branches or none of that name: give --branch.",
    "staff_unknown": "{company} has nobody called {staff}.",
    "not_offered": "Nobody who could be booked offers {service} there.",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("company", metavar="COMPANY", help="the company's slug")
    parser.add_argument("service", metavar="SERVICE", help="the service's slug")
    parser.add_argument("--branch", metavar="SLUG", help="needed when there are several")
    parser.add_argument("--staff", metavar="SLUG", help="only with this person")
    parser.add_argument("--from", dest="first_day", metavar="DATE", help="as in 2026-03-02; without it, today")
    parser.add_argument("--days", type=int, default=7, metavar="N", help="how many days (7)")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Print them; an empty list is no failure."""
    from backend.services.booking.availability import MOST_DAYS

    if not 1 <= args.days <= MOST_DAYS:
        raise WrongUsage(f"--days must be from 1 to {MOST_DAYS}.")
    try:
        first = None if args.first_day is None else date.fromisoformat(args.first_day)
    except ValueError as wrong:
        raise WrongUsage(f"--from: {args.first_day!r} is no day such as 2026-03-02.") from wrong
    read, slots = asyncio.run(reaching(_read(args, first)))
    if args.json:
        _print_json(read, slots)
    else:
        _print(read, slots)
    return 0


async def _read(args: argparse.Namespace, first: date | None) -> tuple[ReadCalendar, tuple[Slot, ...]]:
    from backend.postgres.address import Role
    from backend.postgres.pools import connect
    from backend.services.booking.availability import AvailabilityRequest, NotOffered, read_calendar, slots_in

    connection = await connect(System.load().postgres(), Role.CONSOLE, application="askpro-slots")
    try:
        company_id = await connection.fetchval("select id from companies where slug = $1", args.company)
        if company_id is None:
            raise await _unknown_company(connection, args.company)
        request = AvailabilityRequest(
            company_id=company_id,
            service=args.service,
            now=datetime.now(UTC),
            branch=args.branch,
            staff=args.staff,
            first_day=first,
            days=args.days,
        )
        try:
            read = await read_calendar(connection, request)
        except NotOffered as refused:
            message = REASONS[refused.reason.value].format(company=args.company, service=args.service, staff=args.staff)
            raise Refused(message, f"`askpro company export {args.company}` shows what there is.") from refused
        return read, slots_in(read, request)
    finally:
        await connection.close(timeout=2)


async def _unknown_company(connection: Connection, slug: str) -> Refused:
    rows = await connection.fetch("select slug from companies")
    near = nearest(slug, [row["slug"] for row in rows])
    return Refused(f"There is no company {slug}.", f"Did you mean {near}?" if near else "`askpro company list`")


def _print(read: ReadCalendar, slots: tuple[Slot, ...]) -> None:
    """A line for each time, by day. The offset is told where the clocks show the time twice that day."""
    if not slots:
        print("No free slots.")
        return
    for day, on_day in groupby(slots, key=lambda slot: slot.local.date()):
        print(f"{day:%a} {day.isoformat()}")
        several = list(on_day)
        shown = [f"{slot.local:%H:%M}" for slot in several]
        for text, slot in zip(shown, several, strict=True):
            offset = f" ({slot.local:%z})" if shown.count(text) > 1 else ""
            print(harmless(f"  {text}{offset}  {_names(read, slot)}"))


def _names(read: ReadCalendar, slot: Slot) -> str:
    """Who can do it; for several roles, one after the other."""
    return " + ".join(" or ".join(sorted(read.names[one] for one in able)) for able in slot.staff_by_role)


def _print_json(read: ReadCalendar, slots: tuple[Slot, ...]) -> None:
    told = [
        {
            "starts_at": slot.starts_at.isoformat(),
            "ends_at": slot.ends_at.isoformat(),
            "local": slot.local.isoformat(),
            "staff": [[{"id": str(one), "name": read.names[one]} for one in able] for able in slot.staff_by_role],
        }
        for slot in slots
    ]
    print(json.dumps({"time_zone": read.calendar.opening.time_zone, "slots": told}, ensure_ascii=False))
