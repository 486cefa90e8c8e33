"""The queue is no larger and a dequeue reads no more after many jobs than after the first ones."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.queue.claims import Claims
from backend.queue.context import JobContext
from backend.queue.counting import Counting
from backend.queue.engine import BUILDER
from backend.queue.port import JobQueue, NewJob
from backend.queue.upkeep import SWEPT_AFTER, Upkeep
from tests.databases import OpenConnection, OpenPool, OwnConnection, SuperuserConnection
from tests.queue.scenes import QUICK, config_for, until, working

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


@pytest.fixture
async def nobody_else_sweeps(superuser_connection: SuperuserConnection) -> None:
    """Autovacuum leaves the queue alone."""
    server = await superuser_connection()
    await server.execute("alter table askpro.pgqueuer set (autovacuum_enabled = off)")


@pytest.mark.usefixtures("nobody_else_sweeps")
async def test_a_worker_that_ended_many_jobs_has_the_queue_swept_and_its_space_given_back(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    connection = await open_connection(Role.WORKER)

    async def nothing(_context: JobContext) -> None:
        """Succeed."""

    policy = replace(QUICK, concurrency=200, batch=100)
    async with working(config_for(database, policy=policy), {KIND: nothing}):
        for _ in range(3):
            await JobQueue().enqueue(connection, [NewJob(KIND, b"{}")] * 1_000)
        no_space = "select pg_relation_size('pgqueuer') = 0"
        await until(lambda: connection.fetchval(no_space), "what the jobs took is given back", 60.0)
    assert await connection.fetchval("select count(*) from job_runs where outcome = 'done'") == 3_000
    assert await connection.fetchval("select vacuum_count from pg_stat_user_tables where relname = 'pgqueuer'") > 0


@pytest.mark.usefixtures("nobody_else_sweeps")
async def test_the_queue_is_swept_while_jobs_rush_through_and_never_while_nothing_happens(
    open_connection: OpenConnection, open_role_pool: OpenPool
) -> None:
    connection, pool = await open_connection(Role.WORKER), await open_role_pool(Role.WORKER, 1)
    done = 0
    upkeep = Upkeep(lambda: done)

    async def swept() -> int:
        await connection.execute("select pg_stat_clear_snapshot()")
        count: int = await connection.fetchval(
            "select vacuum_count from pg_stat_user_tables where relname = 'pgqueuer'"
        )
        return count

    async def rush(jobs: int) -> None:
        """Leave as many dead rows behind as so many jobs do, and wait until the server has counted them."""
        nonlocal done
        for _ in range(2):
            await connection.execute(
                "with put_in as (insert into pgqueuer (priority, entrypoint, status)"
                " select 0, 'webhooks.a', 'queued' from generate_series(1, $1) returning id) select from put_in",
                jobs,
            )
            await connection.execute("delete from pgqueuer")
        done += jobs
        dead = "select pg_stat_get_dead_tuples('pgqueuer'::regclass) >= $1"
        await until(lambda: connection.fetchval(dead, 2 * done), "the dead rows are counted")

    await upkeep.look(pool)
    assert await swept() == 0
    await rush(SWEPT_AFTER - 1)
    for _ in range(3):
        await upkeep.look(pool)
    assert await swept() == 0, "it is not worth while"
    await rush(1)
    await upkeep.look(pool)
    assert await swept() == 1
    done += SWEPT_AFTER
    await upkeep.look(pool)
    assert await swept() == 1, "another worker has swept what it left"
    for _ in range(3):
        await upkeep.look(pool)
    assert await swept() == 2, "once nothing goes on"
