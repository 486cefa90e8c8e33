"""Scenes for held jobs: as many as a test wants, held as a worker holds them, without a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias
from uuid import UUID

import asyncpg

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect
from backend.services.operating.audit import By

OwnConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ANNA = By(actor="anna", node="front")

HOLD = """
with jobs as (
    select row_number() over () as place, nextval('pgqueuer_id_seq') as id,
           convert_to(replace($3, '#', (i)::text), 'UTF8') as payload, replace($4, '#', (i)::text) as dedupe_key,
           case when $5::uuid is null then null else jsonb_build_object('company', $5::uuid) end as headers
    from generate_series(1, $1::integer) i
), put as (
    insert into pgqueuer (id, priority, status, entrypoint, payload, dedupe_key, headers, attempts)
    select id, 3, 'failed', $2, payload, dedupe_key, headers, 3 from jobs
)
insert into held_jobs (job_id, queue, entrypoint, company_id, fingerprint, error_type, message, traceback, payload,
                       headers, attempts, enqueued_at, held_at, dedupe_key)
select id, split_part($2, '.', 1), $2, $5, $6, 'ValueError', 'no room in branch ' || place, 'Traceback: no room',
       payload, coalesce(headers, '{}'), 4, now() - interval '1 hour', now() - make_interval(secs => $7), dedupe_key
from jobs order by id returning job_id
"""


async def hold(
    connection: OwnConnection,
    count: int = 1,
    *,
    entrypoint: str = "webhooks.a",
    payload: str = '{"n": #}',
    key: str | None = None,
    company: UUID | None = None,
    cause: str = "cause-1",
    ago_s: float = 60.0,
) -> list[int]:
    """Hold jobs; their ids. In payload and key a `#` is the job's place, from 1."""
    rows = await connection.fetch(HOLD, count, entrypoint, payload, key, company, cause, ago_s)
    return [row["job_id"] for row in rows]


def worker_at(database: PostgresAddress) -> Callable[[], Awaitable[OwnConnection]]:
    """What opens connections of the worker's role."""
    return lambda: connect(database, Role.WORKER, application="test-bulk")


async def states(connection: OwnConnection) -> dict[str, int]:
    """How many held jobs came to what."""
    rows = await connection.fetch("select state, count(*) from held_jobs group by 1")
    return {row["state"]: row["count"] for row in rows}


async def actions(connection: OwnConnection) -> list[str]:
    """What the record says, in order."""
    return [row["action"] for row in await connection.fetch("select action from audit_log order by id")]
