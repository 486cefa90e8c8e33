"""What `askpro db replay` shows: appointments as of a time beside what the tables say now."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from askpro_console.at_database import reaching
from askpro_console.refusal import Refused, WrongUsage, nearest
from askpro_console.terminal import harmless

if TYPE_CHECKING:
    from backend.postgres.address import PostgresAddress
    from backend.postgres.appointment_replay import Replayed, Totals
    from backend.postgres.pools import Connection

SHOWN = 50
"""Changed appointments listed, with the fields that differ; the rest is only counted."""

NOTE = "As their events up to {} say, beside what the tables say now. Nothing has been written."


def replay(address: PostgresAddress, args: argparse.Namespace) -> tuple[str, bool]:
    """Its text, and whether all is well: no history is broken and nobody was in two places then.

    Raises Refused, WrongUsage.
    """
    try:
        until = datetime.fromisoformat(args.until).astimezone()
    except (ValueError, OverflowError) as wrong:
        raise WrongUsage(f"--until: {args.until!r} is no time such as 2026-03-02T10:00+01:00.") from wrong
    try:
        appointment = None if args.appointment is None else UUID(args.appointment)
    except ValueError as wrong:
        raise WrongUsage(f"--appointment: {args.appointment!r} is no id of an appointment.") from wrong
    seen = asyncio.run(reaching(_look(address, until, args.company, appointment)))
    if appointment is not None and not seen.listed:
        raise Refused(f"There is no appointment {appointment}{' of that company' if args.company else ''}.")
    if args.json:
        text = json.dumps(seen.told(), ensure_ascii=False, default=str)
    else:
        text = "\n".join(_all(until, seen) if appointment is None else _one(until, seen.listed[0]))
    return text, not seen.totals.broken and not seen.overlaps


class _Seen:
    """What was found."""

    def __init__(self, until: datetime, totals: Totals) -> None:
        self.until = until
        self.totals = totals
        self.listed: list[Replayed] = []
        """Those that changed or are broken, the first of them; the one asked for."""
        self.overlaps: list[tuple[UUID, UUID]] = []

    def told(self) -> dict[str, object]:
        """For machines."""
        return {
            "until": self.until.astimezone(UTC).isoformat(),
            "then": dict(self.totals.then),
            "now": dict(self.totals.now),
            "later": self.totals.later,
            "changed": self.totals.changed,
            "broken": self.totals.broken,
            "overlaps": [[str(one), str(other)] for one, other in self.overlaps],
            "appointments": [
                {
                    "id": str(one.id),
                    "company": one.company,
                    "then": one.then,
                    "now": one.now,
                    "differing": one.differing,
                    "broken": one.broken,
                }
                for one in self.listed
            ],
        }


async def _look(address: PostgresAddress, until: datetime, company: str | None, appointment: UUID | None) -> _Seen:
    from backend.postgres.address import Role
    from backend.postgres.appointment_replay import Calendars, Totals, add, replayed
    from backend.postgres.pools import connect

    seen = _Seen(until, Totals(Counter(), Counter()))
    calendars = Calendars()
    connection = await connect(address, Role.CONSOLE, application="askpro-replay")
    try:
        company_id = None if company is None else await _company(connection, company)
        async for one in replayed(connection, until, company_id=company_id, appointment_id=appointment):
            add(seen.totals, one)
            calendars.take(one)
            if appointment is not None or ((one.differing or one.broken) and len(seen.listed) < SHOWN):
                seen.listed.append(one)
    finally:
        await connection.close(timeout=2)
    seen.overlaps = calendars.overlaps()
    return seen


async def _company(connection: Connection, slug: str) -> UUID:
    rows = {row["slug"]: row["id"] for row in await connection.fetch("select slug, id from companies")}
    if slug not in rows:
        near = nearest(slug, list(rows))
        raise Refused(f"There is no company {slug}.", f"Did you mean {near}?" if near else "`askpro company list`")
    found: UUID = rows[slug]
    return found


def _one(until: datetime, one: Replayed) -> Iterator[str]:
    yield f"Appointment {one.id} of {one.company}"
    yield NOTE.format(_shown(until))
    if one.broken:
        yield f"Its events then add up to nothing: {one.broken}"
    elif one.then is None:
        yield "It was not there yet."
    then = one.then or {}
    yield f"  {'':<18}  {'THEN':<32}  NOW"
    for name, now in one.now.items():
        mark = "*" if name in one.differing else " "
        yield harmless(f"{mark} {name:<18}  {_shown(then[name]) if name in then else '-':<32}  {_shown(now)}")


def _all(until: datetime, seen: _Seen) -> Iterator[str]:
    totals = seen.totals
    yield NOTE.format(_shown(until))
    yield f"{'STATUS':<14}{'THEN':>9}{'NOW':>9}"
    for status in sorted({*totals.then, *totals.now}):
        yield f"{status:<14}{totals.then[status]:>9}{totals.now[status]:>9}"
    yield f"{'all':<14}{totals.then.total():>9}{totals.now.total():>9}"
    yield f"{totals.later} made later, {totals.changed} changed since, {totals.broken} whose events add up to nothing"
    for one in seen.listed:
        fields = ", ".join(f"{name} {_shown((one.then or {})[name])} -> {_shown(one.now[name])}" for name in _told(one))
        yield harmless(f"  {one.id}  {one.broken or fields}")
    if totals.changed + totals.broken > len(seen.listed):
        yield f"  … the first {len(seen.listed)}; --appointment shows one of them whole"
    yield f"{len(seen.overlaps)} pairs of appointments then that somebody could not both have kept"
    for pair in seen.overlaps[:SHOWN]:
        yield f"  {pair[0]} and {pair[1]}"


def _told(one: Replayed) -> tuple[str, ...]:
    """The fields worth a line; the offered slot follows the time, and the version everything."""
    return tuple(name for name in one.differing if name not in {"offered", "version"})


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
