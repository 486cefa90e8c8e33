"""How long the queue's own records are kept. Undecided held jobs are kept until somebody decides about them.

Everything is deleted in batches, each in a short transaction of its own, and the records of a run only after
`job_minutes` has counted it for the last time (backend/queue/counting.py). What a policy says of its job types stands
in backend/queue/policies.py: `keep_done_minutes`, `keep_failed_minutes`, `keep_held_minutes`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from backend.domain.vocabulary import QueueName
from backend.postgres.pools import Connection
from backend.queue.policies import BUILT_IN, JobPolicy, Policies

LOG_KEPT = timedelta(days=7)
"""Life of a row in the engine's log; its count lives on in the engine's statistics."""

STATISTICS_KEPT = timedelta(days=30)
"""Life of counts and of what was done about queues; the record of who did it (`audit_log`) is kept for good."""

MINUTES_KEPT = {1: timedelta(days=2), 10: timedelta(days=8), 60: STATISTICS_KEPT}
"""Life of the rows of job_minutes, by their length in minutes."""

WORKERS_KEPT = timedelta(days=1)
"""A worker that has been silent for so long is taken off the roster."""

AT_MOST = 1_000
"""Rows of one batch."""

RUNS_AT_MOST = 5_000
"""The same for runs and the engine's log, of which there are many and which are small."""

Batch = Callable[[], AbstractAsyncContextManager[Connection]]
"""Opens a transaction for one batch."""

Prune = Callable[[Connection], Awaitable[int]]
"""Deletes one batch; says how many rows. Less than `AT_MOST`: there are no more."""

# Only what is counted: it tells how many jobs were put in.
_LOG = """
with aged as (
    select id from pgqueuer_log
    where created < least(now() - $1::interval, (select settled_until from job_minutes_mark))
    order by created limit $2
    for update skip locked
), gone as (
    delete from pgqueuer_log using aged where pgqueuer_log.id = aged.id
    returning pgqueuer_log.entrypoint, pgqueuer_log.priority, pgqueuer_log.status, pgqueuer_log.created,
              pgqueuer_log.aggregated
), folded as (
    insert into pgqueuer_statistics as kept (count, created, entrypoint, priority, status)
    select count(*), date_trunc('minute', created), entrypoint, priority, status
    from gone where not aggregated
    group by date_trunc('minute', created), entrypoint, priority, status
    on conflict (priority, date_trunc('sec', created at time zone 'UTC'), status, entrypoint)
    do update set count = kept.count + excluded.count
)
select count(*) from gone
"""

_JOB_TYPES = """
with recursive run(entrypoint) as (
    -- index job_runs_entrypoint, one probe for each job type
    (select entrypoint from job_runs order by entrypoint limit 1)
    union all
    select (select r.entrypoint from job_runs r where r.entrypoint > run.entrypoint order by r.entrypoint limit 1)
    from run where run.entrypoint is not null
)
select entrypoint from run where entrypoint is not null
"""

# What failed stands between, and is kept for longer: each pass goes on where its last batch ended.
_RUNS = """
with aged as materialized (
    -- index job_runs_entrypoint
    select ctid as place, ended_at from job_runs
    where entrypoint = $1 and ended_at >= coalesce($2::timestamptz, '-infinity')
      and ended_at < least(now() - $3::interval, (select settled_until from job_minutes_mark))
      and outcome = any($4::text[])
    order by ended_at limit $5
), gone as (
    delete from job_runs where ctid = any(array(select place from aged)) returning 1
)
select (select count(*) from aged) as found, (select count(*) from gone) as gone,
       (select max(ended_at) from aged) as last
"""

_LOST_RUNS = """
delete from job_runs where ctid = any(array(
    -- index job_runs_open; their workers crashed
    select ctid from job_runs where ended_at is null and started_at < now() - $1::interval limit $2
))
"""

_HELD_TYPES = """
with recursive held(entrypoint) as (
    -- index held_jobs_decided, one probe for each job type
    (select entrypoint from held_jobs where state <> 'held' order by entrypoint limit 1)
    union all
    select (select h.entrypoint from held_jobs h where h.state <> 'held' and h.entrypoint > held.entrypoint
            order by h.entrypoint limit 1)
    from held where held.entrypoint is not null
)
select entrypoint from held where entrypoint is not null
"""

_HELD = """
delete from held_jobs where job_id in (
    -- index held_jobs_decided
    select job_id from held_jobs
    where state <> 'held' and entrypoint = $1 and coalesce(decided_at, held_at) < now() - $2::interval
    order by coalesce(decided_at, held_at) limit $3
)
"""

_MINUTES = """
delete from job_minutes where ctid = any(array(
    select ctid from job_minutes
    -- hours are summed up of minutes until they are settled
    where minutes = $1
      and at < least(now() - $2::interval, (select settled_until from job_minutes_mark) - interval '2 hours')
    order by at limit $3
))
"""

