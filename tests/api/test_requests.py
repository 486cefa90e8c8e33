"""What every route owes: bounded bodies, problems with an id, readiness, and no answer that begins with a 5."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import psutil
import pytest

from backend.api.body import BODY_LIMIT
from tests.api.conftest import Api, StartApi, call_event, encoded, inbox, retell_headers, running_api, until
from tests.databases import OwnConnection


async def raw(api: Api, *parts: bytes, read: bool = True) -> bytes:
    """Send bytes on a connection of their own; what comes back until the server hangs up."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 20) if read else b""
    finally:
        writer.close()


async def test_a_body_at_the_limit_is_read_and_one_byte_more_is_not(api: Api, superuser: OwnConnection) -> None:
    event = encoded(call_event(x=""))
    full = event.replace(b'"x":""', b'"x":"%s"' % (b"y" * (BODY_LIMIT - len(event))))
    assert len(full) == BODY_LIMIT
    assert (await api.deliver(full)).status_code == 204
    answer = await api.deliver(full.replace(b'"x":"y', b'"x":"yy'))
    assert answer.status_code == 413
    assert answer.json()["detail"]
    assert len(await inbox(superuser)) == 1


async def test_a_body_without_a_length_is_cut_off_at_the_limit(api: Api) -> None:
    before = psutil.Process().memory_info().rss

    async def more_than_enough() -> AsyncIterator[bytes]:
        for _ in range(4 * BODY_LIMIT // 65_536):
            yield b"x" * 65_536

    answer = await api.client.post("/api/retell/webhook", content=more_than_enough())
    assert answer.status_code == 413
    assert psutil.Process().memory_info().rss - before < 8 * BODY_LIMIT


@pytest.mark.parametrize("length", [b"1048577", b"99999999999999999999"])
async def test_a_length_beyond_the_limit_is_refused_before_the_body_comes(api: Api, length: bytes) -> None:
    head = b"POST /api/retell/webhook HTTP/1.1\r\nhost: x\r\ncontent-length: %s\r\n\r\n" % length
    answer = await raw(api, head)
    assert re.match(rb"HTTP/1.1 4(13|00) ", answer)


async def test_a_body_that_does_not_come_is_answered_408(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.api.protocol.BODY_TIMEOUT_S", 0.2)
    for part in (b"", b"{"):
        head = b"POST /api/retell/webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
        answer = await raw(api, head + part)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()


async def test_a_head_that_does_not_come_is_answered_408(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.api.protocol.HEAD_TIMEOUT_S", 0.2)
    for part in (b"", b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: "):
        assert (await raw(api, part)).startswith(b"HTTP/1.1 408 ")


async def test_a_second_head_on_a_connection_is_bounded_like_the_first(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.api.protocol.HEAD_TIMEOUT_S", 0.2)
    answer = await raw(api, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /livez HTTP/1.1\r\nx: ")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


async def test_a_head_without_end_is_answered_431(api: Api) -> None:
    head = b"GET /livez HTTP/1.1\r\nhost: x\r\nx-long: "
    assert (await raw(api, head, b"y" * 65_536)).startswith(b"HTTP/1.1 431 ")


async def test_a_client_that_hangs_up_half_way_leaves_nothing(api: Api, superuser: OwnConnection) -> None:
    body = encoded(call_event())
    head = "".join(f"{name}: {value}\r\n" for name, value in retell_headers(body).items())
    start = f"POST /api/retell/webhook HTTP/1.1\r\nhost: x\r\n{head}content-length: {len(body)}\r\n\r\n".encode()
    for cut in (0, 1, len(body) - 1):
        await raw(api, start + body[:cut], read=False)
    assert (await api.client.get("/livez")).status_code == 200
    assert await inbox(superuser) == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/api/retell/webhook", 405), ("DELETE", "/livez", 405), ("GET", "/livez/", 404)],
)
async def test_what_no_route_takes_is_a_problem_too(api: Api, method: str, path: str, status: int) -> None:
    answer = await api.client.request(method, path, headers={"x-request-id": "trace-1.a"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "trace-1.a"
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("given", ["", "a b", "<script>", "x" * 65, "a;b", "ü"])
async def test_a_request_id_that_is_not_sane_is_replaced(api: Api, given: str) -> None:
    answer = await api.client.get("/livez", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", answer.headers["x-request-id"])


async def test_every_request_has_an_id_of_its_own(api: Api) -> None:
    answers = await asyncio.gather(*(api.client.get("/livez") for _ in range(20)))
    assert len({answer.headers["x-request-id"] for answer in answers}) == 20


async def test_a_ready_process_says_so(api: Api) -> None:
    answer = await api.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"draining": "pass", "database": "pass", "migrations": "pass"}


async def test_a_schema_that_lacks_a_migration_is_not_ready(start_api: StartApi, superuser: OwnConnection) -> None:
    await superuser.execute("delete from schema_migrations where number = 3")
    api = await start_api()
    answer = await api.client.get("/readyz")
    assert answer.status_code == 503
    assert "0003_intake.sql" in answer.json()["checks"]["migrations"]
    assert (await api.client.get("/livez")).status_code == 200


async def test_stopping_lets_requests_under_way_finish(api: Api, superuser: OwnConnection) -> None:
    stop = asyncio.Event()
    async with running_api(replace(api.config, patience_s=30.0), stop=stop) as other:
        await superuser.execute("begin")
        await superuser.execute("lock table webhook_inbox in share mode")
        delivery = asyncio.ensure_future(other.deliver(call_event()))

        async def waits() -> bool:
            return bool(await superuser.fetchval("select true from pg_locks where not granted limit 1"))

        async def refuses() -> bool:
            try:
                await raw(other, read=False)
            except OSError as error:
                return isinstance(error, ConnectionRefusedError)
            return False

        await until(waits)
        stop.set()
        await until(refuses)
        await superuser.execute("commit")
        assert (await delivery).status_code == 204
    assert len(await inbox(superuser)) == 1
