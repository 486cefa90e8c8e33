"""What a worker writes about jobs that it has: takes them, keeps them, ends them.

Others change the engine's rows too: predecessors.py those of workers that ended, held.py and what people say about
queues (backend/services/operating) those that nobody has.

Taking is the engine's statement. Ending is not: the engine ends a job by its id alone, so a worker that slept past
its lease would end what another one runs by then. Here every change names the worker and finds nothing when the job
is no longer its own (the fence).

Each start is noted in `job_runs` before the job runs, so that a start without an end tells of a crash. Those notes
may be lost with the server (`synchronous_commit` off for them alone); with a worker they cannot.

The fence is spelled `is not distinct from` and `::text`, so that rows are found by the primary key alone: the engine's
partial indexes on worker and state are full of dead entries while a queue is busy.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence, Sized
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter

from backend.domain.vocabulary import QueueName, RunOutcome
from backend.postgres.pools import ACQUIRE_TIMEOUT_S, Connection, Pool
from backend.queue.engine import BUILDER, SETTINGS, channel_of
from backend.queue.failures import Failure
from backend.queue.parking import PARK, PARK_WAITING, PARKED_AT_ONCE, PARKED_FOR, RESUMED, UNPARK
from backend.queue.port import COMPANY_HEADER, delivery_of

_NOTE_STARTS = """
with quiet as materialized (
    select set_config('synchronous_commit', 'off', true)
), taken as materialized (
    select job.*, (
        select count(*) from job_runs as run where run.job_id = job.job_id and run.ended_at is null
    ) as crashes
    from unnest($2::bigint[], $3::integer[], $4::text[], $5::uuid[], $6::integer[])
        as job (job_id, attempt, entrypoint, company_id, waited_ms)
), noted as (
    insert into job_runs (job_id, attempt, entrypoint, company_id, worker_id, started_at, waited_ms)
    select job_id, attempt, entrypoint, company_id, $1, clock_timestamp(), waited_ms
    from taken, quiet
    where crashes < $7
)
select job_id, crashes from taken
"""

_DONE = """
with ended as (
    select * from unnest($2::bigint[], $3::double precision[]) as t (id, seconds)
), gone as (
    delete from pgqueuer
    where id = any($2) and queue_manager_id is not distinct from $1 and status::text = 'picked'
    returning id, entrypoint, priority
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'successful', entrypoint, priority from gone
), closed as (
    update job_runs as run
    set ended_at = run.started_at + make_interval(secs => ended.seconds),
        outcome = case when gone.id is null then 'released' else 'done' end,
        error = case when gone.id is null then 'another worker has the job' end
    from ended left join gone using (id)
    where run.job_id = any($2) and run.job_id = ended.id and run.worker_id = $1 and run.ended_at is null
)
select id from gone
"""

_GIVE_BACK = """
with given as (
    update pgqueuer
    set status = 'queued', execute_after = now() + $3, attempts = attempts + $4, updated = now(),
        queue_manager_id = null, slot = null
    where id = $2 and queue_manager_id is not distinct from $1 and status::text = 'picked'
    returning id, entrypoint, priority
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority, traceback)
    select id, 'queued', entrypoint, priority, $7::jsonb from given
), closed as (
    update job_runs
    set ended_at = greatest(started_at, clock_timestamp()), outcome = $5, error = $6
    where job_id in (select id from given) and worker_id = $1 and ended_at is null
), rung as (
    select pg_notify($8, '') from given where $3 <= interval '0'
)
select id, (select count(*) from rung) from given
"""

_HOLD = """
with given as (
    select * from unnest($2::bigint[], $4::uuid[], $9::integer[], $10::text[]) as t (id, company_id, attempts, record)
), held as (
    update pgqueuer as job
    set status = 'failed', updated = now(), queue_manager_id = null, slot = null
    from given
    where job.id = given.id and job.queue_manager_id is not distinct from $1 and job.status::text = 'picked'
    returning job.id, job.entrypoint, job.priority, job.payload, job.headers, job.created, job.dedupe_key,
              given.company_id, given.attempts, given.record
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority, traceback)
    select id, 'failed', entrypoint, priority, record::jsonb from held
), closed as (
    -- Of all workers: starts that crashed are settled by the hold, else a retry would count them again. The last one
    -- led to it, those before were tried again.
    update job_runs as run
    set ended_at = greatest(started_at, clock_timestamp()), error = $7,
        outcome = case when exists (
            select from job_runs later
            where later.job_id = run.job_id and later.ended_at is null and later.started_at > run.started_at
        ) then 'retry' else 'held' end
    where job_id in (select id from held) and ended_at is null
), kept as (
    insert into held_jobs (job_id, queue, entrypoint, company_id, fingerprint, error_type, message, traceback,
                           payload, headers, attempts, enqueued_at, dedupe_key)
    select id, $3, entrypoint, company_id, $5, $6, $7, $8, payload,
           case when jsonb_typeof(headers) = 'object' then headers else '{}' end, attempts, created, dedupe_key
    from held
    on conflict (job_id) do update
    set fingerprint = excluded.fingerprint, error_type = excluded.error_type, message = excluded.message,
        traceback = excluded.traceback, payload = excluded.payload, attempts = excluded.attempts,
        held_at = now(), state = 'held', decided_at = null, decided_by = null
)
select id from held
"""

_HOLD_DELIVERIES = """
update webhook_inbox set state = 'held', error = $2 where id = any($1::uuid[]) and state || '' = 'accepted'
"""

_OF = f"""
select entrypoint, payload, attempts, headers ->> '{COMPANY_HEADER}' as company from pgqueuer where id = $1
"""  # noqa: S608  # only constants

_FORSAKE = """
update job_runs
set ended_at = greatest(started_at, clock_timestamp()), outcome = 'released', error = 'another worker has the job'
where job_id = $2 and worker_id = $1 and ended_at is null
"""

_RELIEVE = """
update job_runs
set ended_at = greatest(started_at, clock_timestamp()), outcome = 'released', error = $3
where worker_id = $1 and ended_at is null and job_id <> $2
"""

_KEEP = """
update pgqueuer set heartbeat = now()
where id = any($2::bigint[]) and queue_manager_id is not distinct from $1 and status::text = 'picked'
returning id
"""

EVERY = 2**31 - 1
"""No job has so many crashes, none waits for so many milliseconds (24 days) without being counted as that late."""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A job that this worker has taken."""

    job_id: int
    entrypoint: str
    payload: bytes
    company_id: UUID | None
    attempt: int
    """1 for the first."""
    waited_ms: int
    """From when it might have started until it was taken, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one look at the queue brought."""

    claims: tuple[Claim, ...]
    """Jobs of this worker's now; their starts are not noted yet."""
    count: int
    """Rows that the engine handed over, those included that this worker had already."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Claims whose crashes are known."""

    fresh: tuple[Claim, ...]
    """Their start is noted."""
    suspects: tuple[tuple[Claim, int], ...]
    """Jobs that one more crash would make poison, and their crashes so far; their start is not noted yet."""


