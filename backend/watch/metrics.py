"""The system's figures for Prometheus, made of snapshots: a scrape costs the database nothing.

Names and units follow TRUST §4.2 (prefix, base units, `_total`, no label whose values strangers choose, no company).
A figure that is unknown is left out, so that an alert on its absence can tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from backend.domain.vocabulary import NodeState, PauseKind, QueueName, TroubleKind
from backend.watch.prometheus import Labels, family
from backend.watch.reader import Reading
from backend.watch.snapshots import (
    AppointmentsSnapshot,
    BusinessSnapshot,
    CallsSnapshot,
    DatabaseSnapshot,
    FleetSnapshot,
    QueuesSnapshot,
)

Sample = tuple[Labels, float | None]

TROUBLES = (*(kind.value for kind in TroubleKind), "silent")
"""What a job can do to its worker; a worker that it stopped whole is told of by its silence."""


def system_figures(readings: Iterable[Reading]) -> str:
    """All figures of the snapshots that were read, in the text format; empty when there is none."""
    known = [reading for reading in readings if reading.snapshot is not None]
    lines = family(
        "askpro_snapshot_age_seconds",
        "gauge",
        "Age of the snapshot that figures are taken from.",
        (({"domain": reading.domain}, reading.age_s) for reading in known),
    )
    lines += family(
        "askpro_snapshot_collect_seconds",
        "gauge",
        "How long the database took to answer the collector.",
        (({"domain": each.domain}, each.snapshot.took_ms / 1000) for each in known if each.snapshot is not None),
    )
    for reading in known:
        match reading.snapshot:
            case CallsSnapshot() as snapshot:
                lines += calls(snapshot)
            case AppointmentsSnapshot() as snapshot:
                lines += appointments(snapshot)
            case QueuesSnapshot() as snapshot:
                lines += queues(snapshot)
            case DatabaseSnapshot() as snapshot:
                lines += database(snapshot)
            case FleetSnapshot() as snapshot:
                lines += fleet(snapshot)
            case BusinessSnapshot() as snapshot:
                lines += business(snapshot)
            case _:
                continue
    return "\n".join(lines) + "\n" if lines else ""


def calls(snapshot: CallsSnapshot) -> list[str]:
    """Figures of calls."""
    return [
        *gauge("askpro_calls_ongoing", "Calls going on.", snapshot.ongoing),
        *gauge("askpro_calls_started_last_hour", "Calls started within the last hour.", snapshot.started_last_hour),
        *gauge("askpro_calls_started_today", "Calls started since midnight in Berlin.", snapshot.started_today),
        *gauge(
            "askpro_call_duration_median_seconds",
            "Median duration of the calls that ended within the last hour.",
            snapshot.median_duration_s,
        ),
    ]


def appointments(snapshot: AppointmentsSnapshot) -> list[str]:
    """Figures of appointments."""
    return [
        *gauge("askpro_appointments_booked_today", "Appointments booked since midnight.", snapshot.booked_today),
        *gauge("askpro_appointments_upcoming_today", "Appointments still to come today.", snapshot.upcoming_today),
        *gauge("askpro_callbacks_open", "Requests to call back that are open.", snapshot.open_callbacks),
        *gauge("askpro_callbacks_overdue", "Those of them that are overdue.", snapshot.overdue_callbacks),
    ]


def calendars(snapshot: QueuesSnapshot) -> list[str]:
    """Figures of calendars and of the providers that are called."""
    return [
        *gauge("askpro_calendar_pending", "Appointments not yet written to their calendar.", snapshot.calendar_pending),
        *gauge("askpro_calendar_failed", "Appointments that the calendar refused.", snapshot.calendar_failed),
        *gauge("askpro_calendar_oldest_seconds", "Age of the oldest pending.", snapshot.calendar_oldest_s or 0.0),
        *family(
            "askpro_provider_breaker_open",
            "gauge",
            "1 while calls to a provider are held back.",
            [({"provider": row.provider}, int(row.breaker != "closed")) for row in snapshot.providers],
        ),
        *family(
            "askpro_provider_p99_seconds",
            "gauge",
            "Time for an answer of the provider's slowest endpoint, 99 of 100.",
            [({"provider": row.provider}, row.p99_s) for row in snapshot.providers],
        ),
        *family(
            "askpro_reconciliation_open",
            "gauge",
            "Differences from a provider about which somebody has to decide.",
            [({"provider": row.provider}, row.open) for row in snapshot.reconciled],
        ),
        *family(
            "askpro_reconciliation_age_seconds",
            "gauge",
            "Since everything was last compared with a provider.",
            [({"provider": row.provider}, row.done_s) for row in snapshot.reconciled],
        ),
    ]


def queues(snapshot: QueuesSnapshot) -> list[str]:
    """Figures of queues, job types and the intake."""
    rows = snapshot.queues

    def each(name: str, text: str, values: Iterable[float | None]) -> list[str]:
        named: list[Sample] = [({"queue": row.queue}, value) for row, value in zip(rows, values, strict=True)]
        return family(name, "gauge", text, named)

    states: list[Sample] = [
        ({"queue": row.queue, "state": state}, count)
        for row in rows
        for state, count in (
            ("ready", row.ready),
            ("scheduled", row.scheduled),
            ("running", row.running),
            ("held", row.held),
        )
    ]
    durations: list[Sample] = [
        ({"job_type": row.entrypoint, "quantile": quantile}, value)
        for row in snapshot.job_types
        for quantile, value in (("0.5", row.run_p50_s), ("0.99", row.run_p99_s))
    ]
    waits: list[Sample] = [
        ({"job_type": row.entrypoint, "quantile": quantile}, value)
        for row in snapshot.job_types
        for quantile, value in (("0.5", row.wait_p50_s), ("0.99", row.wait_p99_s))
    ]
    return [
        *family("askpro_queue_jobs", "gauge", "Jobs by queue and state.", states),
        *each("askpro_queue_oldest_seconds", "Age of the oldest ready job.", (row.oldest_s or 0.0 for row in rows)),
        *each(
            "askpro_queue_drain_seconds",
            "Time until what is ready is done at the net rate; absent while it does not shrink.",
            (row.drain_s for row in rows),
        ),
        *each("askpro_queue_done_per_second", "Jobs ended in a second, over a minute.", (r.done_per_s for r in rows)),
        *each("askpro_queue_put_in_per_second", "Jobs put in in a second, over a minute.", (r.in_per_s for r in rows)),
        *each("askpro_queue_slots", "Slots of living workers.", (row.concurrency for row in rows)),
        *each("askpro_queue_workers", "Living workers.", (row.workers for row in rows)),
        *each("askpro_queue_paused", "1 while the queue is paused.", (int(row.paused) for row in rows)),
        *troubles(snapshot),
        *held_causes(snapshot),
        *steered(snapshot),
        *family("askpro_messaging_process_duration_seconds", "gauge", "Run time of jobs, 15 minutes.", durations),
        *family("askpro_messaging_wait_duration_seconds", "gauge", "Wait before a job ran, 15 minutes.", waits),
        *gauge("askpro_inbox_waiting", "Deliveries without effect yet.", snapshot.inbox_waiting),
        *gauge("askpro_inbox_oldest_seconds", "Age of the oldest of them.", snapshot.inbox_oldest_s or 0.0),
        *calendars(snapshot),
        *gauge("askpro_inbox_quarantined", "Deliveries without a known tenant.", snapshot.quarantined),
        *gauge("askpro_inbox_accepted_last_hour", "Deliveries accepted within an hour.", snapshot.accepted_1h),
        *family(
            "askpro_inbox_rejected_last_hour",
            "gauge",
            "Deliveries refused within an hour, by reason.",
            (({"reason": reason}, count) for reason, count in sorted(snapshot.rejected_by_reason_1h.items())),
        ),
    ]


def troubles(snapshot: QueuesSnapshot) -> list[str]:
    """What jobs do to their workers: each sort in each queue, also while there is none, so that an alert can end."""
    types = {(row.queue, row.kind, row.entrypoint) for row in snapshot.troubles}
    counted = Counter((queue, kind) for queue, kind, _ in types)
    times: Counter[tuple[str, str]] = Counter()
    for row in snapshot.troubles:
        times[row.entrypoint, row.kind] += row.count
    sorts = sorted({(queue.value, kind) for queue in QueueName for kind in TROUBLES} | counted.keys())
    return [
        *family(
            "askpro_job_troubles",
            "gauge",
            "Job types that did this to their workers within 15 minutes.",
            [({"queue": queue, "kind": kind}, counted[queue, kind]) for queue, kind in sorts],
        ),
        *family(
            "askpro_job_type_troubles",
            "gauge",
            "How often a job type did this, without a quarter of an hour between two times; absent when it does not.",
            [({"job_type": job_type, "kind": kind}, count) for (job_type, kind), count in sorted(times.items())],
        ),
    ]


def held_causes(snapshot: QueuesSnapshot) -> list[str]:
    """Held jobs by cause, summed up: a cause has words of strangers in it, so that none is a label."""
    queues = sorted({queue.value for queue in QueueName} | snapshot.held_causes.keys())
    lately: Counter[str] = Counter()
    largest: dict[str, int] = {}
    for group in snapshot.held:
        lately[group.queue] += group.held_1h
        largest[group.queue] = max(largest.get(group.queue, 0), group.held_total)

    def each(name: str, text: str, values: Mapping[str, int]) -> list[str]:
        return family(name, "gauge", text, [({"queue": queue}, values.get(queue, 0)) for queue in queues])

    return [
        *each("askpro_held_causes", "Causes for which jobs are held.", snapshot.held_causes),
        *each("askpro_held_last_hour", "Jobs held within the last hour, of the 100 worst causes.", lately),
        *each("askpro_held_largest_cause_jobs", "Jobs of the largest of these causes.", largest),
        *family(
            "askpro_held_jobs",
            "gauge",
            "Held jobs by type; absent for a type that has none.",
            [({"job_type": row.entrypoint}, row.held) for row in snapshot.job_types if row.held],
        ),
    ]


def steered(snapshot: QueuesSnapshot) -> list[str]:
    """What people said about queues."""
    paused = Counter(row.kind for row in snapshot.pauses if row.resumed_at is None)
    return [
        *family(
            "askpro_pauses",
            "gauge",
            "What is paused, by kind.",
            (({"kind": kind.value}, paused[kind.value]) for kind in PauseKind),
        ),
        *gauge("askpro_quarantines", "Sorts of jobs that are held before they run.", len(snapshot.quarantines)),
        *gauge("askpro_balancing", "1 while slots follow the load.", int(snapshot.is_balancing)),
    ]


def database(snapshot: DatabaseSnapshot) -> list[str]:
    """Figures of PostgreSQL."""
    states: list[Sample] = [({"state": state}, count) for state, count in sorted(snapshot.by_state.items())]
    return [
        *family("askpro_db_client_connection_count", "gauge", "Connections by state.", states),
        *gauge("askpro_db_client_connection_max", "Connections that may be used.", snapshot.connections_usable),
        *gauge("askpro_db_lock_waiters", "Sessions that wait for a lock.", snapshot.waiting_for_lock),
        *gauge(
            "askpro_db_oldest_transaction_seconds",
            "Age of the oldest transaction.",
            snapshot.oldest_transaction_s or 0.0,
        ),
        *gauge("askpro_db_oldest_query_seconds", "Age of the oldest running query.", snapshot.oldest_query_s or 0.0),
        *gauge(
            "askpro_db_oldest_idle_in_transaction_seconds",
            "Age of the oldest session idle in a transaction.",
            snapshot.oldest_idle_in_transaction_s or 0.0,
        ),
        *counter("askpro_db_deadlocks_total", "Deadlocks.", snapshot.deadlocks),
        *counter("askpro_db_commits_total", "Transactions committed.", snapshot.commits),
        *counter("askpro_db_rollbacks_total", "Transactions rolled back.", snapshot.rollbacks),
        *counter("askpro_db_blocks_hit_total", "Blocks found in memory.", snapshot.blocks_hit),
        *counter("askpro_db_blocks_read_total", "Blocks read from disk.", snapshot.blocks_read),
        *counter("askpro_db_temp_bytes_total", "Bytes written to temporary files.", snapshot.temp_bytes),
        *counter("askpro_db_wal_bytes_total", "Position in the write-ahead log.", snapshot.wal_bytes),
        *gauge("askpro_db_size_bytes", "Size of the database, estimated.", snapshot.size_bytes),
        *gauge("askpro_db_freeze_age_transactions", "Age of the oldest unfrozen transaction.", snapshot.freeze_age),
        *gauge("askpro_db_replication_lag_seconds", "Lag of the slowest replica.", snapshot.replication_lag_s),
        *gauge("askpro_db_disk_free_bytes", "Free bytes below the data directory.", snapshot.disk_free_bytes),
        *gauge("askpro_db_disk_size_bytes", "Size of that file system.", snapshot.disk_total_bytes),
        *gauge("askpro_db_start_timestamp_seconds", "When the server started.", snapshot.started_at),
    ]


def fleet(snapshot: FleetSnapshot) -> list[str]:
    """Figures of nodes, processes and the cache."""
    known = [node for node in snapshot.nodes if node.state is not NodeState.LEFT]
    nodes = [node for node in known if node.state is not NodeState.VANISHED]

    def each(name: str, text: str, values: Iterable[float]) -> list[str]:
        named: list[Sample] = [({"node": node.node}, value) for node, value in zip(nodes, values, strict=True)]
        return family(name, "gauge", text, named)

    processes = [(node.node, process) for node in nodes for process in node.processes]
    cache = snapshot.cache
    return [
        *family(
            "askpro_node_info",
            "gauge",
            "Nodes and their versions.",
            (({"node": node.node, "version": node.version}, 1) for node in nodes),
        ),
        *family(
            "askpro_node_up",
            "gauge",
            "1 while the node is heard of; 0 when it vanished.",
            (({"node": node.node}, int(node.state is not NodeState.VANISHED)) for node in known),
        ),
        *each("askpro_node_cpu_ratio", "Busy share of all cores.", (node.cpu_ratio for node in nodes)),
        *each("askpro_node_load1", "Load average of a minute.", (node.load_1m for node in nodes)),
        *each("askpro_node_memory_used_bytes", "Memory in use.", (node.memory_used_bytes for node in nodes)),
        *each("askpro_node_memory_size_bytes", "Memory.", (node.memory_total_bytes for node in nodes)),
        *each("askpro_node_disk_used_bytes", "Disk in use.", (node.disk_used_bytes for node in nodes)),
        *each("askpro_node_disk_size_bytes", "Disk.", (node.disk_total_bytes for node in nodes)),
        *each("askpro_node_network_receive_bytes_per_second", "Received.", (node.net_in_bytes_per_s for node in nodes)),
        *each("askpro_node_network_transmit_bytes_per_second", "Sent.", (node.net_out_bytes_per_s for node in nodes)),
        *family(
            "askpro_process_up",
            "gauge",
            "1 while the process is ready.",
            (({"node": node, "process": each.name}, int(each.state == "ready")) for node, each in processes),
        ),
        *family(
            "askpro_process_resident_memory_bytes",
            "gauge",
            "Resident memory of a process.",
            (({"node": node, "process": each.name}, each.rss_bytes) for node, each in processes),
        ),
        *family(
            "askpro_process_restarts_total",
            "counter",
            "Restarts of a process since the system started.",
            (({"node": node, "process": each.name}, each.restarts) for node, each in processes),
        ),
        *gauge("askpro_valkey_up", "1 while Valkey answers.", int(cache.up)),
        *gauge("askpro_valkey_used_bytes", "Memory that Valkey uses.", cache.used_bytes),
        *gauge("askpro_valkey_max_bytes", "Memory that it may use.", cache.max_bytes),
        *gauge("askpro_valkey_keys", "Keys.", cache.keys),
        *gauge("askpro_valkey_keys_without_ttl", "Keys that never end.", cache.keys_without_ttl),
        *counter("askpro_valkey_evicted_keys_total", "Keys evicted.", cache.evicted),
        *gauge("askpro_valkey_clients", "Connected clients.", cache.clients),
    ]


def business(snapshot: BusinessSnapshot) -> list[str]:
    """Figures of the business and of the routes."""
    quantiles: list[Sample] = [
        ({"route": row.route, "quantile": quantile}, None if value_ms is None else value_ms / 1000)
        for row in snapshot.routes
        for quantile, value_ms in (("0.5", row.p50_ms), ("0.95", row.p95_ms), ("0.99", row.p99_ms))
    ]
    per_request = snapshot.revenue_per_request_cents
    return [
        *gauge("askpro_bookings_per_minute", "Bookings in a minute, over 15 minutes.", snapshot.bookings_per_min),
        *gauge("askpro_bookings_per_minute_last_week", "The same a week ago.", snapshot.bookings_per_min_last_week),
        *gauge(
            "askpro_webhook_success_ratio",
            "Well-signed deliveries of an hour that were accepted and are not held.",
            snapshot.webhook_success_ratio,
        ),
        *family(
            "askpro_webhook_effect_seconds",
            "gauge",
            "From receipt to effect, over 15 minutes.",
            [({"quantile": "0.99"}, snapshot.webhook_effect_p99_s)],
        ),
        *gauge("askpro_revenue_today_euros", "Booked since midnight.", snapshot.revenue_today_cents / 100),
        *gauge("askpro_call_cost_today_euros", "Calls since midnight.", snapshot.call_cost_today_cents / 100),
        *gauge(
            "askpro_revenue_per_request_euros",
            "Revenue of the day by its deliveries.",
            None if per_request is None else per_request / 100,
        ),
        *gauge("askpro_http_error_ratio", "5xx of all answers, over a minute.", snapshot.error_ratio),
        *family(
            "askpro_http_request_duration_quantile_seconds",
            "gauge",
            "Durations by route over all processes, over a minute.",
            quantiles,
        ),
        *family(
            "askpro_http_requests_per_second",
            "gauge",
            "Requests by route over all processes, over a minute.",
            (({"route": row.route}, row.per_s) for row in snapshot.routes),
        ),
        *gauge("askpro_watching_cpu_ratio", "The publisher's CPU, of one core.", snapshot.watching_ratio),
    ]


def gauge(name: str, text: str, value: float | None) -> list[str]:
    """A family with one value that goes up and down."""
    return family(name, "gauge", text, [({}, value)])


def counter(name: str, text: str, value: float | None) -> list[str]:
    """A family with one value that only grows."""
    return family(name, "counter", text, [({}, value)])
