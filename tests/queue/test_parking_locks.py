"""Parking, taking up, leases, pauses and resumes of one company at once: nobody ever waits for somebody who waits."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID, uuid4

from backend.domain.vocabulary import PauseKind, QueueName
from backend.postgres.address import Role
from backend.queue.claims import Claims
from backend.services.operating.audit import By
from backend.services.operating.pauses import pause, resume
from tests.databases import OpenConnection, OpenPool
from tests.queue.scenes import OwnConnection, job, put

ROUNDS = 200
JOBS, TAKEN = 200, 90
HALF = TAKEN // 2
"""Of what a worker takes so many are to be parked; the others were, and are taken up."""

KIND = "webhooks.a"
ANNA = By("anna", "here")


async def end_pause(operator: OwnConnection, ramp_s: int) -> None:
    """Resume in a transaction, as the commands do."""
    async with operator.transaction():
        await resume(operator, ANNA, PauseKind.COMPANY, "salon", ramp_s=ramp_s)


async def test_two_workers_that_park_and_take_up_while_a_pause_ends_never_deadlock(
    open_connection: OpenConnection, open_role_pool: OpenPool, delivery: tuple[UUID, UUID]
) -> None:
    company, _ = delivery
    connection, operator = await open_connection(Role.WORKER), await open_connection(Role.WORKER)
    pools = [await open_role_pool(Role.WORKER, 4) for _ in range(2)]
    workers = [Claims(pool, uuid4(), QueueName.WEBHOOKS, lease_s=60.0, suspect_from=2) for pool in pools]
    ids = await put(connection, *[job(KIND, None, company) for _ in range(JOBS)])
    draw = random.Random(4)
    for _ in range(ROUNDS):
        await pause(operator, ANNA, PauseKind.COMPANY, "salon", reason="they asked", ramp_s=draw.choice((0, 60)))
        # Wherever they were put in the table meanwhile; some had been parked before.
        await connection.execute(
            "update pgqueuer"
            " set status = 'queued', queue_manager_id = null, execute_after = now() - interval '1 second'"
        )
        await connection.execute(
            "insert into parked_jobs (job_id, kind, name) select id, 'company', 'salon' from pgqueuer"
            " on conflict do nothing"
        )
        taken = [(await each.take(TAKEN, (KIND,))).claims for each in workers]
        assert [len(claims) for claims in taken] == [TAKEN, TAKEN]
        mine = [draw.sample(claims, len(claims)) for claims in taken]
        work = [
            *(each.park(claims[:HALF]) for each, claims in zip(workers, mine, strict=True)),
            *(each.keep([claim.job_id for claim in claims]) for each, claims in zip(workers, mine, strict=True)),
            *(each.unpark(claims[HALF:]) for each, claims in zip(workers, mine, strict=True)),
            workers[0].park_waiting(company, KIND),
            end_pause(operator, 0),
        ]
        draw.shuffle(work)
        async with asyncio.timeout(60):
            await asyncio.gather(*work)
    assert await connection.fetchval("select count(*) > 0 from job_runs where outcome = 'postponed'"), (
        "some were parked"
    )
    left = await connection.fetchval("select count(*) from parked_jobs join pgqueuer on id = job_id")
    late = "select count(*) from pgqueuer where status = 'queued' and execute_after > now() + interval '1 minute'"
    assert await connection.fetchval(late) == 0, f"a resume leaves none behind ({left} are noted)"
    assert await connection.fetchval("select count(*) from pgqueuer") == len(ids)
