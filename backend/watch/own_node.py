"""This node as its publisher tells of it: the machine, the supervisor's processes, what restarted, own cost."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

import msgspec

from backend.stack.client import ControlClient, ControlUnavailable
from backend.stack.layout import Layout
from backend.stack.status import Status
from backend.watch.nodes import NodeGauge
from backend.watch.snapshots import Change, NodeRow, ProcessRow

REMEMBERED = 20
"""Most changes remembered."""


class OwnNode:
    """Looks at this node every now and then."""

    def __init__(self, node: str, version: str, control: Layout | None) -> None:
        self._gauge = NodeGauge(node, version, control.data if control is not None else Path("/"))
        self._client = ControlClient(control, timeout_s=1.0) if control is not None else None
        self._changes: deque[Change] = deque(maxlen=REMEMBERED)
        self._restarts: dict[str, int] = {}
        self._cpu = (time.monotonic(), time.process_time())
        self._home = control.home if control is not None else ""
        self.row: NodeRow | None = None
        """The last look."""

    @property
    def changes(self) -> tuple[Change, ...]:
        """What changed on this node, newest first."""
        return tuple(self._changes)

    async def look(self) -> NodeRow:
        """The node now. A supervisor that does not answer leaves the processes of the last look."""
        processes = self.row.processes if self.row is not None else ()
        if self._client is not None:
            try:
                status = await self._client.status()
            except ControlUnavailable:
                pass
            else:
                self._note_restarts(status)
                processes = process_rows(status)
        self.row = msgspec.structs.replace(self._gauge.look(processes), home=self._home)
        return self.row

    def watching_ratio(self) -> float | None:
        """CPU that this process took since the last question, of one core; None when that was just now."""
        before, used_before = self._cpu
        now, used = self._cpu = (time.monotonic(), time.process_time())
        return (used - used_before) / (now - before) if now - before > 0.1 else None

    async def aclose(self) -> None:
        """Close the connection to the supervisor."""
        if self._client is not None:
            await self._client.close()

    def _note_restarts(self, status: Status) -> None:
        for process in status.processes:
            before = self._restarts.get(process.name)
            if before is not None and process.restarts > before:
                self._changes.appendleft(Change(at=time.time(), what=f"{process.name} was restarted"))
            self._restarts[process.name] = process.restarts


def process_rows(status: Status) -> tuple[ProcessRow, ...]:
    """The supervisor's processes as snapshots have them."""
    return tuple(
        ProcessRow(
            name=process.name,
            pid=process.pid,
            state=process.state.value,
            rss_bytes=process.rss_bytes,
            cpu_ratio=process.cpu_ratio,
            restarts=process.restarts,
            since=process.since,
            # A process may have said anything, and the database takes no NUL.
            detail=process.detail.replace("\0", " "),
        )
        for process in status.processes
    )
