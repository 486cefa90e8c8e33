"""One publisher in the fleet is elected, publishes at its pace and at once after notices, and outlives both stores."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from backend.postgres.address import Role
from backend.valkey.client import open_valkey
from backend.valkey.notices import Notices
from backend.valkey.store import SnapshotStore
from backend.watch.publisher import Publisher, PublisherConfig
from backend.watch.schedule import INTERVAL_S, NOTICED_S
from backend.watch.snapshots import DOMAINS, BusinessSnapshot, CallsSnapshot, FleetSnapshot, Snapshot
from tests.databases import OpenConnection
from tests.watch.conftest import Wires
from tests.watch.scenery import Scenery, ago, until

Start = Callable[[str], "Started"]


class Started:
    """A publisher at work."""

    def __init__(self, wires: Wires, node: str) -> None:
        self.readiness = 0
        config = PublisherConfig(postgres=wires.address, valkey_url=wires.valkey_url, node=node, version="0.1.0")
        self.publisher = Publisher(config, ready=self._count)
        self.task = asyncio.create_task(self.publisher.run())

    def _count(self) -> None:
        self.readiness += 1

    async def is_elected(self) -> bool:
        return self.publisher.elected.is_set()

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def start(wires: Wires) -> AsyncIterator[Start]:
    begun: list[Started] = []

    def begin(node: str = "n1") -> Started:
        begun.append(Started(wires, node))
        return begun[-1]

    yield begin
    for each in begun:
        if not each.task.done():
            await each.stop()


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[SnapshotStore]:
    store = SnapshotStore(open_valkey(valkey_url))
    yield store
    await store.aclose()


async def newer_than(store: SnapshotStore, domain: str, taken_at: float) -> Snapshot:
    """The first snapshot of the domain that was taken later."""
    found: list[Snapshot] = []

    async def there() -> bool:
        stored = await store.get(domain)
        if stored is not None and stored.snapshot.taken_at > taken_at:
            found.append(stored.snapshot)
        return bool(found)

    await until(there, f"a snapshot of {domain}")
    return found[0]


async def test_every_domain_is_published_again_and_again(start: Start, store: SnapshotStore, scenery: Scenery) -> None:
    started = start("n1")
    for domain in DOMAINS:
        first = await newer_than(store, domain, 0.0)
        assert first.node == "n1"
    await asyncio.gather(*(newer_than(store, domain, time.time()) for domain in DOMAINS))
    assert started.readiness > 0


async def test_what_queues_did_is_counted_by_the_minute(
    start: Start, scenery: Scenery, open_connection: OpenConnection
) -> None:
    worker = await open_connection(Role.WORKER)
    hour_ago = "(now() - interval '1 hour', now() - interval '1 hour')"
    await worker.execute(f"update job_minutes_mark set (counted_until, settled_until) = {hour_ago}")
    await scenery.run(1, started=ago(minutes=30))
    start("n1")

    async def counted() -> bool:
        return bool(await worker.fetchval("select exists (select from job_minutes where minutes = 1 and done > 0)"))

    await until(counted, "the run is counted")


async def test_of_two_publishers_one_is_elected_and_the_other_takes_over(
    start: Start, store: SnapshotStore, scenery: Scenery
) -> None:
    first = start("n1")
    await until(first.is_elected, "the first is elected")
    second = start("n2")

    async def stands_by() -> bool:
        return second.readiness > 0

    await until(stands_by, "the second stands by")
    assert not second.publisher.elected.is_set()
    assert (await newer_than(store, "calls", time.time())).node == "n1"
    await first.stop()
    await until(second.is_elected, "the second is elected")
    assert (await newer_than(store, "calls", time.time())).node == "n2"


async def test_both_nodes_are_in_the_fleet(start: Start, store: SnapshotStore, scenery: Scenery) -> None:
    start("n1")
    start("n2")

    async def both() -> bool:
        stored = await store.get("fleet")
        snapshot = stored.snapshot if stored is not None else None
        return isinstance(snapshot, FleetSnapshot) and {node.node for node in snapshot.nodes} == {"n1", "n2"}

    await until(both, "both nodes are in the fleet")
    stored = await store.get("fleet")
    assert stored is not None
    assert isinstance(stored.snapshot, FleetSnapshot)
    node = stored.snapshot.nodes[0]
    assert node.memory_total_bytes > node.memory_used_bytes > 0
    assert node.disk_total_bytes > node.disk_used_bytes > 0


async def test_a_notice_brings_a_snapshot_without_waiting_for_its_time(
    start: Start, store: SnapshotStore, scenery: Scenery, wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    for domain in ("calls", "appointments"):
        monkeypatch.setitem(INTERVAL_S, domain, 3600.0)
    monkeypatch.setattr("backend.watch.schedule.REST_LIMIT_S", 3600.0)
    start("n1")
    first = await newer_than(store, "calls", 0.0)
    call = await scenery.call()
    notices = Notices(wires.valkey_url)

    async def shown() -> bool:
        await notices.changed("calls")
        stored = await store.get("calls")
        assert stored is not None
        assert isinstance(stored.snapshot, CallsSnapshot)
        return any(row.id == str(call) for row in stored.snapshot.rows)

    await until(shown, "the call is in a snapshot")
    assert (await newer_than(store, "calls", 0.0)).taken_at > first.taken_at
    await notices.aclose()


async def test_a_flood_of_notices_is_answered_four_times_a_second_at_most(
    start: Start, store: SnapshotStore, scenery: Scenery, wires: Wires
) -> None:
    started = start("n1")
    await until(started.is_elected, "it is elected")
    notices = Notices(wires.valkey_url)
    heard = 0
    began = time.monotonic()
    async with contextlib.aclosing(store.subscribe()) as domains:
        async for domain in domains:
            await notices.changed("calls", "appointments")
            heard += domain == "calls"
            if heard >= 8:
                break
    assert heard <= (time.monotonic() - began) / NOTICED_S + 2
    await notices.aclose()


async def test_it_outlives_the_database(start: Start, store: SnapshotStore, scenery: Scenery, wires: Wires) -> None:
    started = start("n1")
    await newer_than(store, "calls", 0.0)
    await wires.postgres.cut()

    async def deposed() -> bool:
        return not started.publisher.elected.is_set()

    await until(deposed, "it notices")
    await wires.postgres.mend()
    back = time.time()
    for domain in DOMAINS:
        await newer_than(store, domain, back)
    assert not started.task.done()


async def test_it_outlives_a_database_that_swallows_everything(
    start: Start, store: SnapshotStore, scenery: Scenery, wires: Wires
) -> None:
    started = start("n1")
    await newer_than(store, "calls", 0.0)
    wires.postgres.mute()

    async def deposed() -> bool:
        return not started.publisher.elected.is_set()

    await until(deposed, "it notices")
    await wires.postgres.cut()
    await wires.postgres.mend()
    await newer_than(store, "calls", time.time())


async def test_it_outlives_valkey(start: Start, store: SnapshotStore, scenery: Scenery, wires: Wires) -> None:
    started = start("n1")
    await newer_than(store, "calls", 0.0)
    await wires.valkey.cut()
    await store.client.flushdb()
    await asyncio.wait({started.task}, timeout=0.5)
    assert not started.task.done()
    await wires.valkey.mend()
    for domain in DOMAINS:
        await newer_than(store, domain, 0.0)
    notices = Notices(wires.valkey_url)
    call = await scenery.call()

    async def shown() -> bool:
        await notices.changed("calls")
        stored = await store.get("calls")
        return (
            stored is not None
            and isinstance(stored.snapshot, CallsSnapshot)
            and any(row.id == str(call) for row in stored.snapshot.rows)
        )

    await until(shown, "notices are heard again")
    await notices.aclose()


async def test_its_own_cost_is_published(start: Start, store: SnapshotStore, scenery: Scenery) -> None:
    start("n1")

    async def told() -> bool:
        stored = await store.get("business")
        snapshot = stored.snapshot if stored is not None else None
        return isinstance(snapshot, BusinessSnapshot) and snapshot.watching_ratio is not None

    await until(told, "the cost of watching is told")


async def test_the_elected_one_puts_periodic_jobs_in_and_writes_down_which_pauses_are_over(
    start: Start, scenery: Scenery
) -> None:
    await scenery.worker.execute(
        "insert into pauses (kind, name, paused_by, paused_at, until)"
        " values ('queue', 'webhooks', 'anna', now() - interval '2 h', now() - interval '1 h')"
    )
    start("n1")

    async def put_in() -> bool:
        return bool(await scenery.worker.fetchval("select count(*) from pgqueuer where entrypoint like 'default.%'"))

    async def written_down() -> bool:
        return bool(await scenery.worker.fetchval("select resumed_by = 'its time' from pauses"))

    await until(put_in, "periodic jobs are put in")
    await until(written_down, "the pause is written down as over")


async def test_watching_may_change_nothing(scenery: Scenery, open_connection: OpenConnection) -> None:
    await scenery.call()
    for role in (Role.WATCH, Role.CONSOLE):
        connection = await open_connection(role)
        for statement in ("update calls set summary = 'x'", "delete from job_runs", "select transcript from calls"):
            if statement.startswith("select"):
                assert await connection.fetchval(statement) == "long"
            else:
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
                    await connection.execute(statement)
