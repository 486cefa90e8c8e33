"""Verification of what is in the database: the schema at its head, and the invariants that no constraint can state.

Reads as the console's role, in batches by key, so that it may run beside live traffic; changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from backend.domain.appointments import PROJECTED, AppointmentHappening, HistoryBroken, project
from backend.domain.vocabulary import AppointmentEvent
from backend.postgres.migrate import MigrationError, pending
from backend.postgres.pools import Connection

BATCH = 500
SHOWN = 20
"""Differences kept of each check; the rest is only counted."""

_FIRST_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant: how many records were looked at, and which of them break it."""

    name: str
    looked_at: int
    broken: int
    differences: tuple[str, ...]
    """The first of them, in words."""


async def verify(connection: Connection) -> tuple[Check, ...]:
    """Every check, one after the other. Raises OSError or asyncpg.PostgresError when the server fails."""
    schema = await check_schema(connection)
    if schema.broken:
        return (schema,)
    return (
        schema,
        await check_projection(connection),
        await check_double_bookings(connection),
        await check_processed_calls(connection),
    )


async def check_schema(connection: Connection) -> Check:
    """Every migration of this program is applied, unchanged, and none is unknown."""
    try:
        missing = await pending(connection)
    except MigrationError as error:
        return Check("schema at head", 1, 1, (str(error),))
    return Check("schema at head", 1, len(missing), tuple(f"{name} is not applied" for name in missing))


async def check_projection(connection: Connection) -> Check:
    """Every appointment is what its events add up to."""
    looked_at = broken = 0
    differences: list[str] = []
    async for identifier, row, history in _appointments(connection):
        looked_at += 1
        if difference := _difference(row, history):
            broken += 1
            differences.append(f"appointment {identifier}: {difference}")
    return Check("appointments equal their events", looked_at, broken, tuple(differences[:SHOWN]))


async def _appointments(
    connection: Connection,
) -> AsyncIterator[tuple[UUID, Mapping[str, object], list[AppointmentHappening]]]:
    after = _FIRST_ID
    while True:
        # One statement sees one snapshot: a row and its events cannot be of different moments.
        rows = await connection.fetch(
            """
            select a.*,
                   (select coalesce(jsonb_agg(jsonb_build_object('version', e.version, 'kind', e.kind, 'data', e.data)),
                                    '[]')
                      from appointment_events e
                     where e.company_id = a.company_id and e.appointment_id = a.id) as history
              from appointments a
             where a.id > $1
             order by a.id
             limit $2
            """,
            after,
            BATCH,
        )
        for row in rows:
            history = [
                AppointmentHappening(event["version"], AppointmentEvent(event["kind"]), event["data"])
                for event in json.loads(row["history"])
            ]
            offered = row["offered"] and json.loads(row["offered"])
            yield row["id"], {**row, "offered": offered}, history
        if len(rows) < BATCH:
            return
        after = rows[-1]["id"]


def _difference(row: Mapping[str, object], history: list[AppointmentHappening]) -> str | None:
    """What row and events disagree about, in words; None when they agree."""
    try:
        told = project(history)
    except HistoryBroken as broken:
        return str(broken)
    if row["version"] != told.version:
        return f"version is {row['version']}, its events say {told.version}"
    for name in PROJECTED:
        if row[name] != told.fields[name]:
            return f"{name} is {row[name]}, its events say {told.fields[name]}"
    return None


async def check_double_bookings(connection: Connection) -> Check:
    """No staff member has two active appointments at once on one seat, buffers included."""
    rows = await connection.fetch(
        """
        with active as (
            select id, staff_id, busy,
                   lag(id) over byseat as earlier, lag(busy) over byseat as earlier_busy
              from appointments
             where status in ('held', 'pending', 'confirmed', 'in_progress')
            window byseat as (partition by staff_id, seat order by lower(busy), upper(busy))
        )
        select count(*) over () as broken, id, earlier from active where busy && earlier_busy limit $1
        """,
        SHOWN,
    )
    looked_at = await connection.fetchval(
        "select count(*) from appointments where status in ('held', 'pending', 'confirmed', 'in_progress')"
    )
    told = tuple(f"appointments {row['earlier']} and {row['id']} overlap" for row in rows)
    return Check("no double booking", int(looked_at or 0), rows[0]["broken"] if rows else 0, told)


async def check_processed_calls(connection: Connection) -> Check:
    """Every processed call event of the inbox has its call."""
    row = await connection.fetchrow(
        """
        with processed as (
            select i.subject, c.id
              from webhook_inbox i
              left join calls c on c.provider = i.provider and c.provider_call_id = i.subject
             where i.provider = 'retell' and i.state = 'processed'
        )
        select count(*) as looked_at, count(*) filter (where id is null) as broken,
               (array_agg(distinct subject) filter (where id is null))[1:$1] as missing
          from processed
        """,
        SHOWN,
    )
    if row is None:
        return Check("processed events have their call", 0, 0, ())
    told = tuple(f"call {subject} is not there" for subject in row["missing"] or ())
    return Check("processed events have their call", row["looked_at"], row["broken"], told)
