"""Nodes: how a machine looks to itself, and how all nodes know of each other through Valkey.

Every publisher tells of its own node, elected or not; the elected one reads them all.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

from backend.valkey.client import exchange
from backend.watch.disk import DiskSpace, disk_space
from backend.watch.snapshots import NodeRow, ProcessRow

if TYPE_CHECKING:
    from redis.asyncio import Redis

NODES_KEY = "askpro:nodes"
"""A hash: node → `NodeRow` as JSON."""

LIFE_S = 60
"""A node that has not been heard of for so long is forgotten."""

_row = msgspec.json.Decoder(NodeRow)


class NodeGauge:
    """Looks at this machine; rates are taken since the look before."""

    def __init__(self, node: str, version: str, directory: Path) -> None:
        """`directory` lies on the disk whose fill level counts."""
        self._node = node
        self._version = version
        self._directory = directory
        self._looked_at = time.monotonic()
        self._net = net_bytes()
        psutil.cpu_percent(None)

    def look(self, processes: tuple[ProcessRow, ...]) -> NodeRow:
        """The machine now, with these processes of ours on it. Blocks for about a millisecond."""
        now = time.monotonic()
        seconds = max(now - self._looked_at, 0.001)
        net = net_bytes()
        memory = psutil.virtual_memory()
        disk = disk_space(self._directory) or DiskSpace(used=0, free=0)
        row = NodeRow(
            node=self._node,
            version=self._version,
            seen_at=time.time(),
            cpu_ratio=psutil.cpu_percent(None) / 100.0,
            cores=os.cpu_count() or 1,
            load_1m=os.getloadavg()[0],
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            disk_used_bytes=disk.used,
            disk_total_bytes=disk.total,
            net_in_bytes_per_s=(net[0] - self._net[0]) / seconds,
            net_out_bytes_per_s=(net[1] - self._net[1]) / seconds,
            uptime_s=max(0.0, time.time() - psutil.boot_time()),
            processes=processes,
        )
        self._looked_at, self._net = now, net
        return row


def net_bytes() -> tuple[int, int]:
    """Bytes received and sent by all interfaces but the loopback since boot; zeros where there is none."""
    each = [counters for name, counters in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    return sum(one.bytes_recv for one in each), sum(one.bytes_sent for one in each)


async def tell(client: Redis, row: NodeRow) -> None:
    """Let the others know of this node. Raises `ValkeyUnavailable`."""
    async with exchange(), client.pipeline(transaction=True) as pipe:
        pipe.hset(NODES_KEY, row.node, msgspec.json.encode(row))
        pipe.expire(NODES_KEY, LIFE_S)
        await pipe.execute()


async def read_nodes(client: Redis, now: float) -> tuple[NodeRow, ...]:
    """All nodes heard of within the last minute before `now` (Unix seconds), by name. Raises `ValkeyUnavailable`."""
    async with exchange():
        values = await client.hgetall(NODES_KEY)
        rows = []
        forgotten = []
        for name, value in values.items():
            try:
                row = _row.decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError):
                forgotten.append(name)
                continue
            if abs(now - row.seen_at) <= LIFE_S:
                rows.append(row)
            else:
                forgotten.append(name)
        if forgotten:
            await client.hdel(NODES_KEY, *forgotten)
    return tuple(sorted(rows, key=lambda row: row.node))
