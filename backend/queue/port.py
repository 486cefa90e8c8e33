"""The queue as the rest of the system sees it: put jobs in. What becomes of held ones: `backend.queue.held`.

Jobs live in the same database as the data, so they are put in by the transaction that makes them necessary:
either both are there or neither. Nothing here commits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from backend.postgres.pools import Connection
from backend.queue.engine import queries
from backend.queue.policies import in_force

COMPANY_HEADER = "company"
"""Job header that carries the tenant's id."""


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
    priority: int | None = None
    """Higher starts first; None: as its policy says."""
    delay: timedelta = timedelta()
    """Wait before the first start."""


class JobQueue:
    """Puts jobs in, always in the caller's transaction."""

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
            [_priority(job) for job in ordered],
            [job.delay for job in ordered],
            [job.dedupe_key for job in ordered],
            [{COMPANY_HEADER: str(job.company_id)} if job.company_id else None for job in ordered],
            on_conflict="skip",
        )
        placed: list[int | None] = [None] * len(jobs)
        for index, job_id in zip(order, ids, strict=True):
            placed[index] = job_id
        return placed


def _priority(job: NewJob) -> int:
    if job.priority is not None:
        return job.priority
    try:
        return in_force().job(job.entrypoint).priority
    except ValueError:
        return 0  # of no queue that is known here


def delivery_of(payload: bytes) -> UUID | None:
    """The inbox row that a job's payload names as `inbox_id`, if it does."""
    try:
        fields = json.loads(payload)
        return UUID(fields["inbox_id"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
