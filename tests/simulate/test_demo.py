"""The demo's traffic: it flows, it survives outages, it ends when told to, and it leaves no broken row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backend.postgres.address import Role
from backend.postgres.pools import tenant_transaction
from backend.postgres.verify import verify
from backend.services.booking import Booked, BookingRequest, book
from backend.simulate.businesses import DEMO, businesses
from backend.simulate.demo import Demo, DemoConfig
from backend.simulate.dice import seeded
from backend.simulate.front_desk import fate_of_past
from backend.simulate.run import Target
from backend.simulate.settle import settle
from tests.databases import OpenConnection, OwnConnection
from tests.simulate.test_sender import Request, answered, foreign_server

LIMIT_S = 60.0


@asynccontextmanager
async def demo_traffic(target: Target, *, history_days: float = 0.0) -> AsyncIterator[asyncio.Task[None]]:
    """Brisk traffic with very short calls while the block runs; must end in good order."""
    stop, ready = asyncio.Event(), asyncio.Event()
    config = DemoConfig(
        api_url=target.api_url,
        retell_key=target.retell_key,
        postgres=target.postgres,
        calls_per_minute=600.0,
        history_days=history_days,
        tempo=0.005,
    )
    running = asyncio.create_task(Demo(config).run(stop, ready.set))
    try:
        async with asyncio.timeout(LIMIT_S):
            await ready.wait()
        yield running
    finally:
        stop.set()
        async with asyncio.timeout(LIMIT_S):
            await running


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await condition():  # noqa: ASYNC110 - a row in a database sets no event
            await asyncio.sleep(0.05)


async def count(connection: OwnConnection, where: str) -> int:
    found: int = await connection.fetchval(f"select count(*) from calls where {where}")
    return found


async def test_calls_begin_and_end_and_old_customers_call_again(
    target: Target, open_connection: OpenConnection
) -> None:
    watch = await open_connection(Role.WATCH)
    async with demo_traffic(target, history_days=2.0):
        seeded = await count(watch, "provider_call_id ^@ 'call_demo_h'")
        assert seeded > 100
        fresh = "not provider_call_id ^@ 'call_demo_h'"
        await until(lambda: _at_least(watch, 20, f"{fresh} and status = 'ended' and duration_ms > 0"))
        assert await count(watch, f"{fresh} and started_at > now() + interval '2 seconds'") == 0
        # Callers without a name are recognised by their line: only somebody from the history has one yet.
        await until(lambda: _at_least(watch, 1, f"{fresh} and customer_id is not null"))
    assert [check for check in await verify(watch) if check.broken] == []


async def test_the_front_desks_say_what_became_of_appointments_that_are_over(
    target: Target, open_connection: OpenConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.simulate.demo.LOOK_EVERY_S", 0.2)
    watch, desk = await open_connection(Role.WATCH), await open_connection(Role.API)
    await settle(target.postgres, businesses(DEMO))
    company: UUID = await watch.fetchval("select id from companies where slug = 'praxis-sommer'")
    now = datetime.now(UTC)
    async with tenant_transaction(desk, company):
        for number in range(20):
            request = BookingRequest(
                key=f"past:{number}",
                company_id=company,
                service="impfung",
                staff="sommer",
                starts_at=now - timedelta(hours=2 + number),
                asked_at=now - timedelta(days=3),
                any_time=True,
            )
            assert isinstance(await book(desk, request), Booked)
    async with demo_traffic(target):

        async def said() -> bool:
            rows = await watch.fetch("select id, status from appointments where idempotency_key ^@ 'past:'")
            fates = {row["id"]: fate_of_past(seeded(row["id"], "fate")) for row in rows}
            assert len(fates) == 20
            return all(row["status"] == (fate.status if (fate := fates[row["id"]]) else "confirmed") for row in rows)

        await until(said)
    actors = await watch.fetch("select distinct actor from appointment_events where kind = 'completed'")
    assert [row["actor"].split(":")[0] for row in actors] == ["api"]
    assert [check for check in await verify(watch) if check.broken] == []


async def _at_least(connection: OwnConnection, wanted: int, where: str) -> bool:
    return await count(connection, where) >= wanted


async def test_traffic_outlives_an_api_that_is_away(target: Target) -> None:
    taken: set[bytes] = set()
    refused: set[bytes] = set()
    away = True

    async def answer(request: Request) -> bytes | None:
        if away:
            refused.add(request.body)
            return None if len(refused) % 2 else answered(503)
        taken.add(request.body)
        return answered(204)

    async with foreign_server(answer) as url:
        elsewhere = Target(url, target.retell_key, target.postgres)
        async with demo_traffic(elsewhere) as running:

            async def some_refused() -> bool:
                return len(refused) >= 8

            await until(some_refused)
            assert not running.done()
            away = False
            before = frozenset(refused)

            async def all_taken() -> bool:
                return before <= taken

            await until(all_taken)
