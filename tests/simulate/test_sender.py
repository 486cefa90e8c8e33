"""The sender as the provider: really signed, patient to a point, and honest about what became of each delivery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from retell.lib.webhook_auth import verify

from backend.simulate.businesses import TRIAL, businesses
from backend.simulate.deliveries import Delivery, Seal
from backend.simulate.http_client import HttpConnection, NoAnswer
from backend.simulate.payloads import Told
from backend.simulate.plan import Ground, RunSpec, make_plan
from backend.simulate.presets import PACES
from backend.simulate.sender import Courier, Fate, Sender

KEY = "key_sender"
NOW = datetime(2026, 3, 11, 15, 30, tzinfo=UTC).timestamp()


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


Answerer = Callable[[Request], Awaitable[bytes | None]]
"""The raw answer to a request; None closes the connection without one."""


@asynccontextmanager
async def foreign_server(answer: Answerer) -> AsyncIterator[str]:
    """A real HTTP server that is as good or bad as the test wants."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
                body = await reader.readexactly(int(headers["content-length"]))
                said = await answer(Request(head[0].split()[1], headers, body))
                if said is None:
                    return
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.close()


def answered(status: int, body: bytes = b"", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body


def some_deliveries(calls: int = 12) -> tuple[Delivery, ...]:
    spec = RunSpec(calls=calls, seed=1, run="a", pace=PACES["now"], now=NOW)
    return make_plan(spec, businesses(TRIAL), Ground()).waves[0]


def sender(url: str, *, patient: bool = False, timeout_s: float = 10.0) -> Sender:
    courier = Courier(url, KEY, patient=patient, timeout_s=timeout_s, retry_after_s=(0.0, 0.0, 0.0))
    return Sender(url, courier, connections=4)


async def test_everything_is_delivered_once_with_the_vendors_signature() -> None:
    seen: list[Request] = []

    async def answer(request: Request) -> bytes:
        seen.append(request)
        return answered(200, b"{}")

    deliveries = some_deliveries()
    async with foreign_server(answer) as url:
        ledger = await sender(url).send(deliveries)
    assert len(seen) == len(deliveries)
    assert sorted(request.body for request in seen) == sorted(delivery.body() for delivery in deliveries)
    assert all(fate.accepted and fate.attempts == 1 and not fate.in_doubt for fate in ledger.fates)
    good = {delivery.body() for delivery in deliveries if delivery.seal is Seal.GOOD}
    for request in seen:
        if request.body in good and not any(d.reject for d in deliveries if d.body() == request.body):
            assert verify(request.body.decode(), KEY, request.headers["x-retell-signature"])  # type: ignore[no-untyped-call] # untyped SDK


async def test_a_delivery_that_is_refused_for_a_while_is_sent_again_until_it_is_taken() -> None:
    tries: dict[bytes, int] = {}

    async def answer(request: Request) -> bytes | None:
        count = tries[request.body] = tries.get(request.body, 0) + 1
        return None if count == 1 else answered(503) if count == 2 else answered(204)

    deliveries = [
        delivery for delivery in some_deliveries() if not (delivery.reject or delivery.fault or delivery.is_question)
    ]
    async with foreign_server(answer) as url:
        ledger = await sender(url).send(deliveries)
    assert all(fate.accepted for fate in ledger.fates)
    assert {fate.attempts for fate in ledger.fates} == {3}
    assert all(fate.in_doubt for fate in ledger.fates)


async def test_the_provider_gives_up_after_three_retries() -> None:
    async def answer(_request: Request) -> bytes:
        return answered(500)

    deliveries = [delivery for delivery in some_deliveries() if not delivery.reject]
    async with foreign_server(answer) as url:
        ledger = await sender(url).send(deliveries)
    assert all(not fate.accepted and fate.attempts == 4 and fate.why == "answered 500" for fate in ledger.fates)


async def test_a_patient_provider_goes_on_until_the_system_is_back() -> None:
    left = 16

    async def answer(_request: Request) -> bytes | None:
        nonlocal left
        left -= 1
        return answered(204) if left < 0 else None

    deliveries = [delivery for delivery in some_deliveries(3) if not delivery.reject][:8]
    async with foreign_server(answer) as url:
        ledger = await sender(url, patient=True).send(deliveries)
    assert all(fate.accepted for fate in ledger.fates)
    assert ledger.retries >= 16


async def test_an_expected_refusal_is_not_tried_again() -> None:
    async def answer(_request: Request) -> bytes:
        return answered(401, b"{}")

    forged = [delivery for delivery in some_deliveries(40) if delivery.reject]
    async with foreign_server(answer) as url:
        ledger = await sender(url).send(forged)
    assert [(fate.status, fate.attempts) for fate in ledger.fates] == [(401, 1)] * len(forged)


async def test_an_answer_that_does_not_come_is_a_failure_in_doubt() -> None:
    async def answer(_request: Request) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async with foreign_server(answer) as url:
        ledger = await sender(url, timeout_s=0.05).send(some_deliveries()[:2])
    assert all(fate.in_doubt and fate.attempts == 4 and fate.status is None for fate in ledger.fates)


async def test_stopping_leaves_the_rest_unsent() -> None:
    stop = asyncio.Event()

    async def answer(_request: Request) -> bytes:
        stop.set()
        return answered(204)

    deliveries = some_deliveries()
    async with foreign_server(answer) as url:
        ledger = await Sender(url, Courier(url, KEY), connections=1, stop=stop).send(deliveries)
    assert 1 <= sum(fate.accepted for fate in ledger.fates) < len(deliveries)


async def test_a_fault_of_the_simulator_itself_is_not_taken_for_a_silent_system() -> None:
    class Broken(Courier):
        async def attempt(
            self, connection: HttpConnection, delivery: Delivery, fate: Fate, told: Told | None = None
        ) -> bool:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Sender("http://127.0.0.1:9", Broken("", KEY)).send(some_deliveries())


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        answered(200, b"{}", "connection: close\r\n"),
    ],
    ids=["chunked", "closing"],
)
async def test_the_client_understands_every_way_to_end_an_answer(raw: bytes) -> None:
    async def answer(_request: Request) -> bytes:
        return raw

    async with foreign_server(answer) as url:
        connection = HttpConnection(url)
        for _ in range(3):
            said = await connection.post(b"/", b"", b"x", 5.0)
            assert (said.status, said.body) == (200, b"{}")
        connection.close()


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n" + bytes(2_000_000)]
)
async def test_nonsense_and_flood_are_no_answer(raw: bytes) -> None:
    async def answer(_request: Request) -> bytes:
        return raw

    async with foreign_server(answer) as url:
        with pytest.raises(NoAnswer):
            await HttpConnection(url).post(b"/", b"", b"x", 5.0)
