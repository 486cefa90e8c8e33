"""Queues as they are now, for whoever looks by hand. Needs no more than to read."""

from __future__ import annotations

import msgspec

from backend.postgres.pools import Connection
from backend.queue.policies import POLICIES
from backend.queue.roster import LIVE_S


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


async def queue_lines(connection: Connection) -> list[QueueLine]:
    """Every queue, in the order of their policies."""
    rows = await connection.fetch(_QUEUES, [queue.value for queue in POLICIES], LIVE_S)
    return [QueueLine(**dict(row)) for row in rows]
