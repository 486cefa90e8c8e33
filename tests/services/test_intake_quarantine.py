"""Quarantined deliveries reach their company when its number becomes known, each with one job."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import pytest

from backend.domain.vocabulary import Provider
from backend.postgres.address import Role
from backend.providers.delivery import Delivery
from backend.queue.port import JobQueue
from backend.services.intake.inbox import Stored, release, store
from backend.services.intake.quarantine import AssignmentRefused, assign, plan_assignment, quarantine_groups
from tests.databases import OpenConnection, OwnConnection


def delivery(number: int, dialled: str | None = "+49301234567", agent: str | None = "agent_1") -> Delivery:
    return Delivery(
        provider=Provider.RETELL,
        event="call_started",
        subject=f"call_{number}",
        dedup_key=f"call_started:call_{number}",
        dialled=dialled,
        agent=agent,
        body=b"{}",
        headers={},
    )


@pytest.fixture
async def setup(open_connection: OpenConnection) -> OwnConnection:
    return await open_connection(Role.SETUP)


@pytest.fixture
async def api(open_connection: OpenConnection) -> OwnConnection:
    return await open_connection(Role.API)


@pytest.fixture
async def company(setup: OwnConnection) -> UUID:
    company_id: UUID = await setup.fetchval(
        "insert into companies (slug, name) values ('praxis', 'Praxis') returning id"
    )
    await setup.execute(
        "insert into branches (company_id, slug, name) values ($1, 'mitte', 'Mitte'), ($1, 'west', 'West')", company_id
    )
    return company_id


async def states(connection: OwnConnection) -> dict[str, int]:
    found = await connection.fetch("select state, count(*) as many from webhook_inbox group by state")
    return {row["state"]: row["many"] for row in found}


async def test_assigning_a_number_releases_what_was_quarantined_under_it(
    setup: OwnConnection, api: OwnConnection, company: UUID
) -> None:
    known = [delivery(number) for number in range(1_200)]
    strangers = [delivery(number, dialled="+49309999999") for number in range(2_000, 2_003)]
    for start in range(0, len(known), 100):
        assert set(await store(api, known[start : start + 100])) == {Stored.QUARANTINED}
    await store(api, strangers)

    groups = await quarantine_groups(setup)
    assert [(group.dialled, group.deliveries) for group in groups] == [("+49301234567", 1_200), ("+49309999999", 3)]

    plan = await plan_assignment(setup, "+49 30 1234567", "praxis", "mitte")
    assert (plan.target, plan.waiting, plan.place.branch) == ("+49301234567", 1_200, "mitte")
    done = await assign(setup, JobQueue(), plan)
    assert done.released == 1_200
    assert await states(setup) == {"accepted": 1_200, "quarantined": 3}
    row = await setup.fetchrow("select * from webhook_inbox where subject = 'call_7'")
    assert row is not None
    assert (row["company_id"], row["branch_id"]) == (company, plan.place.branch_id)
    jobs = await api.fetchval("select count(*) from pgqueuer where entrypoint = 'webhooks.retell_call'")
    assert jobs == 1_200


async def test_a_released_delivery_has_the_same_job_as_an_accepted_one(
    setup: OwnConnection, api: OwnConnection, open_connection: OpenConnection, company: UUID
) -> None:
    await setup.execute("insert into agents (agent_id, company_id) values ('agent_1', $1)", company)
    await store(api, [delivery(1)])
    await store(api, [delivery(2, agent="agent_2")])
    await setup.execute("insert into agents (agent_id, company_id) values ('agent_2', $1)", company)
    async with api.transaction():
        assert await release(api, JobQueue()) == 1
    worker = await open_connection(Role.WORKER)
    accepted, released = await worker.fetch(
        "select entrypoint, priority, payload, headers, status::text, dedupe_key, attempts from pgqueuer order by id"
    )
    first, second = json.loads(accepted["payload"]), json.loads(released["payload"])
    assert (first["subject"], second["subject"]) == ("call_1", "call_2")
    assert first.keys() == second.keys() == {"inbox_id", "subject"}
    assert {**accepted, "payload": b""} == {**released, "payload": b""}
    logged = await worker.fetch("select status::text, entrypoint, priority from pgqueuer_log order by id")
    assert logged[0] == logged[1]


async def test_an_agent_can_be_assigned_to_a_whole_company(
    setup: OwnConnection, api: OwnConnection, company: UUID
) -> None:
    await store(api, [delivery(1, dialled=None, agent="agent_web")])
    plan = await plan_assignment(setup, "agent_web", "praxis", None)
    assert (await assign(setup, JobQueue(), plan)).released == 1
    assert await setup.fetchval("select company_id from webhook_inbox") == company


async def test_two_releases_at_once_give_each_delivery_one_job(
    setup: OwnConnection, api: OwnConnection, open_connection: OpenConnection, company: UUID
) -> None:
    await store(api, [delivery(number) for number in range(50)])
    await setup.execute("insert into agents (agent_id, company_id) values ('agent_1', $1)", company)
    connections = [await open_connection(Role.API) for _ in range(4)]

    async def one(connection: OwnConnection) -> int:
        async with connection.transaction():
            return await release(connection, JobQueue(), at_most=20)

    released = await asyncio.gather(*(one(connection) for connection in connections))
    assert sum(released) == 50
    assert await api.fetchval("select count(*) from pgqueuer") == 50


@pytest.mark.parametrize(
    ("target", "company_slug", "branch", "says"),
    [
        ("+49301234567", "praxsi", "mitte", "no company praxsi"),
        ("+49301234567", "praxis", "nord", "no branch nord"),
        ("+49301234567", "praxis", None, "not just one branch"),
        ("0301234567", "praxis", "mitte", "country code"),
        (" ", "praxis", "mitte", "needed"),
    ],
)
@pytest.mark.usefixtures("company")
async def test_an_assignment_that_makes_no_sense_is_refused_with_what_would(
    setup: OwnConnection, target: str, company_slug: str, branch: str | None, says: str
) -> None:
    with pytest.raises(AssignmentRefused, match=says):
        await plan_assignment(setup, target, company_slug, branch)


async def test_a_number_that_belongs_to_somebody_is_not_taken_away(setup: OwnConnection, company: UUID) -> None:
    branch = await setup.fetchval("select id from branches where slug = 'mitte'")
    await setup.execute("insert into phone_numbers values ('+49301234567', $1, $2)", company, branch)
    with pytest.raises(AssignmentRefused, match="belongs to the company praxis already"):
        await plan_assignment(setup, "+49301234567", "praxis", "west")


async def test_a_number_goes_before_an_agent(setup: OwnConnection, api: OwnConnection, company: UUID) -> None:
    other = await setup.fetchval("insert into companies (slug, name) values ('other', 'Other') returning id")
    branch = await setup.fetchval("select id from branches where slug = 'mitte'")
    await setup.execute("insert into phone_numbers values ('+49301234567', $1, $2)", company, branch)
    await setup.execute("insert into agents (agent_id, company_id) values ('agent_1', $1)", other)
    await store(api, [delivery(1), delivery(2, dialled="+49309999999")])
    found = await setup.fetch("select company_id from webhook_inbox order by subject")
    assert [row["company_id"] for row in found] == [company, other]


async def test_a_delivery_that_comes_twice_in_a_batch_is_stored_once(api: OwnConnection, setup: OwnConnection) -> None:
    outcomes = await store(api, [delivery(1), delivery(1), delivery(2), delivery(1)])
    assert outcomes == [Stored.QUARANTINED, Stored.DUPLICATE, Stored.QUARANTINED, Stored.DUPLICATE]
    assert await setup.fetchval("select count(*) from webhook_inbox") == 2


async def test_two_batches_with_the_same_keys_in_opposite_order_never_deadlock(
    open_connection: OpenConnection, setup: OwnConnection
) -> None:
    connections = [await open_connection(Role.API) for _ in range(4)]
    for round_ in range(10):
        batch = [delivery(round_ * 1_000 + number) for number in range(60)]
        await asyncio.gather(
            *(store(connection, batch if index % 2 else batch[::-1]) for index, connection in enumerate(connections))
        )
    assert await setup.fetchval("select count(*) from webhook_inbox") == 600


async def test_the_bodies_of_a_batch_are_not_mixed_up(api: OwnConnection, setup: OwnConnection) -> None:
    bodies = {f"call_{number}": bytes([number % 256]) * (number * 37 % 5_000) for number in range(100)}
    batch = [
        Delivery(Provider.RETELL, "call_started", subject, subject, None, None, body, {"n": subject})
        for subject, body in bodies.items()
    ]
    await store(api, batch)
    rows = await setup.fetch("select subject, body, headers from webhook_inbox")
    assert {row["subject"]: row["body"] for row in rows} == bodies
    assert all(json.loads(row["headers"]) == {"n": row["subject"]} for row in rows)
