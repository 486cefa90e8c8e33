"""Snapshots: immutable typed records of one domain at one instant.

Whatever shows, judges or remembers reads these: screens, `askpro show`, `/api/dashboard`, `/metrics`.
Times are Unix seconds (UTC, float); durations are seconds unless the name says otherwise; money is whole cents;
sizes are bytes; ratios are 0..1. ``None`` means unknown, and a `notes` entry then says why.
Decoding ignores fields it does not know, so an older console can read a newer publisher.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from backend.domain.vocabulary import NodeState, OrderState
from backend.watch.queue_snapshots import (
    BulkRow,
    HeldGroup,
    JobTypeRow,
    PauseRow,
    ProviderRow,
    QuarantineRow,
    QueueRow,
    QueuesSnapshot,
    ReconciledRow,
    SlotChange,
    SlotRow,
    TroubleRow,
    WorkerRow,
)
from backend.watch.snapshot_base import Snapshot, Trend

__all__ = [
    "DOMAINS",
    "AppointmentRow",
    "AppointmentsSnapshot",
    "BlockedRow",
    "BulkRow",
    "BusinessSnapshot",
    "CacheFigures",
    "CallRow",
    "CallbackFigures",
    "CallsSnapshot",
    "Change",
    "CompanyRow",
    "DatabaseSnapshot",
    "FleetSnapshot",
    "HeldGroup",
    "JobTypeRow",
    "NodeRow",
    "PauseRow",
    "ProcessRow",
    "ProviderRow",
    "QuarantineRow",
    "QueueRow",
    "QueuesSnapshot",
    "ReconciledRow",
    "SlotChange",
    "SlotRow",
    "Snapshot",
    "Timing",
    "Trend",
    "TroubleRow",
    "WorkerRow",
]


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One call as a list shows it. Text is as the provider or caller gave it: hostile until rendered."""

    id: str
    provider_call_id: str
    company: str
    """Slug of the company."""
    branch: str
    direction: str
    from_number: str
    to_number: str
    caller: str
    """The customer's name, else the name the caller gave, else empty."""
    status: str
    outcome: str
    sentiment: str
    started_at: float
    ended_at: float | None
    duration_s: float | None
    cost_cents: int | None
    customer_id: str | None
    appointment_id: str | None
    summary: str


class CallsSnapshot(Snapshot, frozen=True, kw_only=True):
    """Calls: those going on now and the most recent ones (newest first, at most 300 rows)."""

    domain: ClassVar[str] = "calls"

    ongoing: int
    started_last_hour: int
    started_today: int
    """Since midnight in Europe/Berlin."""
    median_duration_s: float | None
    """Of calls that ended in the last hour."""
    by_outcome_today: dict[str, int]
    per_minute: Trend
    """Calls started, 60 one-minute steps."""
    rows: tuple[CallRow, ...]
    horizon: int | None = None
    """Every transaction before this one is in here; the next collection asks only for what is newer."""


class AppointmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One appointment as a list shows it."""

    id: str
    company: str
    branch: str
    staff: str
    service: str
    customer: str
    customer_id: str | None
    call_id: str | None
    starts_at: float
    ends_at: float
    time_zone: str
    status: str
    source: str
    price_cents: int
    created_at: float
    version: int


class AppointmentsSnapshot(Snapshot, frozen=True, kw_only=True):
    """Appointments: the next to come and the latest booked (at most 150 rows each)."""

    domain: ClassVar[str] = "appointments"

    booked_today: int
    upcoming_today: int
    by_status_7d: dict[str, int]
    """Appointments that start within the last and the next 7 days, by status."""
    upcoming: tuple[AppointmentRow, ...]
    latest: tuple[AppointmentRow, ...]
    open_callbacks: int
    overdue_callbacks: int
    horizon: int | None = None
    """Every transaction before this one is in here; the next collection asks only for what is newer."""


class BlockedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One backend that waits for a lock, and who holds it up."""

    pid: int
    blocked_by: tuple[int, ...]
    application: str
    state: str
    wait_s: float
    query: str


class DatabaseSnapshot(Snapshot, frozen=True, kw_only=True):
    """PostgreSQL, the fast tier of checks: what can be asked every two seconds."""

    domain: ClassVar[str] = "database"

    version: str
    started_at: float
    is_replica: bool
    connections: int
    connections_usable: int
    """max_connections less the reserved ones."""
    by_state: dict[str, int]
    by_application: dict[str, int]
    waiting_for_lock: int
    blocked: tuple[BlockedRow, ...]
    oldest_transaction_s: float | None
    oldest_query_s: float | None
    oldest_idle_in_transaction_s: float | None
    deadlocks: int
    """Since the statistics were reset, like the next ones: readers take differences."""
    commits: int
    rollbacks: int
    blocks_hit: int
    blocks_read: int
    temp_bytes: int
    wal_bytes: int
    size_bytes: int
    freeze_age: int
    replication_lag_s: float | None
    disk_free_bytes: int | None
    disk_total_bytes: int | None
    commits_per_s: float | None = None
    hit_ratio: float | None = None
    wal_bytes_per_s: float | None = None


