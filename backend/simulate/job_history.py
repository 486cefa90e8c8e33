"""What the demo's queues did in the week before anybody looked: counts of jobs, as `backend.queue.counting` keeps them.

They follow the calls that the history tells of, and the schedule. They end where the system's own counts begin, so that
nothing that really ran is counted twice; hours and tens of minutes in which both meet are summed up from both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from backend.postgres.pools import Connection
from backend.queue.counting import STRIDE
from backend.queue.periodic import SCHEDULE
from backend.watch.histogram import GAMMA, bucket_of

PER_CALL = {
    "webhooks.retell_call": (3.0, 0.004, 0.012),
    "appointments.book": (0.45, 0.006, 0.018),
    "notifications.follow_up": (0.45, 0.3, 0.035),
}
"""Jobs for each call, and how long they typically wait and run, seconds."""

PERIODIC_WAIT_S, PERIODIC_RUN_S = 0.4, 0.02

DAYS = 7

_SEED = """
with begins as (
    select least(counted_until, (select min(at) from job_minutes)) as own from job_minutes_mark
), scale as (
    select minutes, make_interval(mins => minutes) as long, reach,
           date_bin(make_interval(mins => minutes), (select own from begins), timestamptz 'epoch') as until
    from (values (1, interval '1 hour'), (10, interval '25 hours'), (60, make_interval(days => $1))) v (minutes, reach)
), step as (
    select minutes, long, at from scale, generate_series(until - reach, until - long, long) at
), rung as (
    select scale.minutes, date_bin(scale.long, c.started_at, timestamptz 'epoch') as at, count(*) as calls
    from scale join unnest($2::timestamptz[]) as c (started_at)
         on c.started_at >= scale.until - scale.reach and c.started_at < scale.until
    group by 1, 2
), kind as (
    select * from unnest($3::text[], $4::float8[], $5::float8[], $6::time[], $7::integer[], $8::integer[])
        as k (entrypoint, per_call, every_s, daily_at, wait, run)
), counted as (
    select step.minutes, step.at, kind.*,
           -- between 0 and 1, the same for the same step
           (hashtext(kind.entrypoint || step.at) & 65535) / 65536.0 as dice,
           case when per_call is not null then round(coalesce(calls, 0) * per_call)
                when daily_at is not null then
                    (date_bin('1 day', step.at, timestamptz 'epoch') + daily_at::interval >= step.at
                     and date_bin('1 day', step.at, timestamptz 'epoch') + daily_at::interval < step.at + long)::integer
                when every_s < 60 * step.minutes then round(60 * step.minutes / every_s)
                else (mod(extract(epoch from step.at)::bigint, every_s::bigint) < 60 * step.minutes)::integer
           end::integer as n
    from step cross join kind left join rung using (minutes, at)
), ended as (
    select *, case when per_call > 1 and dice < 0.3 then round(n * 0.02 * dice)::integer else 0 end as failed,
           wait + $9::integer * (dice > 0.7)::integer + $9::integer * (n > 12 * minutes)::integer as waits,
           run + $9::integer * (dice < 0.2)::integer as runs
    from counted where n > 0
)
insert into job_minutes (minutes, at, entrypoint, put_in, done, failed, held, run_total_s,
                         wait_buckets, wait_counts, run_buckets, run_counts)
select minutes, at, entrypoint, n, n - failed, failed, 0, n * power($10::float8, runs),
       array[waits - 2 * $9::integer, waits - $9::integer, waits, waits + $9::integer, waits + 8 * $9::integer], spread,
       array[runs - 2 * $9::integer, runs - $9::integer, runs, runs + $9::integer, runs + 6 * $9::integer], spread
from ended, lateral (select array[n / 8, n / 4, n - n / 8 - n / 4 - n / 5 - n / 60, n / 5, n / 60] as spread) s
on conflict do nothing
"""

_SEEDED = """
select exists (select from job_minutes, job_minutes_mark
               where minutes = 60 and at < counted_until - interval '1 day')
"""

_LOCK = "select pg_advisory_xact_lock(hashtextextended('simulate:jobs', 0))"


async def seed_jobs(connection: Connection, calls: Sequence[datetime]) -> bool:
    """Write the counts of a week with these calls (when they began, aware), once; whether they were written now.

    In a transaction of its own. Nothing is written where counts reach back further than a day. Needs the worker's role.
    Raises asyncpg's errors.
    """
    async with connection.transaction():
        await connection.execute(_LOCK)
        if await connection.fetchval(_SEEDED):
            return False
        await connection.execute(_SEED, DAYS, calls, *_kinds(), STRIDE, GAMMA)
        return True


def _kinds() -> tuple[list[object], ...]:
    """Job types: name, jobs for each call, seconds between two, time of the day, buckets of waiting and running."""
    rows: list[tuple[object, ...]] = [
        (name, per_call, None, None, _kept(wait_s), _kept(run_s))
        for name, (per_call, wait_s, run_s) in PER_CALL.items()
    ]
    wait, run = _kept(PERIODIC_WAIT_S), _kept(PERIODIC_RUN_S)
    rows += [(one.entrypoint, None, one.every.total_seconds(), one.at, wait, run) for one in SCHEDULE]
    return tuple(list(column) for column in zip(*rows, strict=True))


def _kept(seconds: float) -> int:
    """The bucket of a duration, as coarse as counts are kept."""
    return math.ceil(bucket_of(seconds) / STRIDE) * STRIDE - STRIDE // 2
