"""Our client of Retell's API, against a server that behaves and one that does not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from backend.providers.calling import ProviderBusy, ProviderClient, ProviderRefused, ProviderUnreachable, Timeouts
from backend.providers.retell.client import CallPage, RetellClient
from tests.fakes.retell import (
    BROKEN_JSON,
    FAILING,
    KEY,
    SILENT,
    Fault,
    RetellFake,
    busy,
    call_of,
    ongoing,
    running_retell,
)
from tests.providers.clocks import HandClock

START = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)


@dataclass
class Line:
    """The fake, a client of it, and the clock by which the client waits."""

    fake: RetellFake
    http: ProviderClient
    clock: HandClock

    @property
    def client(self) -> RetellClient:
        """With the right key."""
        return RetellClient(self.http, KEY)

    async def page(self, after: str | None = None, limit: int = 2) -> CallPage:
        """Calls of an hour."""
        return await self.client.list_calls(START, START + timedelta(hours=1), after=after, limit=limit)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    """Three calls, a minute apart; the last one goes on."""
    with running_retell() as fake:
        fake.add(call_of("call_1", START_MS + 60_000), call_of("call/2 ü", START_MS + 120_000))
        fake.add(ongoing("call_3", START_MS + 180_000), call_of("call_before", START_MS - 1))
        clock = HandClock()
        timeouts = Timeouts(connect_s=1.0, total_s=0.5)
        http = ProviderClient("retell", fake.url, clock=clock, timeouts=timeouts, spread=random.Random(1))
        yield Line(fake, http, clock)
        await http.aclose()


async def test_calls_are_listed_oldest_first_page_by_page(line: Line) -> None:
    first = await line.page()
    assert [call.call_id for call in first.calls] == ["call_1", "call/2 ü"]
    last = await line.page(first.next_key)
    assert [(call.call_id, call.status, call.ended_at) for call in last.calls] == [("call_3", "ongoing", None)]
    assert last.next_key is None
    told = first.calls[0]
    assert (told.started_at, told.duration_ms, told.is_analyzed) == (START + timedelta(minutes=1), 90_000, True)


async def test_one_call_is_read_with_its_transcript_whatever_its_id_looks_like(line: Line) -> None:
    call = await line.client.get_call("call/2 ü")
    assert call is not None
    assert call["transcript"] == "Agent: Hallo.\nUser: Guten Tag."
    assert await line.client.get_call("call_unknown") is None


async def test_a_call_is_stopped_and_deleted(line: Line) -> None:
    assert await line.client.stop_call("call_3")
    assert line.fake.calls["call_3"]["call_status"] == "ended"
    assert await line.client.delete_call("call_3")
    assert not await line.client.delete_call("call_3")
    assert not await line.client.stop_call("call_3")


async def test_a_failing_or_silent_provider_is_asked_again(line: Line) -> None:
    line.fake.misbehave(FAILING)
    line.fake.misbehave(SILENT)
    assert len((await line.page()).calls) == 2
    assert len(line.fake.requests) == 3
    assert line.http.figures["list-calls"].outcomes == {"unreachable": 2, "ok": 1}


async def test_a_short_retry_after_is_waited_for_and_a_long_one_is_told(line: Line) -> None:
    line.fake.misbehave(busy("3"))
    assert len((await line.page()).calls) == 2
    assert line.clock.slept == [3.0]
    line.fake.misbehave(busy("120"))
    with pytest.raises(ProviderBusy) as caught:
        await line.page()
    assert caught.value.retry_after_s == 120


@pytest.mark.parametrize(
    "answer", [BROKEN_JSON, Fault(body=b"[]"), Fault(body=b'{"items":[],"has_more":true}'), Fault(body=b"")]
)
async def test_an_answer_that_is_no_list_is_none(line: Line, answer: Fault) -> None:
    line.fake.misbehave(answer)
    with pytest.raises(ProviderUnreachable):
        await line.page()


async def test_a_call_of_another_id_is_not_taken_for_the_one_asked_for(line: Line) -> None:
    line.fake.misbehave(Fault(body=b'{"call_id":"call_other"}'))
    with pytest.raises(ProviderUnreachable):
        await line.client.get_call("call_1")


async def test_a_wrong_key_is_refused(line: Line) -> None:
    with pytest.raises(ProviderRefused, match="401 Invalid API key"):
        await RetellClient(line.http, "key_wrong").get_call("call_1")
