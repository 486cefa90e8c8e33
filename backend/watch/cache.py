"""Valkey's own figures, from one `INFO`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from backend.valkey.client import ValkeyUnavailable, exchange
from backend.watch.snapshots import CacheFigures

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def cache_figures(client: Redis | None) -> tuple[CacheFigures, str | None]:
    """Valkey at a glance, and why a figure is unknown (None when all are known). Never raises for a dead store."""
    if client is None:
        return CacheFigures(up=False), "Valkey is not reachable: its figures are unknown"
    try:
        async with exchange():
            info: Mapping[str, object] = await client.info()
    except ValkeyUnavailable as error:
        return CacheFigures(up=False), f"Valkey: {error}"
    spaces = [value for key, value in info.items() if key.startswith("db") and isinstance(value, Mapping)]
    keys = sum(number(space, "keys") or 0 for space in spaces)
    with_life = sum(number(space, "expires") or 0 for space in spaces)
    return (
        CacheFigures(
            up=True,
            version=str(info.get("valkey_version") or info.get("redis_version") or ""),
            used_bytes=number(info, "used_memory"),
            max_bytes=number(info, "maxmemory") or None,
            keys=keys,
            keys_without_ttl=keys - with_life,
            evicted=number(info, "evicted_keys"),
            clients=number(info, "connected_clients"),
            commands_per_s=float(number(info, "instantaneous_ops_per_sec") or 0),
        ),
        None if number(info, "maxmemory") else "Valkey has no memory limit",
    )


def number(info: Mapping[str, object], key: str) -> int | None:
    """A whole number out of an `INFO` answer."""
    value = info.get(key)
    return int(value) if isinstance(value, int | float) else None
