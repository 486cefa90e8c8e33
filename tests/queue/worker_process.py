"""A worker process for the tests: `python -m tests.queue.worker_process CONFIG` with a WorkerConfig as JSON.

Its handlers leave their traces in the table `traces` (job, pid, what), which the tests create.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import msgspec

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress
from backend.providers.calling import ProviderClient, Retries, Timeouts
from backend.queue.context import Handler, JobContext
from backend.queue.policies import BUILT_IN, QueuePolicy, Told
from backend.queue.worker import Worker, WorkerConfig
from backend.stack.child import stop_event

TRACES = """
    create table traces (job_id bigint, pid integer, what text, at timestamptz default clock_timestamp());
    grant all on traces to askpro_worker;
"""


async def trace(context: JobContext, what: str) -> None:
    """Leave a trace that only the job's owner can leave."""
    async with context.housekeeping() as connection:
        await connection.execute("insert into traces values ($1, $2, $3)", context.job_id, os.getpid(), what)


async def one_second(context: JobContext) -> None:
    """Take a second."""
    await trace(context, "begun")
    await asyncio.sleep(1)
    await trace(context, "ended")


async def quick(context: JobContext) -> None:
    """Take no time."""
    await trace(context, "ended")


async def hang(context: JobContext) -> None:
    """Never end."""
    await trace(context, "begun")
    await asyncio.Event().wait()


async def crash(context: JobContext) -> None:
    """Take the whole process along."""
    await trace(context, "begun")
    os._exit(3)


async def block(context: JobContext) -> None:
    """Hold up the event loop."""
    await trace(context, "begun")
    time.sleep(60)  # noqa: ASYNC251 - that is the fault to be contained


async def freeze(context: JobContext) -> None:
    """Keep the interpreter to itself: no thread runs any more."""
    await trace(context, "begun")
    re.match("(a+)+$", "a" * 80 + "b")


async def raise_for_ever(_context: JobContext) -> None:
    """Fail each time."""
    raise ValueError("no such room")


async def ignore_cancellation(context: JobContext) -> None:
    """Go on, whatever it is told."""
    await trace(context, "begun")
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def grow(context: JobContext) -> None:
    """Take more and more memory."""
    await trace(context, "begun")
    kept = []
    while True:
        kept.append(b"x" * 16 * 2**20)
        await asyncio.sleep(0.02)


async def ask_provider(context: JobContext) -> None:
    """Ask the provider at the address in the payload."""
    timeouts, retries = Timeouts(connect_s=0.5, total_s=0.3), Retries(attempts=1)
    client = ProviderClient("calcom", context.read(str), timeouts=timeouts, retries=retries)
    try:
        await client.call("GET", "/", endpoint="anything")
    finally:
        await client.aclose()


HANDLERS: dict[str, Handler] = {
    "webhooks.one_second": one_second,
    "webhooks.quick": quick,
    "webhooks.hang": hang,
    "webhooks.crash": crash,
    "webhooks.block": block,
    "webhooks.freeze": freeze,
    "webhooks.raise_for_ever": raise_for_ever,
    "webhooks.ignore_cancellation": ignore_cancellation,
    "webhooks.grow": grow,
    "webhooks.ask_provider": ask_provider,
}


POLICIES = BUILT_IN.laid_over(
    [Told(subject="webhooks.ignore_cancellation", name="timeout_s", value=0.5, source="this test")]
)
"""The policies of these job types where they are not their queue's."""


def read_config(text: str) -> WorkerConfig:
    """The configuration from the command line."""
    given = json.loads(text)
    policy = msgspec.convert(given.pop("policy"), QueuePolicy)
    known = {field.name for field in fields(WorkerConfig)}
    assert known == {*given, "policies", "policy"}
    if given["stacks"] is not None:
        given["stacks"] = Path(given["stacks"])
    return WorkerConfig(
        **(given | {"queue": QueueName(given["queue"]), "postgres": PostgresAddress(**given["postgres"])}),
        policies=POLICIES,
        policy=policy,
    )


async def main() -> None:
    """Work until told to stop."""
    worker = Worker(read_config(sys.argv[1]), HANDLERS)
    with worker.guard.watching(worker.names_running, limit_s=1.5, report_s=0.5, tick_s=0.25, frozen_cpu_s=1.0):
        await worker.run(stop_event(), lambda: print("ready", flush=True))  # noqa: T201
    print("drained", flush=True)  # noqa: T201
    if worker.unfinished:
        os._exit(0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
