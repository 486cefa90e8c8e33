"""The statements that put jobs off while their company is paused, and take them up again.

What is put off stands in `parked_jobs`, so that the resume (backend/services/operating/pauses.py) lets it start.
"""

from __future__ import annotations

from datetime import timedelta

PARKED_FOR = timedelta(hours=1)
"""A job parked by a pause without an end is looked at again after so long; the resume lets it start sooner."""

PARKED_AT_ONCE = 1_000
"""So many jobs that wait are parked with one statement."""

PARK = """
with paused as materialized (
    -- Locked, so that a resume either has happened (then nothing is parked) or waits and finds what is parked here.
    select kind, name, company_id, until, ramp_s
    from pauses
    where kind = 'company' and company_id = any($3::uuid[]) and resumed_at is null
      and (until is null or until > clock_timestamp())
    for share
), given as (
    update pgqueuer as job
    set status = 'queued', updated = now(), queue_manager_id = null, slot = null,
        execute_after = coalesce(paused.until + make_interval(secs => random() * paused.ramp_s), now() + $5)
    from unnest($2::bigint[], $3::uuid[], $4::integer[]) as wanted (id, company_id, attempt)
    join paused using (company_id)
    where job.id = wanted.id and job.queue_manager_id is not distinct from $1 and job.status::text = 'picked'
    returning job.id, job.entrypoint, job.priority, wanted.attempt, paused.kind, paused.name, paused.company_id
), parked as (
    insert into parked_jobs (job_id, kind, name) select id, kind, name from given
    on conflict (job_id) do update set kind = excluded.kind, name = excluded.name, parked_at = now()
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'queued', entrypoint, priority from given
), closed as (
    insert into job_runs (job_id, attempt, entrypoint, company_id, worker_id, started_at, ended_at, outcome, error)
    select id, attempt, entrypoint, company_id, $1, moment, moment, 'postponed', name || ' is paused'
    from given, clock_timestamp() as moment
)
select id from given
"""

PARK_WAITING = """
with paused as materialized (
    select kind, name, until, ramp_s
    from pauses
    where kind = 'company' and company_id = $1 and resumed_at is null and (until is null or until > clock_timestamp())
    for share
), given as (
    update pgqueuer as job
    set updated = now(),
        execute_after = coalesce(paused.until + make_interval(secs => random() * paused.ramp_s), now() + $3)
    from paused, lateral (
        select id from pgqueuer
        where status = 'queued' and execute_after < now() and id = any(array(
            select id from (
                -- index pgqueuer_ep_prio_id_idx, in the order in which they would be taken; no further, for most of
                -- them may be others'
                select id, headers from pgqueuer
                where entrypoint = $2 and status = 'queued' and execute_after < now()
                order by priority desc, id
                limit $4 * 10
            ) as next
            where headers ->> 'company' = $1::text
            limit $4
        ))
        order by id
        for update skip locked
    ) as waiting
    where job.id = waiting.id
    returning job.id, paused.kind, paused.name
), parked as (
    insert into parked_jobs (job_id, kind, name) select id, kind, name from given
    on conflict (job_id) do update set kind = excluded.kind, name = excluded.name, parked_at = now()
)
select count(*) from given
"""

RESUMED = """
select from pauses where kind = 'company' and company_id = any($1::uuid[]) and resumed_at is null for share
"""

# Locked in the order in which a resume locks them.
UNPARK = """
delete from parked_jobs
where job_id in (select job_id from parked_jobs where job_id = any($1::bigint[]) order by job_id for update)
"""