class ProcessRow(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the stack as its supervisor sees it."""

    name: str
    pid: int | None
    state: str
    """waiting, starting, ready, draining, stopped, backoff, failed"""
    rss_bytes: int
    cpu_ratio: float
    """Of one core, since the last look."""
    restarts: int
    since: float | None
    detail: str = ""


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One machine of the fleet."""

    node: str
    version: str
    seen_at: float
    cpu_ratio: float
    """Of all cores."""
    cores: int
    load_1m: float
    memory_used_bytes: int
    memory_total_bytes: int
    disk_used_bytes: int
    disk_total_bytes: int
    net_in_bytes_per_s: float
    net_out_bytes_per_s: float
    uptime_s: float
    processes: tuple[ProcessRow, ...]
    state: NodeState = NodeState.UP
    silent_s: float = 0.0
    """Since its publisher or one of its workers was last heard of, by the database's clock."""
    untold_s: float = 0.0
    """Since its publisher last told of it: while it does not, nobody there takes orders up."""
    home: str = ""
    """Its machine and directory."""
    is_joined: bool = False
    """Whether it works on another system's stores."""
    started_at: float | None = None
    rival: str = ""
    """Home of another node that wants the same name; empty when there is none."""
    drained_by: str = ""
    """Who drained it; empty when its workers take jobs."""
    drained_at: float | None = None
    drain_reason: str = ""


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """One order to a node, of the last minutes."""

    id: int
    node: str
    process: str
    """Empty: all of the node's own."""
    action: str
    state: OrderState
    ordered_by: str
    ordered_at: float
    detail: str = ""
    """What became of it, in words."""


class CacheFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Valkey at a glance."""

    up: bool
    version: str = ""
    used_bytes: int | None = None
    max_bytes: int | None = None
    keys: int | None = None
    keys_without_ttl: int | None = None
    evicted: int | None = None
    clients: int | None = None
    commands_per_s: float | None = None


class FleetSnapshot(Snapshot, frozen=True, kw_only=True):
    """Nodes, their processes, workers and the cache."""

    domain: ClassVar[str] = "fleet"

    nodes: tuple[NodeRow, ...]
    workers: tuple[WorkerRow, ...]
    cache: CacheFigures
    publisher: str
    """The node whose publisher is elected."""
    orders: tuple[OrderRow, ...] = ()
    """Orders to nodes within the last quarter of an hour, newest first, at most 20."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Requests to one route over the last minute."""

    route: str
    per_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    errors: int
    """Answers with a 5xx."""
    refused: int
    """Answers with a 4xx."""


class CompanyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One company's day so far."""

    company: str
    name: str
    calls: int
    booked: int
    revenue_cents: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that changed lately: a restart, a deploy, a migration, an operator's action."""

    at: float
    what: str


class CallbackFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Customers who are to be called back."""

    open: int
    overdue: int
    """Of these."""
    next_at: float | None
    """Until when the next one is promised that is not overdue; None when there is none."""


class BusinessSnapshot(Snapshot, frozen=True, kw_only=True):
    """What customers feel and what the business earns: every figure of the report's monitoring section."""

    domain: ClassVar[str] = "business"

    companies: tuple[CompanyRow, ...]
    calls_ongoing: int
    bookings_per_min: float
    """Over the last 15 minutes."""
    bookings_per_min_last_week: float | None
    """The same 15 minutes seven days ago."""
    bookings: Trend
    """Appointments booked, 60 one-minute steps."""
    webhooks: Trend
    """Deliveries accepted, 60 one-minute steps."""
    webhook_success_ratio: float | None
    """Accepted and not held, of all well-signed deliveries of the last hour."""
    webhook_effect_p99_s: float | None
    """From received to effect, last 15 minutes."""
    median_call_s: float | None
    """Session duration: calls ended in the last hour."""
    revenue_today_cents: int
    call_cost_today_cents: int
    revenue_per_request_cents: float | None
    """Revenue booked today by deliveries accepted today."""
    routes: tuple[Timing, ...]
    error_ratio: float | None
    """5xx of all answers, last minute; None when nobody asked anything."""
    changes: tuple[Change, ...]
    """Newest first, at most 20."""
    watching_ratio: float | None = None
    """Cost of watching: the publisher's CPU, of one core."""
    callbacks: CallbackFigures | None = None


DOMAINS: dict[str, type[Snapshot]] = {
    kind.domain: kind
    for kind in (
        CallsSnapshot,
        AppointmentsSnapshot,
        QueuesSnapshot,
        DatabaseSnapshot,
        FleetSnapshot,
        BusinessSnapshot,
    )
}
"""Every domain by its name, as `askpro show` and the store's keys spell it."""