class Claims:
    """One worker's jobs in the engine. Every method raises asyncpg's errors, OSError or TimeoutError."""

    def __init__(
        self,
        pool: Pool,
        worker_id: UUID,
        queue: QueueName,
        *,
        lease_s: float,
        suspect_from: int,
    ) -> None:
        """`suspect_from`: with so many starts that did not end, a job is handed out as a suspect."""
        self._pool = pool
        self._worker_id = worker_id
        self._queue = queue
        self._lease = timedelta(seconds=lease_s)
        self._suspect_from = suspect_from
        self._many = asyncio.Lock()
        self._looked_for: tuple[tuple[str, ...], dict[QueueEntrypoint, EntrypointExecutionParameter]] = ((), {})
        self._engine = Queries(
            # The engine annotates its driver with the unparametrised pool class.
            driver=AsyncpgPoolDriver(cast("asyncpg.Pool[Any]", pool)),
            qbe=QueryBuilderEnvironment(SETTINGS),
            qbq=BUILDER,
            qbs=QuerySchedulerBuilder(SETTINGS),
        )

    async def take(self, limit: int, types: tuple[str, ...], running: Sequence[int] = ()) -> Taken:
        """Take up to `limit` jobs of these types, also those whose worker has been silent for a lease.

        A job in `running` that the engine hands over again (its heartbeat was late) is not taken twice.
        """
        if self._looked_for[0] is not types:
            unlimited = EntrypointExecutionParameter(concurrency_limit=0)
            self._looked_for = (types, {QueueEntrypoint(name): unlimited for name in types})
        jobs = await self._engine.dequeue(
            batch_size=limit,
            entrypoints=self._looked_for[1],
            queue_manager_id=QueueManagerId(self._worker_id),
            global_concurrency_limit=None,
            heartbeat_timeout=self._lease,
        )
        known = set(running)
        claims = tuple(
            Claim(
                job_id=job.id,
                entrypoint=job.entrypoint,
                payload=job.payload or b"",
                company_id=_company(job.headers),
                attempt=job.attempts + 1,
                waited_ms=_milliseconds(job.updated - job.execute_after),
            )
            for job in jobs
            if job.id not in known
        )
        return Taken(claims, len(jobs))

    async def of(self, job_id: int) -> Claim | None:
        """A job as its worker has it; None when there is no such job."""
        row = await self._pool.fetchrow(_OF, job_id)
        if row is None:
            return None
        company_id = _company({COMPANY_HEADER: row["company"]})
        return Claim(job_id, row["entrypoint"], row["payload"] or b"", company_id, row["attempts"] + 1, 0)

    async def note_starts(self, claims: Sequence[Claim]) -> Noted:
        """Note that these jobs start, all with one statement; suspects are only told apart."""
        limit = self._suspect_from
        crashes = await self._note_starts(claims, limit)
        return Noted(
            fresh=tuple(claim for claim in claims if crashes[claim.job_id] < limit),
            suspects=tuple((claim, crashes[claim.job_id]) for claim in claims if crashes[claim.job_id] >= limit),
        )

    async def note_suspect_start(self, claim: Claim) -> None:
        """Note the start of a suspect."""
        await self._note_starts([claim], EVERY)

    async def _note_starts(self, claims: Sequence[Claim], below: int) -> dict[int, int]:
        """Note starts of those with fewer crashes than `below`; every job's crashes."""
        rows = await self._pool.fetch(
            _NOTE_STARTS,
            self._worker_id,
            [claim.job_id for claim in claims],
            [claim.attempt for claim in claims],
            [claim.entrypoint for claim in claims],
            [claim.company_id for claim in claims],
            [claim.waited_ms for claim in claims],
            below,
        )
        return {row["job_id"]: row["crashes"] for row in rows}

    def _alone(self, jobs: Sized) -> AbstractAsyncContextManager[object]:
        """For a statement about many jobs: two might each wait for a row that the other has locked."""
        return self._many if len(jobs) > 1 else nullcontext()

    async def keep(self, job_ids: Sequence[int]) -> set[int]:
        """Renew the lease of these jobs; returns those that are this worker's no more."""
        async with self._alone(job_ids):
            rows = await self._pool.fetch(_KEEP, self._worker_id, list(job_ids))
        return set(job_ids) - {row["id"] for row in rows}

    async def done(self, ended: Sequence[tuple[int, float]]) -> set[int]:
        """End these jobs (id, seconds they ran) as done; returns those that were this worker's no more."""
        async with self._alone(ended):
            rows = await self._pool.fetch(
                _DONE, self._worker_id, [job_id for job_id, _ in ended], [seconds for _, seconds in ended]
            )
        return {job_id for job_id, _ in ended} - {row["id"] for row in rows}

    async def retry(self, claim: Claim, delay_s: float, failure: Failure) -> bool:
        """Queue the job again after `delay_s`, as one attempt more; False when it is this worker's no more."""
        reason = f"{failure.error_type}: {failure.message}"
        return await self._give_back(claim, RunOutcome.RETRY, delay_s, reason, failure)

    async def postpone(self, claim: Claim, delay_s: float, reason: str) -> bool:
        """Queue the job again after `delay_s`, as if it had not been tried; False when it is this worker's no more."""
        # With a record of its own, as after a failure: it was in already and is not put in once more.
        waits = Failure(fingerprint="", error_type="Later", message=reason, traceback="")
        return await self._give_back(claim, RunOutcome.POSTPONED, delay_s, reason, waits)

    async def park(self, claims: Sequence[Claim]) -> set[int]:
        """Put these jobs off, as if they had not been tried, where their company is paused; the ids of those put off.

        They start when the company is resumed or its pause ends by itself, spread over the pause's ramp.
        """
        companies = [claim.company_id for claim in claims]
        # A resume that is under way is waited for here, where leases don't wait with it.
        await self._pool.execute(RESUMED, companies)
        async with self._alone(claims):
            rows = await self._pool.fetch(
                PARK,
                self._worker_id,
                [claim.job_id for claim in claims],
                companies,
                [claim.attempt for claim in claims],
                PARKED_FOR,
            )
        return {row["id"] for row in rows}

    async def park_waiting(self, company_id: UUID, entrypoint: str) -> int:
        """Put off jobs of this company and type that nobody has taken yet, those that would come next; how many."""
        parked: int = await self._pool.fetchval(PARK_WAITING, company_id, entrypoint, PARKED_FOR, PARKED_AT_ONCE)
        return parked

    async def unpark(self, claims: Sequence[Claim]) -> None:
        """Note that these jobs are no longer put off, if they were."""
        await self._pool.execute(UNPARK, [claim.job_id for claim in claims])

    async def release(self, claim: Claim) -> bool:
        """Queue the job again at once, as if it had not been tried; False when it is this worker's no more."""
        return await self._give_back(claim, RunOutcome.RELEASED, 0.0, None)

    async def forsake(self, claim: Claim) -> None:
        """Note that this worker's run ended without effect because another worker has the job."""
        await self._pool.execute(_FORSAKE, self._worker_id, claim.job_id)

    async def relieve(self, job_id: int, reason: str) -> None:
        """Note of all runs of this worker but those of one job that they ended without effect, and are no crashes."""
        await self._pool.execute(_RELIEVE, self._worker_id, job_id, reason)

    async def _give_back(
        self, claim: Claim, outcome: RunOutcome, delay_s: float, reason: str | None, failure: Failure | None = None
    ) -> bool:
        row = await self._pool.fetchrow(
            _GIVE_BACK,
            self._worker_id,
            claim.job_id,
            timedelta(seconds=delay_s),
            1 if outcome is RunOutcome.RETRY else 0,
            outcome.value,
            reason,
            failure and _engine_record(claim, failure),
            channel_of(self._queue),
        )
        return row is not None

    async def hold(self, claim: Claim, failure: Failure) -> bool:
        """Take the job out until somebody decides about it, with all that is known about its failure.

        The delivery that it came from is held with it. False when the job is this worker's no more.
        """
        return claim.job_id in await self.hold_all([claim], failure)

    async def hold_all(self, claims: Sequence[Claim], failure: Failure) -> set[int]:
        """Take all these jobs out for one cause; returns those that were this worker's."""
        # Together in one order: of two that hold jobs none waits for a delivery that the other has.
        ordered = sorted(claims, key=lambda claim: claim.job_id)
        async with (
            self._alone(ordered),
            self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection,
            connection.transaction(),
        ):
            rows = await connection.fetch(
                _HOLD,
                self._worker_id,
                [claim.job_id for claim in ordered],
                self._queue.value,
                [claim.company_id for claim in ordered],
                failure.fingerprint,
                failure.error_type,
                failure.message,
                failure.traceback,
                [claim.attempt for claim in ordered],
                [_engine_record(claim, failure) for claim in ordered],
            )
            held = {row["id"] for row in rows}
            await _hold_deliveries(connection, [claim for claim in ordered if claim.job_id in held], failure)
        return held


