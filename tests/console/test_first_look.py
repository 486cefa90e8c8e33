"""What the first frame shows is what the store holds, and no store is no trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from askpro_console.first_look import FirstLook
from backend.valkey.store import SNAPSHOT_KEY, SnapshotStore
from tests.screens import samples


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[SnapshotStore]:
    """An empty store."""
    made = SnapshotStore.open(valkey_url)
    await made.client.delete(SNAPSHOT_KEY + "calls", SNAPSHOT_KEY + "fleet")
    yield made
    await made.client.delete(SNAPSHOT_KEY + "calls", SNAPSHOT_KEY + "fleet")
    await made.aclose()


async def test_it_finds_what_the_publisher_put_there(store: SnapshotStore, valkey_url: str) -> None:
    await store.put(samples.calls_snapshot())
    look = FirstLook(valkey_url, ("calls", "fleet"))
    seen = await asyncio.to_thread(look.seen, 5.0)
    assert [entry.domain for entry in seen] == ["calls"]
    assert seen[0].snapshot == samples.calls_snapshot()
    assert not seen[0].stale
    assert seen[0].age_s < 5


async def test_a_snapshot_that_this_version_cannot_read_is_left_to_the_reader(
    store: SnapshotStore, valkey_url: str
) -> None:
    await store.client.set(SNAPSHOT_KEY + "calls", b'{"taken_at": "no"}', px=60_000)
    look = FirstLook(valkey_url, ("calls",))
    assert await asyncio.to_thread(look.seen, 5.0) == ()


@pytest.mark.parametrize(
    "url", ["unix:///nowhere/valkey", "redis://:secret@localhost:1/0", "http://x", "redis://localhost:1/0"]
)
def test_no_store_is_no_trouble(url: str) -> None:
    assert FirstLook(url, ("calls",)).seen(5.0) == ()
