"""The snapshot of queues: what waits, runs and is held, who works, and what people and the balancer said about it.

Read it through `backend.watch.snapshots`, which tells what all snapshots have in common.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from backend.queue.policies import AlertLimits
from backend.watch.snapshot_base import Snapshot, Trend


class JobTypeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One job type (entrypoint) in one queue. Run figures cover the last 15 minutes."""

    entrypoint: str
    queue: str
    ready: int
    scheduled: int
    running: int
    held: int
    done: int
    retried: int
    wait_p50_s: float | None
    wait_p99_s: float | None
    run_p50_s: float | None
    run_p99_s: float | None


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """One queue."""

    queue: str
    ready: int
    """May start now."""
    scheduled: int
    """Wait for their time (retries and later jobs)."""
    running: int
    held: int
    oldest_s: float | None
    """Age of the oldest ready job; None when none is ready."""
    drain_s: float | None
    """Time to clear what is ready at the last minute's net rate; None when it is not shrinking."""
    done_per_s: float
    """Over the last minute."""
    in_per_s: float
    """Over the last minute."""
    concurrency: int
    """Slots of its live workers; 0 when none lives."""
    workers: int
    paused: bool = False
    ready_trend: Trend | None = None
    limits: AlertLimits | None = None
    """The alert limits that its workers work by; None: no worker says."""
    runs: int = 0
    """Ended within the last 15 minutes, at most the latest 2,000 of each job type."""
    failed: int = 0
    """Of these, retried or held."""
    silent_s: float = 0.0
    """For how long nothing was put in; 0 when something was within a minute."""
    limits_broken: tuple[str, ...] = ()
    """Which of its policy's alert limits it breaks, a word or two each."""


class HeldGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Held jobs with one cause."""

    fingerprint: str
    queue: str
    entrypoint: str
    error_type: str
    message: str
    companies: int
    held_1h: int
    held_24h: int
    held_total: int
    first_at: float
    last_at: float
    held_7d: int = 0
    trend: tuple[int, ...] = ()
    """Held within the last hour, in steps of five minutes, oldest first."""
    top_companies: tuple[tuple[str, int], ...] = ()
    """Slug and jobs of the companies that have most of them, at most three."""


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process as it reports itself."""

    id: str
    node: str
    queue: str
    pid: int
    version: str
    concurrency: int
    busy: int
    done: int
    rss_bytes: int
    state: str
    started_at: float
    heartbeat_at: float


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as the workers that call it see it, the worst of them where they differ."""

    provider: str
    breaker: str
    """closed, half_open, open."""
    since_s: float
    """For so long."""
    calls: int
    """Attempts since the workers began."""
    failures: int
    """Attempts without a usable answer."""
    p99_s: float | None
    """Of its slowest endpoint."""


class ReconciledRow(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider was last compared with: the worst of its accounts where they differ."""

    provider: str
    state: str
    """done, running, delayed, failed."""
    done_s: float | None
    """Since everything was compared for the last time; None: not within the hour."""
    open: int
    """Differences about which somebody has to decide."""


class PauseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A pause in force, or one that ended and is still being let up to full speed."""

    id: int
    kind: str
    """A word of `PauseKind`."""
    name: str
    """Queue, job type, company slug, provider, node, or the job type of a schedule."""
    reason: str
    paused_by: str
    paused_at: float
    until: float | None = None
    """When it ends by itself; None: when somebody resumes."""
    ramp_s: int = 0
    """After its end it is let up to full speed over so many seconds."""
    resumed_at: float | None = None
    """None while it is in force."""
    parked: int = 0
    """Jobs put off because of it."""


class SlotRow(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs at once of one queue on one node: what was decided, within what its policy allows."""

    queue: str
    node: str
    """Empty: every node without a row of its own."""
    slots: int
    floor: int
    ceiling: int
    base: int
    """What it has when nobody decided anything."""
    is_pinned: bool = False
    """Said by a person: the balancer leaves it alone."""
    decided_by: str = ""
    """Empty: nobody, it is the policy's number."""
    reason: str = ""
    decided_at: float | None = None


class SlotChange(msgspec.Struct, frozen=True, kw_only=True):
    """One decision about slots."""

    at: float
    queue: str
    node: str
    before: int
    after: int
    decided_by: str
    why: str
    """The decision in one line."""


class QuarantineRow(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that are held before they run."""

    id: int
    entrypoint: str
    company: str
    """Slug; empty: of any company."""
    contains: str
    """What stands in the payload; empty: any payload."""
    fingerprint: str
    """The cause it was made for; empty: none."""
    reason: str
    made_by: str
    made_at: float
    until: float | None = None
    """When it ends by itself; None: when somebody lifts it."""
    held: int = 0
    """Jobs that it holds."""


class TroubleRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a job does to its worker, the latest of one job type and kind within 15 minutes."""

    at: float
    node: str
    queue: str
    entrypoint: str
    job_id: int | None
    kind: str
    detail: str
    count: int = 1


class BulkRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something done with many held jobs."""

    id: str
    action: str
    """A word of `BulkAction`."""
    reason: str
    started_by: str
    started_at: float
    ended_at: float | None
    state: str
    """A word of `BulkState`."""
    matched: int
    done: int
    skipped: int
    per_s: float | None = None
    """The rate it is held to; None: none."""
    error: str = ""


class QueuesSnapshot(Snapshot, frozen=True, kw_only=True):
    """Queues, job types, held jobs by cause, and the intake in front of them."""

    domain: ClassVar[str] = "queues"

    queues: tuple[QueueRow, ...]
    job_types: tuple[JobTypeRow, ...]
    held: tuple[HeldGroup, ...]
    held_causes: dict[str, int] = msgspec.field(default_factory=dict)
    """Causes for which jobs are held, by queue: also those that `held` has no room for."""
    workers: tuple[WorkerRow, ...]
    inbox_waiting: int
    """Deliveries accepted whose effect is not in the database yet."""
    inbox_oldest_s: float | None
    quarantined: int
    """Deliveries of which it is not known whose they are."""
    accepted_1h: int
    rejected_1h: int
    rejected_by_reason_1h: dict[str, int]
    calendar_pending: int = 0
    """Appointments whose last change is on its way to their calendar at the provider."""
    calendar_failed: int = 0
    """Appointments that it refused."""
    calendar_oldest_s: float | None = None
    """How long the oldest of the pending ones has been waiting."""
    providers: tuple[ProviderRow, ...] = ()
    """Those that were called within the last minutes."""
    reconciled: tuple[ReconciledRow, ...] = ()
    """Those that were compared with within the last hour, or that differ."""
    pauses: tuple[PauseRow, ...] = ()
    """The latest first."""
    slots: tuple[SlotRow, ...] = ()
    """One for each queue on each node where it has a worker."""
    slot_changes: tuple[SlotChange, ...] = ()
    """The latest 20, newest first."""
    quarantines: tuple[QuarantineRow, ...] = ()
    """Those in force, the latest first."""
    troubles: tuple[TroubleRow, ...] = ()
    """The latest first."""
    bulk_actions: tuple[BulkRow, ...] = ()
    """Those that run, then those that ended within the hour; at most 20, newest first."""
    is_balancing: bool = True
    """Whether slots follow the load."""
