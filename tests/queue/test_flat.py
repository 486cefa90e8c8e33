"""The queue is no larger and a dequeue reads no more after many jobs than after the first ones."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId

from backend.domain.vocabulary import QueueName
from backend.postgres.address import Role
from backend.queue.claims import Claims
from backend.queue.counting import Counting
from backend.queue.engine import BUILDER
from backend.queue.port import JobQueue, NewJob
from tests.databases import OpenConnection, OpenPool, OwnConnection, SuperuserConnection

KIND = "webhooks.nothing"
ROUND, ROUNDS = 2_000, 4
BATCH = 500


async def blocks_of_a_dequeue(connection: OwnConnection) -> int:
    """Blocks that one dequeue of 15 jobs touches; it is undone."""
    query = BUILDER.build_dequeue_query(
        batch_size=15,
        entrypoints=[QueueEntrypoint(KIND)],
        concurrency_limits=[0],
        queue_manager_id=QueueManagerId(uuid4()),
        global_concurrency_limit=None,
        heartbeat_timeout=timedelta(seconds=15),
    )
    transaction = connection.transaction()
    await transaction.start()
    told = await connection.fetchval(f"explain (analyze, buffers, format json) {query.sql}", *query.args)
    await transaction.rollback()
    plan = json.loads(told)[0]["Plan"]
    assert plan["Actual Rows"] == 15
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


async def test_after_many_jobs_the_queue_costs_what_it_did_at_first(
    open_connection: OpenConnection, open_role_pool: OpenPool, superuser_connection: SuperuserConnection
) -> None:
    worker, server = await open_connection(Role.WORKER), await superuser_connection()
    pool = await open_role_pool(Role.WORKER, 1)
    claims = Claims(pool, uuid4(), QueueName.WEBHOOKS, lease_s=15.0, suspect_from=2)
    pages, blocks = [], []
    for _ in range(ROUNDS):
        for _ in range(ROUND // 1_000):
            await JobQueue().enqueue(worker, [NewJob(KIND, b"{}")] * 1_000)
        blocks.append(await blocks_of_a_dequeue(worker))
        while (taken := await claims.take(BATCH, (KIND,))).claims:
            await claims.note_starts(taken.claims)
            assert await claims.done([(claim.job_id, 0.001) for claim in taken.claims]) == set()
        pages.append(await server.fetchval("select pg_total_relation_size('askpro.pgqueuer') / 8192"))
        # What autovacuum does every few seconds.
        await server.execute("vacuum (truncate off) askpro.pgqueuer")
    assert await worker.fetchval("select count(*) from job_runs where outcome = 'done'") == ROUND * ROUNDS
    assert pages[-1] <= 1.5 * pages[0], pages
    assert blocks[-1] <= 1.5 * blocks[0], blocks
    options = await server.fetchval("select array_to_string(reloptions, ' ') from pg_class where relname = 'pgqueuer'")
    assert "autovacuum_vacuum_threshold=2000" in options, "a round leaves as much behind, so that vacuum comes"

    hour_ago = "(now() - interval '1 hour', now() - interval '1 hour')"
    await worker.execute(f"update job_minutes_mark set (counted_until, settled_until) = {hour_ago}")
    await worker.execute("update job_runs set ended_at = ended_at - interval '5 minutes'")
    counting = Counting()
    while (await counting.count(worker)).behind:
        pass
    assert await worker.fetchval("select sum(done) from job_minutes where minutes = 1") == ROUND * ROUNDS
