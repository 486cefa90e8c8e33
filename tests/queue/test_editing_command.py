"""`askpro queue edit` goes by the whole payload, and overwrites none that became another meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from backend.postgres.address import Role
from tests.databases import OpenConnection, OwnConnection
from tests.home import Shell
from tests.services.held_scenes import hold, states


@pytest.fixture
async def worker(open_connection: OpenConnection) -> OwnConnection:
    return await open_connection(Role.WORKER)


async def test_a_payload_larger_than_what_is_shown_is_edited_as_a_whole(
    askpro_queue: Shell, worker: OwnConnection, tmp_path: Path
) -> None:
    held = {"text": "x" * 150_000, "n": 1}
    (job_id,) = await hold(worker, payload=json.dumps(held))
    file = tmp_path / "payload.json"
    file.write_text(json.dumps(held))
    assert "Nothing was changed" in await askpro_queue("edit", str(job_id), "--payload", str(file), "--yes", code=1)
    file.write_text(json.dumps({**held, "n": 2}))
    assert "(n). Nothing was changed" in await askpro_queue("edit", str(job_id), "--payload", str(file), "--dry-run")
    edited = await askpro_queue.read("edit", str(job_id), "--payload", str(file), "--yes")
    assert isinstance(edited, dict)
    assert edited["changed"] == ["n"]
    assert (
        await worker.fetchval("select octet_length(payload) from pgqueuer where id = $1", edited["new_job"]) > 150_000
    )


async def test_what_was_read_is_not_overwritten_once_the_held_job_has_another_payload(
    askpro_queue: Shell, worker: OwnConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = await hold(worker, payload='{"n": 1}')
    typed = tmp_path / "typed"
    os.mkfifo(typed)
    editor = tmp_path / "editor"
    editor.write_text(f"#!/bin/sh\ncat '{typed}' > \"$1\"\n")
    editor.chmod(0o700)
    monkeypatch.setenv("VISUAL", str(editor))
    command = asyncio.create_task(askpro_queue("edit", str(job_id), "--reason", "typo", "--yes", code=1))
    # This waits until the editor reads: by then the payload has been read.
    keys = await asyncio.wait_for(asyncio.to_thread(typed.open, "w"), 60)
    await worker.execute("update pgqueuer set payload = '{\"n\": 7}' where id = $1", job_id)
    keys.write('{"n": 2}')
    keys.close()
    assert "is not what you edited" in await command
    assert await states(worker) == {"held": 1}
    assert await worker.fetchval("select payload from pgqueuer where id = $1", job_id) == b'{"n": 7}'
