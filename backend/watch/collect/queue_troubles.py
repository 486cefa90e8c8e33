"""What jobs do to their workers, and the limits of queues' policies: parts of the statement about queues."""

from __future__ import annotations

from backend.queue.roster import LIVE_S

TROUBLES = """(select coalesce(json_agg(each order by at desc), '[]') from (
        -- index job_troubles_at; a row for each job type, kind and node
        select date_part('epoch', at) as at, node, queue, entrypoint, job_id, kind, detail, count
        from (select * from job_troubles where at > now() - interval '15 minutes' order by at desc limit 50) latest
        union all
        -- A worker in which not even a thread runs tells nothing: it is told of by its silence.
        select date_part('epoch', now()), silent.node, silent.queue, job.entrypoint, max(job.id), 'silent',
               format('its worker has not been heard of for %s s',
                      round(date_part('epoch', now() - silent.heartbeat_at))), 1
        from (select id, node, queue, heartbeat_at from workers
              where state <> 'stopped'
                and heartbeat_at between now() - interval '1 minute' and now() - interval '7 seconds'
              order by heartbeat_at desc limit 20) silent
        join pgqueuer job on job.queue_manager_id = silent.id and job.status = 'picked'
        group by silent.id, silent.node, silent.queue, silent.heartbeat_at, job.entrypoint) each)"""
"""Rows as `TroubleRow`."""

LIMITS = f"""(select coalesce(json_object_agg(queue, limits), '{{}}')
        from (select distinct on (queue) queue, policies #> '{{queue,limits}}' as limits
              from workers where state <> 'stopped' and heartbeat_at > now() - interval '{LIVE_S:g} seconds'
                and jsonb_typeof(policies #> '{{queue,limits}}') = 'object'
              order by queue, started_at desc) living)"""  # noqa: S608  # only constants
"""Alert limits by queue, as the worker that started last works by them."""
