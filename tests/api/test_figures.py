"""The figures: `/api/dashboard`, `/metrics`, and the timings that other processes read."""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.api.access import require_reader
from backend.api.coalesced import Coalesced
from backend.api.problems import Problem
from backend.api.timings import Timings
from backend.valkey.client import open_valkey
from backend.watch.reader import Reading, SnapshotReader
from backend.watch.timings import TIMINGS_KEY, TimingReport, read_reports
from tests.api.conftest import Api, StartApi, call_event, until


async def test_the_dashboard_is_made_of_snapshots(api: Api) -> None:
    answer = await api.client.get("/api/dashboard")
    assert answer.status_code == 200
    content = answer.json()
    assert set(content["origins"]) == {"business", "calls", "queues"}
    assert content["origins"]["calls"]["source"] == "database"
    assert content["calls"]["ongoing"] == 0
    assert content["queues"]["quarantined"] == 0


async def test_the_same_dashboard_is_not_sent_twice(api: Api) -> None:
    first = await api.client.get("/api/dashboard")
    again = await api.client.get("/api/dashboard", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


async def test_a_company_s_dashboard_holds_that_company_only(api: Api, company: UUID) -> None:
    assert company is not None
    answer = await api.client.get("/api/dashboard", params={"company": "praxis"})
    assert answer.status_code == 200
    content = answer.json()
    assert content["today"]["company"] == content["company"] == "praxis"
    assert "queues" not in content


@pytest.mark.parametrize(("company", "status"), [("nobody", 404), ("../x", 422), ("A", 422), ("a" * 64, 422)])
async def test_a_company_that_is_not_there_has_no_dashboard(api: Api, company: str, status: int) -> None:
    answer = await api.client.get("/api/dashboard", params={"company": company})
    assert answer.status_code == status


class CountingReader(SnapshotReader):
    """A reader that counts what it is asked, and answers when it may."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.reads = 0
        self.gate = asyncio.Event()

    async def read(self, domain: str) -> Reading:
        self.reads += 1
        await self.gate.wait()
        return await super().read(domain)


async def test_however_many_ask_the_snapshots_are_read_once() -> None:
    reader = CountingReader()
    coalesced = Coalesced(("calls", "queues"))
    waiting = [asyncio.ensure_future(coalesced.load(reader)) for _ in range(500)]
    await asyncio.sleep(0)
    reader.gate.set()
    answers = await asyncio.gather(*waiting)
    assert reader.reads == 2
    assert all(answer is answers[0] for answer in answers)
    assert await coalesced.load(reader) is answers[0]
    assert reader.reads == 2


def scope_of(client: str | None, **headers: str) -> dict[str, object]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "client": None if client is None else (client, 1), "headers": raw}


@pytest.mark.parametrize("client", ["127.0.0.1", "127.9.9.9", "::1", None])
def test_this_machine_may_read_the_figures(client: str | None) -> None:
    require_reader(scope_of(client), None)


def test_others_may_read_them_with_the_token() -> None:
    require_reader(scope_of("192.0.2.1", authorization="Bearer s3cret"), "s3cret")


@pytest.mark.parametrize(
    ("scope", "token"),
    [
        (scope_of("192.0.2.1"), "s3cret"),
        (scope_of("192.0.2.1", authorization="Bearer "), ""),
        (scope_of("192.0.2.1", authorization="Bearer "), None),
        (scope_of("192.0.2.1", authorization="Bearer wrong"), "s3cret"),
        (scope_of("192.0.2.1", authorization="s3cret"), "s3cret"),
        (scope_of("127.0.0.1", x_forwarded_for="192.0.2.1"), "s3cret"),
        (scope_of("local"), "s3cret"),
    ],
)
def test_nobody_else_may(scope: dict[str, object], token: str | None) -> None:
    with pytest.raises(Problem) as caught:
        require_reader(scope, token)
    assert caught.value.status == 401


async def test_metrics_are_what_prometheus_reads(api: Api) -> None:
    await api.deliver(call_event())
    await api.deliver(call_event(), headers={})
    await api.client.get("/nowhere")
    answer = await api.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    route = ("route", "POST /api/retell/webhook")
    durations = "askpro_http_server_request_duration_seconds"
    assert families[durations].type == "histogram"
    assert samples[(f"{durations}_count", route)] == 2
    assert samples[(f"{durations}_bucket", ("le", "+Inf"), route)] == 2
    assert samples[(f"{durations}_sum", route)] > 0
    assert samples[("askpro_http_server_responses_total", route, ("status", "204"))] == 1
    assert samples[("askpro_http_server_responses_total", route, ("status", "401"))] == 1
    assert samples[("askpro_http_server_responses_total", ("route", "other"), ("status", "404"))] == 1
    assert samples[("askpro_intake_rejects_total", ("provider", "retell"), ("reason", "signature_missing"))] == 1
    assert samples[("askpro_intake_deliveries_total", ("outcome", "accepted"))] == 1
    assert "askpro_inbox_quarantined" in families
    assert "askpro_db_client_connection_count" in families


async def test_timings_reach_the_store_and_are_read_back(start_api: StartApi, valkey_url: str) -> None:
    api = await start_api(valkey_url=valkey_url, node="timings-node")
    await api.client.get("/livez")
    client = open_valkey(valkey_url, size=1)

    async def reported() -> bool:
        reports = await read_reports(client)
        return any("GET /livez" in report.routes for report in reports)

    await until(reported)
    (key,) = await client.keys(f"{TIMINGS_KEY}timings-node:*")
    assert 0 < await client.ttl(key) <= 10
    await client.aclose()


def test_timings_are_counted_by_route_and_status() -> None:
    timings = Timings("n", pid=1)
    for status, seconds in ((204, 0.010), (204, 0.020), (503, 2.0), (401, 0.001)):
        timings.observe("POST /x", status, seconds)
    report = msgspec.json.decode(msgspec.json.encode(timings.report()), type=TimingReport)
    seen = report.routes["POST /x"]
    assert (seen.count, seen.errors, seen.refused) == (4, 1, 1)
    assert seen.total_s == pytest.approx(2.031)
    assert sum(seen.buckets.values()) == 4
    assert timings.totals()["POST /x"].durations.count == 4
