"""When the database is slow, silent or gone: an answer in time, nothing half stored, and back to work by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from backend.postgres.address import PostgresAddress
from tests.api.conftest import NUMBER, Api, StartApi, call_event, until
from tests.api.fault_proxy import FaultProxy, fault_proxy
from tests.databases import OwnConnection

ANSWER_S = 3.0
"""The specified bound for an answer."""

PATIENCE_S = 30.0
"""Where a test is about recovery and not about its speed: nothing on a busy machine takes so long."""


@pytest.fixture
async def proxy(database: PostgresAddress) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(database) as running:
        yield running


@pytest.fixture
async def api_behind_proxy(start_api: StartApi, proxy: FaultProxy, company: object) -> Api:
    return await start_api(postgres=proxy.address, lookup_s=0.4)


async def until_stored(api: Api, limit_s: float) -> None:
    """Deliver until it works, at most for `limit_s`."""

    async def stored() -> bool:
        return (await api.deliver(call_event())).status_code == 204

    await until(stored, limit_s)


async def stored_rows(superuser: OwnConnection) -> tuple[int, int]:
    """How many deliveries and jobs are stored, at one instant: an answer given up may still be stored, whole, later."""
    row = await superuser.fetchrow("select (select count(*) from webhook_inbox), (select count(*) from pgqueuer)")
    assert row is not None
    return row[0], row[1]


async def timed(answer: asyncio.Future[httpx.Response] | asyncio.Task[httpx.Response]) -> tuple[int, float]:
    started = time.monotonic()
    response = await answer
    return response.status_code, time.monotonic() - started


async def test_without_a_database_deliveries_are_turned_away_in_time(
    api_behind_proxy: Api, proxy: FaultProxy, superuser: OwnConnection
) -> None:
    api = api_behind_proxy
    await api.deliver(call_event())
    await proxy.hang_up()
    answers = await asyncio.gather(*(timed(asyncio.ensure_future(api.deliver(call_event()))) for _ in range(20)))
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < ANSWER_S
    answer = await api.deliver(call_event())
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert await stored_rows(superuser) == (1, 1)
    await proxy.listen()
    await until_stored(api, 2.0)


async def test_a_silent_database_holds_nobody_longer_than_three_seconds(
    api_behind_proxy: Api, proxy: FaultProxy, superuser: OwnConnection
) -> None:
    api = api_behind_proxy
    await api.deliver(call_event())
    proxy.swallow()
    deliveries = [asyncio.ensure_future(api.deliver(call_event())) for _ in range(20)]
    inbound = asyncio.ensure_future(api.ask_inbound(from_number="+4915112345678", to_number=NUMBER))
    ready = asyncio.ensure_future(api.client.get("/readyz"))
    answers = await asyncio.gather(*(timed(each) for each in (*deliveries, inbound, ready)))
    assert [status for status, _ in answers] == [503] * 20 + [200, 503]
    assert max(seconds for _, seconds in answers) < ANSWER_S
    assert inbound.result().json() == {"call_inbound": {}}
    assert (await api.client.get("/livez")).status_code == 200
    proxy.flow()
    await until_stored(api, 4.0)
    deliveries_stored, jobs_stored = await stored_rows(superuser)
    assert deliveries_stored == jobs_stored


@pytest.mark.usefixtures("company")
async def test_a_short_interruption_costs_nobody_anything(
    start_api: StartApi, proxy: FaultProxy, superuser: OwnConnection
) -> None:
    api = await start_api(postgres=proxy.address, patience_s=PATIENCE_S)
    await api.deliver(call_event())
    await proxy.hang_up()
    deliveries = [asyncio.ensure_future(api.deliver(call_event())) for _ in range(20)]
    await asyncio.sleep(0)
    await proxy.listen()
    assert {(await each).status_code for each in deliveries} == {204}
    assert await stored_rows(superuser) == (21, 21)


@pytest.mark.usefixtures("company")
async def test_connections_that_the_server_ends_are_replaced_unnoticed(
    start_api: StartApi, superuser: OwnConnection
) -> None:
    api = await start_api(patience_s=PATIENCE_S)
    for _ in range(3):
        assert (await api.deliver(call_event())).status_code == 204
        await superuser.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = 'askpro_api' and datname = current_database()"
        )
    assert (await api.deliver(call_event())).status_code == 204
    assert await stored_rows(superuser) == (4, 4)


async def test_a_locked_inbox_turns_deliveries_away_and_stores_none_of_them_later_by_half(
    api: Api, superuser: OwnConnection
) -> None:
    async with superuser.transaction():
        await superuser.execute("lock table webhook_inbox in access exclusive mode")
        status, seconds = await timed(asyncio.ensure_future(api.deliver(call_event())))
        assert status == 503
        assert seconds < ANSWER_S
    await until_stored(api, 4.0)
    deliveries_stored, jobs_stored = await stored_rows(superuser)
    assert deliveries_stored == jobs_stored


async def test_an_api_without_a_database_does_not_start(start_api: StartApi, database: PostgresAddress) -> None:
    missing = PostgresAddress(database.host, database.port + 1, database.database, database.passwords)
    with pytest.raises(OSError, match="No such file"):
        await start_api(postgres=missing)
