"""What in the snapshots needs a person: one finding for each thing that is wrong, worst first.

Pure: snapshots in, findings out. Thresholds and their sources stand beside each rule. What is unknown is found too and
never counts as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backend.domain.vocabulary import BreakerState, NodeState, RejectReason, RunState, TroubleKind, Verdict
from backend.watch.queue_alerts import broken
from backend.watch.queue_alerts import span as _span
from backend.watch.queue_said import said
from backend.watch.snapshots import (
    BusinessSnapshot,
    CacheFigures,
    DatabaseSnapshot,
    FleetSnapshot,
    NodeRow,
    ProcessRow,
    QueueRow,
    QueuesSnapshot,
    Snapshot,
)

LATELY_S = 300.0
"""What a job did to its worker needs somebody for so long; it is listed longer."""

DOES: dict[str, tuple[Verdict, str]] = {
    TroubleKind.CRASH: (Verdict.CRIT, "brings its worker down"),
    TroubleKind.MEMORY: (Verdict.CRIT, "makes its worker grow"),
    TroubleKind.BLOCKS: (Verdict.CRIT, "blocks its worker"),
    TroubleKind.IGNORES_CANCELLATION: (Verdict.CRIT, "ignores its cancellation"),
    TroubleKind.OVERRUN: (Verdict.WARN, "runs too long"),
    TroubleKind.RAISES: (Verdict.WARN, "fails again and again"),
    TroubleKind.PROVIDER_HANGS: (Verdict.WARN, "waits for its provider"),
    "silent": (Verdict.CRIT, "runs in a worker that is silent"),
}
"""What jobs do to their workers, in words."""

RSS_CEILING = 512 * 2**20
"""Bytes at which a process is recycled."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that needs a person."""

    verdict: Verdict
    subject: str
    """Queue, process, node or store."""
    text: str
    """What is wrong, in the field's words, with the number that says so."""
    screen: str
    """Name of the screen that shows more."""
    hint: str = ""
    """What can be done about it."""


SILENT_PUBLISHER_S = 15.0
"""A publisher that starts afresh is back sooner."""

_WEIGHT = {Verdict.CRIT: 0, Verdict.WARN: 1, Verdict.UNKNOWN: 2, Verdict.OK: 3}


def find(snapshots: Mapping[str, Snapshot]) -> tuple[Finding, ...]:
    """All findings in the snapshots given (by domain), worst first, in a stable order."""
    found: list[Finding] = []
    for snapshot in snapshots.values():
        match snapshot:
            case QueuesSnapshot():
                found += _queues(snapshot)
            case DatabaseSnapshot():
                found += _database(snapshot)
            case FleetSnapshot():
                found += _fleet(snapshot)
            case BusinessSnapshot():
                found += _business(snapshot)
            case _:
                pass
    return tuple(sorted(found, key=lambda finding: (_WEIGHT[finding.verdict], finding.subject, finding.text)))


def _level(value: float | None, warn: float, crit: float) -> Verdict | None:
    """The verdict on a value that should be small; None when it is."""
    if value is None or value < warn:
        return None
    return Verdict.CRIT if value >= crit else Verdict.WARN


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _queues(snapshot: QueuesSnapshot) -> Iterator[Finding]:
    for queue in snapshot.queues:
        yield from _queue(queue)
    yield from _troubles(snapshot)
    for word in said(snapshot):
        yield Finding(word.verdict, word.subject, word.text, "queues", word.hint)
    held = sum(group.held_1h for group in snapshot.held)
    if verdict := _level(held, 1, 21):
        causes = sum(1 for group in snapshot.held if group.held_1h)
        yield Finding(
            verdict, "held jobs", f"{held} in the last hour, {causes} cause{'s' * (causes != 1)}", "queues",
            "askpro queue held",
        )  # fmt: skip
    if snapshot.quarantined:
        yield Finding(
            Verdict.WARN, "quarantine",
            _counted(snapshot.quarantined, "delivery belongs to no company", "deliveries belong to no company"),
            "queues", "askpro intake quarantine",
        )  # fmt: skip
    wrong = snapshot.rejected_by_reason_1h.get(RejectReason.SIGNATURE_WRONG, 0)
    if wrong > 20:
        yield Finding(
            Verdict.WARN, "webhooks", f"{wrong} wrong signatures in the last hour: has a secret changed?", "queues",
            "askpro intake rejects",
        )  # fmt: skip
    yield from _calendars(snapshot)
    if verdict := _level(snapshot.inbox_oldest_s, 30, 120):
        yield Finding(
            verdict, "inbox",
            f"{snapshot.inbox_waiting} accepted deliveries without effect, the oldest since"
            f" {_span(snapshot.inbox_oldest_s or 0)}",
            "queues",
        )  # fmt: skip


