"""Snapshots of a system that is well; tests change what they need."""

from __future__ import annotations

import msgspec

from backend.watch.snapshots import (
    BusinessSnapshot,
    CacheFigures,
    DatabaseSnapshot,
    FleetSnapshot,
    NodeRow,
    ProcessRow,
    QueueRow,
    QueuesSnapshot,
    Trend,
)

NOW = 1_800_000_000.0
FLAT = Trend(values=(0.0,) * 60, step_s=60.0)


def queue(name: str = "webhooks", **changes: object) -> QueueRow:
    """A queue that is well, but for the changes."""
    well = QueueRow(
        queue=name, ready=0, scheduled=0, running=1, held=0, oldest_s=None, drain_s=None, done_per_s=3.0,
        in_per_s=3.0, concurrency=30, workers=1,
    )  # fmt: skip
    return msgspec.structs.replace(well, **changes)


def queues(*rows: QueueRow, **changes: object) -> QueuesSnapshot:
    """Queues that are well, but for the changes."""
    well = QueuesSnapshot(
        taken_at=NOW, queues=rows or (queue(),), job_types=(), held=(), workers=(), inbox_waiting=0,
        inbox_oldest_s=None, quarantined=0, accepted_1h=100, rejected_1h=0, rejected_by_reason_1h={},
    )  # fmt: skip
    return msgspec.structs.replace(well, **changes)


def database(**changes: object) -> DatabaseSnapshot:
    """A database that is well, but for the changes."""
    well = DatabaseSnapshot(
        taken_at=NOW, version="18.6", started_at=NOW - 900, is_replica=False, connections=20, connections_usable=94,
        by_state={"idle": 20}, by_application={"askpro-api": 10, "askpro-worker": 10}, waiting_for_lock=0, blocked=(),
        oldest_transaction_s=0.1, oldest_query_s=0.1, oldest_idle_in_transaction_s=None, deadlocks=0, commits=100,
        rollbacks=0, blocks_hit=1000, blocks_read=1, temp_bytes=0, wal_bytes=10, size_bytes=2**25, freeze_age=1000,
        replication_lag_s=None, disk_free_bytes=60, disk_total_bytes=100,
    )  # fmt: skip
    return msgspec.structs.replace(well, **changes)


def fleet(*processes: ProcessRow, **changes: object) -> FleetSnapshot:
    """One node that is well with these processes, but for the changes."""
    node = NodeRow(
        node="node-1", version="0.1.0", seen_at=NOW, cpu_ratio=0.2, cores=2, load_1m=0.3, memory_used_bytes=40,
        memory_total_bytes=100, disk_used_bytes=40, disk_total_bytes=100, net_in_bytes_per_s=1.0,
        net_out_bytes_per_s=1.0, uptime_s=900, processes=processes,
    )  # fmt: skip
    well = FleetSnapshot(
        taken_at=NOW, nodes=(node,), workers=(), cache=CacheFigures(up=True, used_bytes=1, max_bytes=100),
        publisher="node-1",
    )  # fmt: skip
    return msgspec.structs.replace(well, **changes)


def business(**changes: object) -> BusinessSnapshot:
    """A good day, but for the changes."""
    well = BusinessSnapshot(
        taken_at=NOW, companies=(), calls_ongoing=1, bookings_per_min=0.3, bookings_per_min_last_week=0.3,
        bookings=FLAT, webhooks=FLAT, webhook_success_ratio=1.0, webhook_effect_p99_s=0.2, median_call_s=80.0,
        revenue_today_cents=1, call_cost_today_cents=1, revenue_per_request_cents=1.0, routes=(), error_ratio=0.0,
        changes=(),
    )  # fmt: skip
    return msgspec.structs.replace(well, **changes)


def process(**changes: object) -> ProcessRow:
    """A process that runs, but for the changes."""
    well = ProcessRow(
        name="api", pid=7, state="ready", rss_bytes=60 * 2**20, cpu_ratio=0.01, restarts=0, since=NOW - 60
    )
    return msgspec.structs.replace(well, **changes)
