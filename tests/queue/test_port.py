"""Putting jobs in: in the caller's transaction, once for each key, by every role that may."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from backend.postgres.address import Role
from backend.queue.port import JobQueue, NewJob
from tests.databases import OpenConnection


async def test_jobs_are_there_exactly_when_their_transaction_commits(open_connection: OpenConnection) -> None:
    api, worker = await open_connection(Role.API), await open_connection(Role.WORKER)
    transaction = api.transaction()
    await transaction.start()
    await JobQueue().enqueue(api, [NewJob("webhooks.retell_call", b"{}")])
    await transaction.rollback()
    assert await worker.fetchval("select count(*) from pgqueuer") == 0
    async with api.transaction():
        await JobQueue().enqueue(api, [NewJob("webhooks.retell_call", b"{}")])
    assert await worker.fetchval("select count(*) from pgqueuer where status = 'queued'") == 1


async def test_a_duplicate_key_is_put_in_once_and_every_place_of_the_answer_belongs_to_its_job(
    open_connection: OpenConnection,
) -> None:
    api, worker = await open_connection(Role.API), await open_connection(Role.WORKER)
    jobs = [
        NewJob("webhooks.retell_call", b"0", dedupe_key="z"),
        NewJob("webhooks.retell_call", b"1"),
        NewJob("webhooks.retell_call", b"2", dedupe_key="a"),
        NewJob("webhooks.retell_call", b"3", dedupe_key="z"),
    ]
    ids = await JobQueue().enqueue(api, jobs)
    assert ids[3] is None
    payloads = {row["id"]: row["payload"] for row in await worker.fetch("select id, payload from pgqueuer")}
    assert [payloads[job_id] for job_id in ids[:3] if job_id is not None] == [b"0", b"1", b"2"]
    refused, taken = await JobQueue().enqueue(api, [jobs[2], jobs[1]])
    assert refused is None
    assert taken not in {None, *payloads}


async def test_a_job_carries_its_company_its_delay_and_its_priority(open_connection: OpenConnection) -> None:
    api, worker = await open_connection(Role.API), await open_connection(Role.WORKER)
    company = uuid4()
    await JobQueue().enqueue(
        api, [NewJob("default.x", company_id=company, priority=7, delay=timedelta(minutes=1)), NewJob("default.y")]
    )
    first, second = await worker.fetch(
        """select headers ->> 'company' as company, priority, execute_after > now() + interval '59 s' as later
           from pgqueuer order by entrypoint"""
    )
    assert (first["company"], first["priority"], first["later"]) == (str(company), 7, True)
    assert (second["company"], second["priority"], second["later"]) == (None, 0, False)


async def test_no_job_is_put_in_without_asking_the_database(open_connection: OpenConnection) -> None:
    assert await JobQueue().enqueue(await open_connection(Role.WATCH), []) == []


@pytest.mark.parametrize("name", ["CHANNEL", "TRIGGER", "PGQUEUER_PREFIX", "PGQUEUER_SCHEMA", "DURABILITY"])
def test_the_environment_cannot_rename_the_engines_tables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.queue.engine import SETTINGS

    monkeypatch.setenv(name, "volatile" if name == "DURABILITY" else "other")
    assert type(SETTINGS)(**SETTINGS.model_dump()) == SETTINGS
