"""Which children a supervisor has, written down so that the next one finds those that a crash left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import msgspec
import psutil

GRACE_S = 6.0
"""Orphans end by themselves: the kernel told them of their parent's death."""

SIGNAL_GRACE_S = 10.0


class ChildRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One child. Pid and start time together name a process for good."""

    name: str
    pid: int
    create_time: float
    """Unix seconds, as the kernel tells it."""


class ChildRecords:
    """The list, rewritten in one step at each change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._children: dict[int, ChildRecord] = {}

    def add(self, name: str, pid: int) -> None:
        """Write a child down. A failure to write costs only the next start's look for orphans."""
        try:
            created = psutil.Process(pid).create_time()
        except psutil.Error:
            return
        self._children[pid] = ChildRecord(name=name, pid=pid, create_time=created)
        self._write()

    def remove(self, pid: int) -> None:
        """Cross a child out."""
        if self._children.pop(pid, None) is not None:
            self._write()

    def _write(self) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(list(self._children.values())))
            temporary.replace(self._path)
        except OSError:
            return

    def orphans(self) -> list[ChildRecord]:
        """The children of an earlier supervisor that still live."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=list[ChildRecord])
        except (OSError, msgspec.DecodeError):
            return []
        return [record for record in found if lives(record)]

    async def end_orphans(self, *, grace_s: float = GRACE_S) -> list[ChildRecord]:
        """Wait `grace_s` seconds for the orphans' end, then hasten it. Returns those that would not go.

        PostgreSQL is asked for a fast, then an immediate shutdown and is never killed: a postmaster that is killed
        leaves backends at work in its data.
        """
        left = await _wait(self.orphans(), grace_s)
        for round_ in range(2):
            if not left:
                break
            for record in left:
                _send(record, _signals(record.name)[round_])
            left = await _wait(left, SIGNAL_GRACE_S)
        if not left:
            self._write()
        return left


def lives(record: ChildRecord) -> bool:
    """Whether exactly this process still runs (a zombie does not)."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.create_time) < 0.05
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signals(name: str) -> tuple[signal.Signals, signal.Signals]:
    return (signal.SIGINT, signal.SIGQUIT) if name == "postgres" else (signal.SIGTERM, signal.SIGKILL)


def _send(record: ChildRecord, number: signal.Signals) -> None:
    if lives(record):
        try:
            os.kill(record.pid, number)
        except OSError:
            return


async def _wait(records: list[ChildRecord], limit_s: float) -> list[ChildRecord]:
    end = time.monotonic() + limit_s
    left = [record for record in records if lives(record)]
    while left and time.monotonic() < end:
        await asyncio.sleep(0.05)
        left = [record for record in left if lives(record)]
    return left
