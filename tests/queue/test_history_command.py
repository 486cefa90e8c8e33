"""`askpro queue history` tells what queues did; `askpro queue schedule` what comes round, and runs or pauses it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from backend.postgres.address import Role
from backend.queue.counting import Counting
from backend.queue.periodic import SCHEDULE, enqueue_due
from tests.databases import OpenConnection
from tests.home import Shell
from tests.queue.test_counting import CALL, ran

SWEEP = "default.release_holds"
STALE = "default.close_stale_calls"


async def read(shell: Shell, *arguments: str) -> Any:  # noqa: ANN401  # JSON of any shape
    return cast("Any", await shell.read(*arguments))


async def test_history_tells_what_queues_and_job_types_did(
    askpro_queue: Shell, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    assert "Nothing was counted" in await askpro_queue("history")
    now = datetime.now(UTC)
    await worker.execute(
        "update job_minutes_mark set (counted_until, settled_until) = ($1, $1)", now - timedelta(hours=3)
    )
    for minutes, outcome, took_s in ((5, "done", 0.02), (5, "retry", 130.0), (100, "held", 0.0001)):
        await ran(worker, now - timedelta(minutes=minutes), outcome, took_s=took_s, waited_ms=1_500)
    counting = Counting()
    while (await counting.count(worker)).behind:
        pass
    told = await askpro_queue("history", "--span", "1h")
    assert [line.split() for line in told.splitlines()[1:3]] == [
        [CALL, "0", "1", "1", "0", *("1.6", "s") * 3, "19", "ms", "19", "ms", "19", "ms"],
        ["all", "of", "it", "0", "1", "1", "0", *("1.6", "s") * 3, "19", "ms", "19", "ms", "19", "ms"],
    ]
    day = await read(askpro_queue, "history", CALL)
    assert (day["step_s"], len(day["steps"]), day["total"]["held"]) == (600, 144, 1)
    stepwise = await askpro_queue("history", "webhooks", "--steps", "--span", "2h", "--step", "10m")
    assert len(stepwise.splitlines()) == 1 + 12 + 1 + 2
    assert "<1 ms" in stepwise
    assert "multiple of 60 s" in await askpro_queue("history", "--steps", "--step", "90s", code=2)
    assert "Did you mean webhooks?" in await askpro_queue("history", "webhoks", code=1)
    assert "Nothing of default was counted" in await askpro_queue("history", "default")


async def test_a_schedule_is_seen_put_in_by_hand_paused_and_resumed(
    askpro_queue: Shell, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    now = datetime.now(UTC)
    await enqueue_due(worker, now)
    await worker.execute("delete from pgqueuer where entrypoint <> $1", SWEEP)
    for minutes, outcome in ((3, "done"), (2, "retry"), (1, "done")):
        await ran(worker, now - timedelta(minutes=minutes), outcome, entrypoint=STALE, took_s=0.25)
    rows = {row["entrypoint"]: row for row in await read(askpro_queue, "schedule")}
    assert set(rows) == {item.entrypoint for item in SCHEDULE}
    assert [run["outcome"] for run in rows[STALE]["runs"]] == ["done", "retry", "done"]
    assert (rows[STALE]["last_took_s"], rows[SWEEP]["is_waiting"], rows[STALE]["is_waiting"]) == (0.25, True, False)
    assert "Would put" in await askpro_queue("schedule", "run", STALE, "--dry-run")
    assert "waits or runs already" in await askpro_queue("schedule", "run", SWEEP, "--yes")
    put_in = await read(askpro_queue, "schedule", "run", STALE, "--yes", "--reason", "calls hang")
    assert await worker.fetchval("select entrypoint from pgqueuer where id = $1", put_in["job_id"]) == STALE
    assert "does not come round" in await askpro_queue("schedule", "run", CALL, "--yes", code=1)
    assert "needs a reason" in await askpro_queue("schedule", "pause", STALE, "--yes", code=2)
    await askpro_queue("schedule", "pause", STALE, "--yes", "--reason", "it ends real calls")
    assert "it ends real calls" in await askpro_queue("schedule", "ls", STALE)

    await worker.execute("delete from pgqueuer")
    later = now + timedelta(minutes=2)
    assert STALE not in await enqueue_due(worker, later)
    row = (await read(askpro_queue, "schedule", "ls", STALE))[0]
    assert datetime.fromisoformat(row["next_run"]) == later + timedelta(minutes=1), "it is left out, not put off"
    await askpro_queue("schedule", "resume", STALE, "--yes")
    assert await enqueue_due(worker, later) == []
    assert STALE in await enqueue_due(worker, later + timedelta(minutes=1))
    actions = [row["action"] for row in await worker.fetch("select action from audit_log order by id")]
    assert actions == ["schedule.run", "schedule.pause", "schedule.resume"]
