"""Counts what queues did, minute by minute, before the runs that tell it are deleted.

Each minute is counted shortly after its end, once more a minute later, and finally when it is settled half an hour
after its end; counting again replaces, so it may be done any number of times and by anybody. What ends later than the
settling is not counted any more (a worker that slept through half an hour has lost its jobs anyway). Runs are deleted
from settled minutes only, so an outage of whoever counts delays deleting and loses nothing.

Minutes are summed up to ten minutes and to hours. Times of waiting and running are kept as counts by logarithmic
bucket, which add up: percentiles of an hour are those of all its runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from backend.postgres.pools import Connection
from backend.watch.histogram import LARGEST, PER_LOG, SMALLEST

MINUTE = timedelta(minutes=1)

RECOUNTED = 1 * MINUTE
"""The last counted minutes are counted again: what ended in them may have been written after they were counted."""

SETTLED_AFTER = 30 * MINUTE
"""So long after its end a minute is counted for the last time."""

COMMIT = timedelta(seconds=3)
"""A minute is first counted so long after its end: what ends in it is mostly written by then."""

GRACE = timedelta(minutes=2)
"""After an outage nothing is settled for so long: workers write meanwhile what ended during it."""

SHORTEST_PIECE, LONGEST_PIECE = 2, 240
"""Minutes that are counted with one statement."""

QUICK_S = 0.1
"""After a statement that took no longer the next one may count twice as many minutes."""

STRIDE = 5
"""So many neighbouring buckets of the histogram are one here, told as the middle one: quantiles within 5 %."""


def _bucket(value: str) -> str:
    """SQL: the histogram's bucket of a number of seconds, as coarse as is kept here."""
    kept = f"least(greatest(({value})::float8, {SMALLEST!r}), {LARGEST!r})"
    return f"(ceil(ceil(ln({kept}) * {PER_LOG!r}) / {STRIDE}) * {STRIDE} - {STRIDE // 2})::integer"


_COUNT = f"""
with recursive run(entrypoint) as (
    -- index job_runs_entrypoint, one probe for each job type
    (select entrypoint from job_runs order by entrypoint limit 1)
    union all
    select (select r.entrypoint from job_runs r where r.entrypoint > run.entrypoint order by r.entrypoint limit 1)
    from run where run.entrypoint is not null
), ended as materialized (
    -- index job_runs_entrypoint alone
    select date_bin('1 minute', r.ended_at, timestamptz 'epoch') as at, run.entrypoint, r.outcome,
           {_bucket("case when r.waited_ms > 0 then r.waited_ms else 0.5 end / 1000.0")} as wait,
           {_bucket("extract(epoch from r.ended_at - r.started_at)")} as took,
           count(*) as n, sum(extract(epoch from r.ended_at - r.started_at))::float8 as run_s
    from run, lateral (select outcome, started_at, ended_at, waited_ms from job_runs
                       where entrypoint = run.entrypoint and ended_at >= $1 and ended_at < $2
                         and outcome in ('done', 'retry', 'held')) r
    where run.entrypoint is not null
    group by 1, 2, 3, 4, 5
), totals as (
    select at, entrypoint, sum(n) filter (where outcome = 'done') as done,
           sum(n) filter (where outcome = 'retry') as failed, sum(n) filter (where outcome = 'held') as held,
           sum(run_s) as run_s
    from ended group by 1, 2
), waits as (
    select at, entrypoint, array_agg(wait order by wait) as buckets, array_agg(n order by wait) as counts
    from (select at, entrypoint, wait, sum(n)::integer as n from ended group by 1, 2, 3) each group by 1, 2
), runs as (
    select at, entrypoint, array_agg(took order by took) as buckets, array_agg(n order by took) as counts
    from (select at, entrypoint, took, sum(n)::integer as n from ended group by 1, 2, 3) each group by 1, 2
), put_in as (
    -- index pgqueuer_log_created; what is queued again after a failure (with its traceback) was in already
    select date_bin('1 minute', created, timestamptz 'epoch') as at, entrypoint, count(*) as n
    from pgqueuer_log
    where created >= $1 and created < $2 and status = 'queued' and traceback is null
    group by 1, 2
)
insert into job_minutes (minutes, at, entrypoint, put_in, done, failed, held, run_total_s,
                         wait_buckets, wait_counts, run_buckets, run_counts)
select 1, at, entrypoint, coalesce(put_in.n, 0), coalesce(done, 0), coalesce(failed, 0), coalesce(held, 0),
       coalesce(run_s, 0), coalesce(waits.buckets, '{{}}'), coalesce(waits.counts, '{{}}'),
       coalesce(runs.buckets, '{{}}'), coalesce(runs.counts, '{{}}')
from totals
full join put_in using (at, entrypoint)
left join waits using (at, entrypoint)
left join runs using (at, entrypoint)
on conflict (minutes, at, entrypoint) do update
set put_in = excluded.put_in, done = excluded.done, failed = excluded.failed, held = excluded.held,
    run_total_s = excluded.run_total_s, wait_buckets = excluded.wait_buckets, wait_counts = excluded.wait_counts,
    run_buckets = excluded.run_buckets, run_counts = excluded.run_counts
"""  # noqa: S608 - only constants of this module

