"""The snapshot of queues tells what people and the balancer said, as it is in force by the clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from backend.domain.balancing import Shift
from backend.domain.vocabulary import PauseKind, QueueName
from backend.queue.policies import BUILT_IN
from backend.services.operating import pauses, quarantines, slots
from backend.services.operating.audit import By
from backend.watch.collect import Sources, queues
from backend.watch.connection import Connection
from tests.watch.scenery import Scenery

ANNA = By("anna", "laptop")


async def test_pauses_are_told_with_who_why_until_and_what_they_put_off(watch: Connection, scenery: Scenery) -> None:
    until = datetime.now(UTC) + timedelta(minutes=30)
    await pauses.pause(scenery.worker, ANNA, PauseKind.QUEUE, "webhooks", reason="rotating", until=until)
    await pauses.pause(scenery.worker, ANNA, PauseKind.COMPANY, "nord", reason="they asked")
    await pauses.pause(scenery.worker, ANNA, PauseKind.PROVIDER, "calcom", reason="429")
    await pauses.pause(scenery.worker, ANNA, PauseKind.JOB_TYPE, "default.calendar_sync", reason="over")
    job = await scenery.job(delay_s=60)
    await scenery.worker.execute("insert into parked_jobs (job_id, kind, name) values ($1, 'company', 'nord')", job)
    await pauses.resume(scenery.worker, ANNA, PauseKind.PROVIDER, "calcom", ramp_s=300)
    await pauses.resume(scenery.worker, ANNA, PauseKind.JOB_TYPE, "default.calendar_sync")

    snapshot = await queues.collect(watch, Sources())
    told = {(row.kind, row.name): row for row in snapshot.pauses}
    assert set(told) == {("queue", "webhooks"), ("company", "nord"), ("provider", "calcom")}
    row = told["queue", "webhooks"]
    assert (row.paused_by, row.reason, row.until, row.resumed_at) == ("anna", "rotating", until.timestamp(), None)
    assert told["company", "nord"].parked == 1
    assert told["provider", "calcom"].resumed_at is not None
    assert {queue.queue for queue in snapshot.queues if queue.paused} == {"webhooks"}

    await scenery.worker.execute(
        "update pauses set paused_at = now() - interval '2 h', until = now() - interval '1 s', ramp_s = 60"
        " where kind = 'queue'"
    )
    snapshot = await queues.collect(watch, Sources())
    (row,) = (row for row in snapshot.pauses if row.kind == "queue")
    assert row.resumed_at == row.until, "its time is over: it is on its ramp"
    assert not any(queue.paused for queue in snapshot.queues)


async def test_slots_are_told_for_each_node_within_what_its_worker_s_policy_allows(
    watch: Connection, scenery: Scenery
) -> None:
    await scenery.worker_row("webhooks")
    await scenery.worker.execute(
        "insert into workers (id, node, queue, pid, version, concurrency, policies)"
        " values ($1, 'node-2', 'webhooks', 1, '0', 25, $2)",
        uuid4(),
        json.dumps({"queue": {"concurrency": 20, "floor": 5, "ceiling": 25}}),
    )
    shift = Shift(queue="webhooks", node="node-2", before=20, after=22, base=20, why="flood")
    assert await slots.shift(scenery.worker, [shift])
    snapshot = await queues.collect(watch, Sources())
    built_in, told = snapshot.slots
    policy = BUILT_IN.queue(QueueName.WEBHOOKS)
    assert (built_in.node, built_in.slots, built_in.base, built_in.floor, built_in.ceiling, built_in.decided_by) == (
        "node-1", 30, 30, policy.floor, policy.ceiling, "",
    )  # fmt: skip
    assert (told.node, told.slots, told.base, told.floor, told.ceiling) == ("node-2", 22, 20, 5, 25)
    assert (told.decided_by, told.reason, told.is_pinned) == ("balancer", "flood", False)
    assert [(change.queue, change.before, change.after, change.why) for change in snapshot.slot_changes] == [
        ("webhooks", 20, 22, "flood")
    ]
    assert snapshot.is_balancing

    await slots.scale(scenery.worker, ANNA, "webhooks", 12, node="node-1", reason="spare them")
    await slots.set_balancing(scenery.worker, ANNA, False)
    snapshot = await queues.collect(watch, Sources())
    assert [(row.slots, row.is_pinned, row.reason) for row in snapshot.slots] == [
        (12, True, "spare them"),
        (22, False, "flood"),
    ]
    assert not snapshot.is_balancing


async def test_quarantines_and_what_is_done_with_many_jobs_are_told(watch: Connection, scenery: Scenery) -> None:
    first = await quarantines.quarantine(
        scenery.worker, ANNA, "webhooks.retell_call", company="nord", contains="x", fingerprint="f1", reason="poison"
    )
    await quarantines.quarantine(scenery.worker, ANNA, "default.calendar_sync", reason="all of it")
    await scenery.held(1, fingerprint="f1")
    for job in (2, 3):
        await scenery.held(
            job, fingerprint="f1", message=f"held before it ran by quarantine {first.id} of anna: poison"
        )
    await scenery.worker.execute("update held_jobs set error_type = 'Quarantined' where job_id > 1")
    await scenery.worker.execute(
        """
        insert into bulk_actions (action, filter, started_by, node, started_at, seen_at, ended_at, state, matched, done)
        values ('retry', '{}', 'anna', 'n', now() - interval '1 m', now(), null, 'running', 10, 4),
               ('retry', '{}', 'anna', 'n', now() - interval '2 m', now() - interval '1 m', null, 'running', 10, 4),
               ('discard', '{}', 'anna', 'n', now() - interval '3 m', now(), now(), 'done', 10, 10),
               ('move', '{}', 'anna', 'n', now() - interval '3 h', now(), now() - interval '2 h', 'done', 10, 10)
        """
    )
    snapshot = await queues.collect(watch, Sources())
    other, made = snapshot.quarantines
    assert (made.id, made.company, made.contains, made.fingerprint, made.held) == (first.id, "nord", "x", "f1", 2)
    assert (other.company, other.contains, other.held) == ("", "", 0)
    assert [(row.action, row.state) for row in snapshot.bulk_actions] == [
        ("retry", "running"),
        ("retry", "failed"),
        ("discard", "done"),
    ]
    assert "silent" in snapshot.bulk_actions[1].error
    await quarantines.lift(scenery.worker, ANNA, first.id)
    assert [row.id for row in (await queues.collect(watch, Sources(previous=snapshot))).quarantines] == [other.id]