def _calendars(snapshot: QueuesSnapshot) -> Iterator[Finding]:
    """A breaker that is open for two minutes, shorter ones close by themselves; what a provider refused for good."""
    for row in snapshot.providers:
        if row.breaker != BreakerState.CLOSED and row.since_s > 120:
            yield Finding(
                Verdict.WARN, row.provider, f"keeps failing for {_span(row.since_s)}, calls are held back",
                "queues", "askpro calendar status",
            )  # fmt: skip
    for compared in snapshot.reconciled:
        if compared.state == RunState.FAILED:
            yield Finding(
                Verdict.WARN, compared.provider, "refuses to be compared with", "queues", "askpro reconcile status",
            )  # fmt: skip
        if compared.open:
            yield Finding(
                Verdict.WARN, compared.provider,
                _counted(compared.open, "difference needs somebody", "differences need somebody"),
                "queues", "askpro reconcile status",
            )  # fmt: skip
    if snapshot.calendar_failed:
        yield Finding(
            Verdict.WARN, "calendars",
            _counted(snapshot.calendar_failed, "appointment was refused", "appointments were refused"),
            "queues", "askpro calendar status",
        )  # fmt: skip
    if verdict := _level(snapshot.calendar_oldest_s, 600, 3600):
        yield Finding(
            verdict, "calendars",
            _counted(snapshot.calendar_pending, "appointment is", "appointments are")
            + f" not written yet, the oldest since {_span(snapshot.calendar_oldest_s or 0)}",
            "queues",
        )  # fmt: skip


def _queue(queue: QueueRow) -> Iterator[Finding]:
    if not queue.workers:
        yield Finding(
            Verdict.CRIT, queue.queue, f"no live worker, {queue.ready} jobs wait", "queues",
            f"askpro logs worker-{queue.queue}",
        )  # fmt: skip
        return
    for limit in broken(queue):
        yield Finding(limit.verdict, queue.queue, limit.text, "queues", f"askpro queue policies {queue.queue}")


def _troubles(snapshot: QueuesSnapshot) -> Iterator[Finding]:
    """One finding for each job type and what it does, the latest of all nodes."""
    told: set[tuple[str, str]] = set()
    for row in sorted(snapshot.troubles, key=lambda row: -row.at):
        if snapshot.taken_at - row.at > LATELY_S or (row.entrypoint, row.kind) in told:
            continue
        told.add((row.entrypoint, row.kind))
        verdict, does = DOES.get(row.kind, (Verdict.WARN, row.kind))
        if row.kind == TroubleKind.CRASH and row.count == 1:
            # Once may be an accident of the machine's.
            verdict = Verdict.WARN
        job = "a job" if row.job_id is None else f"job {row.job_id}"
        yield Finding(
            verdict, row.entrypoint, f"{job} {does}: {row.detail}", "queues",
            "" if row.job_id is None else f"askpro queue show {row.job_id}",
        )  # fmt: skip


def _database(snapshot: DatabaseSnapshot) -> Iterator[Finding]:
    used = snapshot.connections / snapshot.connections_usable if snapshot.connections_usable else None
    if verdict := _level(used, 0.75, 0.9):
        top = max(snapshot.by_application, key=lambda name: snapshot.by_application[name], default="")
        yield Finding(
            verdict, "PostgreSQL",
            f"{snapshot.connections} of {snapshot.connections_usable} connections, most by {top or 'nobody'}", "fleet",
        )  # fmt: skip
    longest = max((row.wait_s for row in snapshot.blocked), default=None)
    if verdict := _level(longest, 2, 10):
        yield Finding(
            verdict, "PostgreSQL", f"{len(snapshot.blocked)} wait for a lock, since {_span(longest or 0)}", "fleet"
        )
    for value, warn, crit, what in (
        (snapshot.oldest_idle_in_transaction_s, 30, 120, "idle in a transaction for"),
        (snapshot.oldest_query_s, 10, 60, "a query runs for"),
        (snapshot.oldest_transaction_s, 60, 300, "a transaction is open for"),
        (snapshot.replication_lag_s, 5, 30, "a replica is behind by"),
    ):
        if verdict := _level(value, warn, crit):
            yield Finding(verdict, "PostgreSQL", f"{what} {_span(value or 0)}", "fleet")
    if snapshot.disk_total_bytes and snapshot.disk_free_bytes is not None:
        free = snapshot.disk_free_bytes / snapshot.disk_total_bytes
        if free < 0.2:
            verdict = Verdict.CRIT if free < 0.1 else Verdict.WARN
            yield Finding(verdict, "PostgreSQL", f"{free * 100:.0f} % of its disk is free", "fleet")
    if snapshot.freeze_age > 1_000_000_000:
        yield Finding(Verdict.CRIT, "PostgreSQL", f"transaction ids: age {snapshot.freeze_age:,}", "fleet")


