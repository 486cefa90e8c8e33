"""The queue as the rest of the system sees it: put jobs in, retry or discard what was held.

Jobs live in the same database as the data, so they are put in by the transaction that makes them necessary:
either both are there or neither. Nothing here commits.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from backend.domain.vocabulary import InboxState
from backend.postgres.pools import Connection
from backend.queue.engine import queries

COMPANY_HEADER = "company"
"""Job header that carries the tenant's id."""

_RETRY_HELD = """
with wanted as (
    -- Of held jobs with one key at most one may wait; none when such a job waits already.
    select distinct on (coalesce(job.dedupe_key, job.id::text)) job.id
    from pgqueuer job
    where job.id = any($1::bigint[]) and job.status = 'failed'
      and not exists (
          select from pgqueuer other
          where other.dedupe_key = job.dedupe_key and other.status in ('queued', 'picked')
      )
    order by coalesce(job.dedupe_key, job.id::text), job.id
), requeued as (
    update pgqueuer job
    set status = 'queued', execute_after = now(), updated = now(), attempts = 0, queue_manager_id = null
    from wanted
    where job.id = wanted.id and job.status = 'failed'
    returning job.id, job.entrypoint, job.priority, job.payload, job.headers
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'queued', entrypoint, priority from requeued
), decided as (
    update held_jobs set state = 'retried' from requeued where held_jobs.job_id = requeued.id
), rung as (
    select pg_notify('askpro_queue_' || queue, '')
    from (select distinct split_part(entrypoint, '.', 1) as queue from requeued) rings
)
select id, payload, headers ->> 'company' as company, (select count(*) from rung) from requeued order by id
"""

_DISCARD_HELD = """
with discarded as (
    delete from pgqueuer where id = any($1::bigint[]) and status = 'failed'
    returning id, entrypoint, priority, payload, headers
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'deleted', entrypoint, priority from discarded
), decided as (
    update held_jobs set state = 'discarded' from discarded where held_jobs.job_id = discarded.id
)
select id, payload, headers ->> 'company' as company from discarded order by id
"""

_MOVE_DELIVERIES = """
update webhook_inbox set state = $2, error = case when $2 = 'accepted' then null else error end
where id = any($1::uuid[]) and state = 'held'
"""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be put in."""

    entrypoint: str
    """Job type, `<queue>.<job>`."""
    payload: bytes = b""
    """JSON, as the job type's handler reads it."""
    company_id: UUID | None = None
    """The tenant for whom it runs; None for housekeeping across tenants."""
    dedupe_key: str | None = None
    """While a job with this key waits or runs, another one is not put in."""
    priority: int = 0
    """Higher starts first."""
    delay: timedelta = timedelta()
    """Wait before the first start."""


class JobQueue:
    """Puts jobs in and decides about held ones, always in the caller's transaction."""

    async def enqueue(self, connection: Connection, jobs: Sequence[NewJob]) -> list[int | None]:
        """Put all jobs in with one statement.

        Returns one entry for each job, in order: its id, or None when its `dedupe_key` was taken.
        Needs an open transaction to be atomic with the caller's writes; raises asyncpg's errors.
        """
        if not jobs:
            return []
        # Equal keys are taken in one order by everybody, so that two transactions cannot wait for each other.
        order = sorted(range(len(jobs)), key=lambda index: jobs[index].dedupe_key or "")
        ordered = [jobs[index] for index in order]
        ids = await queries(connection).enqueue(
            [job.entrypoint for job in ordered],
            [job.payload for job in ordered],
            [job.priority for job in ordered],
            [job.delay for job in ordered],
            [job.dedupe_key for job in ordered],
            [{COMPANY_HEADER: str(job.company_id)} if job.company_id else None for job in ordered],
            on_conflict="skip",
        )
        placed: list[int | None] = [None] * len(jobs)
        for index, job_id in zip(order, ids, strict=True):
            placed[index] = job_id
        return placed

    async def retry_held(self, connection: Connection, job_ids: Sequence[int]) -> list[int]:
        """Queue held jobs again, with all their attempts; their deliveries count as accepted again.

        Returns the ids that were queued: not those that are not held (any more), nor those of which an equal one
        waits already. Needs the worker's role and an open transaction.
        """
        return await self._decide(connection, _RETRY_HELD, job_ids, InboxState.ACCEPTED)

    async def discard_held(self, connection: Connection, job_ids: Sequence[int]) -> list[int]:
        """Delete held jobs; what is known about their failure stays, their deliveries count as ignored.

        Returns the ids that were deleted. Needs the worker's role and an open transaction.
        """
        return await self._decide(connection, _DISCARD_HELD, job_ids, InboxState.IGNORED)

    async def _decide(
        self, connection: Connection, statement: str, job_ids: Sequence[int], state: InboxState
    ) -> list[int]:
        rows = await connection.fetch(statement, list(job_ids))
        deliveries: defaultdict[str, list[UUID]] = defaultdict(list)
        for row in rows:
            delivery = delivery_of(row["payload"] or b"")
            if row["company"] and delivery is not None:
                deliveries[row["company"]].append(delivery)
        for company, inbox_ids in deliveries.items():
            await connection.execute("select set_config('app.company_id', $1, true)", company)
            await connection.execute(_MOVE_DELIVERIES, inbox_ids, state.value)
        return [row["id"] for row in rows]


def delivery_of(payload: bytes) -> UUID | None:
    """The inbox row that a job's payload names as `inbox_id`, if it does."""
    try:
        fields = json.loads(payload)
        return UUID(fields["inbox_id"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
