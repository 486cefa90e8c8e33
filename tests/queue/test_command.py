"""`askpro queue`: what is listed, what one job's record says, and that only what was asked for is decided about."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.queue.context import JobContext
from backend.queue.failures import Permanent
from backend.queue.port import JobQueue, NewJob
from tests.databases import OpenConnection
from tests.home import Shell, settle_home
from tests.queue.scenes import OwnConnection, config_for, put, until, working


@pytest.fixture
def askpro_queue(
    database: PostgresAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    settle_home(tmp_path, database, monkeypatch)
    return Shell(capsys, "queue")


@pytest.fixture
async def held(database: PostgresAddress, open_connection: OpenConnection) -> tuple[OwnConnection, list[int]]:
    """Three held jobs of two causes, and one that waits."""
    connection = await open_connection(Role.WORKER)

    async def refuse(context: JobContext) -> None:
        raise Permanent(f"\x1b[31mno {'room' if context.payload == b'room' else 'time'}")

    jobs = [
        NewJob("webhooks.a", payload, dedupe_key=key) for payload, key in ((b"room", "k"), (b"room", "l"), (b"", "m"))
    ]
    ids = await put(connection, *jobs)
    async with working(config_for(database), {"webhooks.a": refuse}):

        async def all_held() -> bool:
            count: int = await connection.fetchval("select count(*) from held_jobs")
            return count == len(ids)

        await until(all_held, "all are held")
    await put(connection, NewJob("appointments.b"))
    return connection, ids


async def test_the_list_counts_what_waits_and_what_is_held(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    lines = await askpro_queue.read("ls")
    assert isinstance(lines, list)
    figures = {line["queue"]: (line["ready"], line["held"], line["running"]) for line in lines}
    assert figures == {
        "webhooks": (0, 3, 0),
        "appointments": (1, 0, 0),
        "default": (0, 0, 0),
        "notifications": (0, 0, 0),
    }
    assert "appointments" in await askpro_queue("ls")


async def test_a_held_job_shows_its_cause_and_its_runs_but_its_payload_on_demand_only(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    _, ids = held
    listed = await askpro_queue("held")
    assert "\x1b" not in listed
    assert listed.count("no room") == 2
    record = await askpro_queue.read("show", str(ids[0]))
    assert isinstance(record, dict)
    assert record["state"] == "failed"
    assert record["held_state"] == "held"
    assert [run["outcome"] for run in record["runs"]] == ["held"]
    assert "room" not in record["payload"]
    shown = await askpro_queue("show", str(ids[0]), "--payload")
    assert "payload    room" in shown
    assert "raise Permanent" in shown
    assert "\x1b" not in shown
    assert "Nothing is known" in await askpro_queue("show", "999999", code=1)


async def test_a_retry_takes_one_cause_and_leaves_the_other(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    connection, ids = held
    cause = await connection.fetchval("select fingerprint from held_jobs where job_id = $1", ids[0])
    assert "Would retry 2 held jobs" in await askpro_queue("retry", "--cause", cause, "--dry-run")
    assert await connection.fetchval("select count(*) from held_jobs where state = 'held'") == 3
    assert await askpro_queue.read("retry", "--cause", cause, "--yes") == {
        "matched": 2,
        "decided": ids[:2],
        "skipped": [],
    }
    states = await connection.fetch("select job_id, state from held_jobs order by job_id")
    assert [row["state"] for row in states] == ["retried", "retried", "held"]
    waiting = await connection.fetch("select id from pgqueuer where status = 'queued' and attempts = 0 order by id")
    assert [row["id"] for row in waiting][:2] == ids[:2]


async def test_a_held_job_is_not_retried_while_an_equal_one_waits(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    connection, ids = held
    await JobQueue().enqueue(connection, [NewJob("webhooks.a", b"room", dedupe_key="k")])
    assert await askpro_queue.read("retry", "--queue", "webhooks", "--yes") == {
        "matched": 3,
        "decided": ids[1:],
        "skipped": ids[:1],
    }


async def test_discarded_jobs_are_gone_and_what_is_known_of_them_stays(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    connection, ids = held
    assert "Discarded 1 held jobs" in await askpro_queue("discard", str(ids[0]), "--yes")
    assert await connection.fetchval("select count(*) from pgqueuer where id = $1", ids[0]) == 0
    assert await connection.fetchval("select state from held_jobs where job_id = $1", ids[0]) == "discarded"
    assert await connection.fetchval("select count(*) from held_jobs where state = 'held'") == 2


async def test_nothing_is_decided_without_saying_what_or_with_nobody_to_ask(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    connection, ids = held
    assert "Which held jobs?" in await askpro_queue("discard", "--yes", code=2)
    assert "nobody to ask" in await askpro_queue("discard", str(ids[0]), code=2)
    assert await connection.fetchval("select count(*) from held_jobs where state = 'held'") == 3


async def test_jobs_are_found_by_words_and_a_wrong_company_is_said(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    _, ids = held
    table = await askpro_queue("find", "permanent", "room")
    assert str(ids[0]) in table
    assert "\x1b" not in table
    found = await askpro_queue.read("find", "permanent", "--since", "1h")
    assert isinstance(found, list)
    assert {job["job_id"] for job in found} == set(ids)
    assert "No job matches" in await askpro_queue("find", "permanent", "--queue", "appointments")
    assert "no company nobody" in await askpro_queue("find", "--company", "nobody", code=1)
    assert "is no span" in await askpro_queue("find", "--since", "tomorrow", code=2)
