"""The jobs that reconcile: they take in what was lost, wait for a provider that is down, are silent without a key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress, Role
from backend.providers.breaker import BreakerPolicy
from backend.providers.calling import Retries, SystemClock, Timeouts
from backend.providers.clients import ProviderConfig
from backend.queue.jobs import HANDLERS, handlers_of
from backend.queue.port import JobQueue, NewJob
from backend.queue.reconciliation_jobs import RECONCILE_BOOKINGS, RECONCILE_CALLS, RECONCILE_NIGHTLY
from backend.services.companies.applying import apply_company
from backend.services.reconciliation import running as reconciliation
from tests.databases import OpenConnection, OwnConnection
from tests.fakes.retell import FAILING, KEY, RetellFake, call_of, running_retell
from tests.queue.scenes import config_for, until, working
from tests.services.conftest import SALON

ALL = (RECONCILE_CALLS, RECONCILE_BOOKINGS, RECONCILE_NIGHTLY)
SPEED = 100.0


@dataclass
class House:
    """A worker's database with the salon in it, and the provider."""

    fake: RetellFake
    database: PostgresAddress
    worker: OwnConnection
    setup: OwnConnection

    def providers(self, key: str = KEY) -> ProviderConfig:
        """The provider, with waits that a test can afford."""
        return ProviderConfig(
            retell_url=self.fake.url,
            calcom_url=self.fake.url,
            secret={"retell_api_key": key}.get,
            timeouts=Timeouts(connect_s=1.0, total_s=2.0),
            retries=Retries(attempts=1),
            breaker=BreakerPolicy(),
            clock=SystemClock(SPEED),
        )

    async def put(self, *entrypoints: str) -> None:
        """Put jobs in."""
        async with self.worker.transaction():
            await JobQueue().enqueue(self.worker, [NewJob(entrypoint, b"{}") for entrypoint in entrypoints])

    async def over(self) -> bool:
        """Whether no job of these waits or runs."""
        return not await self.worker.fetchval(
            "select exists (select from pgqueuer where entrypoint like 'default.%' and status in ('queued', 'picked'))"
        )

    async def outcomes(self) -> list[str]:
        """How the runs of jobs ended."""
        rows = await self.setup.fetch("select outcome from job_runs where outcome is not null order by started_at")
        return [row["outcome"] for row in rows]


@pytest.fixture
def fake() -> Iterator[RetellFake]:
    with running_retell() as running:
        running.add(call_of("call_1", int(time.time() * 1000) - 1_800_000))
        yield running


@pytest.fixture
async def house(fake: RetellFake, database: PostgresAddress, open_connection: OpenConnection) -> House:
    setup = await open_connection(Role.SETUP)
    await apply_company(setup, SALON)
    return House(fake, database, await open_connection(Role.WORKER), setup)


def test_the_jobs_are_known() -> None:
    assert set(ALL) <= set(HANDLERS)


async def test_what_was_lost_is_taken_in_by_the_job_and_folded_by_its_own(house: House) -> None:
    await house.put(RECONCILE_CALLS)
    config = config_for(house.database, QueueName.DEFAULT, providers=house.providers())
    webhooks = config_for(house.database, QueueName.WEBHOOKS)
    async with working(config, handlers_of(QueueName.DEFAULT)), working(webhooks, handlers_of(QueueName.WEBHOOKS)):
        await until(lambda: house.setup.fetchval("select status = 'ended' from calls"), "the call is there")
    assert await house.setup.fetchval("select state from reconciliation_runs") == "done"


async def test_a_provider_that_is_down_is_waited_for_and_nothing_is_lost(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "UNREACHABLE_WAIT_S", 0.05)
    house.fake.misbehave(FAILING, times=2)
    await house.put(RECONCILE_CALLS)
    config = config_for(house.database, QueueName.DEFAULT, providers=house.providers())
    async with working(config, handlers_of(QueueName.DEFAULT)):
        await until(house.over, "the job has ended")
    rows = await house.setup.fetch("select state, error from reconciliation_runs order by started_at")
    assert [row["state"] for row in rows] == ["delayed", "delayed", "done"]
    assert "answered 500" in rows[0]["error"]
    assert await house.outcomes() == ["postponed", "postponed", "done"]
    assert await house.setup.fetchval("select count(*) from webhook_inbox") == 2


async def test_without_a_key_the_jobs_do_nothing_and_say_nothing(house: House) -> None:
    await house.put(*ALL)
    config = config_for(house.database, QueueName.DEFAULT, providers=house.providers("key_demo_1"))
    async with working(config, handlers_of(QueueName.DEFAULT)):
        await until(house.over, "the jobs have ended")
    assert await house.outcomes() == ["done"] * 3
    assert house.fake.requests == []
    assert await house.setup.fetchval("select count(*) from reconciliation_runs") == 0