def _fleet(snapshot: FleetSnapshot) -> Iterator[Finding]:
    yield from _cache(snapshot.cache)
    several = len(snapshot.nodes) > 1
    version = next((node.version for node in snapshot.nodes if node.node == snapshot.publisher), "")
    for node in snapshot.nodes:
        if node.state is NodeState.LEFT:
            continue
        yield from _node(node, snapshot)
        if node.state is NodeState.VANISHED:
            continue
        if version and node.version != version:
            yield Finding(
                Verdict.WARN, node.node, f"runs version {node.version}, the publisher {version}", "fleet",
                "install one version everywhere",
            )  # fmt: skip
        for process in node.processes:
            yield from _process(process, f" on {node.node}" if several else "")


def _cache(cache: CacheFigures) -> Iterator[Finding]:
    if not cache.up:
        yield Finding(Verdict.WARN, "Valkey", "down: figures come from the database, nothing is lost", "fleet")
        return
    if cache.used_bytes is None or cache.max_bytes is None:
        yield Finding(Verdict.UNKNOWN, "Valkey", "its memory is not known", "fleet")
    elif cache.max_bytes and (verdict := _level(cache.used_bytes / cache.max_bytes, 0.75, 0.9)):
        yield Finding(
            verdict, "Valkey", f"{cache.used_bytes / cache.max_bytes * 100:.0f} % of its memory used", "fleet"
        )
    if cache.evicted:
        yield Finding(Verdict.WARN, "Valkey", f"{cache.evicted} keys evicted since its start", "fleet")


def _node(node: NodeRow, snapshot: FleetSnapshot) -> Iterator[Finding]:
    if node.state is NodeState.VANISHED:
        had = sum(worker.busy for worker in snapshot.workers if worker.node == node.node and worker.state != "stopped")
        jobs = f"; {_counted(had, 'job', 'jobs')} in its hands run elsewhere" if had else ""
        yield Finding(
            Verdict.CRIT, node.node, f"vanished, not heard of for {_span(node.silent_s)}{jobs}", "fleet",
            f"look there, or askpro node forget {node.node}",
        )  # fmt: skip
        return
    if node.untold_s > SILENT_PUBLISHER_S:
        yield Finding(
            Verdict.WARN, node.node, f"its publisher is silent for {_span(node.untold_s)}: no order is taken up there",
            "fleet", "askpro logs publisher there",
        )  # fmt: skip
    if node.rival:
        yield Finding(
            Verdict.WARN, node.node, f"{node.rival} wants the same name", "fleet", "set another stack.node there"
        )
    if node.cores and node.load_1m > 2 * node.cores:  # a minute's mean: one busy moment needs nobody
        yield Finding(Verdict.WARN, node.node, f"load {node.load_1m:.1f} on {node.cores} cores", "fleet")
    if node.memory_total_bytes and node.memory_used_bytes / node.memory_total_bytes > 0.9:
        yield Finding(
            Verdict.WARN, node.node, f"memory {node.memory_used_bytes / node.memory_total_bytes * 100:.0f} %", "fleet"
        )
    if node.disk_total_bytes:
        used = node.disk_used_bytes / node.disk_total_bytes
        if verdict := _level(used, 0.85, 0.95):
            yield Finding(verdict, node.node, f"disk {used * 100:.0f} %", "fleet", "askpro logs")


def _process(process: ProcessRow, where: str) -> Iterator[Finding]:
    if process.state == "failed":
        yield Finding(
            Verdict.CRIT, process.name + where, f"keeps crashing and was given up: {process.detail}".rstrip(": "),
            "fleet", f"askpro logs {process.name}{where}",
        )  # fmt: skip
    elif process.state == "backoff":
        yield Finding(
            Verdict.WARN, process.name + where, f"ended, starts again soon: {process.detail}".rstrip(": "), "fleet",
            f"askpro logs {process.name}{where}",
        )  # fmt: skip
    if process.rss_bytes > 0.8 * RSS_CEILING and not process.name.startswith(("postgres", "valkey")):
        yield Finding(
            Verdict.WARN,
            process.name + where,
            f"{process.rss_bytes / 2**20:.0f} MB resident, recycled at 512 MB",
            "fleet",
        )


def _business(snapshot: BusinessSnapshot) -> Iterator[Finding]:
    success = snapshot.webhook_success_ratio
    if success is not None and success < 0.99:
        yield Finding(
            Verdict.CRIT, "webhooks", f"{success * 100:.1f} % succeed, 99 % are owed", "queues", "askpro queue held"
        )
    if verdict := _level(snapshot.error_ratio, 0.01, 0.05):
        worst = max(snapshot.routes, key=lambda route: route.errors, default=None)
        where = f", most at {worst.route}" if worst and worst.errors else ""
        yield Finding(verdict, "API", f"{(snapshot.error_ratio or 0) * 100:.1f} % server errors{where}", "fleet")
    for route in snapshot.routes:
        if verdict := _level(route.p99_ms, 1000, 5000):
            yield Finding(verdict, "API", f"{route.route}: p99 {route.p99_ms:.0f} ms", "fleet")
    if verdict := _level(snapshot.webhook_effect_p99_s, 10, 60):
        yield Finding(
            verdict, "webhooks", f"p99 from received to effect {_span(snapshot.webhook_effect_p99_s or 0)}", "queues"
        )