async def _hold_deliveries(connection: Connection, claims: Sequence[Claim], failure: Failure) -> None:
    deliveries: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for claim in claims:
        if (delivery := delivery_of(claim.payload)) is not None and claim.company_id is not None:
            deliveries[claim.company_id].append(delivery)
    for company_id, ids in sorted(deliveries.items()):
        await connection.execute("select set_config('app.company_id', $1, true)", str(company_id))
        await connection.execute(_HOLD_DELIVERIES, ids, f"{failure.error_type}: {failure.message}")


def _milliseconds(wait: timedelta) -> int:
    return min(max(0, wait // timedelta(milliseconds=1)), EVERY)


def _company(headers: dict[str, object] | None) -> UUID | None:
    try:
        return UUID(str((headers or {})[COMPANY_HEADER]))
    except (LookupError, ValueError):
        return None


def _engine_record(claim: Claim, failure: Failure) -> str:
    """The failure in the form of the engine's own log, JSON."""
    return json.dumps(
        {
            "job_id": claim.job_id,
            "timestamp": datetime.now(UTC).isoformat(),
            "exception_type": failure.error_type,
            "exception_message": failure.message,
            "traceback": failure.traceback,
            "additional_context": {"entrypoint": claim.entrypoint, "attempt": claim.attempt},
        }
    )
