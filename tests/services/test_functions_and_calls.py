"""What functions did in a call, and the events about it: one call, one customer, one appointment, the right outcome."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from backend.postgres.address import Role
from backend.postgres.pools import Connection, tenant
from backend.providers.retell.functions import read_function_call
from backend.services.booking import Booked
from backend.services.calls.wishes import book_wish
from backend.services.functions.answering import Functions
from tests.databases import OpenPool
from tests.services.conftest import ASKED_AT, Deliveries, Salon
from tests.voice_agent import Agent

START = "2026-03-04T10:00:00+01:00"
LATER = "2026-03-05T10:00:00+01:00"
WISH = {"service": "schnitt", "starts_at": START}


@pytest.fixture
async def agent(salon: Salon, open_role_pool: OpenPool) -> Agent:
    """During the call that `deliver` tells of: `call_1`."""
    functions = Functions(await open_role_pool(Role.API, 2), answer_s=20.0, clock=lambda: ASKED_AT)

    async def deliver(body: bytes) -> bytes:
        return await functions.answer(read_function_call(body))

    return Agent(deliver).calling(
        call_id="call_1", from_number="+4917012345678", to_number="+4930123456", agent_id="agent_anna"
    )


async def call_row(setup: Connection) -> tuple[object, ...]:
    row = await setup.fetchrow("select outcome, caller_name, customer_id, status, started_at from calls")
    assert row is not None
    return tuple(row)


async def fulfil(salon: Salon, call_id: str = "call_1") -> Booked | None:
    """Fold the call's events, then do the job that follows from them."""
    folded = await salon.fold(call_id)
    assert folded is not None
    if folded.booking is None:
        return None
    async with tenant(salon.pool, salon.company_id) as connection:
        booked = await book_wish(connection, folded.booking)
    assert isinstance(booked, Booked)
    return booked


async def test_what_a_function_booked_is_not_booked_again_by_the_analysis(
    agent: Agent, deliver: Deliveries, salon: Salon, setup: Connection
) -> None:
    await deliver("call_started", call_status="ongoing")
    await salon.fold("call_1")
    booked = await agent.book(START, staff="anna")
    assert booked["ok"], booked
    await deliver.whole_call(customer_name="Hans Miller", outcome="booked", booking=WISH | {"staff": "ben"})
    assert await fulfil(salon) is None
    assert await setup.fetchval("select count(*) from appointments") == 1
    assert await setup.fetchval("select count(*) from customers") == 1, "as the function understood the name"
    outcome, name, customer, status, started = await call_row(setup)
    assert (outcome, name, status, started) == ("booked", "Hans Miller", "ended", ASKED_AT)
    assert customer == await setup.fetchval("select customer_id from appointments")


async def test_a_call_whose_events_never_came_is_still_one_call(
    agent: Agent, deliver: Deliveries, salon: Salon, setup: Connection
) -> None:
    await agent.ask("initialize_call")
    await agent.book(START)
    outcome, name, customer, status, _ = await call_row(setup)
    assert (outcome, name, status) == ("booked", "Hans Müller", "ongoing")
    await deliver("call_ended", call_status="ended", end_timestamp=int(ASKED_AT.timestamp() * 1000))
    await salon.fold("call_1")
    assert await setup.fetchval("select count(*) from calls") == 1
    assert (await call_row(setup))[:4] == ("booked", "Hans Müller", customer, "ended")


@pytest.mark.parametrize("said", ["enquiry", "booked", "cancelled", "nonsense", None])
async def test_the_outcome_is_what_really_happened(
    agent: Agent, deliver: Deliveries, salon: Salon, setup: Connection, said: str | None
) -> None:
    await agent.book(START)
    other = Agent(agent.deliver, agent.call | {"call_id": "call_2"})
    assert (await other.ask("reschedule_appointment", starts_at=LATER))["ok"]
    await deliver.whole_call("call_2", outcome=said, customer_name="Hans Müller", booking={**WISH, "starts_at": LATER})
    assert await fulfil(salon, "call_2") is None
    query = "select outcome from calls where provider_call_id = 'call_2'"
    assert await setup.fetchval(query) == "rescheduled"
    assert (await other.ask("cancel_appointment", name="Hans Müller"))["ok"]
    await salon.fold("call_2")
    assert await setup.fetchval(query) == "cancelled", "in the end it does not take place"
    assert await setup.fetchval("select count(*) from appointments") == 1


