"""In-call functions over HTTP: what the agent asks, what it is told, and what is in the database then."""

from __future__ import annotations

import pytest

from backend.services.companies import apply_company
from tests.api.conftest import Api, StartApi
from tests.api.functions_scene import SALON, Agent, at
from tests.databases import OwnConnection


@pytest.fixture
async def salon(setup: OwnConnection, start_api: StartApi) -> Api:
    """The API with the salon declared."""
    await apply_company(setup, SALON)
    return await start_api(function_s=15.0)


async def test_an_appointment_is_booked_while_the_caller_waits(salon: Api, setup: OwnConnection) -> None:
    agent = Agent.calling(salon)
    first = await agent.ask("initialize_call")
    assert (first["company"], first["branch"], first["known_caller"]) == ("Salon Anna", "mitte", False)
    offer = await agent.ask("check_availability", service="haarschnitt", date=at(2, 10), staff="Anna", limit=2)
    assert [slot["starts_at"] for slot in offer["slots"]] == [at(2, 9, 30), at(2, 10)]
    booked = await agent.book(at(2, 10), staff="anna")
    assert booked["ok"], booked
    assert (booked["status"], booked["staff"], booked["starts_at"]) == ("confirmed", "anna", at(2, 10))
    row = await setup.fetchrow("select * from appointments")
    assert row is not None
    assert (str(row["id"]), row["attendee_name"], row["source"]) == (booked["appointment"], "Hans Müller", "call")
    call = await setup.fetchrow("select * from calls")
    assert call is not None
    assert (call["provider_call_id"], call["outcome"], call["customer_id"]) == (
        agent.call_id,
        "booked",
        row["customer_id"],
    )