_SIMPLE = {
    "pgqueuer_statistics": ("created < now() - $1::interval", STATISTICS_KEPT),
    "workers": ("heartbeat_at < now() - $1::interval", WORKERS_KEPT),
    "slot_changes": ("at < now() - $1::interval", STATISTICS_KEPT),
    "bulk_actions": ("started_at < now() - $1::interval and state <> 'running'", STATISTICS_KEPT),
    "pauses": ("resumed_at < now() - $1::interval", STATISTICS_KEPT),
    "quarantines": ("coalesce(lifted_at, until) < now() - $1::interval", STATISTICS_KEPT),
    "job_troubles": ("at < now() - $1::interval", STATISTICS_KEPT),
    "job_lineage": ("made_at < now() - $1::interval", STATISTICS_KEPT),
    "parked_jobs": (
        "parked_at < now() - $1::interval and not exists (select from pgqueuer where pgqueuer.id = job_id)",
        WORKERS_KEPT,
    ),
}
"""Tables whose rows go by their age alone."""

_UNSETTLED = "select now() - settled_until from job_minutes_mark"

FINISHED = ("done", "released", "postponed")
"""Outcomes after which nobody asks for long; the others are failures."""

FAILED = ("retry", "held")


async def prune_log(connection: Connection) -> int:
    """Fold the oldest rows of the engine's log into its statistics, and delete them."""
    pruned: int = await connection.fetchval(_LOG, LOG_KEPT, RUNS_AT_MOST)
    return pruned


async def unsettled(connection: Connection) -> timedelta:
    """How far back minutes are not counted for the last time: nothing that is younger is deleted."""
    behind: timedelta = await connection.fetchval(_UNSETTLED)
    return behind


def _by_age(table: str) -> Prune:
    condition, kept = _SIMPLE[table]
    statement = f"delete from {table} where ctid = any(array(select ctid from {table} where {condition} limit $2))"  # noqa: S608 - constants of this module

    async def prune(connection: Connection) -> int:
        return _rows(await connection.execute(statement, kept, AT_MOST))

    return prune


def _minutes(length: int) -> Prune:
    async def prune(connection: Connection) -> int:
        return _rows(await connection.execute(_MINUTES, length, MINUTES_KEPT[length], AT_MOST))

    return prune


PRUNERS: tuple[Prune, ...] = (prune_log, *(_minutes(length) for length in MINUTES_KEPT), *map(_by_age, _SIMPLE))
"""What goes by its age alone."""


async def prune_runs(
    batch: Batch,
    policies: Policies = BUILT_IN,
    *,
    scheduled: Collection[str] = (),
    is_over: Callable[[], bool],
    at_most: int = RUNS_AT_MOST,
) -> int:
    """Delete runs that were kept for as long as the policies say; how many.

    Runs of `scheduled` job types are few and told for long: those that succeeded are kept as long as those that did
    not. Stops between two batches when `is_over()`.
    """
    async with batch() as connection:
        kinds = [row["entrypoint"] for row in await connection.fetch(_JOB_TYPES)]
    total = 0
    for kind in kinds:
        policy = _policy(policies, kind)
        done = policy.keep_failed_minutes if kind in scheduled else policy.keep_done_minutes
        for outcomes, minutes in ((FINISHED, done), (FAILED, policy.keep_failed_minutes)):
            total += await _prune_runs_of(
                batch, kind, outcomes, timedelta(minutes=minutes), is_over=is_over, at_most=at_most
            )
    longest = max((_policy(policies, kind).keep_failed_minutes for kind in kinds), default=0)
    lost = at_most
    while kinds and lost == at_most and not is_over():
        async with batch() as connection:
            lost = _rows(await connection.execute(_LOST_RUNS, timedelta(minutes=longest), at_most))
        total += lost
    return total


async def _prune_runs_of(
    batch: Batch, kind: str, outcomes: tuple[str, ...], kept: timedelta, *, is_over: Callable[[], bool], at_most: int
) -> int:
    total, found, last = 0, at_most, None
    while found == at_most and not is_over():
        async with batch() as connection:
            row = await connection.fetchrow(_RUNS, kind, last, kept, list(outcomes), at_most)
        assert row is not None
        found, last = row["found"], row["last"]
        total += row["gone"]
    return total


async def prune_held(batch: Batch, policies: Policies = BUILT_IN, *, is_over: Callable[[], bool]) -> int:
    """Delete held jobs about which somebody decided long enough ago, as the policies say; how many.

    One batch of each job type in any case, see `prune_all`.
    """
    async with batch() as connection:
        kinds = [row["entrypoint"] for row in await connection.fetch(_HELD_TYPES)]
    total = 0
    for kind in kinds:
        total += await prune_all(batch, _held(kind, policies), is_over=is_over)
    return total


def _held(kind: str, policies: Policies) -> Prune:
    kept = timedelta(minutes=_policy(policies, kind).keep_held_minutes)

    async def prune(connection: Connection) -> int:
        return _rows(await connection.execute(_HELD, kind, kept, AT_MOST))

    return prune


async def prune_all(batch: Batch, prune: Prune, *, is_over: Callable[[], bool]) -> int:
    """Call this function for batch after batch until there are no more, or `is_over()`; how many rows went.

    Once in any case: what comes first and is a lot must not keep the others from going for ever.
    """
    total = 0
    while True:
        async with batch() as connection:
            gone = await prune(connection)
        total += gone
        if gone < AT_MOST or is_over():
            return total


def _policy(policies: Policies, kind: str) -> JobPolicy:
    """What holds for a job type; for one of a queue that is no more, what holds for any."""
    try:
        return policies.job(kind)
    except ValueError:
        return policies.job(f"{QueueName.DEFAULT}.{kind}")


def _rows(status: str) -> int:
    """The number of rows in a command's completion, for example `DELETE 3`."""
    return int(status.rsplit(" ", 1)[-1])
