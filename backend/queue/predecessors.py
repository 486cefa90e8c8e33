"""Workers that ended without a word, and what they leave: jobs that were running, starts without an end.

Whoever works for the same queue on the same node next looks whether their processes live. Jobs of dead ones need not
wait for their lease, and are named: what brought the worker down is among them. A wrong guess costs a second run of a
job at most: once another worker has taken it, an owner that lives all the same changes nothing about it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import psutil

from backend.domain.vocabulary import QueueName
from backend.postgres.pools import Pool
from backend.queue.claims import Claim

FEW = 3
"""When no more jobs than these were running, each of them is likely to have brought the worker down."""

LONGEST_WAIT_S = 5.0
"""A job that is likely to bring its worker down waits no longer than this for each time that it was there."""

_OTHERS = """
select id, pid, started_at from workers
where node = $1 and queue = $2 and id <> $3 and state <> 'stopped' and heartbeat_at > now() - interval '1 hour'
"""

_TAKE_OVER = """
with ended as (
    update workers set state = 'stopped' where id = any($1::uuid[]) and state <> 'stopped' returning id
), freed as (
    -- As old as no lease is: the next look at the queue takes them.
    update pgqueuer set heartbeat = now() - interval '1 day'
    where queue_manager_id = any($1::uuid[]) and status = 'picked'
)
select run.job_id, run.entrypoint,
       (select count(*) from job_runs other where other.job_id = run.job_id and other.ended_at is null) as crashes
from job_runs run, ended
where run.worker_id = ended.id and run.ended_at is null
order by crashes, run.started_at
"""

_PUT_OFF = """
with given as (
    update pgqueuer job
    set status = 'queued', execute_after = now() + make_interval(secs => wanted.seconds), updated = now(),
        queue_manager_id = null, slot = null
    from unnest($2::bigint[], $3::double precision[]) as wanted (id, seconds)
    where job.id = wanted.id and job.queue_manager_id = any($1::uuid[]) and job.status::text = 'picked'
    returning job.id, job.entrypoint, job.priority
)
insert into pgqueuer_log (job_id, status, entrypoint, priority, traceback)
select id, 'queued', entrypoint, priority, '{}' from given
"""

_GIVE_UP = """
-- The run stays open: it counts as one that brought its worker down. It is no worker's any more: when this one takes
-- the job again and ends it, or ends itself, this run is left alone.
with given as (
    update pgqueuer
    set status = 'queued', execute_after = now() + $3, updated = now(), queue_manager_id = null, slot = null
    where id = $2 and queue_manager_id is not distinct from $1 and status::text = 'picked'
    returning id, entrypoint, priority
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority, traceback)
    select id, 'queued', entrypoint, priority, '{}' from given
), marked as (
    update job_runs set worker_id = $4, error = 'it was stopped before it brought its worker down'
    where job_id in (select id from given) and worker_id = $1 and ended_at is null
)
select id from given
"""

NOBODY = UUID(int=0)
"""Stands in place of the worker where a run counts as one that brought its worker down, and the worker lives."""


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A job that was running when its worker ended."""

    job_id: int
    entrypoint: str
    crashes: int
    """Its starts without an end, this one included."""


@dataclass(frozen=True, slots=True)
class Others:
    """Workers of the same queue on the same node that did not say goodbye."""

    dead: tuple[UUID, ...]
    """Their processes are gone."""
    living: tuple[UUID, ...]


async def others_of(pool: Pool, worker_id: UUID, node: str, queue: QueueName) -> Others:
    """Those beside this worker. Raises asyncpg's errors."""
    dead: list[UUID] = []
    living: list[UUID] = []
    for row in await pool.fetch(_OTHERS, node, queue.value, worker_id):
        (living if _lives(row["pid"], row["started_at"]) else dead).append(row["id"])
    return Others(tuple(dead), tuple(living))


async def take_over(
    pool: Pool, dead: Collection[UUID], wait_s: Callable[[LeftBehind], float]
) -> tuple[LeftBehind, ...]:
    """Free the jobs of dead workers; those that were running, the most suspicious last.

    One that is likely to bring down the next worker as well waits for `wait_s`, so that others come first.
    Raises asyncpg's errors.
    """
    if not dead:
        return ()
    rows = await pool.fetch(_TAKE_OVER, dead)
    left = tuple(LeftBehind(row["job_id"], row["entrypoint"], row["crashes"]) for row in rows)
    likely = [one for one in left if one.crashes > 1 or len(left) <= FEW]
    await pool.execute(_PUT_OFF, dead, [one.job_id for one in likely], [wait_s(one) for one in likely])
    return left


def accused(left: tuple[LeftBehind, ...]) -> dict[str, tuple[LeftBehind, int]]:
    """By job type: the job that most likely brought the worker down, and how many are under the same suspicion.

    Jobs that have been there for fewer crashes than another are not accused.
    """
    most = max((one.crashes for one in left), default=0)
    found: dict[str, tuple[LeftBehind, int]] = {}
    suspected = [one for one in left if one.crashes == most]
    for one in suspected:
        found[one.entrypoint] = (one, len(suspected))
    return found


async def give_up(pool: Pool, worker_id: UUID, claim: Claim, delay_s: float) -> bool:
    """Queue a job again that would have brought its worker down, as if it had; False when it is this worker's no more.

    Raises asyncpg's errors.
    """
    delay = timedelta(seconds=delay_s)
    return await pool.fetchval(_GIVE_UP, worker_id, claim.job_id, delay, NOBODY) is not None


def _lives(pid: int, since: datetime) -> bool:
    """Whether the process that signed the roster at `since` still exists."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # Another process may have the number by now; it began later than the row.
        return process.create_time() <= since.timestamp() + 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
