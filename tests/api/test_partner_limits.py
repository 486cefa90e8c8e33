"""What limits and gate do to partners' programs, on the real routes; and what they never do to a caller on the line."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from backend.api.limits.table import LimitFigures
from backend.domain.vocabulary import TokenScope
from backend.services.tokens import create_token
from tests.api.conftest import Api, StartApi, call_event, retell_headers, until
from tests.api.partner import LIFE, at, partner_of, salon
from tests.databases import OwnConnection
from tests.voice_agent import Agent

NUMBER = "+493012300200"
REPORTS, BOOKINGS = "/api/customers", "/api/appointments"

FEW = LimitFigures(
    failed_auth_per_minute=3,
    token_reads_per_minute=6,
    token_writes_per_minute=2,
    token_reports_per_minute=3,
    company_per_minute=14,
    company_reports_per_minute=4,
)

NARROW = LimitFigures(concurrency_start=4, concurrency_least=4, concurrency_most=4, wait_s=0.05)


def agent_of(api: Api) -> Agent:
    """The voice agent, who calls functions of this API."""

    async def deliver(body: bytes) -> bytes:
        answer = await api.client.post("/api/retell/function", content=body, headers=retell_headers(body))
        assert answer.status_code == 200, answer.text
        return answer.content

    return Agent(deliver).calling(to_number=NUMBER)


@pytest.mark.usefixtures("still_limits")
async def test_writes_reads_and_reports_of_a_token_are_counted_apart_and_all_of_a_company_together(
    start_api: StartApi, setup: OwnConnection
) -> None:
    api = await start_api(limits=FEW)
    async with partner_of(api.url, setup, salon()) as partner:
        written = [await partner.book(at(3, 10 + hour)) for hour in range(3)]
        assert [answer.status_code for answer in written] == [201, 201, 429]
        assert written[1].headers["ratelimit"].startswith('"token-write";r=0;t=60, "company";r=12;')
        refused = written[2]
        assert refused.json()["reason"] == "rate_limited"
        assert 30 <= int(refused.headers["retry-after"]) <= 37
        reports = [(await partner.client.get("/api/customers")).status_code for _ in range(4)]
        assert reports == [200, 200, 200, 429]
        reads = [(await partner.client.get("/api/appointments")).status_code for _ in range(7)]
        assert reads == [200] * 6 + [429]
        made = await create_token(setup, partner.slug, name="second", scopes=tuple(TokenScope), life=LIFE)
        headers = {"authorization": f"Bearer {made.token}"}
        assert (await partner.client.get("/api/calls", headers=headers)).status_code == 200
        assert (await partner.client.get("/api/calls", headers=headers)).json()["detail"] == (
            "the limit company-report is used up"
        )
        others = [(await partner.client.get("/api/appointments", headers=headers)).status_code for _ in range(3)]
        assert others == [200, 200, 429], "fourteen in all for the company"


@pytest.mark.usefixtures("still_limits")
async def test_what_is_refused_inside_a_route_says_where_the_token_stands_too(
    start_api: StartApi, setup: OwnConnection
) -> None:
    api = await start_api(limits=FEW)
    async with partner_of(api.url, setup, salon()) as partner:
        missing = await partner.client.get("/api/appointments/00000000-0000-0000-0000-000000000000")
        assert missing.status_code == 404
        assert missing.headers.get_list("ratelimit") == ['"token-read";r=5;t=10, "company";r=13;t=5']


@pytest.mark.usefixtures("still_limits")
async def test_tokens_that_are_not_good_are_limited_and_a_good_one_of_the_same_address_is_not(
    start_api: StartApi, setup: OwnConnection
) -> None:
    api = await start_api(limits=FEW)
    async with partner_of(api.url, setup, salon()) as partner:
        wrong = {"authorization": f"Bearer ap_live_{'a' * 8}_{'x' * 43}"}
        tried = [(await api.client.get("/api/calls", headers=headers)).status_code for headers in (wrong, {}) * 3]
        assert tried == [401, 401, 401, 429, 429, 429]
        assert (await partner.client.get("/api/calls")).status_code == 200


async def test_when_bookings_hang_reports_give_way_and_callers_and_deliveries_do_not_notice(
    start_api: StartApi, setup: OwnConnection, superuser: OwnConnection
) -> None:
    api = await start_api(limits=NARROW, function_s=20.0)
    async with partner_of(api.url, setup, salon()) as partner:
        agent = agent_of(api)
        async with superuser.transaction():
            await superuser.execute("lock table appointments in access exclusive mode")
            hanging = [asyncio.ensure_future(partner.client.get("/api/appointments")) for _ in range(3)]

            async def all_hang() -> bool:
                return bool(await superuser.fetchval("select count(*) = 3 from pg_locks where not granted"))

            await until(all_hang)
            shed = [await partner.client.get(path) for path in ("/api/customers", "/api/company")]
            assert [answer.status_code for answer in shed] == [503, 503]
            assert [answer.json()["reason"] for answer in shed] == ["overloaded", "overloaded"]
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in shed)
            assert (await agent.ask("get_services"))["ok"]
            assert (await api.deliver(call_event())).status_code == 204
            assert (await api.client.get("/livez")).status_code == 200
        assert {answer.status_code for answer in await asyncio.gather(*hanging)} == {200}
        assert (await partner.client.get("/api/customers")).status_code == 200


async def test_two_hundred_clients_at_once_are_answered_or_told_when_to_come_back(
    start_api: StartApi, setup: OwnConnection
) -> None:
    api = await start_api(pool_size=2)
    async with partner_of(api.url, setup, salon()) as partner:
        many = httpx.Limits(max_connections=200)
        headers = partner.client.headers
        async with httpx.AsyncClient(base_url=api.url, headers=headers, limits=many, timeout=30) as client:
            answers = await asyncio.gather(*(client.get(BOOKINGS) for _ in range(200)))
        seen = Counter(answer.status_code for answer in answers)
        assert set(seen) <= {200, 503}
        assert seen[200] > 0
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
        assert (await partner.client.get(BOOKINGS)).status_code == 200


async def test_under_a_flood_of_all_classes_calls_are_answered_and_reports_are_shed(
    start_api: StartApi, setup: OwnConnection
) -> None:
    limits = LimitFigures(
        token_reads_per_minute=1_000_000,
        token_reports_per_minute=1_000_000,
        company_per_minute=1_000_000,
        company_reports_per_minute=1_000_000,
        concurrency_start=4,
        concurrency_least=4,
        concurrency_most=4,
        wait_s=0.2,
    )
    api = await start_api(limits=limits, function_s=20.0)
    shed: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    async with partner_of(api.url, setup, salon()) as partner:
        agent = agent_of(api)
        over = asyncio.Event()

        async def flood(path: str) -> None:
            while not over.is_set():
                asked[path] += 1
                answer: httpx.Response = await partner.client.get(path)
                assert answer.status_code in {200, 503}
                shed[path] += answer.status_code == 503

        floods = [asyncio.ensure_future(flood(path)) for path in (REPORTS, BOOKINGS) for _ in range(8)]
        async with asyncio.timeout(60):
            for _ in range(10):
                assert (await agent.ask("get_services"))["ok"]
            while shed[REPORTS] < 3:
                assert (await agent.ask("get_services"))["ok"]
        over.set()
        await asyncio.gather(*floods)
    assert shed[REPORTS] / asked[REPORTS] > shed[BOOKINGS] / asked[BOOKINGS]
