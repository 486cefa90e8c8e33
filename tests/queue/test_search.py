"""Finding jobs: by number, type, error, payload, company, queue and time, whatever they are doing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.queue.context import JobContext
from backend.queue.failures import Permanent
from backend.queue.held import retry_held
from backend.queue.port import NewJob
from backend.queue.search import FoundJob, JobQuestion, NoSuchCompany, find_jobs, search_jobs
from tests.databases import OpenConnection, SuperuserConnection
from tests.queue.scenes import OwnConnection, config_for, put, until, working

MANY_HELD = """
insert into held_jobs (job_id, queue, entrypoint, fingerprint, error_type, message, traceback, payload, attempts,
                       enqueued_at, held_at)
select i, 'webhooks', 'webhooks.retell_call', 'f' || i % 5, (array['ValueError', 'TypeError'])[1 + i % 2],
       'no room in branch ' || i % 100, '',
       convert_to('{"call": "call_' || i || '"}', 'UTF8'), 4, now() - make_interval(secs => $2 - i),
       now() - make_interval(secs => $2 - i)
from generate_series(1, $1) i
"""


@pytest.fixture
async def jobs(
    database: PostgresAddress, open_connection: OpenConnection, delivery: tuple[UUID, UUID]
) -> tuple[OwnConnection, dict[str, int]]:
    """A held job with an umlaut and hostile signs in it, one that is done, one that waits; a connection that reads."""
    company, _ = delivery
    connection = await open_connection(Role.WORKER)

    async def work(context: JobContext) -> None:
        if b"refuse" in context.payload:
            raise Permanent("Frau Müller: 100% of_room\x1b[31m")

    payload = '{"refuse": "Jörg \\\\ Straße", "n": 4711}'.encode()
    held, done = await put(
        connection, NewJob("webhooks.a", payload, company_id=company), NewJob("webhooks.b", b'{"n": 4712}')
    )
    async with working(config_for(database), {"webhooks.a": work, "webhooks.b": work}):
        await until(lambda: connection.fetchval("select exists (select from held_jobs)"), "one is held")
        done_runs = "select count(*) = 2 from job_runs where ended_at is not null"
        await until(lambda: connection.fetchval(done_runs), "both runs are written")
    (waiting,) = await put(connection, NewJob("notifications.c", '{"to": "Jörg"}'.encode()))
    reader = await open_connection(Role.CONSOLE)
    return reader, {"held": held, "done": done, "waiting": waiting}


async def found(reader: OwnConnection, text: str = "", **known: object) -> dict[int, str]:
    """What is found, by id."""
    rows = await find_jobs(reader, JobQuestion(text=text, **known))  # type: ignore[arg-type]  # fields by name
    return {row.job_id: row.state.value for row in rows}


FOUND_BY = {
    "": ("waiting", "held", "done"),
    "müller": ("held",),
    "MÜLLER permanent": ("held",),
    "100% of_room": ("held",),
    "100_ of%room": (),
    "jörg": ("waiting", "held"),
    "4711": ("held",),
    "webhooks.": ("held", "done"),
    "webhooks.b": ("done",),
    "straße \\": ("held",),
    "nothing like it": (),
    "\0": ("waiting", "held", "done"),
}


async def test_a_job_is_found_by_any_words_of_its_type_error_and_payload(
    jobs: tuple[OwnConnection, dict[str, int]],
) -> None:
    reader, ids = jobs
    answers = {text: await found(reader, text) for text in FOUND_BY}
    assert answers == {text: {ids[state]: state for state in states} for text, states in FOUND_BY.items()}


async def test_a_job_is_found_by_its_number_whatever_it_is_doing(jobs: tuple[OwnConnection, dict[str, int]]) -> None:
    reader, ids = jobs
    for state, job_id in ids.items():
        assert (await found(reader, f" #{job_id} "))[job_id] == state
    assert await found(reader, "9" * 18) == {}
    assert await found(reader, "9" * 30) == {}


async def test_queue_company_and_time_narrow_what_is_found(jobs: tuple[OwnConnection, dict[str, int]]) -> None:
    reader, ids = jobs
    assert await found(reader, queue=QueueName.NOTIFICATIONS) == {ids["waiting"]: "waiting"}
    assert await found(reader, company="salon") == {ids["held"]: "held"}
    assert await found(reader, held_only=True) == {ids["held"]: "held"}
    assert await found(reader, since=datetime.now(UTC) + timedelta(minutes=1)) == {}
    assert await found(reader, until=datetime.now(UTC) - timedelta(minutes=1)) == {}
    assert await found(reader, entrypoint="webhooks.b") == {ids["done"]: "done"}
    with pytest.raises(NoSuchCompany):
        await found(reader, company="nobody")


async def test_a_job_that_was_decided_about_is_found_as_what_it_is_now(
    jobs: tuple[OwnConnection, dict[str, int]], open_connection: OpenConnection
) -> None:
    reader, ids = jobs
    worker = await open_connection(Role.WORKER)
    async with worker.transaction():
        await retry_held(worker, [ids["held"]], by="anna")
    assert await found(reader, "müller") == {ids["held"]: "retried"}
    assert (await found(reader, f"{ids['held']}"))[ids["held"]] == "waiting"


async def test_a_few_among_many_are_found_through_the_index_and_the_newest_come_first(
    database: PostgresAddress, superuser_connection: SuperuserConnection, open_connection: OpenConnection
) -> None:
    owner = await superuser_connection()
    await owner.execute("set search_path = askpro")
    await owner.execute(MANY_HELD, 20_000, 20_000)
    await owner.execute("analyze held_jobs, held_texts")
    reader = await open_connection(Role.CONSOLE)
    rare = await find_jobs(reader, JobQuestion(text="call_777"))
    assert {row.job_id for row in rare} == {777, *range(7_770, 7_780)}
    common: list[FoundJob] = await find_jobs(reader, JobQuestion(text="valueerror room"), limit=30)
    assert [row.job_id for row in common] == list(range(20_000, 19_940, -2))
    # Of words that many jobs have but none has together, the newest are looked through, and that is said.
    never = await search_jobs(reader, JobQuestion(text="valueerror typeerror"))
    assert (never.jobs, never.is_whole) == ((), False)
    short = await search_jobs(reader, JobQuestion(text="zq"))
    assert (short.jobs, short.is_whole) == ((), False)
    both = await search_jobs(reader, JobQuestion(text="valueerror call_4242"))
    assert ([row.job_id for row in both.jobs], both.is_whole) == ([4242], True)
    old = await search_jobs(reader, JobQuestion(queue=QueueName.DEFAULT, since=datetime.now(UTC) - timedelta(days=1)))
    assert (old.jobs, old.is_whole) == ((), True)
    await reader.execute("set enable_seqscan = off")
    plan = await reader.fetchval("explain (format json) select job_id from held_texts where searched like '%call_777%'")
    assert "held_texts_searched" in plan
