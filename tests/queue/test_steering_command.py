"""`askpro queue pause`, `resume`, `scale`, `balance`, `quarantine`, `breaker` tell what they touch, then do it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from askpro_console.operator_name import operator_name
from backend.domain.vocabulary import PauseKind
from backend.queue.port import JobQueue, NewJob
from backend.services.operating.obeying import pause_obeyed
from tests.databases import OpenConnection, OwnConnection
from tests.home import Shell
from tests.watch.scenery import company_scenery


@pytest.fixture
async def worker(open_connection: OpenConnection) -> OwnConnection:
    """Three jobs of a company and one of nobody's that wait, one that runs."""
    scenery = await company_scenery(open_connection)
    for _ in range(3):
        await scenery.job(payload={"subject": "call_bad"})
    await JobQueue().enqueue(scenery.worker, [NewJob("default.calendar_sync", b"{}")])
    running = await scenery.job()
    await scenery.worker.execute("update pgqueuer set status = 'picked', heartbeat = now() where id = $1", running)
    return scenery.worker


async def record(connection: OwnConnection) -> list[tuple[str, str, str]]:
    rows = await connection.fetch("select action, subject, reason from audit_log order by id")
    return [(row["action"], row["subject"], row["reason"]) for row in rows]


async def read(shell: Shell, *arguments: str) -> Any:  # noqa: ANN401  # JSON of any shape
    return cast("Any", await shell.read(*arguments))


async def test_a_pause_tells_what_it_touches_before_and_who_why_until_after(
    askpro_queue: Shell, worker: OwnConnection
) -> None:
    would = await askpro_queue("pause", "webhooks", "--dry-run", "--reason", "x", "--until", "30m")
    assert "Would pause queue webhooks until" in would
    assert "3 jobs wait of 1 company (nord 4)" in would
    assert "1 runs and will end" in would
    assert "needs a reason" in await askpro_queue("pause", "webhooks", "--yes", code=2)
    assert "nobody to ask" in await askpro_queue("pause", "webhooks", "--reason", "x", code=2)
    assert "one thing at a time" in await askpro_queue("pause", "webhooks", "--company", "nord", "--dry-run", code=2)
    assert "webhooks" in await askpro_queue("pause", "webhoks", "--dry-run", code=1)
    assert await worker.fetchval("select count(*) from pauses") == 0

    touched = await read(askpro_queue, "pause", "--company", "nord", "--reason", "x", "--dry-run")
    assert (touched["would"], touched["touches"]["ready"], touched["touches"]["running"]) == ("pause", 3, 1)
    touched = await read(askpro_queue, "pause", "--provider", "calcom", "--reason", "x", "--dry-run")
    assert touched["touches"]["by_type"] == [["default.calendar_sync", 1]]
    assert "is paused until" in await askpro_queue(
        "pause", "webhooks", "--reason", "rotating keys", "--until", "30m", "--ramp", "5m", "--yes"
    )
    (listed,) = await read(askpro_queue, "pauses")
    assert (listed["kind"], listed["name"], listed["ramp_s"]) == ("queue", "webhooks", 300)
    assert (listed["paused_by"], listed["reason"]) == (operator_name(), "rotating keys")
    assert "rotating keys" in await askpro_queue("pauses")
    table = await askpro_queue("ls")
    assert f"paused by {operator_name()}: rotating keys" in table
    rows = {row["queue"]: row for row in await read(askpro_queue, "ls")}
    assert rows["webhooks"]["paused"]
    assert not rows["default"]["paused"]

    assert "Would resume" in await askpro_queue("resume", "webhooks", "--dry-run")
    assert "full speed in 60 s" in await askpro_queue("resume", "webhooks", "--ramp", "1m", "--yes")
    assert "is not paused" in await askpro_queue("resume", "webhooks", "--yes", code=1)
    assert "Nothing is paused" in await askpro_queue("pauses")
    assert len(await read(askpro_queue, "pauses", "--all")) == 1
    assert await record(worker) == [
        ("queue.pause", "webhooks", "rotating keys"),
        ("queue.resume", "webhooks", ""),
    ]

    assert "held open" not in await askpro_queue("breaker")
    assert "paused" in await askpro_queue("breaker", "calcom", "open", "--reason", "429", "--yes")
    assert "429" in await askpro_queue("breaker", "calcom")
    assert "calls go out" in await askpro_queue("breaker", "calcom", "close", "--reason", "well", "--yes")
    (line,) = await read(askpro_queue, "breaker", "calcom")
    assert line["pause"] is None
    assert "no provider" in await askpro_queue("breaker", "calcon", code=1)


async def live(worker: OwnConnection, **slots: int) -> None:
    """A live worker of each of these queues, which tells that it has so many slots."""
    await worker.execute("delete from workers")
    await worker.executemany(
        "insert into workers (id, node, queue, pid, version, concurrency, in_force, heartbeat_at)"
        " values (gen_random_uuid(), 'node-1', $1, 1, '0', $2, jsonb_build_object('slots', $2::int),"
        " now() + interval '1 h')",
        list(slots.items()),
    )


