"""The snapshot store: the newest snapshot of each domain, for everybody who shows, judges or remembers.

One key for each domain, which ends a minute after it was written: what nobody renews is not shown as news.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from backend.valkey.client import exchange, open_valkey
from backend.valkey.notices import listen
from backend.watch.snapshots import DOMAINS, Snapshot

if TYPE_CHECKING:
    from redis.asyncio import Redis

SNAPSHOT_KEY = "askpro:snapshot:"
"""Followed by the domain; the snapshot as JSON."""

SNAPSHOTS_CHANNEL = "askpro:snapshots"
"""Payload: the domain that has a new snapshot."""

LIFE_MS = 60_000
"""Life of a snapshot in the store."""

_decoders: dict[str, msgspec.json.Decoder[Snapshot]] = {}


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot as it lay in the store."""

    snapshot: Snapshot
    age_s: float
    """Since it was put there, by the store's own clock: right even when two machines disagree about the time."""


def encode(snapshot: Snapshot) -> bytes:
    """The snapshot as JSON."""
    return msgspec.json.encode(snapshot)


def decode(domain: str, data: bytes) -> Snapshot:
    """The snapshot from JSON. Raises KeyError for an unknown domain, msgspec.ValidationError for a broken one."""
    decoder = _decoders.get(domain)
    if decoder is None:
        decoder = _decoders[domain] = msgspec.json.Decoder(DOMAINS[domain])
    return decoder.decode(data)


class SnapshotStore:
    """Puts and gets snapshots. Every method raises `ValkeyUnavailable` within two seconds when Valkey is gone."""

    def __init__(self, client: Redis) -> None:
        self.client = client

    @classmethod
    def open(cls, url: str, *, size: int = 4) -> SnapshotStore:
        """A store with a client of its own; close it with `aclose()`."""
        return cls(open_valkey(url, size=size))

    async def put(self, snapshot: Snapshot) -> None:
        """Keep the snapshot for a minute and tell who listens."""
        domain = snapshot.domain
        async with exchange(), self.client.pipeline(transaction=True) as pipe:
            pipe.set(SNAPSHOT_KEY + domain, encode(snapshot), px=LIFE_MS)
            pipe.publish(SNAPSHOTS_CHANNEL, domain)
            await pipe.execute()

    async def get(self, domain: str) -> Stored | None:
        """The newest snapshot of `domain`; None when there is none, or one that this version cannot read."""
        key = SNAPSHOT_KEY + domain
        async with exchange(), self.client.pipeline(transaction=True) as pipe:
            pipe.get(key)
            pipe.pttl(key)
            data, left_ms = await pipe.execute()
        if data is None:
            return None
        try:
            snapshot = decode(domain, data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return Stored(snapshot=snapshot, age_s=max(0.0, (LIFE_MS - left_ms) / 1000))

    async def subscribe(self) -> AsyncGenerator[str | None, None]:
        """Domains as they get a new snapshot; None once when listening begins and after each silent half second."""
        async for domain in listen(self.client, SNAPSHOTS_CHANNEL):
            yield domain

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()
