"""Webhooks: what is signed is stored once with its job, what is not is refused, and nothing is ever answered 500."""

from __future__ import annotations

import asyncio
import json
import time
from uuid import UUID

import pytest

from backend.providers.retell.signature import sign
from tests.api.conftest import (
    RETELL_KEY,
    Api,
    StartApi,
    call_event,
    encoded,
    inbox,
    jobs,
    retell_headers,
)
from tests.databases import OwnConnection


async def test_a_signed_delivery_is_stored_with_its_job(api: Api, superuser: OwnConnection, company: UUID) -> None:
    event = call_event("call_started", "call_A1")
    response = await api.deliver(event)
    assert response.status_code == 204
    (row,) = await inbox(superuser)
    assert (row["provider"], row["event"], row["subject"], row["state"]) == (
        "retell",
        "call_started",
        "call_A1",
        "accepted",
    )
    assert row["company_id"] == company
    assert row["branch_id"] is not None
    assert row["body"] == encoded(event)
    assert "x-retell-signature" in json.loads(row["headers"])
    (job,) = await jobs(superuser)
    assert job["entrypoint"] == "webhooks.retell_call"
    assert json.loads(job["payload"]) == {"inbox_id": str(row["id"]), "subject": "call_A1"}
    assert json.loads(job["headers"]) == {"company": str(company)}


async def test_a_duplicate_delivery_has_no_second_effect(api: Api, superuser: OwnConnection) -> None:
    event = call_event()
    first = await api.deliver(event)
    second = await api.deliver(event)
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert len(await inbox(superuser)) == 1
    assert len(await jobs(superuser)) == 1


