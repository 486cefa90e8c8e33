"""The resources while the database is gone, silent or busy: 503 soon, with a time to come back after, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from backend.api.database import ACQUIRE_S, ANSWER_S
from backend.postgres.address import PostgresAddress
from tests.api.conftest import StartApi, until
from tests.api.fault_proxy import FaultProxy, fault_proxy
from tests.api.partner import Partner, partner_of, salon
from tests.databases import OwnConnection


@pytest.fixture
async def proxy(database: PostgresAddress) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(database) as running:
        yield running


@pytest.fixture
async def partner(start_api: StartApi, setup: OwnConnection, proxy: FaultProxy) -> AsyncIterator[Partner]:
    api = await start_api(postgres=proxy.address, pool_size=2)
    async with partner_of(api.url, setup, salon()) as made:
        assert (await made.client.get("/api/company")).status_code == 200
        yield made


def assert_come_back(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert 1 <= int(response.headers["retry-after"]) <= 4


async def test_a_database_that_is_gone_is_503_and_all_is_well_when_it_is_back(
    partner: Partner, proxy: FaultProxy
) -> None:
    await proxy.hang_up()
    assert_come_back(await partner.client.get("/api/company"))
    await proxy.listen()

    async def answered() -> bool:
        return (await partner.client.get("/api/company")).status_code == 200

    await until(answered)


async def test_a_silent_database_is_waited_for_a_bounded_time(partner: Partner, proxy: FaultProxy) -> None:
    proxy.swallow()
    async with asyncio.timeout(2 * (ACQUIRE_S + ANSWER_S)):
        answers = await asyncio.gather(*(partner.client.get("/api/company") for _ in range(6)))
    for answer in answers:
        assert_come_back(answer)
    proxy.flow()

    async def answered() -> bool:
        return (await partner.client.get("/api/company")).status_code == 200

    await until(answered)


async def test_who_finds_no_connection_free_is_503_and_the_others_are_served(
    partner: Partner, superuser: OwnConnection
) -> None:
    await superuser.execute("begin; lock table companies in access exclusive mode")
    try:
        answers = await asyncio.gather(*(partner.client.get("/api/company") for _ in range(20)))
    finally:
        await superuser.execute("rollback")
    for answer in answers:
        assert_come_back(answer)
    assert (await partner.client.get("/api/company")).status_code == 200
