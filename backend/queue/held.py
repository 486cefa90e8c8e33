"""What becomes of held jobs: queued again, deleted, or replaced by another job. Always in the caller's transaction.

Whoever decides locks the engine's rows and then our own, both by number, so that of two people who decide at once the
second waits and then finds what the first left. A held job whose row the engine has lost comes back from our own copy.
Needs the worker's role and an open transaction; raises asyncpg's errors (UniqueViolationError when an equal job is put
in at the same moment: then the whole transaction has to be tried again).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from backend.domain.vocabulary import InboxState, JobOrigin
from backend.postgres.pools import Connection
from backend.queue.port import delivery_of

_LOCK = """
with engine as materialized (
    select id from pgqueuer where id = any($1::bigint[]) order by id for update
)
select job_id from held_jobs
where job_id = any($1::bigint[]) and (select count(*) from engine) >= 0
order by job_id for update
"""

_UNDECIDED = """
held as materialized (
    -- Of an engine's row that is gone our copy is left; not so when the job was done after all.
    select coalesce(j.id, h.job_id) as id, j.id is null as is_lost,
           coalesce(j.entrypoint, h.entrypoint) as entrypoint, coalesce(j.priority, 0) as priority,
           coalesce(j.payload, h.payload) as payload,
           case when j.id is null then h.headers else j.headers end as headers,
           case when j.id is null then h.dedupe_key else j.dedupe_key end as dedupe_key,
           coalesce(j.created, h.enqueued_at) as created
    from (select * from pgqueuer where id = any($1::bigint[])) j
    full join (select * from held_jobs where job_id = any($1::bigint[])) h on h.job_id = j.id
    where j.status = 'failed'
       or j.id is null and h.state = 'held' and not exists (
              select from job_runs r
              where r.job_id = h.job_id and r.outcome = 'done' and r.started_at > h.held_at)
), wanted as materialized (
    -- Of held jobs with one key at most one may wait; none when such a job waits already.
    select distinct on (coalesce(dedupe_key, id::text)) *
    from held
    where not exists (
        select from pgqueuer other
        where other.dedupe_key = held.dedupe_key and other.status in ('queued', 'picked'))
    order by coalesce(dedupe_key, id::text), id
)
"""

_RETRY = f"""
with {_UNDECIDED}, requeued as (
    update pgqueuer job
    set status = 'queued', execute_after = now(), updated = now(), attempts = 0, queue_manager_id = null
    from wanted
    where job.id = wanted.id and job.status = 'failed'
    returning job.id
), restored as (
    insert into pgqueuer (id, priority, created, status, entrypoint, dedupe_key, payload, headers)
    select id, priority, created, 'queued', entrypoint, dedupe_key, payload, headers from wanted where is_lost
    returning id
), decided as (
    select wanted.* from wanted where id in (select id from requeued union all select id from restored)
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'queued', entrypoint, priority from decided
), noted as (
    update held_jobs set state = 'retried', decided_at = now(), decided_by = $2 from decided where job_id = decided.id
), rung as (
    select pg_notify('askpro_queue_' || queue, '')
    from (select distinct split_part(entrypoint, '.', 1) as queue from decided) rings
)
select id, payload, headers ->> 'company' as company, (select count(*) from rung) from decided order by id
"""  # noqa: S608 - only constants of this module

_DISCARD = f"""
with {_UNDECIDED}, deleted as (
    delete from pgqueuer where id in (select id from held) and status = 'failed' returning id
), decided as (
    select * from held where is_lost or id in (select id from deleted)
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'deleted', entrypoint, priority from decided
), noted as (
    update held_jobs set state = 'discarded', decided_at = now(), decided_by = $2 from decided
    where job_id = decided.id
)
select id, payload, headers ->> 'company' as company from decided order by id
"""  # noqa: S608 - only constants of this module

_REPLACE = f"""
with {_UNDECIDED}, made as materialized (
    select wanted.*, nextval('pgqueuer_id_seq') as new_id, r.entrypoint as new_entrypoint,
           coalesce(r.payload, wanted.payload) as new_payload
    from wanted join unnest($1::bigint[], $4::text[], $5::bytea[]) as r (job_id, entrypoint, payload) on r.job_id = id
), deleted as (
    delete from pgqueuer where id in (select id from made) and status = 'failed'
), placed as (
    insert into pgqueuer (id, priority, created, status, entrypoint, dedupe_key, payload, headers)
    select new_id, priority, now(), 'queued', new_entrypoint, dedupe_key, new_payload, headers from made
), logged as (
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'deleted'::pgqueuer_status, entrypoint, priority from made
    union all select new_id, 'queued', new_entrypoint, priority from made
), noted as (
    update held_jobs set state = 'replaced', decided_at = now(), decided_by = $2 from made where job_id = made.id
), told as (
    insert into job_lineage (job_id, came_of, how, made_by) select new_id, id, $3, $2 from made
)
select id, new_id, payload, new_payload, headers ->> 'company' as company from made order by id
"""  # noqa: S608 - only constants of this module


@dataclass(frozen=True, slots=True)
class Replacement:
    """What is put in for a held job."""

    job_id: int
    """Of the held one."""
    entrypoint: str
    payload: bytes | None = None
    """None: the held one's."""


