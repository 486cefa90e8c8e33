"""What the supervisor tells about itself: the whole system's state, each process's, and the steps of its start."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ProcessState(StrEnum):
    """State of one supervised process."""

    WAITING = "waiting"
    """For something it needs."""
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    """Told to stop; finishes what it has begun."""
    STOPPED = "stopped"
    BACKOFF = "backoff"
    """Ended by itself; starts again after a pause."""
    FAILED = "failed"
    """Ended by itself too often; starts again only when told to."""


class StepState(StrEnum):
    """State of one step of the start."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Phase(StrEnum):
    """State of the whole system."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    """Was ready; a process is not."""
    STOPPING = "stopping"
    FAILED = "failed"
    """The start failed; `error` says why."""


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process."""

    name: str
    pid: int | None
    state: ProcessState
    rss_bytes: int = 0
    """Resident memory; PostgreSQL's includes what its backends have for themselves."""
    cpu_ratio: float = 0.0
    """Of one core, over the last two seconds."""
    restarts: int = 0
    since: float | None = None
    """Since when it is in this state, Unix seconds."""
    detail: str = ""
    """In words; of a failed process the last lines it wrote."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the start."""

    name: str
    state: StepState
    seconds: float | None = None
    """How long it took, or has been taking."""
    detail: str = ""
    hint: str = ""
    """What to do when it failed."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The system as its supervisor sees it."""

    ready: bool
    phase: Phase
    api_url: str
    version: str
    supervisor_pid: int
    demo: bool
    started_at: float
    """Unix seconds."""
    processes: tuple[ProcessStatus, ...] = ()
    steps: tuple[Step, ...] = ()
    error: str = ""
    hint: str = ""
    """What to do about the error."""
