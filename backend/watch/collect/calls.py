"""Calls: those going on, the most recent ones, and the day's figures."""

from __future__ import annotations

import time

import msgspec

from backend.watch.collect import Sources
from backend.watch.collect.rows import figures_wanted, horizon_of, merge
from backend.watch.connection import Connection
from backend.watch.row_sql import spelled_out
from backend.watch.snapshots import CallRow, CallsSnapshot, Trend

BUSY_DAY = 20_000
"""With more calls than this since midnight the day's figures are counted every tenth second only."""

STATEMENT = spelled_out("""
with newest as materialized (
    -- index calls_started
    select id, started_at, xmin as written_by from calls order by started_at desc, id desc limit 250
),
listed as materialized (
    -- index calls_ongoing: whoever still talks is on the list, however long ago it began
    select * from newest
    union all
    (select id, started_at, xmin from calls
     where status in ('registered', 'ongoing') and started_at < (select min(started_at) from newest)
     order by started_at desc limit 50)
),
changed as materialized (
    select id from listed
    where $1::text is null
       or age(written_by) <= age($1::text::xid)
       -- its appointment may have come later, from another job
       or id in (select call_id from appointments where created_at >= now() - interval '30 seconds'
                 order by created_at desc limit 250)
),
wanted as materialized (
    -- where nothing was written the list is the same
    select $1::text is null or exists (select from changed) as ids,
           $1::text is null or coalesce($2, exists (select from changed)) as figures
),
day as materialized (
    -- index calls_started alone
    select outcome from calls
    where (select figures from wanted)
      and started_at >= date_trunc('day', now() at time zone 'Europe/Berlin') at time zone 'Europe/Berlin'
),
lately as materialized (
    -- no call lasts two hours (default.close_stale_calls), so these are all that ended in the last one
    select started_at, duration_ms / 1000.0::float8 as duration_s
    from calls where (select figures from wanted) and started_at >= now() - interval '3 hours'
),
minutes as (
    select generate_series(date_bin('1 minute', now(), 'epoch') - interval '59 minutes', now(), '1 minute') as minute
)
select json_build_object(
    'horizon', pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    'ids', case when (select ids from wanted)
           then (select coalesce(json_agg(id order by started_at desc, id desc), '[]') from listed) end,
    'ongoing', (select count(*) from calls where status in ('registered', 'ongoing')),
    'rows', (select coalesce(json_agg({call_row}), '[]')
        from changed, lateral (select * from calls k where k.id = changed.id limit 1) c
        {call_joins}),
    'figures', case when (select figures from wanted) then json_build_object(
        'started_last_hour', (select count(*) from lately where started_at >= now() - interval '1 hour'),
        'started_today', (select count(*) from day),
        'median_duration_s', (select percentile_cont(0.5) within group (order by duration_s) from lately
                              where started_at + make_interval(secs => duration_s) >= now() - interval '1 hour'),
        'by_outcome_today', (select coalesce(json_object_agg(outcome, calls), '{}') from
                             (select outcome, count(*) as calls from day where outcome is not null group by 1) each),
        'per_minute', (select json_agg(coalesce(calls, 0) order by minute) from minutes
                       left join (select date_bin('1 minute', started_at, 'epoch') as minute, count(*) as calls
                                  from lately group by 1) each using (minute))) end)
""")


class Figures(msgspec.Struct, frozen=True):
    """Figures of the day and the hour, as the statement names them."""

    started_last_hour: int
    started_today: int
    median_duration_s: float | None
    by_outcome_today: dict[str, int]
    per_minute: tuple[float, ...]


class Answer(msgspec.Struct, frozen=True):
    """The statement's answer."""

    horizon: int
    ids: tuple[str, ...] | None
    """None when they are those of the snapshot before."""
    ongoing: int
    rows: tuple[CallRow, ...]
    figures: Figures | None
    """None when those of the snapshot before will do."""


_answer = msgspec.json.Decoder(Answer)


async def collect(connection: Connection, sources: Sources) -> CallsSnapshot:
    """The calls of all companies; one round trip. Raises what asyncpg raises."""
    previous = sources.previous if isinstance(sources.previous, CallsSnapshot) else None
    began_at = time.time()
    horizon = horizon_of(previous, began_at)
    wanted = figures_wanted(previous, began_at, is_busy=previous is not None and previous.started_today > BUSY_DAY)
    began = time.perf_counter()
    answer = _answer.decode(await connection.fetchval(STATEMENT, horizon, wanted))
    took_ms = (time.perf_counter() - began) * 1000
    before = previous.rows if previous is not None else ()
    rows = before if answer.ids is None else merge(answer.ids, answer.rows, before)
    figures = answer.figures
    if figures is None:
        assert previous is not None
        figures = Figures(
            previous.started_last_hour,
            previous.started_today,
            previous.median_duration_s,
            previous.by_outcome_today,
            previous.per_minute.values,
        )
    return CallsSnapshot(
        taken_at=time.time(),
        took_ms=took_ms,
        node=sources.node,
        notes=sources.notes,
        ongoing=answer.ongoing,
        started_last_hour=figures.started_last_hour,
        started_today=figures.started_today,
        median_duration_s=figures.median_duration_s,
        by_outcome_today=figures.by_outcome_today,
        per_minute=Trend(values=figures.per_minute, step_s=60.0, unit="calls/min"),
        rows=rows,
        horizon=answer.horizon,
    )
