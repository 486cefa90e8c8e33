"""Stored answers: given again to the same request for a day, and then forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from backend.domain.vocabulary import TokenScope
from backend.postgres.address import Role
from backend.postgres.pools import tenant_transaction
from backend.services.idempotent_answers import Begun, KeyedRequest, StoredAnswer, begin, prune, store
from backend.services.tokens import create_token
from tests.databases import OpenConnection, OwnConnection

ANSWER = StoredAnswer(201, {"etag": '"1"'}, b'{"id": 1}')
DAY = timedelta(hours=24)


@pytest.fixture
async def request_one(open_connection: OpenConnection) -> KeyedRequest:
    setup = await open_connection(Role.SETUP)
    company: UUID = await setup.fetchval("insert into companies (slug, name) values ('praxis', 'Praxis') returning id")
    made = await create_token(setup, "praxis", name="x", scopes=[TokenScope.CALLS_READ], life=DAY)
    return KeyedRequest(company, made.id, "one", bytes(32))


async def begun(connection: OwnConnection, request: KeyedRequest) -> tuple[Begun, StoredAnswer | None]:
    async with tenant_transaction(connection, request.company_id):
        return await begin(connection, request)


async def test_an_answer_is_kept_for_its_request_and_no_other(
    request_one: KeyedRequest, open_connection: OpenConnection
) -> None:
    api = await open_connection(Role.API)
    async with tenant_transaction(api, request_one.company_id):
        assert await begin(api, request_one) == (Begun.NEW, None)
        await store(api, request_one, ANSWER, DAY)
    assert await begun(api, request_one) == (Begun.STORED, ANSWER)
    other = KeyedRequest(request_one.company_id, request_one.token_id, "one", bytes([1] * 32))
    assert await begun(api, other) == (Begun.OTHER, None)


async def test_a_request_that_failed_leaves_its_key_free(
    request_one: KeyedRequest, open_connection: OpenConnection
) -> None:
    api = await open_connection(Role.API)

    async def failing() -> None:
        async with tenant_transaction(api, request_one.company_id):
            await begin(api, request_one)
            await store(api, request_one, ANSWER, DAY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    assert await begun(api, request_one) == (Begun.NEW, None)


async def test_a_second_request_does_not_wait_for_the_first(
    request_one: KeyedRequest, open_connection: OpenConnection
) -> None:
    first, second = await open_connection(Role.API), await open_connection(Role.API)
    async with tenant_transaction(first, request_one.company_id):
        await begin(first, request_one)
        async with asyncio.timeout(5):
            assert await begun(second, request_one) == (Begun.RUNNING, None)
    assert await begun(second, request_one) == (Begun.NEW, None)


async def test_an_answer_is_forgotten_after_its_time(
    request_one: KeyedRequest, open_connection: OpenConnection
) -> None:
    api, worker = await open_connection(Role.API), await open_connection(Role.WORKER)
    async with tenant_transaction(api, request_one.company_id):
        await store(api, request_one, ANSWER, DAY)
    assert await prune(worker) == 0
    async with tenant_transaction(api, request_one.company_id):
        await store(api, request_one, ANSWER, timedelta(0))
    assert await begun(api, request_one) == (Begun.NEW, None)
    assert await prune(worker) == 1