async def test_fifty_equal_deliveries_at_once_have_one_effect(api: Api, superuser: OwnConnection) -> None:
    event = call_event()
    answers = await asyncio.gather(*(api.deliver(event) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {204}
    assert len(await inbox(superuser)) == 1
    assert len(await jobs(superuser)) == 1


async def test_the_events_of_a_call_are_told_apart(api: Api, superuser: OwnConnection) -> None:
    for event in ("call_started", "call_ended", "call_analyzed"):
        assert (await api.deliver(call_event(event, "call_B"))).status_code == 204
    assert [row["event"] for row in await inbox(superuser)] == ["call_started", "call_ended", "call_analyzed"]


async def test_repeatable_events_are_told_apart_by_their_body(api: Api, superuser: OwnConnection) -> None:
    for words in ("Guten", "Guten Tag", "Guten Tag"):
        answer = await api.deliver(call_event("transcript_updated", "call_T", transcript=words))
        assert answer.status_code == 204
    assert len(await inbox(superuser)) == 2


async def test_unknown_events_words_and_fields_are_accepted(api: Api, superuser: OwnConnection) -> None:
    event = call_event("call_teleported", call_status="levitating", brand_new={"deep": [1, 2.5, None]})
    assert (await api.deliver(event)).status_code == 204
    (row,) = await inbox(superuser)
    assert row["event"] == "call_teleported"
    assert json.loads(row["body"]) == event


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
async def test_the_company_is_found_by_its_own_number(
    api: Api, superuser: OwnConnection, company: UUID, direction: str
) -> None:
    other = "+4915100000000"
    numbers = {"to_number": "+493012345678", "from_number": other}
    if direction == "outbound":
        numbers = {"to_number": other, "from_number": "+493012345678"}
    await api.deliver(call_event(direction=direction, **numbers))
    (row,) = await inbox(superuser)
    assert row["company_id"] == company


async def test_an_agent_finds_the_company_when_the_number_does_not(
    api: Api, superuser: OwnConnection, setup: OwnConnection, company: UUID
) -> None:
    await setup.execute("insert into agents (agent_id, company_id) values ('agent_web', $1)", company)
    await api.deliver(call_event(agent_id="agent_web", call_type="web_call", to_number=None, from_number=None))
    (row,) = await inbox(superuser)
    assert (row["company_id"], row["state"]) == (company, "accepted")


async def test_a_call_of_an_unknown_number_is_quarantined_without_a_job(api: Api, superuser: OwnConnection) -> None:
    answer = await api.deliver(call_event(to_number="+49999999999", agent_id="agent_unknown"))
    assert answer.status_code == 204
    (row,) = await inbox(superuser)
    assert (row["state"], row["company_id"], row["branch_id"]) == ("quarantined", None, None)
    assert (row["dialled"], row["agent_id"]) == ("+49999999999", "agent_unknown")
    assert await jobs(superuser) == []


@pytest.mark.usefixtures("company")
async def test_both_keys_of_a_rotation_are_good(start_api: StartApi, superuser: OwnConnection) -> None:
    api = await start_api(retell_keys=("key_new", RETELL_KEY))
    for key in ("key_new", RETELL_KEY):
        body = encoded(call_event())
        assert (await api.deliver(body, headers=retell_headers(body, key=key))).status_code == 204
    assert len(await inbox(superuser)) == 2


@pytest.mark.parametrize(
    "spoil",
    ["missing", "wrong key", "stale", "future", "double", "reserialised", "garbage"],
)
async def test_what_is_not_signed_well_is_refused_without_detail(
    api: Api, superuser: OwnConnection, spoil: str
) -> None:
    body = encoded(call_event())
    now = int(time.time() * 1000)
    headers: list[tuple[str, str]] = list(retell_headers(body).items())
    if spoil == "missing":
        headers = []
    elif spoil == "wrong key":
        headers = list(retell_headers(body, key="another").items())
    elif spoil == "stale":
        headers = list(retell_headers(body, at_ms=now - 310_000).items())
    elif spoil == "future":
        headers = list(retell_headers(body, at_ms=now + 310_000).items())
    elif spoil == "double":
        headers += headers
    elif spoil == "reserialised":
        body = json.dumps(json.loads(body)).encode()
    else:
        headers = [("x-retell-signature", "v=\xff,d=\x80" * 100)]
    answer = await api.client.post(
        "/api/retell/webhook",
        content=body,
        headers=[(name.encode(), value.encode("latin-1")) for name, value in headers],
    )
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "request_id"}
    assert await inbox(superuser) == []


async def test_no_key_configured_means_that_nothing_is_accepted(start_api: StartApi, superuser: OwnConnection) -> None:
    api = await start_api(retell_keys=("",))
    body = encoded(call_event())
    assert (await api.deliver(body, headers=retell_headers(body, key=""))).status_code == 401
    assert await inbox(superuser) == []


DEEP = b'{"event":"call_started","call":{"call_id":"c","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}}"
CALL = b'{"event":"call_started","call":{"call_id":"c"%s}}'


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", ""),
        (b"not json", ""),
        (b"[]", ""),
        (b"{}", "event"),
        (b'{"event":"call_started"}', "call"),
        (b'{"event":"call_started","call":{}}', "call.call_id"),
        (b'{"event":"call_started","call":{"call_id":""}}', "call.call_id"),
        (b'{"event":"call_started","call":{"call_id":7}}', "call.call_id"),
        (b'{"event":"call_started","call":null}', "call"),
        (b'{"event":"' + b"e" * 65 + b'","call":{"call_id":"c"}}', "event"),
        (DEEP, ""),
        (CALL % b',"x":NaN', ""),
        (CALL % b',"x":-Infinity', ""),
        (CALL % b',"x":1e999', ""),
        (CALL % (b',"x":' + b"9" * 5_000), ""),
        (CALL % b',"x":123456789012345678901234567890', ""),
        (CALL % b',"start_timestamp":99999999999999', "call.start_timestamp"),
        (CALL % b',"start_timestamp":"soon"', "call.start_timestamp"),
        (CALL % b',"call_id":"d"', "call_id"),
        (CALL % b',"x":{"a":1,"b":{"a":1},"a" :2}', "a"),
        (CALL % rb',"x":"\ud800"', ""),
        (CALL % rb',"x":"\udc00 tail"', ""),
        (CALL % rb',"x":"a\u0000b"', ""),
        (CALL % rb',"\u0000":1', ""),
        (CALL % b',"x":"a\x00b"', ""),
        (CALL % b',"x":"\xff"', ""),
        (b"\xef\xbb\xbf" + CALL % b"", ""),
    ],
)
async def test_a_malformed_body_is_a_clear_422(api: Api, superuser: OwnConnection, body: bytes, field: str) -> None:
    # The vendor's code signs text only; the rule is about bytes.
    signature = sign(body, RETELL_KEY, int(time.time() * 1000))
    answer = await api.deliver(body, headers={"x-retell-signature": signature})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem.get("field", "") == field
    assert problem["detail"]
    assert await inbox(superuser) == []


