"""Policies while the system runs: as workers publish them, with what was said since; priorities of every way in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.domain.vocabulary import Provider, QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.providers.delivery import Delivery
from backend.queue.context import JobContext
from backend.queue.policies import BUILT_IN, Policies, Told, in_force, put_in_force
from backend.queue.policies_in_force import read_policies
from backend.queue.port import JobQueue, NewJob
from backend.queue.priorities import write_priorities
from backend.services.intake.inbox import store
from tests.databases import OpenConnection, SuperuserConnection
from tests.home import Shell, settle_home
from tests.queue.scenes import config_for, put, working

SET = BUILT_IN.laid_over(
    [
        Told(subject="webhooks", name="timeout_s", value=12.0, source="askpro.toml:3 [profiles.local.queues.webhooks]"),
        Told(subject="webhooks.retell_call", name="priority", value=7, source="environment ASKPRO_JOBS_X"),
        Told(subject="default.calendar_sync", name="priority", value=3, source="environment ASKPRO_JOBS_Y"),
    ]
)


async def nothing(_context: JobContext) -> None:
    """Succeed."""


@pytest.fixture
def ours() -> Iterator[Policies]:
    """The policies that this process works by during the test."""
    before = in_force()
    put_in_force(SET)
    yield SET
    put_in_force(before)


async def test_policies_are_shown_as_live_workers_work_by_them_with_where_each_value_comes_from(
    database: PostgresAddress,
    open_connection: OpenConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settle_home(tmp_path, database, monkeypatch)
    askpro_queue = Shell(capsys, "queue")
    connection, console = await open_connection(Role.WORKER), await open_connection(Role.CONSOLE)
    idle = await askpro_queue("policies", "webhooks.retell_call")
    assert "No worker works on webhooks: these values are what the settings say." in idle
    assert "no queue or job type `webhoks`; did you mean `webhooks`?" in await askpro_queue(
        "policies", "webhoks", code=2
    )

    await connection.execute(
        "insert into queue_slots (queue, slots, is_pinned, decided_by, reason)"
        " values ('webhooks', 44, true, 'ada', 'rush')"
    )
    async with working(config_for(database, policy=None, policies=SET), {"webhooks.retell_call": nothing}):
        found = {(row.subject, row.name): (row.value, row.source) for row in await read_policies(console)}
        assert found["webhooks", "timeout_s"] == ("12 s", "askpro.toml:3 [profiles.local.queues.webhooks]")
        assert found["webhooks", "concurrency"] == ("44", "set by ada: rush")
        assert found["webhooks", "attempts"] == ("4", "built in")
        assert found["webhooks.retell_call", "timeout_s"] == (
            "12 s",
            "queue webhooks, askpro.toml:3 [profiles.local.queues.webhooks]",
        )
        assert not any(subject.startswith("default") for subject, _ in found)
        told = await askpro_queue.read("policies", "webhooks", "--set")
        assert isinstance(told, list)
        assert {(line["subject"], line["name"]) for line in told} == {
            ("webhooks", "timeout_s"),
            ("webhooks", "concurrency"),
            ("webhooks.retell_call", "priority"),
            ("webhooks.retell_call", "timeout_s"),
            ("webhooks.calcom_booking", "timeout_s"),
        }
        everything = await askpro_queue("policies")
        assert "No worker works on appointments, default, notifications" in everything


async def test_a_job_starts_with_its_types_priority_whoever_puts_it_in(
    database: PostgresAddress,
    open_connection: OpenConnection,
    superuser_connection: SuperuserConnection,
    ours: Policies,
) -> None:
    worker, api = await open_connection(Role.WORKER), await open_connection(Role.API)
    setup = await open_connection(Role.SETUP)
    company = await setup.fetchval("insert into companies (slug, name) values ('salon', 'Salon') returning id")
    await setup.execute("insert into agents (agent_id, company_id) values ('agent', $1)", company)
    for queue in QueueName:
        await write_priorities(worker, ours, queue)  # as each worker does when it begins

    await put(worker, NewJob("webhooks.retell_call"), NewJob("default.retention"))
    delivery = Delivery(Provider.RETELL, "call_started", "call", "key", None, "agent", b"{}", {})
    await store(api, [delivery])
    async with worker.transaction():
        await JobQueue().enqueue(worker, [NewJob("default.release_holds", priority=99)])
    server = await superuser_connection()
    # As the trigger on appointments does; the appointment itself is left out.
    await server.execute("set search_path = askpro; set session_replication_role = replica")
    await server.fetchval("select push_to_calendar($1, array[gen_random_uuid()], array[1])", company)

    rows = await worker.fetch("select entrypoint, priority from pgqueuer order by id")
    assert [tuple(row) for row in rows] == [
        ("webhooks.retell_call", 7),
        ("default.retention", -10),
        ("webhooks.retell_call", 7),
        ("default.release_holds", 99),
        ("default.calendar_sync", 3),
    ]
