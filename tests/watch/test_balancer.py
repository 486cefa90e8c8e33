"""The balancer reads loads out of a snapshot, writes its shifts, and gives way to what people say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from backend.domain.balancing import COOLDOWN_S
from backend.domain.vocabulary import PauseKind
from backend.postgres.address import PostgresAddress
from backend.queue.policies import BUILT_IN
from backend.services.operating import pauses, slots
from backend.services.operating.audit import By
from backend.watch.balancer import Balancer, loads_of
from backend.watch.collect import Sources, queues
from backend.watch.connection import Connection
from backend.watch.snapshots import PauseRow, ProviderRow, QueuesSnapshot
from tests.watch.samples import SAMPLES
from tests.watch.scenery import Scenery

ANNA = By("anna", "laptop")

BASES = {"webhooks": 30, "appointments": 15, "default": 20, "notifications": 10}


@asynccontextmanager
async def balancing(database: PostgresAddress) -> AsyncIterator[Balancer]:
    balancer = Balancer(database, application="test-balancer", node="n1")
    try:
        yield balancer
    finally:
        balancer.close()


async def flooded(watch: Connection, scenery: Scenery) -> QueuesSnapshot:
    """Four workers, 500 jobs in `webhooks` that take a second each."""
    for queue, base in BASES.items():
        await scenery.worker_row(queue, concurrency=base)
    await scenery.worker.execute(
        "insert into pgqueuer (priority, entrypoint, payload, status, execute_after, created, updated)"
        " select 0, 'webhooks.retell_call', '', 'queued', now(), now(), now() from generate_series(1, 500)"
    )
    for job in range(20):
        await scenery.run(10_000 + job, took_s=1.0)
    return await queues.collect(watch, Sources())


def later(snapshot: QueuesSnapshot, seconds: float) -> QueuesSnapshot:
    return msgspec.structs.replace(snapshot, taken_at=snapshot.taken_at + seconds)


async def test_a_flood_borrows_slots_step_by_step_and_each_step_says_why(
    database: PostgresAddress, watch: Connection, scenery: Scenery
) -> None:
    snapshot = await flooded(watch, scenery)
    at = snapshot.taken_at
    async with balancing(database) as balancer:
        (given, taken) = await balancer.keep(snapshot, at)
        assert (taken.queue, taken.before, taken.after) == ("webhooks", 30, 31)
        assert given.after == given.before - 1
        assert "500 wait" in taken.why

        again = await queues.collect(watch, Sources())
        assert {row.queue: row.slots for row in again.slots}["webhooks"] == 31
        assert [(row.queue, row.after) for row in again.slot_changes] == [
            ("webhooks", 31), (given.queue, given.after),
        ]  # fmt: skip
        assert await balancer.keep(again, at + 1) == (), "the last shift has to show first"
        assert await balancer.keep(later(snapshot, COOLDOWN_S), at + 4) == (), "that snapshot knows nothing of it"
        assert len(await balancer.keep(later(again, COOLDOWN_S), at + 4)) == 2


async def test_nothing_is_shifted_against_a_person_or_on_what_is_old(
    database: PostgresAddress, watch: Connection, scenery: Scenery
) -> None:
    snapshot = await flooded(watch, scenery)
    at = snapshot.taken_at
    async with balancing(database) as balancer:
        assert await balancer.keep(None) == ()
        assert await balancer.keep(snapshot, at + 60) == (), "old"
        await slots.set_balancing(scenery.worker, ANNA, False)
        assert await balancer.keep(snapshot, at) == (), "switched off since the snapshot"
        assert await balancer.keep(await queues.collect(watch, Sources()), at) == ()
        await slots.set_balancing(scenery.worker, ANNA, True)
        await slots.scale(scenery.worker, ANNA, "webhooks", 12, reason="spare the provider")
        assert await balancer.keep(snapshot, at) == (), "pinned since the snapshot"
        pinned = await queues.collect(watch, Sources())
        assert await balancer.keep(pinned, pinned.taken_at) == ()
        assert await scenery.worker.fetchval("select slots from queue_slots") == 12


async def test_the_publisher_s_balancer_writes_down_which_pauses_are_over(
    database: PostgresAddress, scenery: Scenery
) -> None:
    await pauses.pause(scenery.worker, ANNA, PauseKind.QUEUE, "webhooks", reason="")
    await scenery.worker.execute("update pauses set paused_at = now() - interval '2 h', until = now() - interval '1 s'")
    async with balancing(database) as balancer:
        await balancer.keep(None)
    assert await scenery.worker.fetchval("select resumed_by from pauses") == pauses.ITS_TIME
    assert await scenery.worker.fetchval("select node from audit_log where actor = $1", pauses.ITS_TIME) == "n1"


def test_slots_do_not_go_where_jobs_may_not_start() -> None:
    sample = SAMPLES["queues"]
    assert isinstance(sample, QueuesSnapshot)
    slot = msgspec.convert(
        {"queue": "webhooks", "node": "n1", "slots": 30, "floor": 10, "ceiling": 60, "base": 30}, type(sample.slots[0])
    )
    kind = msgspec.structs.replace(sample.job_types[0], ready=100, run_p50_s=2.0)

    def work(**said: object) -> list[tuple[str, float, bool]]:
        snapshot = msgspec.structs.replace(sample, job_types=(kind,), pauses=(), slots=(slot,))
        snapshot = msgspec.structs.replace(snapshot, **said)
        return [(load.node, load.work_s, load.is_fixed) for load in loads_of(snapshot, BUILT_IN)]

    def paused(what: str, name: str) -> tuple[PauseRow, ...]:
        return (PauseRow(id=1, kind=what, name=name, reason="", paused_by="anna", paused_at=0.0),)

    assert work() == [("n1", 200.0, False)]
    assert work(pauses=paused("job_type", "webhooks.retell_call")) == [("n1", 0.0, False)]
    assert work(pauses=paused("queue", "webhooks")) == [("n1", 200.0, True)]
    assert work(pauses=paused("node", "n1")) == []
    assert work(slots=(msgspec.structs.replace(slot, is_pinned=True),)) == [("n1", 200.0, True)]
    assert work(job_types=(msgspec.structs.replace(kind, run_p50_s=None),)) == [("n1", 100.0, False)]
    sync = msgspec.structs.replace(kind, entrypoint="default.calendar_sync")
    down = ProviderRow(provider="calcom", breaker="open", since_s=9.0, calls=9, failures=9, p99_s=None)
    assert work(job_types=(sync,), providers=(down,)) == [("n1", 0.0, False)]
    assert work(job_types=(sync,), pauses=paused("provider", "calcom")) == [("n1", 0.0, False)]
    assert work(job_types=(sync,)) == [("n1", 200.0, False)]
    second = msgspec.structs.replace(slot, node="n2", slots=10)
    assert work(slots=(slot, second)) == [("n1", 150.0, False), ("n2", 50.0, False)]
    # A drained node does nothing, so the other one has all of it before it.
    assert work(slots=(slot, second), pauses=paused("node", "n2")) == [("n1", 200.0, False)]
    assert work(slots=(slot, second), pauses=paused("node", "n1")) == [("n2", 200.0, False)]
