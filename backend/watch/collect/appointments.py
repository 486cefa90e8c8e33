"""Appointments: the next to come, the latest booked, and requests to call back."""

from __future__ import annotations

import time

import msgspec

from backend.watch.collect import Sources
from backend.watch.collect.rows import figures_wanted, horizon_of, merge
from backend.watch.connection import Connection
from backend.watch.row_sql import spelled_out
from backend.watch.snapshots import AppointmentRow, AppointmentsSnapshot

BUSY_WEEKS = 20_000
"""With more appointments than this around today the figures are counted every tenth second only."""

STATEMENT = spelled_out("""
with bounds as materialized (
    select date_trunc('day', now() at time zone 'Europe/Berlin') at time zone 'Europe/Berlin' as midnight,
           (date_trunc('day', now() at time zone 'Europe/Berlin') + interval '1 day') at time zone 'Europe/Berlin'
               as next_midnight
),
upcoming as materialized (
    -- index appointments_starts
    select id, starts_at, xmin as written_by from appointments
    where starts_at >= now() and status in ('held', 'pending', 'confirmed', 'in_progress')
    order by starts_at limit 150
),
latest as materialized (
    -- index appointments_created
    select id, created_at, xmin as written_by from appointments order by created_at desc limit 150
),
changed as materialized (
    select id from (select id, written_by from upcoming union select id, written_by from latest) listed
    where $1::text is null or age(written_by) <= age($1::text::xid)
),
wanted as materialized (
    -- where nothing was written the lists are the same
    select $1::text is null or exists (select from changed) as ids,
           $1::text is null or coalesce($2, exists (select from changed)) as figures
),
around as materialized (
    -- index appointments_starts alone
    select status, count(*) as appointments,
           count(*) filter (where starts_at >= now() and starts_at < (select next_midnight from bounds)) as left_today
    from appointments
    where (select figures from wanted)
      and starts_at >= now() - interval '7 days' and starts_at < now() + interval '7 days'
    group by status
)
select json_build_object(
    'horizon', pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    'upcoming', case when (select ids from wanted)
                then (select coalesce(json_agg(id order by starts_at), '[]') from upcoming) end,
    'latest', case when (select ids from wanted)
              then (select coalesce(json_agg(id order by created_at desc), '[]') from latest) end,
    'rows', (select coalesce(json_agg({appointment_row}), '[]')
        from changed, lateral (select * from appointments k where k.id = changed.id limit 1) a
        {appointment_joins}),
    'booked_today', (select count(*) from appointments where created_at >= (select midnight from bounds)),
    'open_callbacks', (select count(*) from callback_requests where state = 'open'),
    'overdue_callbacks', (select count(*) from callback_requests where state = 'open' and due_at < now()),
    'figures', case when (select figures from wanted) then json_build_object(
        'upcoming_today', (select coalesce(sum(left_today), 0) from around
                           where status in ('held', 'pending', 'confirmed', 'in_progress')),
        'by_status_7d', (select coalesce(json_object_agg(status, appointments), '{}') from around)) end)
""")


class Figures(msgspec.Struct, frozen=True):
    """Figures of the weeks around today, as the statement names them."""

    upcoming_today: int
    by_status_7d: dict[str, int]


class Answer(msgspec.Struct, frozen=True):
    """The statement's answer."""

    horizon: int
    upcoming: tuple[str, ...] | None
    """None when it is that of the snapshot before, as is the next one."""
    latest: tuple[str, ...] | None
    rows: tuple[AppointmentRow, ...]
    booked_today: int
    open_callbacks: int
    overdue_callbacks: int
    figures: Figures | None


_answer = msgspec.json.Decoder(Answer)


async def collect(connection: Connection, sources: Sources) -> AppointmentsSnapshot:
    """The appointments of all companies; one round trip. Raises what asyncpg raises."""
    previous = sources.previous if isinstance(sources.previous, AppointmentsSnapshot) else None
    began_at = time.time()
    horizon = horizon_of(previous, began_at)
    is_busy = previous is not None and sum(previous.by_status_7d.values()) > BUSY_WEEKS
    wanted = figures_wanted(previous, began_at, is_busy=is_busy)
    began = time.perf_counter()
    answer = _answer.decode(await connection.fetchval(STATEMENT, horizon, wanted))
    now = time.time()
    took_ms = (time.perf_counter() - began) * 1000
    figures = answer.figures
    if figures is None:
        assert previous is not None
        figures = Figures(previous.upcoming_today, previous.by_status_7d)
    if answer.upcoming is not None and answer.latest is not None:
        before = (*previous.upcoming, *previous.latest) if previous is not None else ()
        upcoming = merge(answer.upcoming, answer.rows, before)
        latest = merge(answer.latest, answer.rows, before)
    else:
        assert previous is not None
        # Time goes on although nothing is written.
        upcoming = tuple(row for row in previous.upcoming if row.starts_at >= now)
        latest = previous.latest
    return AppointmentsSnapshot(
        taken_at=now,
        took_ms=took_ms,
        node=sources.node,
        notes=sources.notes,
        booked_today=answer.booked_today,
        upcoming_today=figures.upcoming_today,
        by_status_7d=figures.by_status_7d,
        upcoming=upcoming,
        latest=latest,
        open_callbacks=answer.open_callbacks,
        overdue_callbacks=answer.overdue_callbacks,
        horizon=answer.horizon,
    )