async def lock_held(connection: Connection, job_ids: Sequence[int]) -> None:
    """Let nobody else decide about these jobs until the transaction ends; in the order in which everybody does."""
    await connection.execute(_LOCK, list(job_ids))


async def retry_held(connection: Connection, job_ids: Sequence[int], *, by: str) -> list[int]:
    """Queue held jobs again, with all their attempts; their deliveries count as accepted again.

    Returns the ids that were queued: not those that are not held (any more), nor those of which an equal one waits.
    """
    return await _decide(connection, _RETRY, job_ids, by, InboxState.ACCEPTED)


async def discard_held(connection: Connection, job_ids: Sequence[int], *, by: str) -> list[int]:
    """Delete held jobs; what is known about their failure stays, their deliveries count as ignored.

    Returns the ids that were deleted.
    """
    return await _decide(connection, _DISCARD, job_ids, by, InboxState.IGNORED)


async def replace_held(
    connection: Connection, replacements: Sequence[Replacement], how: JobOrigin, *, by: str
) -> dict[int, int]:
    """Put another job in for each held one, which stays as a record: state replaced, its payload as it was.

    Returns the new ids by the old ones: not of those that are not held (any more), nor of those of which an equal one
    waits. A delivery counts as accepted again while the new job is about it, else as ignored.
    """
    ids = [replacement.job_id for replacement in replacements]
    await lock_held(connection, ids)
    rows = await connection.fetch(
        _REPLACE,
        ids,
        by,
        how.value,
        [replacement.entrypoint for replacement in replacements],
        [replacement.payload for replacement in replacements],
    )
    kept = [row for row in rows if delivery_of(row["payload"] or b"") == delivery_of(row["new_payload"] or b"")]
    left = [row for row in rows if row not in kept]
    await _move_deliveries(connection, kept, InboxState.ACCEPTED)
    await _move_deliveries(connection, left, InboxState.IGNORED)
    return {row["id"]: row["new_id"] for row in rows}


async def _decide(
    connection: Connection, statement: str, job_ids: Sequence[int], by: str, state: InboxState
) -> list[int]:
    ids = list(job_ids)
    await lock_held(connection, ids)
    rows = await connection.fetch(statement, ids, by)
    await _move_deliveries(connection, rows, state)
    return [row["id"] for row in rows]


async def _move_deliveries(connection: Connection, rows: Sequence[asyncpg.Record], state: InboxState) -> None:
    """Give the held deliveries of these jobs another state: all companies in one round trip."""
    deliveries: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for row in rows:
        delivery = delivery_of(row["payload"] or b"")
        company = _uuid(row["company"])
        if company is not None and delivery is not None:
            deliveries[company].append(delivery)
    error = "null" if state is InboxState.ACCEPTED else "error"
    moves = []
    for company, inbox_ids in deliveries.items():
        # A UUID prints as hex digits and dashes, and the state is a word of ours: both can stand in the text.
        listed = ", ".join(f"'{inbox_id}'" for inbox_id in inbox_ids)
        chosen = f"state = 'held' and id in ({listed})"
        moves += [
            f"select set_config('app.company_id', '{company}', true)",
            f"update webhook_inbox set state = '{state.value}', error = {error} where {chosen}",  # noqa: S608 - see above
        ]
    if moves:
        await connection.execute("; ".join(moves))


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None