async def test_one_request_to_call_back_is_enough(
    agent: Agent, deliver: Deliveries, salon: Salon, setup: Connection
) -> None:
    assert (await agent.ask("request_callback", reason="Rechnung", name="Hans Müller"))["ok"]
    await deliver.whole_call(outcome="callback", callback={"reason": "Frage zur Rechnung"})
    await salon.fold("call_1")
    assert await setup.fetchval("select array_agg(reason) from callback_requests") == ["Rechnung"]
    assert (await call_row(setup))[0] == "callback"


async def test_a_wish_that_functions_refused_is_still_a_wish(
    agent: Agent, deliver: Deliveries, salon: Salon, setup: Connection
) -> None:
    refused = await agent.book("2026-03-04T10:00:00+01:00", staff="anna", service="bart")
    assert refused["reason"] == "not_offered"
    await deliver.whole_call(customer_name="Hans Müller", outcome="booked", booking=WISH)
    booked = await fulfil(salon)
    assert booked is not None
    assert booked.is_new
    assert (await call_row(setup))[0] == "booked"


async def test_a_slot_that_the_call_holds_is_the_one_that_the_analysis_tells_of(
    agent: Agent, deliver: Deliveries, salon: Salon, setup: Connection
) -> None:
    held = await agent.book(START, staff="anna", hold=True)
    await deliver.whole_call(customer_name="Hans Müller", outcome="booked", booking=WISH | {"staff": "anna"})
    booked = await fulfil(salon)
    assert booked is not None
    assert (str(booked.appointment_id), booked.is_new) == (held["appointment"], True)
    again = await fulfil(salon)
    assert again is not None
    assert (again.appointment_id, again.is_new) == (booked.appointment_id, False)
    assert await setup.fetchval("select array_agg(status) from appointments") == ["confirmed"]
    assert booked.starts_at == datetime.fromisoformat(START)


async def test_a_function_that_comes_after_the_analysis_was_read_books_nothing_beside_it(
    agent: Agent, deliver: Deliveries, salon: Salon, setup: Connection
) -> None:
    await deliver.whole_call(customer_name="Hans Müller", outcome="booked", booking=WISH)
    folded = await salon.fold("call_1")
    assert folded is not None
    assert folded.booking is not None
    late = await agent.book(START)
    async with tenant(salon.pool, salon.company_id) as connection:
        booked = await book_wish(connection, folded.booking)
    assert isinstance(booked, Booked)
    assert (str(booked.appointment_id), booked.is_new) == (late["appointment"], False)
    assert (await agent.book(START, "asked again"))["appointment"] == late["appointment"]
    assert await setup.fetchval("select count(*) from appointments") == 1


async def test_events_and_functions_at_once_make_one_call_one_customer_one_appointment(
    agent: Agent, deliver: Deliveries, salon: Salon, setup: Connection
) -> None:
    await deliver.whole_call(customer_name="Hans Müller", outcome="booked", booking=WISH)
    await asyncio.gather(
        *(agent.book(START, f"tool_{number % 2}") for number in range(6)),
        *(salon.fold("call_1") for _ in range(4)),
        agent.ask("initialize_call"),
    )
    await fulfil(salon)
    counts = await setup.fetchrow(
        "select (select count(*) from calls), (select count(*) from customers), (select count(*) from appointments)"
    )
    assert counts is not None
    assert tuple(counts) == (1, 1, 1)
    assert (await call_row(setup))[:2] == ("booked", "Hans Müller")