async def test_text_that_looks_dangerous_but_is_not_is_accepted(api: Api, superuser: OwnConnection) -> None:
    bodies = [
        CALL % rb',"x":"\\u0000 is only text"',
        CALL % rb',"x":"she said \"a\":1 and \"a\":2"',
        CALL % rb',"y":"\ud83d\ude00"',
        CALL % b' , "x" : { "a" : 1 }',
        CALL % (b',"deep":' + b"[" * 50 + b"]" * 50),
    ]
    for number, text in enumerate(bodies):
        body = text.replace(b'"c"', b'"c%d"' % number)
        assert (await api.deliver(body, headers=retell_headers(body))).status_code == 204, body
    assert len(await inbox(superuser)) == len(bodies)


async def test_a_row_that_the_database_refuses_does_not_fail_its_batch(api: Api, superuser: OwnConnection) -> None:
    await superuser.execute("alter table webhook_inbox add constraint no_poison check (subject <> 'poison')")
    events = [call_event(call_id="poison" if number == 7 else f"fine_{number}") for number in range(20)]
    answers = await asyncio.gather(*(api.deliver(event) for event in events))
    assert [answer.status_code for answer in answers] == [422 if number == 7 else 204 for number in range(20)]
    assert len(await inbox(superuser)) == 19
    assert len(await jobs(superuser)) == 19


async def test_a_trigger_that_fails_for_one_row_turns_only_that_one_away(api: Api, superuser: OwnConnection) -> None:
    await superuser.execute(
        """
        create function askpro.refuse_poison() returns trigger language plpgsql as $$
        begin if new.subject = 'poison' then raise exception 'no'; end if; return new; end $$;
        create trigger refuse_poison before insert on webhook_inbox
            for each row execute function askpro.refuse_poison();
        grant execute on function askpro.refuse_poison() to public;
        """
    )
    events = [call_event(call_id="poison" if number == 3 else f"fine_{number}") for number in range(10)]
    answers = await asyncio.gather(*(api.deliver(event) for event in events))
    assert [answer.status_code for answer in answers] == [503 if number == 3 else 204 for number in range(10)]
    assert len(await inbox(superuser)) == 9


async def test_a_booking_event_finds_its_company_by_event_type_and_then_by_its_booking(
    api: Api, superuser: OwnConnection, setup: OwnConnection, company: UUID
) -> None:
    await setup.execute("insert into agents (agent_id, company_id) values ('calcom:42', $1)", company)
    created = {"triggerEvent": "BOOKING_CREATED", "payload": {"uid": "bk1", "eventTypeId": 42}}
    no_show = {"triggerEvent": "BOOKING_NO_SHOW_UPDATED", "payload": {"bookingUid": "bk1"}}
    strange = {"triggerEvent": "BOOKING_CREATED", "payload": {"uid": "bk2", "eventTypeId": 43}}
    for event in (created, created, no_show, strange):
        assert (await api.deliver_calcom(event)).status_code == 204
    rows = await inbox(superuser)
    assert [(row["subject"], row["state"]) for row in rows] == [
        ("bk1", "accepted"),
        ("bk1", "accepted"),
        ("bk2", "quarantined"),
    ]
    assert rows[1]["company_id"] == company
    assert rows[2]["agent_id"] == "calcom:43"
    assert [job["entrypoint"] for job in await jobs(superuser)] == ["webhooks.calcom_booking"] * 2


async def test_an_edited_booking_template_is_stored_whatever_it_holds(api: Api, superuser: OwnConnection) -> None:
    payloads: list[object] = ["text", None, [], {"uid": 7, "eventTypeId": "x"}]
    for payload in payloads:
        assert (await api.deliver_calcom({"triggerEvent": "PING", "payload": payload})).status_code == 204
    assert {row["state"] for row in await inbox(superuser)} == {"ignored"}
    assert await jobs(superuser) == []


async def test_a_booking_event_without_a_secret_is_refused(api: Api, superuser: OwnConnection) -> None:
    answer = await api.client.post(
        "/api/calcom/webhook",
        content=encoded({"triggerEvent": "PING"}),
        headers={"x-cal-signature-256": "no-secret-provided"},
    )
    assert answer.status_code == 401
    assert await inbox(superuser) == []
