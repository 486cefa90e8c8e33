"""The reader finds a snapshot wherever one can still be had, says how old it is, and never hangs."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from backend.postgres.address import PostgresAddress
from backend.valkey.client import open_valkey
from backend.valkey.store import SNAPSHOT_KEY, SnapshotStore
from backend.watch.reader import READ_S, Reading, SnapshotReader
from backend.watch.snapshots import DOMAINS, CacheFigures, CallsSnapshot, FleetSnapshot
from tests.watch.conftest import Wires
from tests.watch.scenery import Scenery, until

BOUND_S = READ_S + 1.0
"""A read takes no longer, with a second for a busy machine."""


def fleet(publisher: str = "n1", taken_at: float | None = None) -> FleetSnapshot:
    return FleetSnapshot(
        taken_at=time.time() if taken_at is None else taken_at,
        nodes=(),
        workers=(),
        cache=CacheFigures(up=True),
        publisher=publisher,
    )


@pytest.fixture
async def reader(wires: Wires) -> AsyncIterator[SnapshotReader]:
    reader = SnapshotReader(wires.valkey_url, wires.address)
    yield reader
    await reader.aclose()


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[SnapshotStore]:
    store = SnapshotStore(open_valkey(valkey_url))
    yield store
    await store.aclose()


async def test_a_fresh_snapshot_comes_from_valkey(reader: SnapshotReader, store: SnapshotStore, wires: Wires) -> None:
    await store.put(fleet("elsewhere"))
    reading = await reader.read("fleet")
    snapshot = reading.of(FleetSnapshot)
    assert snapshot is not None
    assert snapshot.publisher == "elsewhere"
    assert (reading.source, reading.freshness, reading.error) == ("valkey", "live", None)
    assert reading.of(CallsSnapshot) is None
    assert wires.postgres.bytes == 0


async def test_without_a_publisher_the_reader_collects_and_says_so(reader: SnapshotReader, scenery: Scenery) -> None:
    call = await scenery.call()
    reading = await reader.read("calls")
    snapshot = reading.of(CallsSnapshot)
    assert snapshot is not None
    assert [row.id for row in snapshot.rows] == [str(call)]
    assert (reading.source, reading.freshness) == ("database", "live")
    assert reading.error is not None
    assert "publisher" in reading.error


async def test_an_old_snapshot_gives_way_to_the_database(
    reader: SnapshotReader, store: SnapshotStore, scenery: Scenery
) -> None:
    await store.put(fleet("long gone"))
    await store.client.pexpire(SNAPSHOT_KEY + "fleet", 20_000)
    reading = await reader.read("fleet")
    snapshot = reading.of(FleetSnapshot)
    assert snapshot is not None
    assert (reading.source, snapshot.publisher) == ("database", "")
    assert reading.error is not None
    assert "no new snapshot for 40 s" in reading.error


async def test_a_publisher_that_promised_to_be_slow_is_given_its_time(
    reader: SnapshotReader, store: SnapshotStore, scenery: Scenery
) -> None:
    await store.put(msgspec.structs.replace(fleet("slow"), due_s=10.0))
    await store.client.pexpire(SNAPSHOT_KEY + "fleet", 42_000)
    reading = await reader.read("fleet")
    assert (reading.source, reading.freshness, reading.error) == ("valkey", "live", None)


async def test_without_valkey_the_database_answers(reader: SnapshotReader, wires: Wires, scenery: Scenery) -> None:
    await wires.valkey.cut()
    for domain in DOMAINS:
        reading = await reader.read(domain)
        assert (reading.source, reading.freshness) == ("database", "live"), domain
        assert reading.error is not None
        assert reading.error.startswith("Valkey:")


async def test_the_database_is_asked_once_a_second_at_most(
    reader: SnapshotReader, wires: Wires, scenery: Scenery
) -> None:
    await wires.valkey.cut()
    readings = await asyncio.gather(*(reader.read("calls") for _ in range(20)))
    assert {reading.source for reading in readings} == {"database"}
    assert len({id(reading.snapshot) for reading in readings}) == 1
    asked = wires.postgres.bytes
    reading = await reader.read("calls")
    assert wires.postgres.bytes == asked
    assert reading.source == "memory"
    assert reading.snapshot is readings[0].snapshot


async def test_without_both_the_last_snapshot_is_shown_with_its_age(
    reader: SnapshotReader, wires: Wires, store: SnapshotStore
) -> None:
    await store.put(fleet())
    first = await reader.read("fleet")
    await wires.valkey.cut()
    await wires.postgres.cut()
    reading = await reader.read("fleet")
    assert reading.snapshot == first.snapshot
    assert reading.source == "memory"
    assert reading.error is not None
    assert "Valkey:" in reading.error
    assert "PostgreSQL:" in reading.error
    assert reading.age_s is not None
    assert first.age_s is not None
    assert reading.age_s > first.age_s


async def test_what_was_never_had_is_unknown_with_its_reason(reader: SnapshotReader, wires: Wires) -> None:
    await wires.valkey.cut()
    await wires.postgres.cut()
    reading = await reader.read("calls")
    assert reading == Reading("calls", None, "nowhere", None, reading.error, "unknown")
    assert reading.error is not None
    assert "PostgreSQL:" in reading.error


@pytest.mark.parametrize("muted", ["valkey", "postgres", "both"])
async def test_stores_that_swallow_everything_delay_a_read_by_two_seconds_at_most(
    reader: SnapshotReader, wires: Wires, scenery: Scenery, muted: str
) -> None:
    await reader.read("calls")
    if muted in {"valkey", "both"}:
        wires.valkey.mute()
    if muted in {"postgres", "both"}:
        wires.postgres.mute()
    async with asyncio.timeout(BOUND_S):
        reading = await reader.read("calls")
    assert reading.snapshot is not None
    assert reading.error is not None


async def test_the_reader_heals_when_the_stores_return(
    reader: SnapshotReader, wires: Wires, store: SnapshotStore
) -> None:
    wires.valkey.mute()
    wires.postgres.mute()
    assert (await reader.read("fleet")).freshness == "unknown"
    await wires.valkey.cut()
    await wires.postgres.cut()
    await reader.read("fleet")
    await wires.valkey.mend()
    await wires.postgres.mend()

    async def database_answers() -> bool:
        return (await reader.read("fleet")).source == "database"

    await until(database_answers, "the database is read again")
    await store.put(fleet("back"))

    async def valkey_answers() -> bool:
        return (await reader.read("fleet")).source == "valkey"

    await until(valkey_answers, "Valkey is read again")


async def test_an_older_snapshot_never_replaces_a_newer_one(
    reader: SnapshotReader, store: SnapshotStore, scenery: Scenery
) -> None:
    newer = (await reader.read("fleet")).snapshot
    await store.put(fleet("late"))
    await store.client.pexpire(SNAPSHOT_KEY + "fleet", 1_000)
    reading = await reader.read("fleet")
    assert reading.snapshot is newer


async def test_changes_begin_with_every_domain_and_go_on_with_what_is_put(
    reader: SnapshotReader, store: SnapshotStore
) -> None:
    async with contextlib.aclosing(reader.changes()) as domains:
        first = [await anext(domains) for _ in DOMAINS]
        assert sorted(first) == sorted(DOMAINS)
        told: list[str] = []
        async with asyncio.timeout(20):
            while "fleet" not in told:
                await store.put(fleet())
                told.append(await anext(domains))


async def test_changes_go_on_without_valkey(reader: SnapshotReader, wires: Wires) -> None:
    await wires.valkey.cut()
    told: list[str] = []
    async with contextlib.aclosing(reader.changes()) as domains:
        async with asyncio.timeout(20):
            while told.count("calls") < 3:
                told.append(await anext(domains))
    assert set(told) == set(DOMAINS)


async def test_changes_notice_a_publisher_that_fell_silent(reader: SnapshotReader) -> None:
    told: list[str] = []
    async with contextlib.aclosing(reader.changes()) as domains:
        async with asyncio.timeout(20):
            while told.count("calls") < 3:
                told.append(await anext(domains))


async def test_an_unknown_domain_is_a_mistake(reader: SnapshotReader) -> None:
    with pytest.raises(KeyError):
        await reader.read("weather")


async def test_a_newer_publishers_snapshot_can_be_read(reader: SnapshotReader, store: SnapshotStore) -> None:
    fields = msgspec.json.decode(msgspec.json.encode(fleet("newer")))
    fields["field_of_tomorrow"] = {"a": [1]}
    await store.client.set(SNAPSHOT_KEY + "fleet", msgspec.json.encode(fields), ex=60)
    snapshot = (await reader.read("fleet")).of(FleetSnapshot)
    assert snapshot is not None
    assert snapshot.publisher == "newer"


async def test_a_reader_without_stores_knows_nothing_and_does_not_fail(database: PostgresAddress) -> None:
    reader = SnapshotReader(None, None)
    reading = await reader.read("calls")
    assert (reading.source, reading.freshness) == ("nowhere", "unknown")
    await reader.aclose()


def test_the_reader_is_imported_without_the_stores_libraries() -> None:
    program = (
        "import sys, backend.watch.reader, backend.valkey.store;"
        "print([name for name in ('redis', 'asyncpg', 'pydantic', 'httpx', 'psutil') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
