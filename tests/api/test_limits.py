"""Limits as senders meet them: whom they hold up, whom they never do, and what an answer says about them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi.routing import APIRoute
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api.body import BODY_LIMIT
from backend.api.frame import Frame
from backend.api.limits.clients import Clients, parsed
from backend.api.limits.gate import Gate, GatePolicy, Priority
from backend.api.limits.limiting import Guard, count_caller
from backend.api.limits.table import LimitFigures, Rule, rule_for, table
from backend.api.partners.documented import ROUTERS
from backend.api.problems import send_json
from backend.api.timings import Timings
from backend.valkey.gcra import Limit
from backend.valkey.rates import Rates
from tests.api.conftest import Api, StartApi, call_event, inbox, until
from tests.databases import OwnConnection

FEW = LimitFigures(unverified_per_minute=5, failed_auth_per_minute=3, address_per_minute=4)
"""Refilled so slowly that a test sees no more than the burst: one in 12 s at most."""

COMPANY = uuid.UUID(int=7)
OTHER_COMPANY = uuid.UUID(int=8)


def somewhere() -> str:
    """An address that no other test uses: shared limits outlive a test."""
    number = uuid.uuid4().int
    return f"2001:db8:{number & 0xFFFF:x}:{(number >> 16) & 0xFFFF:x}::1"


async def statuses(request: Callable[[], Coroutine[object, object, httpx.Response]], times: int) -> Counter[int]:
    return Counter([(await request()).status_code for _ in range(times)])


async def kept(connection: OwnConnection) -> int:
    """Refused deliveries that are kept for replay."""
    found: int = await connection.fetchval("select count(*) from webhook_rejects where sealed is not null")
    return found


# Deliveries


@pytest.mark.usefixtures("still_limits")
async def test_failing_signatures_are_limited_and_verified_deliveries_of_the_same_address_are_not(
    start_api: StartApi, company: uuid.UUID, superuser: OwnConnection
) -> None:
    assert company is not None
    api = await start_api(limits=FEW)

    async def unsigned() -> httpx.Response:
        return await api.deliver(call_event(), headers={})

    assert await statuses(unsigned, 5) == {401: 5}
    over = await unsigned()
    assert over.status_code == 429
    assert over.headers["content-type"] == "application/problem+json"
    assert over.json()["reason"] == "rate_limited"
    assert 12 <= int(over.headers["retry-after"]) <= 15
    assert over.headers["ratelimit-policy"] == '"unverified";q=5;w=60'
    assert over.headers["ratelimit"] == '"unverified";r=0;t=60'
    assert await statuses(lambda: api.deliver(call_event()), 20) == {204: 20}
    assert len(await inbox(superuser)) == 20
    other_doors = ("/api/retell/inbound", "/api/retell/webhook", "/api/calcom/webhook")
    assert {(await api.client.post(path, content=b"{}")).status_code for path in other_doors} == {429}
    assert (await api.ask_inbound(from_number="+491701234567", to_number="+493012345678")).status_code == 200


@pytest.mark.usefixtures("still_limits")
async def test_what_comes_beyond_the_limit_is_counted_but_not_kept(
    start_api: StartApi, company: uuid.UUID, superuser: OwnConnection
) -> None:
    assert company is not None
    api = await start_api(limits=FEW)
    for _ in range(12):
        await api.deliver(call_event(), headers={"x-retell-signature": "v=1,d=" + "0" * 64})
    text = (await api.client.get("/metrics")).text
    assert 'askpro_intake_rejects_total{provider="retell",reason="signature_wrong"} 12' in text
    assert 'askpro_limits_refused_total{limit="unverified",class="intake"} 7' in text

    async def written() -> bool:
        return await kept(superuser) >= 5

    await until(written)
    assert await kept(superuser) == 5


@pytest.mark.usefixtures("still_limits")
async def test_bodies_that_are_too_large_count_as_unverified(start_api: StartApi) -> None:
    api = await start_api(limits=FEW)
    head = {"content-length": str(BODY_LIMIT + 1)}

    async def too_large() -> httpx.Response:
        return await api.client.post("/api/retell/webhook", content=b"x" * (BODY_LIMIT + 1), headers=head)

    assert await statuses(too_large, 7) == {413: 5, 429: 2}


async def test_all_processes_share_a_limit(
    start_api: StartApi, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.valkey.rates.ANSWER_S", 10.0)
    monkeypatch.setattr("backend.valkey.rates.HANG_S", 10.0)
    address = somewhere()
    config = {"limits": FEW, "valkey_url": valkey_url, "trusted_proxies": ("127.0.0.0/8",)}
    one, two = await start_api(**config, node="n1"), await start_api(**config, node="n2")

    async def unsigned(api: Api) -> int:
        headers = {"x-forwarded-for": address}
        return (await api.client.post("/api/retell/webhook", content=b"{}", headers=headers)).status_code

    seen = Counter([await unsigned(api) for _ in range(5) for api in (one, two)])
    assert seen == {401: 5, 429: 5}
    ready = (await one.client.get("/readyz")).json()
    assert ready["limits"]["mode"] == "shared"


@pytest.mark.usefixtures("still_limits")
async def test_without_valkey_the_api_is_ready_and_says_that_limits_are_its_own(start_api: StartApi) -> None:
    api = await start_api(valkey_url="unix:///nowhere/valkey", limits=FEW)
    answer = await api.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["limits"] == {"mode": "local", "processes": 1}
    assert (await api.deliver(call_event())).status_code == 204
    assert await statuses(lambda: api.deliver(call_event(), headers={}), 7) == {401: 5, 429: 2}
    text = (await api.client.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert [sample.value for sample in families["askpro_limits_shared"].samples] == [0.0]
    assert {sample.labels["class"] for sample in families["askpro_gate_shed"].samples} == {
        "in-call",
        "booking",
        "report",
    }


# Senders


@pytest.mark.usefixtures("still_limits")
async def test_a_sender_cannot_choose_the_address_it_is_counted_by(start_api: StartApi) -> None:
    api = await start_api(limits=FEW)
    answers = Counter[int]()
    for number in range(8):
        forged = {"x-forwarded-for": f"203.0.113.{number}", "forwarded": f"for=203.0.113.{number}"}
        answers[(await api.deliver(call_event(), headers=forged)).status_code] += 1
    assert answers == {401: 5, 429: 3}


@pytest.mark.usefixtures("still_limits")
async def test_behind_a_trusted_proxy_the_address_that_it_saw_counts_and_not_what_it_was_told(
    start_api: StartApi,
) -> None:
    api = await start_api(limits=FEW, trusted_proxies=("127.0.0.1", "10.0.0.0/8"))

    async def unsigned(chain: str, **more: str) -> int:
        return (await api.deliver(call_event(), headers={"x-forwarded-for": chain, **more})).status_code

    attacker = [await unsigned(f"198.51.100.{number}, 203.0.113.9, 10.1.1.1") for number in range(8)]
    assert Counter(attacker) == {401: 5, 429: 3}
    assert await unsigned("203.0.113.10, 10.1.1.1") == 401, "another sender has limits of its own"
    assert await unsigned("203.0.113.9", forwarded="for=203.0.113.77") == 429, "the other header is not believed"


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("x-forwarded-for", "203.0.113.9", "203.0.113.9"),
        ("x-forwarded-for", "1.1.1.1, 203.0.113.9:4711", "203.0.113.9"),
        ("x-forwarded-for", "1.1.1.1,[2001:db8::7]:443,10.0.0.2", "2001:db8::7"),
        ("x-forwarded-for", "::ffff:203.0.113.9", "203.0.113.9"),
        ("x-forwarded-for", "1.1.1.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("x-forwarded-for", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("x-forwarded-for", "", "10.0.0.1"),
        ("x-forwarded-for", ",,,", "10.0.0.1"),
        ("x-forwarded-for", "' or 1=1 --", "10.0.0.1"),
        ("forwarded", 'for="[2001:db8::7]:4711";proto=https, for=10.0.0.2', "2001:db8::7"),
        ("forwarded", "for=1.1.1.1, proto=https;For=203.0.113.9;by=10.0.0.1", "203.0.113.9"),
        ("forwarded", "for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ("forwarded", "proto=https", "10.0.0.1"),
    ],
)
def test_the_chain_of_proxies_is_read_from_its_end(header: str, value: str, expected: str) -> None:
    clients = Clients(("10.0.0.0/8",), header)
    scope = {"client": ("10.0.0.1", 1234), "headers": [(header.encode(), value.encode())]}
    assert clients.address(scope) == expected


def test_a_very_long_chain_costs_no_more_than_its_end() -> None:
    value = b", ".join([b"203.0.113.9"] + [b"10.0.0.2"] * 1000)
    assert Clients(("10.0.0.0/8",)).address({"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", value)]}) == (
        "10.0.0.2"
    )


def test_several_headers_of_one_name_are_one_chain() -> None:
    headers = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.9")]
    assert Clients(("10.0.0.0/8",)).address({"client": ("10.0.0.1", 1), "headers": headers}) == "203.0.113.9"


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "[::1", "1.2.3.4:", "999.1.1.1", "::1::2", "1.2.3.4, 5.6.7.8"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert parsed(text) is None or text == "[::1"


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="/99"):
        Clients(("10.0.0.0/99",))
    with pytest.raises(ValueError, match="x-real-ip"):
        Clients((), "x-real-ip")


# Tokens, companies, routes


@asynccontextmanager
async def guarded(
    endpoint: ASGIApp, rule: Rule, *, url: str | None = None, gate: Gate | None = None, figures: LimitFigures = FEW
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one guarded endpoint, which comes from an address of its own."""
    rates = Rates(url, uuid.uuid4().hex, answer_s=10.0, hang_s=10.0)
    await rates.start()
    guard = Guard(figures, rates, Clients(), rules=[rule], gate=gate)
    app = Frame(endpoint, timings=Timings("test"), endpoints={("GET", "/x"): guard.around("GET", "/x", endpoint)})
    transport = httpx.ASGITransport(app, client=(somewhere(), 4711))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client
    finally:
        await rates.aclose()


