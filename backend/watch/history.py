"""What queues did over the last hours and days: counts and percentiles for each step of time and each job type.

It is read from `job_minutes`, so it reaches back further than the runs themselves. Percentiles of a step are those of
all its runs (within 5 %): what is kept are counts by logarithmic bucket, and counts add up.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from backend.watch.histogram import value_of

if TYPE_CHECKING:
    from backend.watch.connection import Connection

RESOLUTIONS_S = (3_600, 600, 60)
"""Lengths for which counts are kept, longest first. A step is a multiple of one of them."""

MOST_STEPS = 1_500
"""More steps are not read at once."""


class Percentiles(msgspec.Struct, frozen=True):
    """How long something took, seconds; None when nothing was counted."""

    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What became of jobs within some time."""

    put_in: int = 0
    """Jobs put in, or queued again by somebody."""
    done: int = 0
    failed: int = 0
    """Attempts that failed and are followed by another."""
    held: int = 0
    """Attempts that failed and were the last."""
    run_total_s: float = 0.0
    """Seconds that all these attempts ran."""
    wait: Percentiles = Percentiles()
    """From when they might have started until they did."""
    run: Percentiles = Percentiles()

    @property
    def ended(self) -> int:
        """Attempts that ended in this time."""
        return self.done + self.failed + self.held

    @property
    def failure_share(self) -> float | None:
        """The share of attempts that failed, 0 to 1; None without attempts."""
        return (self.failed + self.held) / self.ended if self.ended else None


class HistoryStep(msgspec.Struct, frozen=True):
    """One step of time."""

    at: float
    """When it begins, seconds since 1970."""
    tally: Tally


class HistoryLine(msgspec.Struct, frozen=True):
    """One job type over the whole span."""

    entrypoint: str
    queue: str
    tally: Tally


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue, a job type or all of them did."""

    since: float
    """When the first step begins, seconds since 1970."""
    until: float
    """Up to when is counted: the last step may end here, before its time. About a minute ago, unless counting stands
    still."""
    step_s: int
    queue: str | None
    entrypoint: str | None
    steps: tuple[HistoryStep, ...]
    """Every step, oldest first; those in which nothing happened as well."""
    lines: tuple[HistoryLine, ...]
    """By queue and name; only those that did something."""
    total: Tally


# One statement, and no row comes over that is not shown: buckets are merged where they are.
_HISTORY = """
with asked as (
    select make_interval(secs => $2::float8) as step, counted_until as until,
           date_bin(make_interval(secs => $2::float8), counted_until - interval '1 microsecond' - $3::interval,
                    timestamptz 'epoch') + make_interval(secs => $2::float8) as since
    from job_minutes_mark
), part as materialized (
    select date_bin(asked.step, m.at, timestamptz 'epoch') as step, m.*
    from asked, job_minutes m
    where m.minutes = $1 and m.at >= asked.since and m.at < asked.until
      and ($4::text is null or split_part(m.entrypoint, '.', 1) = $4)
      and ($5::text is null or m.entrypoint = $5)
), merged as materialized (
    -- each by itself: that many cells are summed up in a hash, together they would be sorted on the disk
    select step, null as entrypoint, 'wait' as what, bucket, sum(n) as n
    from part, unnest(wait_buckets, wait_counts) cell (bucket, n) group by step, bucket
    union all
    select step, null, 'run', bucket, sum(n)
    from part, unnest(run_buckets, run_counts) cell (bucket, n) group by step, bucket
    union all
    select null, entrypoint, 'wait', bucket, sum(n)
    from part, unnest(wait_buckets, wait_counts) cell (bucket, n) group by entrypoint, bucket
    union all
    select null, entrypoint, 'run', bucket, sum(n)
    from part, unnest(run_buckets, run_counts) cell (bucket, n) group by entrypoint, bucket
), complete as (
    -- neither is null in the table: null stands for "all of them together"
    select * from merged
    union all
    select null, null, what, bucket, sum(n) from merged where entrypoint is not null group by what, bucket
), ranked as (
    select step, entrypoint, what, bucket, sum(n) over each as upto,
           sum(n) over (partition by step, entrypoint, what) as total
    from complete window each as (partition by step, entrypoint, what order by bucket)
), quantiles as (
    select step, entrypoint,
           min(bucket) filter (where what = 'wait' and upto > floor(0.50 * (total - 1))) as w50,
           min(bucket) filter (where what = 'wait' and upto > floor(0.95 * (total - 1))) as w95,
           min(bucket) filter (where what = 'wait' and upto > floor(0.99 * (total - 1))) as w99,
           min(bucket) filter (where what = 'run' and upto > floor(0.50 * (total - 1))) as r50,
           min(bucket) filter (where what = 'run' and upto > floor(0.95 * (total - 1))) as r95,
           min(bucket) filter (where what = 'run' and upto > floor(0.99 * (total - 1))) as r99
    from ranked group by step, entrypoint
), sums as (
    select step, entrypoint, sum(put_in) as put_in, sum(done) as done, sum(failed) as failed, sum(held) as held,
           sum(run_total_s) as run_total_s
    from part group by grouping sets ((step), (entrypoint), ())
), told as (
    select date_part('epoch', sums.step) as at, sums.entrypoint, coalesce(put_in, 0) as put_in,
           coalesce(done, 0) as done, coalesce(failed, 0) as failed, coalesce(held, 0) as held,
           coalesce(run_total_s, 0) as run_total_s, array[w50, w95, w99] as wait, array[r50, r95, r99] as run
    from sums left join quantiles q
         on q.step is not distinct from sums.step and q.entrypoint is not distinct from sums.entrypoint
)
select json_build_object(
    'since', date_part('epoch', since),
    'until', date_part('epoch', until),
    'tallies', (select coalesce(json_agg(told), '[]') from told)) from asked
