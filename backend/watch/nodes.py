"""Nodes: how a machine looks to itself, and what the register in the database makes of what each one tells.

Every publisher tells of its own node, elected or not (`node_desk`); the elected one reads them all.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import psutil

from backend.domain.vocabulary import NodeState
from backend.services.fleet.registry import VANISHED_S
from backend.watch.disk import DiskSpace, disk_space
from backend.watch.snapshots import NodeRow, ProcessRow


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


_NEVER = NodeRow(
    node="", version="", seen_at=0.0, cpu_ratio=0.0, cores=0, load_1m=0.0, memory_used_bytes=0, memory_total_bytes=0,
    disk_used_bytes=0, disk_total_bytes=0, net_in_bytes_per_s=0.0, net_out_bytes_per_s=0.0, uptime_s=0.0, processes=(),
)  # fmt: skip
"""A node that has not told of itself yet."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the register has it; times are ages by the database's clock."""

    node: str
    home: str
    version: str
    is_joined: bool
    untold_s: float
    silent_s: float
    left_s: float | None
    running_s: float
    told: NodeRow | None
    rival: str | None
    drained_by: str | None
    drained_s: float | None
    drain_reason: str | None


def node_row(registered: Registered, now: float) -> NodeRow:
    """The node as the fleet shows it at `now` (Unix seconds): its own last words, and what the register knows."""
    if registered.left_s is not None:
        state = NodeState.LEFT
    else:
        state = NodeState.VANISHED if registered.silent_s > VANISHED_S else NodeState.UP
    silent_s = registered.silent_s if registered.left_s is None else registered.left_s
    return msgspec.structs.replace(
        registered.told or _NEVER,
        node=registered.node,
        version=registered.version,
        seen_at=now - registered.silent_s,
        state=state,
        silent_s=max(0.0, silent_s),
        untold_s=max(0.0, registered.untold_s),
        home=registered.home,
        is_joined=registered.is_joined,
        started_at=now - registered.running_s,
        rival=registered.rival or "",
        drained_by=registered.drained_by or "",
        drained_at=None if registered.drained_s is None else now - registered.drained_s,
        drain_reason=registered.drain_reason or "",
    )
