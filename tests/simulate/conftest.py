"""A whole system in this process: the real API and the real workers on a database of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backend.api.config import ApiConfig
from backend.api.server import serve
from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress
from backend.queue.jobs import handlers_of
from backend.queue.worker import Worker, WorkerConfig
from backend.simulate.run import Target

KEY = "key_test_0123456789abcdef"
START_LIMIT_S = 30.0


@pytest.fixture
async def target(database: PostgresAddress) -> AsyncIterator[Target]:
    """A running system that takes traffic."""
    stop = asyncio.Event()
    api_url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    config = ApiConfig(
        host="127.0.0.1",
        port=0,
        postgres=database,
        valkey_url=None,
        retell_keys=(KEY,),
        calcom_secrets=(),
        reject_key=bytes(32),
        version="test",
    )
    tasks = [asyncio.create_task(serve(config, stop=stop, on_ready=api_url.set_result))]
    for queue in (QueueName.WEBHOOKS, QueueName.APPOINTMENTS, QueueName.NOTIFICATIONS):
        worker = WorkerConfig(queue=queue, postgres=database, valkey_url=None, node="test", version="test", drain_s=5.0)
        tasks.append(asyncio.create_task(Worker(worker, handlers_of(queue)).run(stop)))
    try:
        ended: list[asyncio.Future[str] | asyncio.Task[None]] = [api_url, *tasks]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED, timeout=START_LIMIT_S)
        if not api_url.done():
            await asyncio.gather(*tasks)
        yield Target(api_url.result(), KEY, database)
    finally:
        stop.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcome for outcome in done if isinstance(outcome, BaseException)] == []
