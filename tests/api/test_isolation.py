"""One company's token at every route of the API, aimed at another company's things: it sees and touches nothing.

The routes are the application's own table; one without a case here fails.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import httpx
import pytest
from starlette.routing import Route

from backend.api.app import create_app
from backend.api.config import ApiConfig
from tests.api.partner import Partner, add_call, at
from tests.api.shared_api import Partners, SharedApi
from tests.databases import OwnConnection

MARK = "Geheimrat"
"""Stands in everything of the other company's that is text."""

KEY = "shared-idempotency-key"

_keys = itertools.count(1)

ROWS = """
    select c.relname as name from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'company_id' and not a.attisdropped
    where c.relnamespace = 'askpro'::regnamespace and c.relkind in ('r', 'p')
    order by c.relname
"""


@dataclass(frozen=True)
class Scene:
    """The company that asks, and what the other one has."""

    asking: Partner
    other: Partner
    appointment: str
    customer: str
    call: str
    cursors: dict[str, str]
    """By path: the second page of the other company's lists."""

    async def send(self, method: str, path: str, *, json: object = None, **headers: str) -> httpx.Response:
        """With the asking company's token and the other company's tag."""
        told = {"if-match": '"1"', "idempotency-key": f"key-{next(_keys)}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await self.asking.client.request(method, path, json=json, headers=told)


Case: TypeAlias = "Callable[[Scene], Awaitable[list[tuple[httpx.Response, int]]]]"
"""Makes the requests of one route, each with the status that it owes."""


def missing(method: str, template: str, **body: object) -> Case:
    """404 for the other company's thing, as for one that never was."""

    async def case(scene: Scene) -> list[tuple[httpx.Response, int]]:
        path = template.format(appointment_id=scene.appointment, customer_id=scene.customer, call_id=scene.call)
        answers = [(await scene.send(method, path, json=body or None), 404)]
        if method == "GET":
            answers.append((await scene.send(method, path, if_none_match='"1"'), 404))
            answers.append((await scene.send("HEAD", path), 404))
        return answers

    return case


def listed(path: str, *filters: str) -> Case:
    """A list without anything of the other company's; its cursor is refused."""

    async def case(scene: Scene) -> list[tuple[httpx.Response, int]]:
        wanted = [one.format(customer=scene.customer, call=scene.call) for one in filters]
        answers = [(await scene.send("GET", f"{path}?{query}"), 200) for query in ["", *wanted]]
        for answer, _ in answers[1:]:
            assert answer.json()["items"] == []
        return answers + [(await scene.send("GET", page), 422) for page in scene.cursors.values()]

    return case


def signed(path: str) -> Case:
    """A token is no signature."""

    async def case(scene: Scene) -> list[tuple[httpx.Response, int]]:
        return [(await scene.send("POST", path, json={"event": "call_started", "call": {"call_id": "x"}}), 401)]

    return case


def at_most(path: str, status: int, **headers: str) -> Case:
    """A page that says nothing about companies, or is not for tokens."""

    async def case(scene: Scene) -> list[tuple[httpx.Response, int]]:
        return [(await scene.send("GET", path, **headers), status)]

    return case


async def booking(scene: Scene) -> list[tuple[httpx.Response, int]]:
    """Neither the other's customer nor its service can be used, and its idempotency key is another one here."""
    wish = {"service": "schnitt", "starts_at": at(5, 9), "attendee": {"name": "Ada", "phone": "+4915199999999"}}
    own = await scene.send("POST", "/api/appointments", json=wish, idempotency_key=KEY)
    assert own.json()["id"] != scene.appointment
    assert "idempotency-replayed" not in own.headers
    theirs = wish | {"customer_id": scene.customer}
    return [(own, 201), (await scene.send("POST", "/api/appointments", json=theirs), 409)]


async def new_customer(scene: Scene) -> list[tuple[httpx.Response, int]]:
    """The other's customer of this name and number is nobody here."""
    same = {"first_name": MARK[:4], "last_name": "Kunde", "phone": "+4915111111111"}
    return [(await scene.send("POST", "/api/customers", json=same), 201)]


async def dashboard(scene: Scene) -> list[tuple[httpx.Response, int]]:
    """The other's page is not there."""
    return [(await scene.send("GET", f"/api/dashboard?company={scene.other.slug}"), 404)]


async def availability(scene: Scene) -> list[tuple[httpx.Response, int]]:
    """What is booked at the other's is free here."""
    query = f"service=schnitt&staff=anna&from={at(5, 0)[:10]}&days=1"
    answer = await scene.send("GET", f"/api/availability?{query}")
    assert at(5, 10) in {slot["starts_at"] for slot in answer.json()["slots"]}
    return [(answer, 200)]


APPOINTMENT = "/api/appointments/{appointment_id}"
CASES: dict[tuple[str, str], Case] = {
    ("POST", "/api/retell/webhook"): signed("/api/retell/webhook"),
    ("POST", "/api/retell/inbound"): signed("/api/retell/inbound"),
    ("POST", "/api/retell/function"): signed("/api/retell/function"),
    ("POST", "/api/calcom/webhook"): signed("/api/calcom/webhook"),
    ("GET", "/api/dashboard"): dashboard,
    ("GET", "/livez"): at_most("/livez", 200),
    ("GET", "/readyz"): at_most("/readyz", 200),
    ("GET", "/metrics"): at_most("/metrics", 401, x_forwarded_for="192.0.2.7"),
    ("GET", "/openapi.json"): at_most("/openapi.json", 200, x_forwarded_for="192.0.2.7"),
    ("GET", "/api/company"): at_most("/api/company", 200),
    ("GET", "/api/availability"): availability,
    ("GET", "/api/appointments"): listed("/api/appointments", "customer_id={customer}", "call_id={call}"),
    ("POST", "/api/appointments"): booking,
    ("GET", APPOINTMENT): missing("GET", APPOINTMENT),
    ("GET", f"{APPOINTMENT}/events"): missing("GET", f"{APPOINTMENT}/events"),
    ("POST", f"{APPOINTMENT}/confirm"): missing("POST", f"{APPOINTMENT}/confirm"),
    ("POST", f"{APPOINTMENT}/complete"): missing("POST", f"{APPOINTMENT}/complete"),
    ("POST", f"{APPOINTMENT}/no-show"): missing("POST", f"{APPOINTMENT}/no-show"),
    ("POST", f"{APPOINTMENT}/restore"): missing("POST", f"{APPOINTMENT}/restore"),
    ("POST", f"{APPOINTMENT}/cancel"): missing("POST", f"{APPOINTMENT}/cancel", accept_fee=True),
    ("POST", f"{APPOINTMENT}/reschedule"): missing("POST", f"{APPOINTMENT}/reschedule", starts_at=at(5, 12)),
    ("GET", "/api/customers"): listed("/api/customers", "phone=%2B4915111111111", f"name={MARK[:4]}", "email=g@x.de"),
    ("POST", "/api/customers"): new_customer,
    ("GET", "/api/customers/{customer_id}"): missing("GET", "/api/customers/{customer_id}"),
    ("PATCH", "/api/customers/{customer_id}"): missing("PATCH", "/api/customers/{customer_id}", notes="mine"),
    ("GET", "/api/calls"): listed("/api/calls", "customer_id={customer}"),
    ("GET", "/api/calls/{call_id}"): missing("GET", "/api/calls/{call_id}"),
}


def routes(config: ApiConfig) -> set[tuple[str, str]]:
    """Method and path of every route of the application; HEAD comes with its GET."""
    found: set[tuple[str, str]] = set()
    for route in create_app(config).routes:
        assert isinstance(route, Route)
        found |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
    return found


def test_every_route_has_a_case(api_config: ApiConfig) -> None:
    assert routes(api_config) == set(CASES)


@pytest.fixture
async def scene(partners: Partners, administrator: OwnConnection) -> Scene:
    """Two companies; the other one has an appointment, a customer, calls, used keys and second pages."""
    asking, other = await partners(), await partners()
    customer = {"first_name": MARK, "last_name": "Kunde", "phone": "+4915111111111", "email": "g@x.de", "notes": MARK}
    attendee = {"name": f"{MARK} Kunde", "phone": "+4915111111111"}
    made = (await other.client.post("/api/customers", json=customer)).json()
    first = await other.book(at(5, 10), key=KEY, attendee=attendee)
    assert first.json()["customer_id"] == made["id"]
    await other.booked(at(5, 11), attendee={"name": f"{MARK} Zweit", "phone": "+4915122222222"})
    calls = [
        await add_call(
            administrator,
            other.company_id,
            f"call_{MARK}_{other.number}_{number}",
            started_at=datetime.now(UTC),
            transcript=MARK,
            caller_name=MARK,
        )
        for number in range(2)
    ]
    cursors: dict[str, str] = {}
    for path in ("/api/appointments", "/api/customers", "/api/calls"):
        cursors[path] = (await other.client.get(f"{path}?limit=1")).json()["next"]
        assert cursors[path]
    return Scene(asking, other, first.json()["id"], made["id"], str(calls[0]), cursors)


async def everything_of(connection: OwnConnection, partner: Partner) -> dict[str, str]:
    """A digest of all rows of a company, by table; when its token was used does not count."""
    found: dict[str, str] = {}
    for row in await connection.fetch(ROWS):
        rows = await connection.fetch(
            f"select (to_jsonb(t) - 'last_used_at')::text as row from {row['name']} t where company_id = $1 order by 1",
            partner.company_id,
        )
        found[row["name"]] = hashlib.sha256("\n".join(one["row"] for one in rows).encode()).hexdigest()
    return found


async def test_no_route_shows_or_changes_anything_of_another_company(
    scene: Scene, administrator: OwnConnection, shared_api: SharedApi
) -> None:
    before = await everything_of(administrator, scene.other)
    secrets = [MARK, scene.appointment, scene.customer, scene.call, str(scene.other.company_id), scene.other.slug]
    for (method, path), case in CASES.items():
        for answer, status in await case(scene):
            assert answer.status_code == status, (method, path, answer.text)
            told = answer.text + str(answer.headers)
            for secret in secrets:
                assert secret not in told, (method, path, secret)
    assert await everything_of(administrator, scene.other) == before
    again = await scene.other.book(at(5, 10), key=KEY, attendee={"name": f"{MARK} Kunde", "phone": "+4915111111111"})
    assert again.json()["id"] == scene.appointment
