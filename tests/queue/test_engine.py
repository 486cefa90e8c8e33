"""The engine's statements that this project spells itself: an upgrade that changes one must be looked at here."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from uuid import UUID

import pytest
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId

from backend.postgres.address import Role
from backend.queue.engine import BUILDER
from tests.databases import OpenConnection

RESTATED = {
    # Ours are fenced: backend/queue/claims.py.
    "build_log_job_query": "f65bc103",
    "build_retry_job_query": "0e3e5561",
    "build_update_heartbeat_query": "29c99196",
    # Ours moves deliveries along and minds keys that wait already: backend/queue/port.py.
    "build_requeue_jobs_query": "310232de",
}


def digest(statement: str) -> str:
    """Eight hex digits of a statement, whatever its white space."""
    return hashlib.sha256(" ".join(statement.split()).encode()).hexdigest()[:8]


@pytest.mark.parametrize(("builder", "known"), RESTATED.items())
def test_the_engines_own_statement_is_the_one_ours_was_made_from(builder: str, known: str) -> None:
    assert digest(getattr(BUILDER, builder)()) == known


def test_the_engines_claim_is_the_one_that_the_fence_relies_on() -> None:
    # It locks rows with `for update skip locked`, which a transaction of the job's owner (`for key share`) keeps away.
    claim = BUILDER.build_dequeue_query(
        batch_size=1,
        entrypoints=[QueueEntrypoint("a")],
        concurrency_limits=[0],
        queue_manager_id=QueueManagerId(UUID(int=0)),
        global_concurrency_limit=None,
        heartbeat_timeout=timedelta(),
    )
    assert claim.sql.count("FOR UPDATE SKIP LOCKED") == 2


async def test_only_the_workers_role_may_change_jobs(open_connection: OpenConnection) -> None:
    for role in (Role.API, Role.SETUP, Role.WATCH, Role.CONSOLE):
        connection = await open_connection(role)
        for privilege in ("update", "delete"):
            allowed = await connection.fetchval("select has_table_privilege('pgqueuer', $1)", privilege)
            assert (role, privilege, allowed) == (role, privilege, False)
