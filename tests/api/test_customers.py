"""The customers, calls and company of the partners' API."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from tests.api.partner import Partner, add_call, at
from tests.databases import OwnConnection

PERSON = {"first_name": "Jürgen", "last_name": "Müller", "phone": "0151 / 1234567", "email": "J.Mueller@Example.org"}


async def made(partner: Partner, **changes: object) -> httpx.Response:
    return await partner.client.post("/api/customers", json=PERSON | changes)


async def patched(partner: Partner, customer_id: str, tag: str | None, **changes: object) -> httpx.Response:
    headers = {"content-type": "application/merge-patch+json"} | ({} if tag is None else {"if-match": tag})
    return await partner.client.patch(f"/api/customers/{customer_id}", json=changes, headers=headers)


async def test_a_customer_is_made_once_and_found_however_it_is_written(partner: Partner) -> None:
    response = await made(partner, tags=["stammkunde"], preferred_staff="anna")
    assert response.status_code == 201, response.text
    customer = response.json()
    assert (customer["phone"], customer["email"]) == ("+491511234567", "j.mueller@example.org")
    assert (customer["tags"], customer["preferred_staff"], customer["version"]) == (["stammkunde"], "anna", 1)
    read = await partner.client.get(response.headers["location"])
    assert (read.json(), read.headers["etag"]) == (customer, '"1"')
    assert (await partner.client.get(response.headers["location"], headers={"if-none-match": '"1"'})).status_code == 304
    again = await made(partner, first_name="Dr. Juergen", phone="+49 151 1234567")
    assert (again.status_code, again.json()["reason"], again.json()["customer_id"]) == (
        409,
        "customer_exists",
        customer["id"],
    )
    await made(partner, first_name="Jutta", phone="+49 151 7654321", email=None)
    for query, names in (
        ({"phone": "+49 (151) 1234567"}, ["Jürgen"]),
        ({"phone": "0151 999999"}, []),
        ({"email": "J.MUELLER@example.org"}, ["Jürgen"]),
        ({"name": "juergen mu"}, ["Jürgen"]),
        ({"name": "J"}, ["Jürgen", "Jutta"]),
        ({"name": "Müller, Jutta"}, ["Jutta"]),
        ({}, ["Jürgen", "Jutta"]),
    ):
        items = (await partner.client.get("/api/customers", params=query)).json()["items"]
        assert [one["first_name"] for one in items] == names, query


async def test_pages_of_customers_are_complete(partner: Partner) -> None:
    for number in range(5):
        await made(partner, first_name=f"Kim{number}", phone=f"+4915112345{number}")
    for query in ("limit=2", "limit=2&name=Kim"):
        seen: list[str] = []
        path: str | None = f"/api/customers?{query}"
        while path is not None:
            page = (await partner.client.get(path)).json()
            seen += [one["first_name"] for one in page["items"]]
            path = page["next"]
        assert seen == [f"Kim{number}" for number in range(5)], query


async def test_pages_go_on_behind_the_longest_of_names(partner: Partner) -> None:
    longest = "𝔎ß" * 100
    for number in range(3):
        await made(partner, first_name=longest, last_name=longest, phone=f"+4915112345{number}")
    seen = 0
    path: str | None = str(httpx.URL("/api/customers", params={"limit": "1", "name": longest[:40]}))
    while path is not None:
        response = await partner.client.get(path)
        assert response.status_code == 200, response.text
        seen += len(response.json()["items"])
        path = response.json()["next"]
    assert seen == 3


async def test_a_change_is_based_on_what_is_there(partner: Partner) -> None:
    customer = (await made(partner)).json()
    bare = await patched(partner, customer["id"], None, notes="x")
    assert (bare.status_code, bare.json()["reason"]) == (428, "condition_missing")
    assert (await patched(partner, customer["id"], '"7"', notes="x")).status_code == 412
    changed = await patched(partner, customer["id"], '"1"', notes="Zeile 1\nZeile 2", email=None, is_vip=True)
    assert changed.status_code == 200, changed.text
    now = changed.json()
    assert (now["notes"], now["email"], now["is_vip"], now["version"]) == ("Zeile 1\nZeile 2", None, True, 2)
    assert (now["first_name"], now["phone"]) == ("Jürgen", "+491511234567")
    assert changed.headers["etag"] == '"2"'
    nothing = await patched(partner, customer["id"], '"2"')
    assert (nothing.status_code, nothing.json()["version"]) == (200, 2)
    renamed = await patched(partner, customer["id"], "*", last_name="Öz")
    assert renamed.status_code == 200
    found = (await partner.client.get("/api/customers", params={"name": "jurgen oz"})).json()["items"]
    assert [one["id"] for one in found] == [customer["id"]]


async def test_of_two_changes_to_one_version_one_is_made(partner: Partner) -> None:
    customer = (await made(partner)).json()
    answers = await asyncio.gather(*(patched(partner, customer["id"], '"1"', notes=f"{n}") for n in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 9]


async def test_a_change_that_cannot_be_is_refused(partner: Partner, administrator: OwnConnection) -> None:
    one = (await made(partner)).json()
    other = (await made(partner, first_name="Jutta")).json()
    same = await patched(partner, other["id"], '"1"', first_name="Jürgen")
    assert (same.status_code, same.json()["customer_id"]) == (409, one["id"])
    unknown = await patched(partner, other["id"], '"1"', preferred_branch="nord")
    assert (unknown.status_code, unknown.json()["reason"]) == (409, "branch_unknown")
    assert (await patched(partner, other["id"], '"1"', last_name=None)).status_code == 422
    assert (await partner.client.get(f"/api/customers/{other['id']}")).json()["version"] == 1
    await administrator.execute("update customers set erased_at = now() where id = $1", UUID(one["id"]))
    assert (await patched(partner, one["id"], '"1"', notes="x")).json()["reason"] == "customer_erased"
    assert [c["id"] for c in (await partner.client.get("/api/customers")).json()["items"]] == [other["id"]]


async def test_calls_are_listed_newest_first_and_told_whole_alone(
    partner: Partner, administrator: OwnConnection
) -> None:
    customer = (await made(partner)).json()
    base = datetime.now(UTC) - timedelta(days=1)
    ids = [
        await add_call(
            administrator,
            partner.company_id,
            f"call_{partner.number}_{number}",
            started_at=base + timedelta(minutes=number),
            customer_id=UUID(customer["id"]) if number == 2 else None,
            outcome="transfer" if number == 0 else "booked",
        )
        for number in range(4)
    ]
    newest_first = [str(one) for one in reversed(ids)]
    first = (await partner.client.get("/api/calls?limit=3")).json()
    assert "transcript" not in first["items"][0]
    second = (await partner.client.get(first["next"])).json()
    assert [one["id"] for one in first["items"] + second["items"]] == newest_first
    assert second["next"] is None
    for query, found in (
        ({"outcome": "transfer"}, [3]),
        ({"status": "ended", "until": (base + timedelta(minutes=2)).isoformat()}, [2, 3]),
        ({"from": (base + timedelta(minutes=3)).isoformat()}, [0]),
        ({"customer_id": customer["id"]}, [1]),
        ({"status": "ongoing"}, []),
    ):
        items = (await partner.client.get("/api/calls", params=query)).json()["items"]
        assert [one["id"] for one in items] == [newest_first[number] for number in found], query
    whole = await partner.client.get(f"/api/calls/{ids[2]}")
    assert (whole.json()["transcript"], whole.json()["appointments"]) == ("Agent: Guten Tag!", [])
    tag = whole.headers["etag"]
    assert (await partner.client.get(f"/api/calls/{ids[2]}", headers={"if-none-match": tag})).status_code == 304


async def test_the_company_tells_every_slug_that_is_needed(partner: Partner) -> None:
    response = await partner.client.get("/api/company")
    told = response.json()
    assert (told["slug"], told["time_zone"], told["locale"]) == (partner.slug, "Europe/Berlin", "de_DE")
    assert [one["slug"] for one in told["branches"]] == ["mitte"]
    assert {one["slug"]: one["price_cents"] for one in told["services"]} == {
        "schnitt": 3500,
        "beratung": 0,
        "farbe": 0,
    }
    assert {one["slug"]: one["services"] for one in told["staff"]} == {
        "anna": ["beratung", "farbe", "schnitt"],
        "ben": ["schnitt"],
    }
    unchanged = await partner.client.get("/api/company", headers={"if-none-match": response.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"service": "nails"}, "service_unknown"),
        ({"service": "schnitt", "branch": "nord"}, "branch_unknown"),
        ({"service": "schnitt", "staff": "cem"}, "staff_unknown"),
        ({"service": "beratung", "staff": "ben"}, "not_offered"),
    ],
)
async def test_what_is_never_offered_has_no_availability(partner: Partner, query: dict[str, str], reason: str) -> None:
    response = await partner.client.get("/api/availability", params=query)
    assert (response.status_code, response.json()["reason"]) == (404, reason)


async def test_availability_keeps_to_its_days_and_limit(partner: Partner) -> None:
    async def starts(**query: str) -> list[str]:
        answer = await partner.client.get("/api/availability", params={"service": "schnitt"} | query)
        return [slot["starts_at"] for slot in answer.json()["slots"]]

    day = at(3, 0)[:10]
    assert (await starts(**{"from": day, "days": "1"}))[:2] == [at(3, 8), at(3, 8, 30)]
    assert len(await starts(**{"from": day, "days": "1"})) == 20
    assert await starts(**{"from": day, "limit": "3"}) == [at(3, 8), at(3, 8, 30), at(3, 9)]
    assert await starts(**{"from": "1999-01-01"}) == await starts(**{"from": "9999-12-31"}) == []
