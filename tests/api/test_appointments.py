"""The appointments of the partners' API: found, booked once, changed, refused with what to do instead."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import httpx
import pytest

from backend.domain.vocabulary import TokenScope
from tests.api.partner import Partner, at
from tests.api.shared_api import Partners


async def test_what_is_offered_can_be_booked_read_and_is_gone(partner: Partner) -> None:
    query = {"service": "schnitt", "staff": "anna", "from": at(3, 0)[:10], "days": "1"}
    offered = (await partner.client.get("/api/availability", params=query)).json()
    assert offered["time_zone"] == "Europe/Berlin"
    slot = offered["slots"][4]
    assert slot["starts_at"] == at(3, 10)
    assert slot["staff"] == ["anna"]
    response = await partner.book(slot["starts_at"])
    assert response.status_code == 201, response.text
    made = response.json()
    assert response.headers["location"] == f"/api/appointments/{made['id']}"
    assert response.headers["etag"] == '"1"'
    assert (made["status"], made["source"], made["staff"], made["service"]) == ("confirmed", "api", "anna", "schnitt")
    assert (made["starts_at"], made["ends_at"]) == (at(3, 10), at(3, 10, 30))
    assert made["attendee"] == {"name": "Hans Müller", "phone": "+4915112345678", "email": "hans@example.org"}
    read = await partner.client.get(response.headers["location"])
    assert read.json() == made
    customer = (await partner.client.get(f"/api/customers/{made['customer_id']}")).json()
    assert (customer["first_name"], customer["last_name"], customer["phone"]) == ("Hans", "Müller", "+4915112345678")
    again = (await partner.client.get("/api/availability", params=query)).json()
    assert slot["starts_at"] not in {one["starts_at"] for one in again["slots"]}


async def test_a_taken_slot_is_refused_with_alternatives_that_can_be_booked(partner: Partner) -> None:
    await partner.booked(at(3, 10))
    refused = await partner.book(at(3, 10))
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert (problem["status"], problem["reason"]) == (409, "slot_taken")
    assert problem["request_id"] == refused.headers["x-request-id"]
    assert 1 <= len(problem["alternatives"]) <= 3
    for one in problem["alternatives"]:
        assert (await partner.book(one["starts_at"], staff=one["staff"][0])).status_code == 201


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"starts_at": at(3, 3)}, "outside_hours"),
        ({"starts_at": at(-3, 10)}, "in_past"),
        ({"starts_at": at(400, 10)}, "too_far"),
        ({"starts_at": "0001-01-01T00:00:00+14:00"}, "in_past"),
        ({"starts_at": "9999-12-31T23:59:59-12:00"}, "too_far"),
        ({"service": "maniküre".replace("ü", "u")}, "service_unknown"),
        ({"branch": "nord"}, "branch_unknown"),
        ({"staff": "cem"}, "staff_unknown"),
        ({"service": "beratung", "staff": "ben"}, "not_offered"),
        ({"customer_id": "0198c0de-0000-7000-8000-000000000000"}, "customer_unknown"),
    ],
)
async def test_what_cannot_be_booked_says_why(partner: Partner, changes: dict[str, str], reason: str) -> None:
    starts_at = changes.pop("starts_at", at(3, 10)) if "starts_at" in changes else at(3, 10)
    refused = await partner.book(starts_at, **changes)
    assert (refused.status_code, refused.json().get("reason")) == (409, reason), refused.text


async def test_the_same_key_books_once_and_gets_the_same_answer(partner: Partner) -> None:
    first = await partner.book(at(3, 10), key="order-1")
    again = await partner.book(at(3, 10), key="order-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    other = await partner.book(at(3, 11), key="order-1")
    assert (other.status_code, other.json()["reason"]) == (422, "key_reused")
    listed = (await partner.client.get("/api/appointments")).json()
    assert [one["id"] for one in listed["items"]] == [first.json()["id"]]


async def test_twenty_requests_with_one_key_at_once_book_once(partner: Partner) -> None:
    answers = await asyncio.gather(*(partner.book(at(3, 10), key="order-2") for _ in range(20)))
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert (answer.status_code, answer.json()["reason"]) == (409, "key_in_use")
            assert int(answer.headers["retry-after"]) >= 1


async def test_a_refusal_leaves_the_key_free(partner: Partner) -> None:
    taken = await partner.booked(at(3, 10))
    assert (await partner.book(at(3, 10), key="order-3")).status_code == 409
    assert (await partner.does(taken["id"], "cancel")).status_code == 200
    assert (await partner.book(at(3, 10), key="order-3")).status_code == 201


async def test_keys_of_two_tokens_are_two_keys(partner: Partner, partners: Partners) -> None:
    colleague = await partners(of=partner)
    first = await partner.book(at(3, 10), key="one")
    second = await colleague.book(at(3, 11), key="one")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


async def test_a_hold_is_confirmed_or_let_go(partner: Partner) -> None:
    held = await partner.booked(at(3, 10), hold_min=5)
    assert held["status"] == "held"
    expires = datetime.fromisoformat(held["hold_expires_at"])
    assert timedelta(minutes=4) < expires - datetime.now(expires.tzinfo) <= timedelta(minutes=5)
    assert (await partner.book(at(3, 10))).status_code == 409
    confirmed = await partner.does(held["id"], "confirm")
    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "confirmed")
    assert confirmed.json()["hold_expires_at"] is None
    assert confirmed.headers["etag"] == '"2"'
    again = await partner.does(held["id"], "confirm")
    assert (again.status_code, again.json()["reason"]) == (409, "not_allowed")


async def test_an_appointment_is_moved_ended_and_restored(partner: Partner) -> None:
    made = await partner.booked(at(3, 10))
    moved = await partner.does(made["id"], "reschedule", starts_at=at(4, 11), staff="ben")
    assert moved.status_code == 200, moved.text
    assert (moved.json()["starts_at"], moved.json()["staff"], moved.json()["version"]) == (at(4, 11), "ben", 2)
    assert (await partner.does(made["id"], "no-show")).json()["status"] == "no_show"
    customer = (await partner.client.get(f"/api/customers/{made['customer_id']}")).json()
    assert customer["no_show_count"] == 1
    assert (await partner.does(made["id"], "restore")).json()["status"] == "confirmed"
    assert (await partner.does(made["id"], "complete")).json()["status"] == "completed"
    events = (await partner.client.get(f"/api/appointments/{made['id']}/events")).json()["items"]
    assert [one["kind"] for one in events] == ["booked", "rescheduled", "no_show", "restored", "completed"]
    assert {one["actor"] for one in events} == {f"api:{partner.token_id}"}
    refused = await partner.does(made["id"], "reschedule", starts_at=at(4, 11), staff="nobody")
    assert (refused.status_code, refused.json()["reason"]) == (409, "staff_unknown")


async def test_a_move_to_a_taken_time_names_alternatives(partner: Partner) -> None:
    await partner.booked(at(3, 10))
    mine = await partner.booked(at(3, 11))
    refused = await partner.does(mine["id"], "reschedule", starts_at=at(3, 10))
    assert (refused.status_code, refused.json()["reason"]) == (409, "slot_taken")
    assert refused.json()["alternatives"]
    assert (await partner.does(mine["id"], "reschedule", starts_at=at(3, 4))).json()["reason"] == "outside_hours"


async def test_a_late_cancellation_costs_its_fee_only_when_that_is_accepted(partner: Partner) -> None:
    made = await partner.booked(at(3, 10), service="beratung")
    refused = await partner.does(made["id"], "cancel")
    assert refused.status_code == 409
    told = refused.json()
    assert (told["reason"], told["hours_before"], told["fee_cents"]) == ("policy_forbids", 720, 900)
    done = await partner.does(made["id"], "cancel", accept_fee=True)
    assert (done.json()["status"], done.json()["fee_cents"]) == ("cancelled", 900)


async def test_an_appointment_of_several_parts_tells_who_does_what(partner: Partner) -> None:
    await partner.booked(at(3, 11), staff="anna")
    made = await partner.booked(at(3, 10), service="farbe")
    assert (made["starts_at"], made["ends_at"]) == (at(3, 10), at(3, 11, 30))
    assert made["parts"] == [
        {"staff": "anna", "starts_at": at(3, 10), "ends_at": at(3, 10, 30)},
        {"staff": "ben", "starts_at": at(3, 11), "ends_at": at(3, 11, 30)},
    ]
    simple = await partner.booked(at(3, 10, 30), staff="anna")
    assert simple["parts"] == []


async def test_conditions_are_kept(partner: Partner) -> None:
    made = await partner.booked(at(3, 10))
    path = f"/api/appointments/{made['id']}"
    get = partner.client.get
    for tag in ('"1"', 'W/"1"', '"7", "1"', "*"):
        unchanged = await get(path, headers={"if-none-match": tag})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", '"1"')
    assert (await get(path, headers={"if-none-match": '"2"'})).status_code == 200
    for tag in ('"7"', 'W/"1"', "1", ""):
        stale = await partner.client.post(f"{path}/complete", headers={"if-match": tag})
        assert (stale.status_code, stale.json()["reason"]) == (412, "stale"), tag
    assert (await partner.client.post(f"{path}/complete", headers={"if-match": '"1"'})).status_code == 200
    assert (await partner.client.post(f"{path}/restore", headers={"if-match": '"1"'})).status_code == 412


async def test_pages_neither_repeat_nor_miss_a_row_while_rows_come_and_go(partner: Partner) -> None:
    wanted = [await partner.booked(at(3, hour, minute)) for hour in range(9, 13) for minute in (0, 30)]
    seen: list[str] = []
    query = httpx.QueryParams({"limit": "3", "status": ["confirmed", "cancelled"], "from": at(1, 0), "branch": "mitte"})
    path: str | None = f"/api/appointments?{query}"
    late: dict[str, object] = {}
    while path is not None:
        response = await partner.client.get(path)
        page = response.json()
        seen += [one["id"] for one in page["items"]]
        if page["next"] is not None:
            assert response.headers["link"] == f'<{page["next"]}>; rel="next"'
        path = page["next"]
        if not late:
            await partner.booked(at(3, 8))  # before the cursor
            await partner.does(wanted[0]["id"], "cancel")
            late = await partner.booked(at(3, 17))  # behind it
    assert seen == [*(one["id"] for one in wanted), late["id"]]


async def test_a_cursor_is_good_for_its_own_list_only(partner: Partner) -> None:
    for hour in (9, 10):
        await partner.booked(at(3, hour))
    following = (await partner.client.get("/api/appointments?limit=1")).json()["next"]
    assert (await partner.client.get(following)).status_code == 200
    cursor = following.partition("cursor=")[2]
    for query in (
        f"status=confirmed&cursor={cursor}",
        f"cursor={cursor[:-2]}",
        f"cursor=A{cursor}",
        "cursor=%00",
        "cursor=",
    ):
        refused = await partner.client.get(f"/api/appointments?limit=1&{query}")
        assert (refused.status_code, refused.json()["field"]) == (422, "cursor"), query
    assert (await partner.client.get(f"/api/calls?limit=1&cursor={cursor}")).status_code == 422


async def test_filters_find_what_they_say(partner: Partner) -> None:
    first = await partner.booked(at(3, 10))
    second = await partner.booked(
        at(5, 10), staff="ben", attendee={"name": "Ada Öz", "phone": "0151 7654321", "email": None}
    )
    await partner.does(second["id"], "cancel")
    for query, found in (
        ({}, [first, second]),
        ({"staff": "ben"}, [second]),
        ({"staff": "nobody"}, []),
        ({"status": "confirmed"}, [first]),
        ({"service": "beratung"}, []),
        ({"from": at(4, 0)}, [second]),
        ({"until": at(4, 0)}, [first]),
        ({"customer_id": second["customer_id"]}, [second]),
        ({"branch": "mitte", "from": at(3, 10), "until": at(3, 10, 1)}, [first]),
    ):
        items = (await partner.client.get("/api/appointments", params=query)).json()["items"]
        assert [one["id"] for one in items] == [one["id"] for one in found], query


async def test_a_scope_that_is_missing_is_named(partners: Partners) -> None:
    reader = await partners([TokenScope.APPOINTMENTS_READ])
    assert (await reader.client.get("/api/appointments")).status_code == 200
    refused = await reader.book(at(3, 10))
    assert (refused.status_code, refused.json()["reason"]) == (403, "scope_missing")
    assert "appointments:write" in refused.json()["detail"]
    assert (await reader.client.get("/api/calls")).status_code == 403
    assert (await reader.client.get("/api/company")).status_code == 200
