"""Held jobs run by another queue's workers: each is replaced by one that stands in that queue.

A job type that was moved is called `<queue>.<job type>`; the queue's workers learn from `moved_job_types` that they
take it. Moved back to where it came from, a job has its own type again.
"""

from __future__ import annotations

from collections.abc import Sequence

from backend.domain.vocabulary import JobOrigin, QueueName
from backend.postgres.pools import Connection
from backend.queue.held import Replacement, replace_held
from backend.queue.policies import job_type_of

_TYPES = "select job_id, entrypoint from held_jobs where job_id = any($1::bigint[])"

_TAKE = """
insert into moved_job_types (queue, entrypoint)
select $1, kind from unnest($2::text[]) as kind order by kind on conflict do nothing
"""


def type_in(queue: QueueName, entrypoint: str) -> str:
    """What a job of this type is called in that queue."""
    kind = job_type_of(entrypoint)
    return kind if kind.partition(".")[0] == queue else f"{queue}.{kind}"


async def move_held(connection: Connection, job_ids: Sequence[int], queue: QueueName, *, by: str) -> dict[int, int]:
    """Put held jobs into another queue, where they start at once; the held ones stay as a record.

    The new ids by the old ones: not of those that are not held any more, stand in that queue already, or of which an
    equal one waits. Needs the worker's role and an open transaction; whoever calls it writes down who did it and why.
    """
    rows = await connection.fetch(_TYPES, list(job_ids))
    wanted = [
        Replacement(row["job_id"], type_in(queue, row["entrypoint"]))
        for row in rows
        if row["entrypoint"].partition(".")[0] != queue
    ]
    if not wanted:
        return {}
    moved = sorted({job_type_of(one.entrypoint) for one in wanted if job_type_of(one.entrypoint) != one.entrypoint})
    if moved:
        await connection.execute(_TAKE, queue.value, moved)
    return await replace_held(connection, wanted, JobOrigin.MOVED, by=by)
