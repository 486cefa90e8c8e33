"""What a kill loop found, as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One kill and what came of it."""

    victim: str
    round: int
    """The how manieth kill of this victim, from 1."""
    pid: int
    seconds: float
    """Until the system was ready again with another process in its place; of a bystander, until it showed live data."""


class TrafficRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the simulator."""

    seed: int
    code: int
    deliveries: int = 0
    accepted: int = 0
    retries: int = 0
    differences: int = 0
    shown: tuple[str, ...] = ()
    """The first differences in words, or why the run failed."""

    @property
    def clean(self) -> bool:
        """Whether everything accepted is there once and nothing else."""
        return self.code == 0 and self.differences == 0


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """One look at what the kills left behind."""

    name: str
    clean: bool
    detail: str
    """What was found, or why there was no look."""


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """How many database servers were seen on the data directory."""

    looks: int
    most: int
    """At one look."""


class KillReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole loop."""

    seed: int
    recoveries: tuple[Recovery, ...]
    traffic: tuple[TrafficRun, ...]
    inspections: tuple[Inspection, ...]
    servers: Servers
    outlived_s: float
    """The longest that a child lived on after a killed supervisor."""
    left_over: tuple[str, ...]
    """Processes that lived on after the system's end."""
    seconds: float
    error: str = ""
    """Why the loop ended early: something did not come back, or outlived its supervisor."""

    @property
    def wrong(self) -> tuple[str, ...]:
        """Everything that is not as it must be, in words; empty when traffic ran and all is well."""
        found = [f"ended early: {self.error}"] if self.error else []
        if not self.traffic:
            found.append("no run of the simulator was checked")
        for run in self.traffic:
            if not run.clean:
                found.append(f"traffic with seed {run.seed}: {run.differences} differences, exit code {run.code}")
                found.extend(f"  {line}" for line in run.shown)
        found.extend(f"{look.name}: {look.detail}" for look in self.inspections if not look.clean)
        if self.servers.most > 1:
            found.append(f"{self.servers.most} database servers at once on one data directory")
        found.extend(f"left over: {process}" for process in self.left_over)
        return tuple(found)

    @property
    def clean(self) -> bool:
        """Whether there was traffic, nothing was lost or doubled, and nothing was left over."""
        return not self.wrong


def summary(recoveries: Sequence[Recovery]) -> Mapping[str, tuple[int, float, float]]:
    """Kills of each victim with the median and the longest recovery in seconds."""
    seconds: dict[str, list[float]] = {}
    for recovery in recoveries:
        seconds.setdefault(recovery.victim, []).append(recovery.seconds)
    return {victim: (len(times), median(times), max(times)) for victim, times in seconds.items()}