_SUM_UP = """
with span as (
    select make_interval(mins => $4::integer) as long
), part as materialized (
    select date_bin(span.long, m.at, timestamptz 'epoch') as step, m.*
    from span, job_minutes m
    where m.minutes = $3 and m.at >= date_bin(span.long, $1::timestamptz, timestamptz 'epoch')
      and m.at < date_bin(span.long, $2::timestamptz - interval '1 microsecond', timestamptz 'epoch') + span.long
), waits as (
    select step, entrypoint, array_agg(bucket order by bucket) as buckets, array_agg(n order by bucket) as counts
    from (select step, entrypoint, bucket, sum(n)::integer as n
          from part, unnest(wait_buckets, wait_counts) cell (bucket, n) group by 1, 2, 3) each group by 1, 2
), runs as (
    select step, entrypoint, array_agg(bucket order by bucket) as buckets, array_agg(n order by bucket) as counts
    from (select step, entrypoint, bucket, sum(n)::integer as n
          from part, unnest(run_buckets, run_counts) cell (bucket, n) group by 1, 2, 3) each group by 1, 2
), totals as (
    select step, entrypoint, sum(put_in) as put_in, sum(done) as done, sum(failed) as failed, sum(held) as held,
           sum(run_total_s) as run_s
    from part group by 1, 2
)
insert into job_minutes (minutes, at, entrypoint, put_in, done, failed, held, run_total_s,
                         wait_buckets, wait_counts, run_buckets, run_counts)
select $4, step, entrypoint, put_in, done, failed, held, run_s, coalesce(waits.buckets, '{}'),
       coalesce(waits.counts, '{}'), coalesce(runs.buckets, '{}'), coalesce(runs.counts, '{}')
from totals left join waits using (step, entrypoint) left join runs using (step, entrypoint)
on conflict (minutes, at, entrypoint) do update
set put_in = excluded.put_in, done = excluded.done, failed = excluded.failed, held = excluded.held,
    run_total_s = excluded.run_total_s, wait_buckets = excluded.wait_buckets, wait_counts = excluded.wait_counts,
    run_buckets = excluded.run_buckets, run_counts = excluded.run_counts
"""

_MARK = """
select counted_until, settled_until, coalesce($1, clock_timestamp()) as now from job_minutes_mark for update
"""

_MOVE_MARK = """
update job_minutes_mark set counted_until = $1, settled_until = $2
where (counted_until, settled_until) is distinct from ($1, $2)
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """What one piece of counting did."""

    until: datetime
    """Minutes before it are counted."""
    behind: timedelta
    """What remains to be counted or settled already."""
    rest_s: float
    """So long until there is more to count."""
    minutes: int
    """Minutes that were counted, some for the second or last time."""


class Counting:
    """Counts piece by piece; the pieces grow while it catches up and counting is quick."""

    def __init__(self) -> None:
        self._piece = SHORTEST_PIECE
        self._well_since: datetime | None = None

    async def count(self, connection: Connection, now: datetime | None = None) -> Counted:
        """Count the next piece in a transaction of its own; call again while it is `behind`.

        `now` is aware; None takes the database's clock, by which runs are noted. Writes nothing when there is nothing
        to count. Needs the worker's role. Raises asyncpg's errors; a piece that failed is counted by the next call.
        """
        began = time.perf_counter()
        try:
            async with connection.transaction():
                counted = await self._count_piece(connection, now)
        except BaseException:
            self._well_since, self._piece = None, SHORTEST_PIECE
            raise
        if not counted.behind:
            self._piece = SHORTEST_PIECE
        elif time.perf_counter() - began <= QUICK_S:
            self._piece = min(2 * self._piece, LONGEST_PIECE)
        else:
            self._piece = max(self._piece // 2, SHORTEST_PIECE)
        return counted

    async def _count_piece(self, connection: Connection, asked: datetime | None) -> Counted:
        mark = await connection.fetchrow(_MARK, asked)
        assert mark is not None, "the migration puts it in"
        counted, settled, now = mark["counted_until"], mark["settled_until"], mark["now"]
        self._well_since = self._well_since or now
        piece = self._piece * MINUTE
        ripe = _minute(now - COMMIT)
        minutes = 0
        until = max(counted, min(ripe, counted + piece))
        recounted = max(settled, counted - RECOUNTED)
        if until > counted:
            minutes += await _count(connection, recounted, until)
        settle = to_settle = settled
        if now - self._well_since >= GRACE:
            to_settle = max(settled, min(_minute(now - SETTLED_AFTER), until))
            settle = min(to_settle, settled + piece)
            # What was counted just now need not be counted once more.
            minutes += await _count(connection, settled, min(settle, recounted) if until > counted else settle)
        await connection.execute(_MOVE_MARK, until, settle)
        behind = max(ripe - until, to_settle - settle, timedelta())
        rest_s = 0.0 if behind else (until + MINUTE + COMMIT - now).total_seconds()
        return Counted(until, behind, max(0.0, rest_s), minutes)


async def _count(connection: Connection, since: datetime, until: datetime) -> int:
    if until <= since:
        return 0
    await connection.execute(_COUNT, since, until)
    for part, whole in ((1, 10), (10, 60)):
        await connection.execute(_SUM_UP, since, until, part, whole)
    return (until - since) // MINUTE


def _minute(moment: datetime) -> datetime:
    """The whole minute that a moment lies in."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)