async def test_slots_are_said_within_the_policy_and_given_back_and_it_is_told_who_obeys(
    askpro_queue: Shell, worker: OwnConnection
) -> None:
    await live(worker, webhooks=30, default=20)
    assert "Would give webhooks 40 slots (now 30 on node-1)" in await askpro_queue(
        "scale", "webhooks", "40", "--dry-run"
    )
    for wrong, code in (("61", 1), ("0", 1), ("many", 2)):
        assert "slots" in await askpro_queue("scale", "webhooks", wrong, "--yes", code=code)
    assert "No worker" in await askpro_queue("scale", "webhooks", "40", "--node", "nowhere", "--yes", code=1)
    await live(worker, webhooks=40, default=20)
    scaled = await read(askpro_queue, "scale", "webhooks", "40", "--node", "node-1", "--reason", "monday", "--yes")
    assert (scaled["before"], scaled["after"], scaled["is_pinned"]) == (30, 40, True)
    assert (scaled["obeyed"]["workers"], scaled["obeyed"]["obeying"]) == (1, 1)
    balance = await read(askpro_queue, "balance")
    assert [(row["queue"], row["slots"], row["is_pinned"]) for row in balance["slots"]] == [
        ("webhooks", 40, True),
        ("default", 20, False),
    ]
    assert balance["changes"][0]["why"] == "monday"
    assert "40 pinned" in await askpro_queue("ls")
    assert "follow the load" in await askpro_queue("balance")
    assert "balancing is off" in await askpro_queue("balance", "off", "--reason", "measuring", "--yes")
    assert not (await read(askpro_queue, "balance"))["is_on"]
    await live(worker, webhooks=30, default=20)
    assert "30 slots by its policy. The worker obeys" in await askpro_queue(
        "scale", "webhooks", "auto", "--node", "node-1", "--yes"
    )
    assert [action for action, _, _ in await record(worker)] == ["slots.pin", "balancing.off", "slots.unpin"]

    await worker.execute(
        "insert into pauses (kind, name, paused_by, reason) values ('node', 'node-1', 'anna', 'kernel')"
    )
    assert (await askpro_queue("ls")).count("all its nodes are drained") == 2
    await worker.execute("update workers set in_force = '{\"paused\": [\"company nord\"]}' where queue = 'webhooks'")

    async def obeyed(kind: PauseKind, name: str, *, paused: bool) -> str:
        return str(await pause_obeyed(worker, kind, name, paused=paused, patience_s=0.0))

    assert "Only 1 of 2 workers obey" in await obeyed(PauseKind.COMPANY, "nord", paused=True)
    assert "Only 1 of 2 workers obey" in await obeyed(PauseKind.COMPANY, "nord", paused=False)
    assert "The worker obeys" in await obeyed(PauseKind.QUEUE, "default", paused=False)
    assert "Only 0 of 1 workers" in await obeyed(PauseKind.QUEUE, "default", paused=True)
    assert "No worker" in await obeyed(PauseKind.NODE, "elsewhere", paused=True)
    assert "No worker" in await obeyed(PauseKind.SCHEDULE, "default.retention", paused=True)


async def test_a_quarantine_tells_how_many_wait_and_is_lifted(askpro_queue: Shell, worker: OwnConnection) -> None:
    kind = "webhooks.retell_call"
    sort = (kind, "--company", "nord", "--contains", "CALL_BAD")
    would = await askpro_queue("quarantine", *sort, "--reason", "x", "--dry-run")
    assert "3 wait now, of 1 company" in would
    assert await worker.fetchval("select count(*) from quarantines") == 0
    assert "needs a reason" in await askpro_queue("quarantine", kind, "--yes", code=2)
    assert "no job type" in await askpro_queue("quarantine", "webhooks.x", "--dry-run", code=1)
    await worker.execute(
        "insert into held_jobs (job_id, queue, entrypoint, company_id, fingerprint, error_type, message, traceback,"
        " payload, attempts, enqueued_at)"
        " values (900, 'webhooks', $1, company_named('nord'), 'f1', 'Boom', 'boom', '', '', 4, now())",
        kind,
    )
    made = await read(
        askpro_queue, "quarantine", "--cause", "f1", "--reason", "kills workers", "--until", "2h", "--yes"
    )
    assert (made["entrypoint"], made["company"], made["fingerprint"]) == (kind, "nord", "f1")
    assert "kills workers" in await askpro_queue("quarantine")
    assert "Would lift" in await askpro_queue("quarantine", "--lift", str(made["id"]), "--dry-run")
    assert "run again" in await askpro_queue("quarantine", "--lift", str(made["id"]), "--yes")
    assert "no quarantine" in await askpro_queue("quarantine", "--lift", str(made["id"]), "--yes", code=1)
    assert "Nothing is in quarantine" in await askpro_queue("quarantine")
    assert await record(worker) == [("quarantine.make", kind, "kills workers"), ("quarantine.lift", kind, "")]
