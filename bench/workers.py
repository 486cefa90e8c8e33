"""Worker processes of a benchmark's own: the product's, with the product's policies and job types and two more."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from backend.domain.vocabulary import QueueName
from backend.postgres.address import PostgresAddress
from backend.queue.context import Handler, JobContext
from backend.queue.worker import Worker, WorkerConfig
from backend.stack.child import stop_event

TRACES = """
create table askpro.traces (job_id bigint, pid integer, what text, at timestamptz default clock_timestamp());
grant all on askpro.traces to askpro_worker;
"""
"""What `ONE_SECOND` leaves; whoever uses it creates it, as the superuser."""

ONE_SECOND = "webhooks.one_second"
"""A job that takes a second and leaves a trace when it begins and when it ends."""


class Place(msgspec.Struct, frozen=True):
    """What a process is told."""

    queue: QueueName
    host: str
    port: int
    database: str
    passwords: dict[str, str]
    node: str


async def one_second(context: JobContext) -> None:
    """Take a second."""
    for what in ("begun", "ended"):
        async with context.housekeeping() as connection:
            await connection.execute("insert into traces values ($1, $2, $3)", context.job_id, os.getpid(), what)
        if what == "begun":
            await asyncio.sleep(1)


@contextmanager
def worker(
    address: PostgresAddress, queue: QueueName, log: Path, node: str = "bench"
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of this queue within the block; it takes jobs when the block begins."""
    place = Place(queue, address.host, address.port, address.database, dict(address.passwords), node)
    with log.open("ab") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.workers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(msgspec.json.encode(place))
        child.stdin.close()
        if not child.stdout.readline():
            raise SystemExit(f"the worker did not start: {log.read_text()}")
        yield child
    finally:
        child.terminate()
        child.wait(40)


async def work(place: Place) -> None:
    """Be the process."""
    from backend.queue.jobs import handlers_of

    config = WorkerConfig(
        queue=place.queue,
        postgres=PostgresAddress(place.host, place.port, place.database, place.passwords),
        valkey_url=None,
        node=place.node,
        version="bench",
    )
    more: dict[str, Handler] = {ONE_SECOND: one_second} if place.queue is QueueName.WEBHOOKS else {}
    await Worker(config, {**handlers_of(place.queue), **more}).run(stop_event(), lambda: print("ready", flush=True))


if __name__ == "__main__":
    import uvloop

    uvloop.run(work(msgspec.json.decode(sys.stdin.buffer.read(), type=Place)))
