"""The function route: signed, always speakable, one effect however often it is asked, and in time."""

from __future__ import annotations

import asyncio
import json
import time
from uuid import UUID

import httpx
import msgspec
import pytest

from backend.api.limits.table import LimitFigures
from backend.postgres.address import PostgresAddress
from backend.providers.retell.signature import sign
from backend.services.companies.applying import apply_company
from tests.api.conftest import RETELL_KEY, Api, StartApi, retell_headers, until
from tests.api.fault_proxy import fault_proxy
from tests.databases import OwnConnection
from tests.voice_agent import LINE, OTHER_CALLER, SALON, Agent, at, told

PATH = "/api/retell/function"

PATIENT: dict[str, object] = {
    "function_s": 20.0,
    "limits": LimitFigures(concurrency_start=128, concurrency_least=128, wait_s=20.0),
}
"""Where a test is about what is answered and not about when."""

ANSWER_S = 2.5
"""The specified bound for an answer."""


def raw_headers(body: bytes) -> dict[str, str]:
    """Signed whatever the bytes are: the vendor's client takes text only."""
    return {"x-retell-signature": sign(body, RETELL_KEY, time.time_ns() // 1_000_000)}


async def post(api: Api, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return await api.client.post(PATH, content=body, headers=raw_headers(body) if headers is None else headers)


def agent_of(api: Api) -> Agent:
    """An agent in a first call, signed by the vendor's own code."""

    async def deliver(body: bytes) -> bytes:
        response = await post(api, body, retell_headers(body))
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        return response.content

    return Agent(deliver).calling()


@pytest.fixture
async def salon(setup: OwnConnection, start_api: StartApi) -> Api:
    """The API with the salon declared."""
    await apply_company(setup, SALON)
    return await start_api(**PATIENT)


async def test_an_appointment_is_booked_while_the_caller_waits(salon: Api, setup: OwnConnection) -> None:
    agent = agent_of(salon)
    assert (await agent.ask("initialize_call"))["company"] == "Salon Anna"
    booked = await agent.book(at(2, 10))
    row = await setup.fetchrow("select * from appointments")
    assert row is not None
    assert (str(row["id"]), row["attendee_name"], row["source"]) == (booked["appointment"], "Hans Müller", "call")
    call = await setup.fetchrow("select * from calls")
    assert call is not None
    assert (call["id"], call["customer_id"], call["outcome"]) == (row["call_id"], row["customer_id"], "booked")


async def test_only_the_provider_may_ask(salon: Api, setup: OwnConnection) -> None:
    body = agent_of(salon).body("book_appointment", {"service": "schnitt", "starts_at": at(2, 10), "name": "Hans"})
    assert (await post(salon, body, {})).status_code == 401
    assert (await post(salon, body, retell_headers(body, key="another"))).status_code == 401
    assert (await post(salon, body, retell_headers(body, at_ms=1_700_000_000_000))).status_code == 401
    assert (await post(salon, body.replace(b"Hans", b"Fred"), retell_headers(body))).status_code == 401
    large = b'{"name":"x","call":{"call_id":"c"},"args":{"x":"' + b"a" * 2_000_000 + b'"}}'
    assert (await post(salon, large)).status_code == 413
    assert (await salon.client.get(PATH)).status_code == 405
    assert await setup.fetchval("select count(*) from calls") == 0


UNREADABLE = (
    b"",
    b"{",
    b"[]",
    b"\xff\xfe",
    b'{"name":"get_services"}',
    b'{"call":{"call_id":"c1"},"args":{}}',
    b'{"name":"get_services","call":{}}',
    b'{"name":7,"call":{"call_id":"c1"}}',
    b'{"name":"get_services","call":{"call_id":"c1"},"args":{"service":"\\u0000"}}',
    b'{"name":"get_services","call":{"call_id":"c1"},"args":{"service":"\\ud800"}}',
    b'{"name":"get_services","call":{"call_id":"c1"},"args":{"days":1' + b"0" * 400 + b"}}",
    b'{"name":"get_services","call":{"call_id":"c1"},"args":' + b"[" * 5000 + b"]" * 5000 + b"}",
)


async def test_a_body_that_cannot_be_read_is_a_422(api: Api) -> None:
    for body in UNREADABLE:
        response = await post(api, body)
        assert (response.status_code, body[:80]) == (422, body[:80])
        assert response.headers["content-type"] == "application/problem+json"


HOSTILE: tuple[object, ...] = (
    None,
    True,
    -1,
    2**62,
    "Ä" * 10_000,
    "{name} {0} %s %(x)s",
    "'; drop table appointments; --",
    "\u202emarT\u200b\u0007\x1b[31m",
    "9" * 5_000,
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    ["a", {"b": []}],
)

FUNCTIONS = (
    ("initialize_call", ()),
    ("check_customer", ("name", "phone", "email")),
    ("get_services", ("branch",)),
    ("check_availability", ("service", "branch", "staff", "date", "time", "days", "limit")),
    ("get_alternatives", ("service", "starts_at", "branch", "staff")),
    ("book_appointment", ("service", "starts_at", "branch", "staff", "name", "phone", "email", "hold", "appointment")),
    ("reschedule_appointment", ("appointment", "current_starts_at", "starts_at", "staff", "name")),
    ("cancel_appointment", ("appointment", "starts_at", "reason", "name")),
    ("get_customer_appointments", ("name", "phone")),
    ("request_callback", ("reason", "phone", "name", "when")),
)

USUAL: dict[str, object] = {"service": "schnitt", "starts_at": "", "name": "Hans Müller", "reason": "Frage"}


async def test_hostile_arguments_are_answered_like_others(salon: Api, setup: OwnConnection) -> None:
    """Each value in the arguments by turns, and in all of them at once: always 200, always speakable."""
    agent = agent_of(salon)
    usual: dict[str, object] = USUAL | {"starts_at": at(2, 10)}
    for function, arguments in FUNCTIONS:
        given = {name: usual[name] for name in arguments if name in usual}
        turns = [
            given | {argument: value}
            for at_value, value in enumerate(HOSTILE)
            for at_argument, argument in enumerate(arguments)
            if (at_value + at_argument) % 3 == 0
        ]
        for args in (*turns, *(dict.fromkeys(arguments, value) for value in HOSTILE)):
            response = await post(salon, agent.calling().body(function, args))
            assert response.status_code == 200, response.text
            assert told(response.content).get("reason") != "unavailable", (function, args)
    unreadable: tuple[object, ...] = ("no json", "[1]", '{"a":' * 100, "\\", 7, [], "\x01")
    for text in unreadable:
        response = await post(salon, agent.body("check_availability", text))
        assert told(response.content)["reason"] == "argument_missing"
    assert await setup.fetchval("select count(*) from appointments where status = 'confirmed'") > 0


async def test_arguments_may_stand_at_the_root_or_be_text(salon: Api) -> None:
    agent = agent_of(salon)
    arguments = {"service": "schnitt", "date": at(2, 10), "limit": 1}
    expected = (await agent.ask("check_availability", None, **arguments))["slots"]
    text = agent.body("check_availability", json.dumps(arguments))
    root = json.dumps({"name": "check_availability", "call": agent.call, **arguments, "unknown": {"x": 1}}).encode()
    for body in (text, root):
        assert told((await post(salon, body)).content)["slots"] == expected


async def test_fifty_retries_of_one_tool_call_have_one_effect_and_one_answer(
    start_api: StartApi, setup: OwnConnection
) -> None:
    """Two processes of the API, with and without a tool call id."""
    await apply_company(setup, SALON)
    one, other = await start_api(**PATIENT), await start_api(**PATIENT)
    agent = agent_of(one)
    args = {"service": "schnitt", "starts_at": at(2, 10), "name": "Hans Müller"}
    booking = agent.body("book_appointment", args, tool_call_id="tool_1")
    callback = agent.calling().body("request_callback", {"reason": "Frage"})
    for body in (booking, callback):
        answers = await asyncio.gather(*(post((one, other)[number % 2], body) for number in range(50)))
        assert {response.status_code for response in answers} == {200}
        assert len({response.content for response in answers}) == 1
        assert told(answers[0].content)["ok"]
    assert await setup.fetchval("select count(*) from appointments") == 1
    assert await setup.fetchval("select count(*) from appointment_events") == 1
    assert await setup.fetchval("select count(*) from callback_requests") == 1


async def test_many_callers_for_one_slot_are_all_answered(salon: Api, setup: OwnConnection) -> None:
    first = agent_of(salon)
    callers = [first.calling(from_number=f"+49301234{number:04}") for number in range(20)]
    answers = await asyncio.gather(*(one.book(at(2, 10), name=f"Caller {n}") for n, one in enumerate(callers)))
    assert [answer["ok"] for answer in answers].count(True) == 2, "Anna and Ben"
    assert {answer.get("reason") for answer in answers} == {None, "slot_taken"}
    assert await setup.fetchval("select count(distinct staff_id) from appointments") == 2


async def test_another_company_s_appointments_are_out_of_reach(salon: Api, setup: OwnConnection, company: UUID) -> None:
    """`company` is another one, whose number the agent calls with the first one's ids, names and times."""
    booked = await agent_of(salon).book(at(2, 10))
    there = agent_of(salon).calling(to_number="+493012345678")
    assert (await there.ask("initialize_call"))["company"] == "Praxis Ost"
    assert (await there.ask("get_customer_appointments"))["appointments"] == []
    named: tuple[dict[str, object], ...] = (
        {"appointment": booked["appointment"]},
        {"starts_at": at(2, 10), "name": "Hans Müller"},
    )
    for args in named:
        assert (await there.ask("cancel_appointment", **args))["reason"] in {"appointment_unknown", "name_needed"}
    assert (await there.ask("check_availability", service="schnitt"))["reason"] == "service_unknown"
    assert await setup.fetchval("select status from appointments") == "confirmed"
    assert await setup.fetchval("select count(*) from customers where company_id = $1", company) == 0


async def test_a_locked_table_is_a_sentence_and_nothing_half_done(
    start_api: StartApi, setup: OwnConnection, superuser: OwnConnection
) -> None:
    await apply_company(setup, SALON)
    agent = agent_of(await start_api(function_s=0.5))
    await agent.ask("initialize_call")
    async with superuser.transaction():
        await superuser.execute("lock table appointments in access exclusive mode")
        slow = await agent.book(at(2, 10))
        assert (slow["ok"], slow["reason"]) == (False, "unavailable")
    patient = agent_of(await start_api(function_s=20.0))
    assert (await patient.book(at(2, 11)))["ok"]
    assert await superuser.fetchval("select count(*) from appointments") == 1


async def test_a_database_that_is_gone_or_silent_is_a_sentence_in_time(
    start_api: StartApi, setup: OwnConnection, database: PostgresAddress
) -> None:
    await apply_company(setup, SALON)
    async with fault_proxy(database) as proxy:
        agent = agent_of(await start_api(postgres=proxy.address, function_s=1.0))

        async def answered() -> bool:
            return bool((await agent.ask("get_services"))["ok"])

        async def unavailable() -> None:
            started = time.monotonic()
            bodies = [
                agent.calling().body(function, USUAL | {"starts_at": at(2, 10)})
                for function in ("check_availability", "book_appointment", "cancel_appointment", "nonsense")
            ]
            for content in await asyncio.gather(*(agent.deliver(body) for body in bodies)):
                assert told(content)["reason"] == "unavailable"
            assert time.monotonic() - started < ANSWER_S

        await until(answered, 20.0)
        await proxy.hang_up()
        await unavailable()
        await proxy.listen()
        await until(answered, 20.0)
        proxy.swallow()
        await unavailable()
        proxy.flow()
        await until(answered, 20.0)
        assert await setup.fetchval("select count(*) from appointments") == 0


async def test_an_interruption_that_is_short_costs_the_caller_nothing(
    start_api: StartApi, setup: OwnConnection, database: PostgresAddress
) -> None:
    await apply_company(setup, SALON)
    async with fault_proxy(database) as proxy:
        agent = agent_of(await start_api(postgres=proxy.address, function_s=20.0))
        await agent.ask("initialize_call")
        await proxy.hang_up()
        booking = asyncio.create_task(agent.book(at(2, 10)))
        await asyncio.sleep(0)
        await proxy.listen()
        assert (await booking)["ok"]
    assert await setup.fetchval("select count(*) from appointments") == 1


async def test_a_full_house_is_a_sentence_in_the_company_s_language(
    start_api: StartApi, setup: OwnConnection, superuser: OwnConnection
) -> None:
    await apply_company(setup, msgspec.structs.replace(SALON, locale="en_GB"))
    one_place = LimitFigures(concurrency_start=1, concurrency_least=1, concurrency_most=1, wait_s=0.05)
    agent = agent_of(await start_api(function_s=20.0, limits=one_place))
    await agent.ask("initialize_call")
    async with superuser.transaction():
        await superuser.execute("lock table appointments in access exclusive mode")
        waiting = asyncio.create_task(agent.book(at(2, 10)))

        async def is_waiting() -> bool:
            return bool(
                await setup.fetchval("select exists (select from pg_locks where not granted and locktype = 'relation')")
            )

        await until(is_waiting)
        turned_away = await agent.calling().ask("get_services")
        assert turned_away["reason"] == "unavailable"
        assert turned_away["message"] == "I cannot reach the calendar right now. One moment please, I will try again."
    assert (await waiting)["ok"]


async def test_a_function_that_breaks_is_a_sentence(salon: Api, superuser: OwnConnection) -> None:
    await superuser.execute("alter table customers rename column first_name to given_name")
    answer = await agent_of(salon).ask("check_customer")
    assert answer["reason"] == "unavailable"


async def test_a_held_number_and_another_line_reach_the_same_salon(salon: Api) -> None:
    for caller in ("anonymous", "", None, "sip:1@example.org", "+266696687", OTHER_CALLER):
        answer = await agent_of(salon).calling(from_number=caller, to_number=LINE).ask("initialize_call")
        assert (answer["company"], answer["known_caller"]) == ("Salon Anna", False)
