"""Calls to a provider over real HTTP: what is repeated, what is waited for, what is known afterwards."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.providers.breaker import BreakerState
from backend.providers.calling import (
    BreakerOpen,
    ProviderBusy,
    ProviderClient,
    ProviderRefused,
    ProviderUnreachable,
    Retries,
    Timeouts,
    seconds_to_wait,
)
from tests.fakes.serving import serving
from tests.providers.clocks import NOON, HandClock


class Provider:
    """Answers as told, one answer for each request, the last one for ever; None never answers."""

    def __init__(self, *answers: Response | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request = Request(scope, receive)
        self.requests.append((request.method, str(request.url), dict(request.headers), await request.body()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.sleep(60)
        else:
            await answer(scope, receive, send)


@contextmanager
def provider(*answers: Response | None) -> Iterator[tuple[Provider, ProviderClient, HandClock]]:
    app, clock = Provider(*answers), HandClock()
    with serving(app) as url:
        timeouts = Timeouts(connect_s=1.0, total_s=0.3)
        yield app, ProviderClient("cal.com", url, clock=clock, timeouts=timeouts, spread=random.Random(7)), clock


def fine(body: bytes = b'{"status":"success"}') -> Response:
    return Response(body, media_type="application/json")


def busy(retry_after: str | None) -> Response:
    return Response(status_code=429, headers={} if retry_after is None else {"retry-after": retry_after})


async def test_a_call_carries_key_headers_parameters_and_json() -> None:
    with provider(fine()) as (app, client, _):
        reply = await client.call(
            "POST",
            "/v2/bookings",
            endpoint="create",
            bearer="key",
            json={"start": "2026-06-01T10:00:00Z"},
            params={"take": "1"},
            headers={"cal-api-version": "2024-08-13"},
        )
        await client.aclose()
    method, url, headers, body = app.requests[0]
    assert reply.json() == {"status": "success"}
    assert (method, url.partition("/v2")[2], body) == ("POST", "/bookings?take=1", b'{"start":"2026-06-01T10:00:00Z"}')
    assert headers["authorization"] == "Bearer key"
    assert headers["cal-api-version"] == "2024-08-13"
    assert client.figures["create"].outcomes == {"ok": 1}


async def test_what_may_be_made_twice_is_repeated_with_growing_random_waits() -> None:
    with provider(Response(status_code=500), Response(status_code=502), fine()) as (app, client, clock):
        await client.call("GET", "/x", endpoint="get")
        await client.aclose()
    assert len(app.requests) == 3
    assert len(clock.slept) == 2
    assert 0 <= clock.slept[0] <= 0.5
    assert 0 <= clock.slept[1] <= 1.0
    assert client.figures["get"].outcomes == {"unreachable": 2, "ok": 1}
    assert client.figures["get"].durations.count == 3


@pytest.mark.parametrize("answer", [Response(b"oops", 500), Response(status_code=302), None])
async def test_a_change_whose_answer_got_lost_is_not_repeated(answer: Response | None) -> None:
    with provider(answer) as (app, client, _):
        with pytest.raises(ProviderUnreachable) as lost:
            await client.call("POST", "/x", endpoint="create", json={})
        await client.aclose()
    assert lost.value.may_have_acted
    assert len(app.requests) == 1


async def test_without_a_connection_nothing_happened_so_even_a_change_is_tried_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        clock = HandClock()
        client = ProviderClient("cal.com", f"http://127.0.0.1:{taken.getsockname()[1]}", clock=clock)
        with pytest.raises(ProviderUnreachable) as lost:
            await client.call("POST", "/x", endpoint="create", json={})
        await client.aclose()
    assert not lost.value.may_have_acted
    assert client.figures["create"].outcomes == {"unreachable": 3}


async def test_a_refusal_tells_the_providers_words_and_is_no_failure_of_the_provider() -> None:
    words = b'{"status":"error","error":{"code":"BadRequestException","message":["start is in the\\u001b[31m past"]}}'
    with provider(Response(words, 400)) as (app, client, _):
        for _ in range(30):
            with pytest.raises(ProviderRefused, match=r"^400 start is in the \[31m past$"):
                await client.call("POST", "/x", endpoint="create", json={})
        await client.aclose()
    assert len(app.requests) == 30
    assert client.breaker.state is BreakerState.CLOSED


async def test_a_short_retry_after_is_waited_for() -> None:
    with provider(busy("3"), fine()) as (app, client, clock):
        await client.call("POST", "/x", endpoint="create", json={})
        await client.aclose()
    assert clock.slept == [3.0]
    assert len(app.requests) == 2


async def test_a_long_retry_after_is_the_callers_affair_and_holds_for_every_call_with_this_key() -> None:
    with provider(busy("40"), fine()) as (app, client, clock):
        with pytest.raises(ProviderBusy) as first:
            await client.call("POST", "/x", endpoint="create", bearer="a", json={})
        clock.passed_s += 10
        with pytest.raises(ProviderBusy) as second:
            await client.call("GET", "/y", endpoint="get", bearer="a")
        assert len(app.requests) == 1
        await client.call("GET", "/y", endpoint="get", bearer="b")
        clock.passed_s += 31
        await client.call("GET", "/y", endpoint="get", bearer="a")
        await client.aclose()
    assert (first.value.retry_after_s, second.value.retry_after_s) == (40, 30)
    assert len(app.requests) == 3


async def test_no_retry_after_is_believed_beyond_a_bound() -> None:
    with provider(busy("99999999")) as (_, client, _clock):
        with pytest.raises(ProviderBusy) as refused:
            await client.call("GET", "/x", endpoint="get")
        await client.aclose()
    assert refused.value.retry_after_s == Retries().longest_busy_s


async def test_a_provider_that_keeps_failing_is_left_alone_until_one_probe_succeeds() -> None:
    with provider(*[Response(status_code=500)] * 5, fine()) as (app, client, clock):
        for _ in range(5):
            with pytest.raises(ProviderUnreachable):
                await client.call("POST", "/x", endpoint="create", json={})
        with pytest.raises(BreakerOpen):
            await client.call("POST", "/x", endpoint="create", json={})
        assert len(app.requests) == 5
        clock.passed_s += 6.1
        await client.call("POST", "/x", endpoint="create", json={})
        await client.aclose()
    assert client.breaker.state is BreakerState.CLOSED


async def test_a_call_that_is_cancelled_leaves_the_probe_to_the_next() -> None:
    with provider(*[Response(status_code=500)] * 5, None) as (_, client, clock):
        for _turn in range(5):
            with pytest.raises(ProviderUnreachable):
                await client.call("POST", "/x", endpoint="create", json={})
        clock.passed_s += 6.1
        probe = asyncio.create_task(client.call("POST", "/x", endpoint="create", json={}))
        await asyncio.sleep(0)
        with pytest.raises(BreakerOpen):
            client.breaker.permit()
        probe.cancel()
        await asyncio.wait([probe])
        await client.aclose()
    assert client.breaker.permit().is_probe


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        (format_datetime(NOON + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOON - timedelta(seconds=90), usegmt=True), 0.0),
        ("soon", None),
        ("-3", None),
        ("", None),
        ("٣", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(stated: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(stated, NOON) == seconds
