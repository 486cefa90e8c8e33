"""Verification of what is in the database: the schema at its head, and the invariants that no constraint can state.

Reads as the console's role, in batches by key, so that it may run beside live traffic; changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from backend.postgres.appointment_history import verify_appointments
from backend.postgres.migrate import MigrationError, pending
from backend.postgres.pools import Connection

SHOWN = 20
"""Differences kept of each check; the rest is only counted."""


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
    verified = await verify_appointments(connection)
    told = tuple(f"appointment {one.appointment_id}: {one.what}" for one in verified.differences[:SHOWN])
    broken = len({one.appointment_id for one in verified.differences})
    return Check("appointments equal their events", verified.appointments, broken, told)


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
