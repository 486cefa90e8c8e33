"""Queues, held jobs and single jobs as they are now, for whoever looks by hand. Needs no more than to read."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from backend.domain.vocabulary import QueueName
from backend.postgres.pools import Connection
from backend.queue.policies import POLICIES
from backend.queue.roster import BEAT_S

LIVE_S = 5 * BEAT_S
"""A worker that was silent for longer does not count."""


class QueueLine(msgspec.Struct, frozen=True, kw_only=True):
    """One queue."""

    queue: str
    ready: int
    scheduled: int
    running: int
    held: int
    oldest_s: float | None
    """How long the job that may start has waited longest; None when none may."""
    workers: int
    """Live ones."""
    slots: int
    """Jobs that its live workers may run at once."""


class HeldLine(msgspec.Struct, frozen=True, kw_only=True):
    """One job that is held."""

    job_id: int
    queue: str
    entrypoint: str
    company: str | None
    """Slug."""
    fingerprint: str
    error_type: str
    message: str
    attempts: int
    held_at: datetime


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a job."""

    attempt: int
    worker_id: UUID
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: str | None


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about one job."""

    job_id: int
    entrypoint: str
    state: str
    """queued, picked, failed (held), or gone (done or deleted)."""
    company: str | None
    attempts: int
    enqueued_at: datetime | None
    execute_after: datetime | None
    payload: str | None
    """As text; bytes that are none are shown as U+FFFD."""
    held_state: str | None
    error_type: str | None
    message: str | None
    traceback: str | None
    fingerprint: str | None
    runs: tuple[RunLine, ...]


_QUEUES = """
with jobs as (
    select split_part(entrypoint, '.', 1) as queue,
           count(*) filter (where status = 'queued' and execute_after <= now()) as ready,
           count(*) filter (where status = 'queued' and execute_after > now()) as scheduled,
           count(*) filter (where status = 'picked') as running,
           count(*) filter (where status = 'failed') as held,
           extract(epoch from now() - min(execute_after) filter (where status = 'queued' and execute_after <= now()))
               ::double precision as oldest_s
    from pgqueuer group by 1
), living as (
    select queue, count(*) as workers, sum(concurrency) as slots
    from workers where state <> 'stopped' and heartbeat_at > now() - make_interval(secs => $2) group by 1
)
select name as queue, coalesce(ready, 0) as ready, coalesce(scheduled, 0) as scheduled,
       coalesce(running, 0) as running, coalesce(held, 0) as held, oldest_s,
       coalesce(workers, 0) as workers, coalesce(slots, 0) as slots
from unnest($1::text[]) with ordinality as known (name, position)
left join jobs on jobs.queue = name
left join living on living.queue = name
order by position
"""

_HELD = """
select h.job_id, h.queue, h.entrypoint, c.slug as company, h.fingerprint, h.error_type, h.message, h.attempts, h.held_at
from held_jobs h
left join companies c on c.id = h.company_id
where h.state = 'held'
  and ($1::text is null or h.queue = $1)
  and ($2::text is null or h.fingerprint = $2)
  and ($3::bigint[] is null or h.job_id = any($3))
order by h.held_at desc, h.job_id desc
limit $4
"""

_JOB = """
select coalesce(j.id, h.job_id, r.job_id) as job_id,
       coalesce(j.entrypoint, h.entrypoint, r.entrypoint) as entrypoint,
       coalesce(j.status::text, 'gone') as state,
       c.slug as company,
       coalesce(j.attempts, h.attempts, r.attempt) as attempts,
       coalesce(j.created, h.enqueued_at) as enqueued_at, j.execute_after,
       coalesce(j.payload, h.payload) as payload,
       h.state as held_state, h.error_type, h.message, h.traceback, h.fingerprint
from (select $1::bigint as id) asked
left join pgqueuer j on j.id = asked.id
left join held_jobs h on h.job_id = asked.id
left join lateral (
    select job_id, entrypoint, company_id, attempt from job_runs
    where job_id = asked.id order by started_at desc limit 1
) r on true
left join companies c on c.id = coalesce(
    h.company_id, r.company_id, case when jsonb_typeof(j.headers) = 'object' then (j.headers ->> 'company')::uuid end)
where coalesce(j.id, h.job_id, r.job_id) is not null
"""

_RUNS = """
select attempt, worker_id, started_at, ended_at, outcome, error
from job_runs where job_id = $1 order by started_at limit 100
"""


async def queue_lines(connection: Connection) -> list[QueueLine]:
    """Every queue, in the order of their policies."""
    rows = await connection.fetch(_QUEUES, [queue.value for queue in POLICIES], LIVE_S)
    return [QueueLine(**dict(row)) for row in rows]


async def held_lines(
    connection: Connection,
    *,
    queue: QueueName | None = None,
    fingerprint: str | None = None,
    job_ids: list[int] | None = None,
    limit: int = 1_000,
) -> list[HeldLine]:
    """Held jobs, newest first; those of one queue, of one cause, or these."""
    rows = await connection.fetch(_HELD, queue and queue.value, fingerprint, job_ids, limit)
    return [HeldLine(**dict(row)) for row in rows]


async def job_record(connection: Connection, job_id: int) -> JobRecord | None:
    """One job with its runs; None when nothing is known about it (any more)."""
    row = await connection.fetchrow(_JOB, job_id)
    if row is None:
        return None
    fields = dict(row)
    payload: bytes | None = fields.pop("payload")
    runs = tuple(RunLine(**dict(run)) for run in await connection.fetch(_RUNS, job_id))
    text = None if payload is None else payload.decode("utf-8", "replace")
    return JobRecord(payload=text, runs=runs, **fields)
