"""What the children cost: resident memory and processor time, read from the kernel every two seconds."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from backend.stack.process import SupervisedProcess
from backend.stack.status import ProcessState

INTERVAL_S = 2.0

LOOKS_ABOVE_CEILING = 2
"""A single look above the ceiling may catch a moment that passes by itself."""


class Gauge:
    """Measures one process from look to look."""

    def __init__(self, process: SupervisedProcess) -> None:
        self._process = process
        self._seen: psutil.Process | None = None
        self._cpu_s = 0.0
        self._at = 0.0
        self._above = 0

    def look_first(self) -> None:
        """Look if the process is new, so that nobody is told of one without memory."""
        pid = self._process.pid
        if pid is not None and (self._seen is None or self._seen.pid != pid):
            self.look()

    def look(self) -> None:
        """Note the process's memory and load; drain and recycle it when it stays above its ceiling."""
        pid = self._process.pid
        if pid is None:
            self._seen = None
            return
        now = time.monotonic()
        try:
            if self._seen is None or self._seen.pid != pid:
                self._seen, self._cpu_s, self._at, self._above = psutil.Process(pid), 0.0, 0.0, 0
            rss, cpu_s = _cost(self._seen)
        except psutil.Error:
            return
        self._process.rss_bytes = rss
        if self._at:
            self._process.cpu_ratio = max(0.0, cpu_s - self._cpu_s) / (now - self._at)
        self._cpu_s, self._at = cpu_s, now
        self._judge(rss)

    def _judge(self, rss: int) -> None:
        ceiling = self._process.plan.memory_ceiling_bytes
        if ceiling is None or rss <= ceiling or self._process.state is not ProcessState.READY:
            self._above = 0
            return
        self._above += 1
        if self._above >= LOOKS_ABOVE_CEILING:
            self._above = 0
            self._process.restart(f"recycled at {rss // 2**20} MiB, above the ceiling of {ceiling // 2**20} MiB")


def _cost(process: psutil.Process) -> tuple[int, float]:
    """Resident bytes and processor seconds of a process and what its direct children have for themselves."""
    with process.oneshot():
        rss = process.memory_info().rss
        times = process.cpu_times()
    cpu_s = times.user + times.system
    for child in _children(process.pid):
        try:
            memory = psutil.Process(child).memory_info()
        except psutil.Error:
            continue
        # Shared pages are the parent's already.
        rss += max(0, memory.rss - getattr(memory, "shared", 0))
    return rss, cpu_s


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):
        return []