"""


class _Told(msgspec.Struct, frozen=True):
    at: float | None
    entrypoint: str | None
    put_in: int
    done: int
    failed: int
    held: int
    run_total_s: float
    wait: tuple[int | None, int | None, int | None]
    run: tuple[int | None, int | None, int | None]


class _Answer(msgspec.Struct, frozen=True):
    since: float
    until: float
    tallies: tuple[_Told, ...]


_answer = msgspec.json.Decoder(_Answer)


async def read_history(
    connection: Connection,
    *,
    span: timedelta,
    step_s: int,
    queue: str | None = None,
    entrypoint: str | None = None,
) -> History:
    """What happened within `span` until now, in steps of so many seconds; one round trip.

    Of one queue, of one job type, or of all. Steps begin at multiples of their length; the first one is whole and
    within the span. Minutes are kept for two days, ten minutes for eight, hours for thirty: `steps_for` chooses.
    Raises ValueError for a step that is no multiple of a minute or makes more than 1,500 steps, asyncpg's errors.
    """
    resolution_s = next((length for length in RESOLUTIONS_S if step_s >= length and step_s % length == 0), None)
    if resolution_s is None:
        raise ValueError(f"a step is a multiple of 60 s, not {step_s} s")
    if span.total_seconds() > MOST_STEPS * step_s:
        raise ValueError(f"{span} in steps of {step_s} s are more than {MOST_STEPS}")
    told = _answer.decode(
        await connection.fetchval(_HISTORY, resolution_s // 60, float(step_s), span, queue, entrypoint)
    )
    by_step = {line.at: _tally(line) for line in told.tallies if line.at is not None}
    lines = [
        HistoryLine(line.entrypoint, line.entrypoint.partition(".")[0], _tally(line))
        for line in told.tallies
        if line.entrypoint is not None
    ]
    total = next((_tally(line) for line in told.tallies if line.at is None and line.entrypoint is None), Tally())
    steps = []
    at = told.since
    while at < told.until:
        steps.append(HistoryStep(at, by_step.get(at, _NOTHING)))
        at += step_s
    return History(
        since=told.since,
        until=told.until,
        step_s=step_s,
        queue=queue,
        entrypoint=entrypoint,
        steps=tuple(steps),
        lines=tuple(sorted(lines, key=lambda line: (line.queue, line.entrypoint))),
        total=total,
    )


def steps_for(span: timedelta) -> int:
    """A step for a picture of this span, seconds: 60 to 180 of them, for which counts are kept."""
    for step_s, longest in ((60, timedelta(hours=3)), (600, timedelta(hours=30)), (3_600, timedelta(days=8))):
        if span <= longest:
            return step_s
    return 6 * 3_600


_NOTHING = Tally()


def _tally(told: _Told) -> Tally:
    return Tally(
        put_in=told.put_in,
        done=told.done,
        failed=told.failed,
        held=told.held,
        run_total_s=told.run_total_s,
        wait=Percentiles(*(None if bucket is None else value_of(bucket) for bucket in told.wait)),
        run=Percentiles(*(None if bucket is None else value_of(bucket) for bucket in told.run)),
    )
