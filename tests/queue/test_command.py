"""`askpro queue`: what is listed, what one job's record says, and that only what was asked for is decided about."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.queue.context import JobContext
from backend.queue.failures import Permanent
from backend.queue.port import JobQueue, NewJob
from tests.databases import OpenConnection
from tests.home import Shell
from tests.queue.scenes import OwnConnection, config_for, put, until, working


@pytest.fixture
async def held(database: PostgresAddress, open_connection: OpenConnection) -> tuple[OwnConnection, list[int]]:
    """Three held jobs of two causes, and one that waits."""
    connection = await open_connection(Role.WORKER)

    async def refuse(context: JobContext) -> None:
        raise Permanent(f"\x1b[31mno {'room' if b'room' in context.payload else 'time'}")

    jobs = [
        NewJob("webhooks.a", payload, dedupe_key=key)
        for payload, key in ((b'{"name": "room"}', "k"), (b'{"name": "room"}', "l"), (b"", "m"))
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


async def test_a_held_job_shows_its_cause_and_its_runs_but_its_payload_only_for_a_reason_that_is_kept(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    connection, ids = held
    listed = await askpro_queue("held")
    assert "\x1b" not in listed
    assert listed.count("no room") == 2
    causes = await askpro_queue.read("held", "--causes")
    assert isinstance(causes, list)
    assert sorted(cause["held_1h"] for cause in causes) == [1, 2]
    record = await askpro_queue.read("show", str(ids[0]))
    assert isinstance(record, dict)
    assert (record["state"], record["held"]["state"], record["is_revealed"]) == ("failed", "held", False)
    assert [run["outcome"] for run in record["runs"]] == ["held"]
    assert record["payload"] == '{\n  "name": "[name]"\n}'
    assert "a reason" in await askpro_queue("show", str(ids[0]), "--reveal", code=2)
    assert await connection.fetchval("select count(*) from audit_log") == 0
    shown = await askpro_queue("show", str(ids[0]), "--reveal", "--reason", "ticket 7")
    assert '{"name": "room"}' in shown
    assert "raise Permanent" in shown
    assert "\x1b" not in shown
    kept = await connection.fetchrow("select action, subject, reason from audit_log")
    assert kept is not None
    assert tuple(kept) == ("job.reveal", f"job {ids[0]}", "ticket 7")
    assert "Nothing is known" in await askpro_queue("show", "999999", code=1)


async def test_a_dry_run_tells_what_a_retry_then_does_and_what_it_leaves(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    connection, ids = held
    cause = await connection.fetchval("select fingerprint from held_jobs where job_id = $1", ids[0])
    planned = await askpro_queue("retry", "--cause", cause, "--dry-run", "--rate", "1")
    assert "Would retry 2 held jobs" in planned
    assert "2 s at that rate" in planned
    assert await connection.fetchval("select count(*) from held_jobs where state = 'held'") == 3
    # An equal job comes in meanwhile: its held twin stays.
    await JobQueue().enqueue(connection, [NewJob("webhooks.a", b"{}", dedupe_key="k")])
    done = await askpro_queue.read("retry", "--cause", cause, "--yes", "--reason", "mended")
    assert isinstance(done, dict)
    assert (done["state"], done["matched"], done["done"], done["skipped"]) == ("done", 2, 1, 1)
    states = await connection.fetch("select job_id, state from held_jobs order by job_id")
    assert [row["state"] for row in states] == ["held", "retried", "held"]
    listed = await askpro_queue.read("bulk")
    assert isinstance(listed, list)
    assert [(line["action"], line["state"], line["reason"]) for line in listed] == [("retry", "done", "mended")]
    assert "Nothing that runs" in await askpro_queue("bulk", listed[0]["bulk_id"], code=1)


async def test_a_held_job_is_edited_from_a_file_or_an_editor_and_moved(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, ids = held
    payload = tmp_path / "payload.json"
    payload.write_text('{"name": "hall"}')
    planned = await askpro_queue("edit", str(ids[0]), "--payload", str(payload), "--dry-run")
    assert "(name). Nothing was changed" in planned
    edited = await askpro_queue.read("edit", str(ids[0]), "--payload", str(payload), "--yes")
    assert isinstance(edited, dict)
    row = await connection.fetchrow("select payload, status::text from pgqueuer where id = $1", edited["new_job"])
    assert row is not None
    assert tuple(row) == (b'{"name": "hall"}', "queued")
    assert f"came of     job {ids[0]}" in await askpro_queue("show", str(edited["new_job"]))
    assert "is not held" in await askpro_queue("edit", str(ids[0]), "--payload", str(payload), "--yes", code=1)

    monkeypatch.setenv("EDITOR", "sed -i s/room/attic/")
    assert "needs a reason" in await askpro_queue("edit", str(ids[1]), code=2)
    await askpro_queue("edit", str(ids[1]), "--reason", "typo", "--yes")
    assert await connection.fetchval('select count(*) from pgqueuer where payload = \'{"name":"attic"}\'') == 1

    assert "Moved 1 held job" in await askpro_queue("move", str(ids[2]), "--to", "default", "--yes")
    moved = await connection.fetchval("select entrypoint from pgqueuer where dedupe_key = 'm'")
    assert moved == "default.webhooks.a"
    assert await connection.fetchval("select array_agg(state) from held_jobs") == ["replaced"] * 3


async def test_nothing_is_decided_without_saying_what_or_with_nobody_to_ask_and_what_is_discarded_is_gone(
    askpro_queue: Shell, held: tuple[OwnConnection, list[int]]
) -> None:
    connection, ids = held
    assert "Which held jobs?" in await askpro_queue("discard", "--yes", code=2)
    assert "nobody to ask" in await askpro_queue("discard", str(ids[0]), code=2)
    assert "no company nobody" in await askpro_queue("discard", "--company", "nobody", "--yes", code=1)
    assert "above 0" in await askpro_queue("retry", "--all", "--rate", "0", code=2)
    assert await connection.fetchval("select count(*) from held_jobs where state = 'held'") == 3
    assert "Discarded 1 held job" in await askpro_queue("discard", str(ids[0]), "--yes")
    assert await connection.fetchval("select count(*) from pgqueuer where id = $1", ids[0]) == 0
    assert await connection.fetchval("select state from held_jobs where job_id = $1", ids[0]) == "discarded"
    assert "None of these jobs is held" in await askpro_queue("retry", str(ids[0]), "--yes", code=1)


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
