"""What needs a person is found, with its number, worst first; what is well is not mentioned."""

from __future__ import annotations

import msgspec
import pytest

from backend.domain.vocabulary import Verdict
from backend.watch.findings import find
from backend.watch.snapshots import (
    BlockedRow,
    BusinessSnapshot,
    CacheFigures,
    DatabaseSnapshot,
    FleetSnapshot,
    HeldGroup,
    NodeRow,
    ProcessRow,
    QueueRow,
    QueuesSnapshot,
    Timing,
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


def verdicts(*snapshots: QueuesSnapshot | DatabaseSnapshot | FleetSnapshot | BusinessSnapshot) -> list[Verdict]:
    """The verdicts of all findings."""
    return [finding.verdict for finding in find({snapshot.domain: snapshot for snapshot in snapshots})]


def test_a_system_that_is_well_needs_nobody() -> None:
    assert verdicts(queues(), database(), fleet(process()), business()) == []


@pytest.mark.parametrize(
    ("snapshot", "verdict", "words"),
    [
        (queues(queue(workers=0, ready=7)), Verdict.CRIT, "no live worker, 7 jobs wait"),
        (queues(queue(oldest_s=12.0)), Verdict.WARN, "waits for 12 s"),
        (queues(queue(oldest_s=31.0)), Verdict.CRIT, "waits for 31 s"),
        (queues(queue("default", oldest_s=61.0)), Verdict.WARN, "waits for 61 s"),
        (queues(queue(ready=1200)), Verdict.CRIT, "not getting fewer"),
        (queues(queue(ready=1200, drain_s=700.0)), Verdict.CRIT, "drained in 12 m"),
        (queues(quarantined=3), Verdict.WARN, "3 deliveries belong to no company"),
        (queues(rejected_by_reason_1h={"signature_wrong": 21}), Verdict.WARN, "has a secret changed?"),
        (queues(inbox_waiting=2, inbox_oldest_s=121.0), Verdict.CRIT, "2 accepted deliveries without effect"),
        (database(connections=90), Verdict.CRIT, "90 of 94 connections"),
        (database(oldest_idle_in_transaction_s=31.0), Verdict.WARN, "idle in a transaction for 31 s"),
        (database(disk_free_bytes=9), Verdict.CRIT, "9 % of its disk is free"),
        (database(freeze_age=1_200_000_000), Verdict.CRIT, "transaction ids"),
        (fleet(process(state="failed", detail="exit 1")), Verdict.CRIT, "was given up: exit 1"),
        (fleet(process(state="backoff")), Verdict.WARN, "ended, starts again soon"),
        (fleet(process(rss_bytes=450 * 2**20)), Verdict.WARN, "450 MB resident"),
        (fleet(cache=CacheFigures(up=False)), Verdict.WARN, "nothing is lost"),
        (fleet(cache=CacheFigures(up=True)), Verdict.UNKNOWN, "not known"),
        (fleet(nodes=(msgspec.structs.replace(fleet().nodes[0], load_1m=4.2),)), Verdict.WARN, "load 4.2 on 2 cores"),
        (fleet(taken_at=NOW + 60), Verdict.CRIT, "not heard of for 60 s"),
        (business(webhook_success_ratio=0.88), Verdict.CRIT, "88.0 % succeed"),
        (business(error_ratio=0.02), Verdict.WARN, "2.0 % server errors"),
    ],
)
def test_what_is_wrong_is_said_with_its_number(
    snapshot: QueuesSnapshot | DatabaseSnapshot | FleetSnapshot | BusinessSnapshot, verdict: Verdict, words: str
) -> None:
    (finding,) = find({snapshot.domain: snapshot})
    assert (finding.verdict, words in finding.text) == (verdict, True)


def test_held_jobs_of_the_last_hour_are_counted_over_all_causes() -> None:
    group = HeldGroup(
        fingerprint="f", queue="default", entrypoint="default.x", error_type="E", message="m", companies=1, held_1h=11,
        held_24h=20, held_total=30, first_at=NOW - 9000, last_at=NOW,
    )  # fmt: skip
    (finding,) = find({"queues": queues(held=(group, group))})
    assert (finding.verdict, finding.text) == (Verdict.CRIT, "22 in the last hour, 2 causes")


def test_a_lock_pile_up_tells_the_longest_wait() -> None:
    rows = tuple(
        BlockedRow(pid=pid, blocked_by=(1,), application="a", state="active", wait_s=wait, query="q")
        for pid, wait in ((2, 3.0), (3, 12.0))
    )
    (finding,) = find({"database": database(blocked=rows)})
    assert (finding.verdict, finding.text) == (Verdict.CRIT, "2 wait for a lock, since 12 s")


def test_a_slow_route_is_named() -> None:
    slow = Timing(route="GET /api/x", per_s=1, p50_ms=2, p95_ms=3, p99_ms=1500, errors=0, refused=0)
    (finding,) = find({"business": business(routes=(slow,))})
    assert finding.text == "GET /api/x: p99 1500 ms"


def test_the_worst_comes_first() -> None:
    found = find({
        "fleet": fleet(cache=CacheFigures(up=True)),
        "queues": queues(queue(workers=0), quarantined=1),
    })  # fmt: skip
    assert [finding.verdict for finding in found] == [Verdict.CRIT, Verdict.WARN, Verdict.UNKNOWN]