async def for_caller(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers for the token and company that the headers name."""
    headers = dict(scope["headers"])
    await count_caller(scope, headers[b"token"].decode(), uuid.UUID(headers[b"company"].decode()))
    await send_json(send, 200, {})


def as_caller(token: str, company: uuid.UUID) -> dict[str, str]:
    return {"token": token, "company": str(company)}


@pytest.mark.usefixtures("still_limits")
async def test_a_token_a_company_and_its_routes_have_limits_of_their_own() -> None:
    rule = Rule(
        method="*",
        path="",
        priority=Priority.BOOKING,
        token=Limit("token-write", 3, period_s=3600),
        company=Limit("company", 8, period_s=3600),
        route=Limit("company-report", 7, period_s=3600),
    )
    async with guarded(for_caller, rule) as client:

        async def asked(token: str, company: uuid.UUID = COMPANY) -> httpx.Response:
            return await client.get("/x", headers=as_caller(token, company))

        first = await asked("a")
        assert first.headers["ratelimit-policy"] == (
            '"token-write";q=3;w=3600, "company";q=8;w=3600, "company-report";q=7;w=3600'
        )
        assert first.headers["ratelimit"].startswith('"token-write";r=2;t=1200, "company";r=7;t=450, ')
        assert await statuses(lambda: asked("a"), 4) == {200: 2, 429: 2}
        refused = await asked("a")
        assert (refused.status_code, refused.json()["detail"]) == (429, "the limit token-write is used up")
        assert 1200 <= int(refused.headers["retry-after"]) <= 1441
        assert await statuses(lambda: asked("b"), 4) == {200: 3, 429: 1}
        assert await statuses(lambda: asked("c"), 4) == {200: 1, 429: 3}, "seven for these routes of the company"
        assert await statuses(lambda: asked("d", OTHER_COMPANY), 4) == {200: 3, 429: 1}


async def test_an_address_is_limited_before_anybody_asks_who_it_is() -> None:
    asked = 0

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        asked += 1
        await send_json(send, 200, {})

    rule = Rule(method="*", path="", priority=Priority.BOOKING, address=Limit("address", 4, period_s=3600))
    async with guarded(counting, rule) as client:
        assert await statuses(lambda: client.get("/x"), 9) == {200: 4, 429: 5}
    assert asked == 4


async def test_what_must_be_shared_is_refused_while_it_cannot_be(valkey_url: str) -> None:
    rule = Rule(
        method="*",
        path="",
        priority=Priority.BOOKING,
        address=Limit("address", 100),
        token=Limit("token-write", 5, period_s=3600),
        shared_only=True,
    )
    token = uuid.uuid4().hex
    async with guarded(for_caller, rule) as client:
        refused = await client.get("/x", headers=as_caller(token, COMPANY))
        assert (refused.status_code, refused.json()["reason"]) == (503, "limits_unavailable")
        assert int(refused.headers["retry-after"]) >= 5
    async with guarded(for_caller, rule, url=valkey_url) as client:
        assert (await client.get("/x", headers=as_caller(token, COMPANY))).status_code == 200


async def test_who_finds_no_place_is_told_when_to_come_back_and_the_place_is_given_back_whatever_happens() -> None:
    gate = Gate(GatePolicy(start=4, least=4, most=4, wait_s=0.01))

    async def troubled(scope: Scope, _receive: Receive, send: Send) -> None:
        if b"fail" in scope["query_string"]:
            raise RuntimeError("on purpose")
        await send_json(send, 200, {})

    rule = Rule(method="*", path="", priority=Priority.REPORT, address=Limit("address", 1000))
    async with guarded(troubled, rule, gate=gate) as client:
        assert await statuses(lambda: client.get("/x?fail"), 6) == {500: 6}
        assert (await client.get("/x")).status_code == 200
        assert gate.inflight == 0
        assert gate.try_enter(Priority.REPORT)
        assert gate.try_enter(Priority.REPORT)
        shed = await client.get("/x")
        assert (shed.status_code, shed.json()["reason"]) == (503, "overloaded")
        assert 3 <= int(shed.headers["retry-after"]) <= 10


@pytest.mark.usefixtures("still_limits")
async def test_a_route_that_no_row_names_is_limited_too(start_api: StartApi) -> None:
    api = await start_api(limits=FEW, trusted_proxies=("127.0.0.1",))
    headers = {"x-forwarded-for": somewhere()}
    assert await statuses(lambda: api.client.get("/nowhere", headers=headers), 6) == {404: 4, 429: 2}
    assert await statuses(lambda: api.client.get("/nowhere"), 6) == {404: 6}, "this machine itself is not"
    assert await statuses(lambda: api.client.get("/livez", headers=headers), 6) == {200: 6}, "nor is a probe"


# The table


@pytest.mark.parametrize(
    ("method", "path", "priority", "token"),
    [
        ("POST", "/api/retell/function", Priority.IN_CALL, None),
        ("POST", "/api/retell/inbound", Priority.IN_CALL, None),
        ("POST", "/api/retell/webhook", Priority.INTAKE, None),
        ("GET", "/livez", Priority.IN_CALL, None),
        ("POST", "/api/appointments", Priority.BOOKING, "token-write"),
        ("DELETE", "/api/appointments/{appointment}", Priority.BOOKING, "token-write"),
        ("GET", "/api/appointments/{appointment}", Priority.BOOKING, "token-read"),
        ("GET", "/api/availability", Priority.BOOKING, "token-read"),
        ("GET", "/api/customers", Priority.REPORT, "token-report"),
        ("GET", "/api/customersX", Priority.REPORT, "token-read"),
        ("GET", "/api/dashboard", Priority.REPORT, None),
        ("BREW", "/coffee", Priority.REPORT, "token-read"),
    ],
)
def test_every_route_has_its_row(method: str, path: str, priority: Priority, token: str | None) -> None:
    rule = rule_for(table(LimitFigures()), method, path)
    assert (rule.priority, rule.token and rule.token.name) == (priority, token)


def test_no_documented_route_is_left_to_the_row_for_the_unknown() -> None:
    rules = table(LimitFigures())
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods or ():
                rule = rule_for(rules, method, route.path)
                writes = method not in {"GET", "HEAD"}
                assert rule.path, route.path
                assert rule.address is not None
                assert rule.company is not None
                assert (rule.token is not None and rule.token.name == "token-write") == writes


def test_nothing_limits_a_verified_delivery() -> None:
    rule = rule_for(table(LimitFigures()), "POST", "/api/retell/webhook")
    assert (rule.gated, rule.address, rule.token, rule.company, rule.route) == (False, None, None, None, None)


def test_the_reports_limits_are_the_defaults() -> None:
    figures = LimitFigures()
    assert (figures.unverified_per_minute, figures.token_writes_per_minute) == (100, 60)
