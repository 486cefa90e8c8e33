"""The client, the store and the notices against a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backend.valkey.client import ValkeyUnavailable, exchange, open_valkey
from backend.valkey.notices import CHANGED_CHANNEL, Notices, listen
from backend.valkey.store import LIFE_MS, SNAPSHOT_KEY, SnapshotStore
from backend.watch.snapshots import CacheFigures, FleetSnapshot

if TYPE_CHECKING:
    from redis.asyncio import Redis

NOWHERE = "unix:///nowhere/valkey"


def fleet(taken_at: float = 1000.0) -> FleetSnapshot:
    return FleetSnapshot(taken_at=taken_at, nodes=(), workers=(), cache=CacheFigures(up=True), publisher="n1")


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    client = open_valkey(valkey_url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
def store(client: Redis) -> SnapshotStore:
    return SnapshotStore(client)


async def test_a_snapshot_comes_back_as_it_was_put_with_its_age(store: SnapshotStore) -> None:
    await store.put(fleet())
    stored = await store.get("fleet")
    assert stored is not None
    assert stored.snapshot == fleet()
    assert 0.0 <= stored.age_s < 30.0


async def test_the_age_is_told_by_the_stores_clock(store: SnapshotStore, client: Redis) -> None:
    await store.put(fleet())
    await client.pexpire(SNAPSHOT_KEY + "fleet", LIFE_MS - 40_000)
    stored = await store.get("fleet")
    assert stored is not None
    assert 40.0 <= stored.age_s < 50.0


async def test_there_is_no_snapshot_where_none_was_put(store: SnapshotStore) -> None:
    assert await store.get("calls") is None


async def test_a_snapshot_that_cannot_be_read_is_none(store: SnapshotStore, client: Redis) -> None:
    for broken in (b"", b"{", b'{"taken_at": "x"}', b"\xff\xfe", b"[]"):
        await client.set(SNAPSHOT_KEY + "fleet", broken, ex=60)
        assert await store.get("fleet") is None


async def test_every_key_has_an_end(store: SnapshotStore, client: Redis) -> None:
    await store.put(fleet())
    assert 0 < await client.pttl(SNAPSHOT_KEY + "fleet") <= LIFE_MS


async def test_whoever_subscribes_hears_of_each_put(store: SnapshotStore) -> None:
    async with contextlib.aclosing(store.subscribe()) as domains:
        assert await anext(domains) is None
        await store.put(fleet())
        async with asyncio.timeout(10):
            async for domain in domains:
                if domain is not None:
                    assert domain == "fleet"
                    break


async def test_many_at_once_wait_for_a_connection_instead_of_failing(valkey_url: str) -> None:
    client = open_valkey(valkey_url, size=4)
    try:
        answers = await asyncio.gather(*(client.set(f"test:{number}", "x", ex=5) for number in range(500)))
        assert all(answers)
    finally:
        await client.aclose()


async def test_a_store_that_is_gone_says_so(valkey_url: str) -> None:
    store = SnapshotStore.open(NOWHERE)
    with pytest.raises(ValkeyUnavailable, match=r"."):
        await store.get("calls")
    with pytest.raises(ValkeyUnavailable):
        await store.put(fleet())
    with pytest.raises(ValkeyUnavailable):
        await anext(store.subscribe())
    await store.aclose()


async def test_a_store_that_does_not_answer_is_given_up(engines_directory: Path) -> None:
    path = engines_directory / "mute"
    mute = await asyncio.start_unix_server(lambda reader, writer: asyncio.sleep(3600), path)
    client = open_valkey(f"unix://{path}")
    try:
        with pytest.raises(ValkeyUnavailable, match=r"no answer in time"):
            async with exchange(0.2):
                await client.ping()
    finally:
        await client.aclose()
        mute.close()


async def test_a_connection_that_broke_is_replaced(valkey_url: str, client: Redis) -> None:
    other = open_valkey(valkey_url, size=1)
    try:
        await other.set("test:a", "1", ex=60)
        for each in await client.client_list():
            if int(each["id"]) != await client.client_id():
                await client.client_kill_filter(_id=each["id"])
        assert await other.get("test:a") == b"1"
    finally:
        await other.aclose()


async def test_notices_arrive_and_say_what_changed(valkey_url: str, client: Redis) -> None:
    notices = Notices(valkey_url)
    async with contextlib.aclosing(listen(client, CHANGED_CHANNEL)) as messages:
        assert await anext(messages) is None
        await notices.changed("calls", "appointments")
        async with asyncio.timeout(10):
            async for message in messages:
                if message is not None:
                    assert message == "appointments,calls"
                    break
    await notices.aclose()


async def test_a_flood_of_notices_becomes_a_few_messages(valkey_url: str) -> None:
    notices = Notices(valkey_url)
    for _ in range(5000):
        await notices.changed("calls")
    await notices.aclose()
    assert 1 <= notices.sent <= 3
    assert notices.dropped == 0


async def test_notices_without_valkey_harm_nobody() -> None:
    notices = Notices(NOWHERE)
    for _ in range(100):
        await notices.changed("calls")
    await notices.aclose()
    assert notices.sent == 0
    assert notices.dropped == 1
