"""With which priority job types start that are put in by statements of the database: written down by their workers.

Jobs that are put in here take their priority from the policies in force (`backend.queue.port`).
"""

from __future__ import annotations

from backend.domain.vocabulary import QueueName
from backend.postgres.pools import Connection, Pool
from backend.queue.policies import Policies

_WRITE = """
insert into job_priorities as known (entrypoint, priority)
select * from unnest($1::text[], $2::integer[])
on conflict (entrypoint) do update set priority = excluded.priority, said_at = now()
where known.priority <> excluded.priority
"""


async def write_priorities(by: Pool | Connection, policies: Policies, queue: QueueName) -> None:
    """Write down the priorities of this queue's job types. Needs the worker's role; raises asyncpg's errors."""
    kinds = [kind for kind in policies.job_types() if kind.partition(".")[0] == queue]
    await by.execute(_WRITE, kinds, [policies.job(kind).priority for kind in kinds])
