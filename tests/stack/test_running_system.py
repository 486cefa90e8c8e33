"""A running system stays up whatever happens to its processes; one system serves all tests of this file."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Iterator

import httpx
import msgspec
import psutil
import pytest

from backend.stack.client import ControlClient, start_detached
from backend.stack.endpoints import Endpoints
from backend.stack.failures import StackFailure
from backend.stack.status import ProcessState, Status
from tests.stack.systems import COMMAND, SmallSystem, make_base, put_away, until


@pytest.fixture(scope="module")
def started() -> Iterator[SmallSystem]:
    """The system of this file."""
    system = SmallSystem(make_base(), {})
    try:
        asyncio.run(system.start())
        yield system
    finally:
        asyncio.run(put_away(system))


@pytest.fixture
async def system(started: SmallSystem) -> AsyncIterator[SmallSystem]:
    """The system, ready before each test and again after it."""
    await started.when(lambda status: status.ready, "the system is ready")
    yield started
    await started.when(lambda status: status.ready, "the system is ready again")


async def answers(url: str) -> bool:
    async with httpx.AsyncClient(timeout=10) as client:
        return (await client.get(url)).text == "ok"


def restarts(status: Status, name: str) -> int:
    return next(process.restarts for process in status.processes if process.name == name)


async def test_it_serves_and_tells_where(system: SmallSystem) -> None:
    status = await system.status()
    assert await answers(status.api_url)
    assert Endpoints.read(system.layout.endpoints_file).api_url == status.api_url


async def test_only_its_user_may_speak_to_it_or_read_its_passwords(system: SmallSystem) -> None:
    for path in (system.layout.control_socket, system.layout.credentials_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_second_supervisor_is_refused_and_harms_nothing(system: SmallSystem) -> None:
    first = await system.status()
    second = start_detached(system.layout, command=COMMAND, environment=system.environment)
    await until(lambda: second.poll() is not None, "the second supervisor ends")
    assert second.returncode == 1
    status = await system.status()
    assert status.supervisor_pid == first.supervisor_pid
    assert status.ready


async def test_a_killed_api_is_started_again_and_no_connection_is_refused_meanwhile(system: SmallSystem) -> None:
    before = await system.process("api")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    assert await answers((await system.status()).api_url)
    after = await system.process("api")
    assert after.restarts == before.restarts + 1
    assert after.pid != before.pid


async def test_an_api_that_stopped_answering_is_started_afresh(system: SmallSystem) -> None:
    before = await system.process("api")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGSTOP)
    try:
        status = await system.when(
            lambda now: any(one.name == "api" and one.state is ProcessState.DRAINING for one in now.processes),
            "the silence is noticed",
        )
        assert next(one.detail for one in status.processes if one.name == "api").startswith("has not answered for")
    finally:
        os.kill(before.pid, signal.SIGCONT)
    await system.when(lambda now: restarts(now, "api") > before.restarts and now.ready, "the api is back")


@pytest.mark.parametrize("name", ["postgres", "valkey", "worker-default", "publisher"])
async def test_a_killed_process_comes_back_alone(system: SmallSystem, name: str) -> None:
    before = await system.status()
    pid = (await system.process(name)).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    status = await system.when(
        lambda now: restarts(now, name) > restarts(before, name) and now.ready, f"{name} is back"
    )
    others = [process.name for process in status.processes if process.name != name]
    assert [restarts(status, other) for other in others] == [restarts(before, other) for other in others]


async def test_a_restart_on_demand_drains_first(system: SmallSystem) -> None:
    before = await system.status()
    async with ControlClient(system.layout) as client:
        await client.restart("worker-webhooks")
    await system.when(
        lambda now: restarts(now, "worker-webhooks") > restarts(before, "worker-webhooks") and now.ready,
        "the worker is back",
    )
    assert "worker-webhooks drained" in (system.layout.logs / "worker-webhooks.log").read_text()


async def test_the_supervisor_itself_stays_small(system: SmallSystem) -> None:
    status = await system.status()
    assert psutil.Process(status.supervisor_pid).memory_info().rss < 48 * 2**20
    assert all(process.rss_bytes > 0 for process in status.processes)


async def test_the_control_socket_refuses_what_it_does_not_know(system: SmallSystem) -> None:
    async with ControlClient(system.layout) as known:
        with pytest.raises(StackFailure, match="knows nothing"):
            await known.restart("nonsense")
    transport = httpx.AsyncHTTPTransport(uds=str(system.layout.control_socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://supervisor", timeout=5) as client:
        assert (await client.get("/stop")).status_code == 405
        assert (await client.get("/")).status_code == 404
        assert msgspec.json.decode((await client.get("/status")).content)["ready"] is True


async def test_the_control_socket_survives_nonsense(system: SmallSystem) -> None:
    reader, writer = await asyncio.open_unix_connection(str(system.layout.control_socket))
    writer.write(b"\x00\xff nonsense \r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert (await system.status()).ready


async def test_no_process_has_failed_after_all_this(system: SmallSystem) -> None:
    assert not any(process.state is ProcessState.FAILED for process in (await system.status()).processes)
