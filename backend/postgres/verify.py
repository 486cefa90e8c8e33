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

# When whom an active appointment keeps busy, from its own row.
_TIMES = """
    select a.id as appointment_id, 1::bigint as position, a.staff_id, a.service_id,
           case when a.capacity = 1 then int4range(1, null) else int4range(a.seat, a.seat + 1) end as seats,
           a.starts_at - make_interval(mins => a.buffer_before_min) as busy_from,
           a.ends_at + make_interval(mins => a.buffer_after_min) as busy_until, a.hold_expires_at
    from appointments a
    where a.parts is null and a.status in ('held', 'pending', 'confirmed', 'in_progress')
    union all
    select a.id, part.position, part.staff_id, a.service_id, int4range(1, null),
           a.starts_at + make_interval(mins => part.from_min
               - case part.position when 1 then a.buffer_before_min else 0 end),
           a.starts_at + make_interval(mins => part.from_min + part.minutes
               + case part.position when jsonb_array_length(a.parts) then a.buffer_after_min else 0 end),
           a.hold_expires_at
    from appointments a
    cross join lateral rows from (
        jsonb_to_recordset(a.parts) as (staff_id uuid, from_min integer, minutes integer)
    ) with ordinality as part (staff_id, from_min, minutes, position)
    where a.parts is not null and a.status in ('held', 'pending', 'confirmed', 'in_progress')
"""

# Whoever is alone must come after everybody before; whoever shares, after everybody before who is alone, and meets
# among those who share only the same service on other seats (there are few of them, so they are joined).
_DOUBLE_BOOKINGS = f"""
    with times as materialized ({_TIMES}),
    ordered as (
        select *, busy_from < max(busy_until) over before as meets,
               busy_from < max(busy_until) filter (where upper_inf(seats)) over before as meets_alone
        from times
        window before as (partition by staff_id order by busy_from, busy_until, appointment_id, position
                          rows between unbounded preceding and 1 preceding)
    ),
    broken as (
        select * from ordered o
        where case when upper_inf(o.seats) then o.meets else o.meets_alone or exists (
            select from times t
            where t.staff_id = o.staff_id and not upper_inf(t.seats) and t.appointment_id < o.appointment_id
              and t.busy_from < o.busy_until and t.busy_until > o.busy_from
              and (t.seats = o.seats or t.service_id <> o.service_id)) end
    )
    select count(*) over () as broken, b.appointment_id as id, (
               select t.appointment_id from times t
               where t.staff_id = b.staff_id and t.busy_from < b.busy_until and t.busy_until > b.busy_from
                 and t.appointment_id <> b.appointment_id
                 and (t.seats && b.seats or t.service_id <> b.service_id)
               order by t.busy_from, t.appointment_id limit 1) as earlier
    from broken b
    limit $1
"""  # noqa: S608 (a text of our own)

_STAFF_TIME = f"""
    with times as ({_TIMES}),
    kept as (
        select appointment_id, position::bigint, staff_id, service_id, seats, busy_from, busy_until, hold_expires_at
        from staff_time
    ),
    differing as (
        select appointment_id, position, 'missing' as what from (select * from times except select * from kept) m
        union all
        select appointment_id, position, 'wrong' from (select * from kept except select * from times) w
    )
    select count(*) over () as broken, * from differing order by appointment_id, position, what limit $1
"""  # noqa: S608 (a text of our own)


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
        await check_staff_time(connection),
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
    """Nobody is in two places at once, buffers included; whoever shares a time shares it with the same service.

    From the appointments themselves, not from the table whose constraint guards it.
    """
    rows = await connection.fetch(_DOUBLE_BOOKINGS, SHOWN)
    looked_at = await connection.fetchval(
        "select count(*) from appointments where status in ('held', 'pending', 'confirmed', 'in_progress')"
    )
    told = tuple(f"appointments {row['earlier']} and {row['id']} overlap" for row in rows)
    return Check("no double booking", int(looked_at or 0), rows[0]["broken"] if rows else 0, told)


async def check_staff_time(connection: Connection) -> Check:
    """The table that knows who is busy says what active appointments and their parts say, no more and no less."""
    rows = await connection.fetch(_STAFF_TIME, SHOWN)
    looked_at = await connection.fetchval("select count(*) from staff_time")
    told = tuple(
        f"appointment {row['appointment_id']}: part {row['position']} is {row['what']} in staff_time" for row in rows
    )
    return Check(
        "staff are busy as their appointments say", int(looked_at or 0), rows[0]["broken"] if rows else 0, told
    )


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
