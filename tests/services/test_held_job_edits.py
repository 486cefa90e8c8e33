"""A held job with another payload: the held one is kept, nothing is overwritten unseen, who looked is recorded."""

from __future__ import annotations

import asyncio

import pytest

from backend.postgres.address import PostgresAddress, Role
from backend.queue.port import JobQueue, NewJob
from backend.services.held_jobs.editing import changed, edit_and_retry
from backend.services.held_jobs.revealing import reveal_payload
from backend.services.operating.refusals import NotPossible
from tests.databases import OpenConnection
from tests.services.held_scenes import ANNA, OwnConnection, actions, hold, states, worker_at


async def edited(connection: OwnConnection, job_id: int, payload: bytes, expected: bytes) -> int | str:
    """The new job's id, or why there is none."""
    try:
        async with connection.transaction():
            return await edit_and_retry(connection, ANNA, job_id, payload, expected=expected, reason="typo")
    except NotPossible as wrong:
        return wrong.sentence


async def test_the_held_job_is_kept_and_another_runs_with_the_edited_payload(open_connection: OpenConnection) -> None:
    worker = await open_connection(Role.WORKER)
    (job_id,) = await hold(worker, payload='{"n": #, "keep": true}', key="k")
    async with worker.transaction():
        payload = await reveal_payload(worker, ANNA, job_id, reason="ticket 7")
    new_id = await edited(worker, job_id, b'{"n": 2, "keep": true}', payload)
    row = await worker.fetchrow("select id, payload, dedupe_key, priority, status::text from pgqueuer")
    assert row is not None
    assert tuple(row) == (new_id, b'{"n": 2, "keep": true}', "k", 3, "queued")
    kept = await worker.fetchrow("select payload, state, decided_by from held_jobs where job_id = $1", job_id)
    assert kept is not None
    assert tuple(kept) == (payload, "replaced", "anna")
    assert await actions(worker) == ["job.reveal", "held.edit"]
    detail = await worker.fetchval("select detail::text from audit_log where action = 'held.edit'")
    assert '"fields": ["n"]' in detail
    assert "keep" not in detail


async def test_an_edit_that_cannot_be_right_changes_nothing(open_connection: OpenConnection) -> None:
    worker = await open_connection(Role.WORKER)
    first, second, third = await hold(worker, 3, payload='{"n": #}', key="key #")
    (binary,) = await hold(worker, payload="\x01 not JSON")
    assert "not what you edited" in str(await edited(worker, first, b"{}", b'{"n": 7}'))
    assert "not JSON" in str(await edited(worker, first, b"{", b'{"n": 1}'))
    assert "Nothing was changed" in str(await edited(worker, first, b'{"n": 1}', b'{"n": 1}'))
    assert "bytes" in str(await edited(worker, first, b'"' + b"x" * 1_000_000 + b'"', b'{"n": 1}'))
    assert "not held" in str(await edited(worker, 4711, b"{}", b""))
    await JobQueue().enqueue(worker, [NewJob("webhooks.a", dedupe_key="key 2")])
    assert "waits already" in str(await edited(worker, second, b"{}", b'{"n": 2}'))
    await worker.execute("delete from pgqueuer where id = $1", third)
    assert isinstance(await edited(worker, third, b"{}", b'{"n": 3}'), int)
    assert isinstance(await edited(worker, binary, b"still not JSON", b"\x01 not JSON"), int)
    assert await states(worker) == {"held": 2, "replaced": 2}
    async with worker.transaction():
        for job_id, reason in ((first, "  "), (4711, "ticket 7")):
            with pytest.raises(NotPossible):
                await reveal_payload(worker, ANNA, job_id, reason=reason)
    assert await actions(worker) == ["held.edit", "held.edit"]


async def test_of_two_who_edit_the_same_job_at_once_the_second_is_told(
    database: PostgresAddress, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    (job_id,) = await hold(worker)
    other = await worker_at(database)()
    try:
        ends = await asyncio.gather(
            edited(worker, job_id, b'{"n": 2}', b'{"n": 1}'), edited(other, job_id, b'{"n": 3}', b'{"n": 1}')
        )
    finally:
        await other.close()
    told = [end for end in ends if isinstance(end, str)]
    assert told == [f"Job {job_id} is not held: it was replaced."]
    assert await worker.fetchval("select count(*) from pgqueuer") == 1


def test_what_changed_is_told_by_the_outermost_names() -> None:
    assert changed(b'{"a": 1, "b": {"c": 2}}', b'{"b": {"c": 3}, "d": null}') == ["a", "b", "d"]
    assert changed(b"[1]", b"[2]") == changed(b"no", b"{}") == []
