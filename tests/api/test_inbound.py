"""Before the phone is answered: who is calling, or nothing at all, but always in time."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import pytest

from backend.api.limits.table import LimitFigures
from backend.providers.retell.signature import sign
from tests.api.conftest import NUMBER, RETELL_KEY, Api, StartApi, encoded
from tests.databases import OwnConnection

CALLER = "+4915112345678"


async def add_customer(connection: OwnConnection, company: UUID, first: str, last: str, phone: str = CALLER) -> None:
    await connection.execute(
        "insert into customers (company_id, first_name, last_name, name_key, phone) values ($1, $2, $3, $2 || $3, $4)",
        company,
        first,
        last,
        phone,
    )


async def variables(api: Api, **call: object) -> dict[str, str]:
    answer = await api.ask_inbound(**{"from_number": CALLER, "to_number": NUMBER, "agent_id": "agent_1", **call})
    assert answer.status_code == 200
    content = answer.json()
    assert set(content) == {"call_inbound"}
    found: dict[str, str] = content["call_inbound"].get("dynamic_variables", {})
    assert all(isinstance(value, str) for value in found.values())
    return found


async def test_a_known_caller_is_named(api: Api, setup: OwnConnection, company: UUID) -> None:
    await add_customer(setup, company, "Anna", "Müller")
    assert await variables(api) == {
        "company_name": "Praxis Ost",
        "branch_name": "Mitte",
        "known_caller": "true",
        "customer_name": "Anna Müller",
        "customer_first_name": "Anna",
        "customer_last_name": "Müller",
    }


async def test_a_stranger_still_reaches_the_right_company(api: Api) -> None:
    found = await variables(api)
    assert (found["company_name"], found["known_caller"], found["customer_name"]) == ("Praxis Ost", "false", "")


async def test_a_shared_line_names_nobody(api: Api, setup: OwnConnection, company: UUID) -> None:
    await add_customer(setup, company, "Anna", "Müller")
    await add_customer(setup, company, "Bernd", "Müller")
    assert (await variables(api))["known_caller"] == "false"


async def test_an_erased_customer_is_not_named(api: Api, setup: OwnConnection, company: UUID) -> None:
    await add_customer(setup, company, "Anna", "Müller")
    await setup.execute("update customers set erased_at = now()")
    assert (await variables(api))["known_caller"] == "false"


async def test_another_company_s_customer_is_never_named(api: Api, setup: OwnConnection) -> None:
    other = await setup.fetchval("insert into companies (slug, name) values ('other', 'Other') returning id")
    await add_customer(setup, other, "Anna", "Müller")
    assert (await variables(api))["known_caller"] == "false"


@pytest.mark.parametrize("caller", ["anonymous", "", None, "+266696687", "sip:1@example.org"])
async def test_an_anonymous_caller_is_nobody(api: Api, setup: OwnConnection, company: UUID, caller: str | None) -> None:
    await add_customer(setup, company, "Anna", "Müller", phone="anonymous")
    assert (await variables(api, from_number=caller))["known_caller"] == "false"


async def test_an_unknown_number_gets_an_empty_answer(api: Api) -> None:
    answer = await api.ask_inbound(from_number=CALLER, to_number="+49309999999")
    assert (answer.status_code, answer.json()) == (200, {"call_inbound": {}})


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"event":"call_inbound","call_inbound":7}', b'{"event":1}'])
async def test_a_question_that_cannot_be_read_does_not_stop_the_call(api: Api, body: bytes) -> None:
    signature = sign(body, RETELL_KEY, time.time_ns() // 1_000_000)
    answer = await api.client.post("/api/retell/inbound", content=body, headers={"x-retell-signature": signature})
    assert (answer.status_code, answer.json()) == (200, {"call_inbound": {}})


async def test_an_unsigned_question_is_refused(api: Api) -> None:
    body = encoded({"event": "call_inbound", "call_inbound": {"from_number": CALLER, "to_number": NUMBER}})
    assert (await api.client.post("/api/retell/inbound", content=body)).status_code == 401


async def test_a_broken_lookup_does_not_stop_the_call(api: Api, superuser: OwnConnection) -> None:
    await superuser.execute("drop function intake_caller(text, text, text)")
    answer = await api.ask_inbound(from_number=CALLER, to_number=NUMBER)
    assert (answer.status_code, answer.json()) == (200, {"call_inbound": {}})


async def test_a_call_goes_on_when_there_is_no_place_to_look_the_caller_up(
    start_api: StartApi, superuser: OwnConnection
) -> None:
    one_place = LimitFigures(concurrency_start=1, concurrency_least=1, concurrency_most=1, wait_s=0.05)
    api = await start_api(limits=one_place)
    async with superuser.transaction():
        await superuser.execute("lock table customers in access exclusive mode")
        questions = [api.ask_inbound(from_number=CALLER, to_number=NUMBER) for _ in range(3)]
        answers = await asyncio.gather(*questions)
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"call_inbound": {}})] * 3
