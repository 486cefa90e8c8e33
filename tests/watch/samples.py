"""A snapshot of each domain with every kind of row in it, and the same with hostile text wherever text can be."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from backend.watch.snapshots import (
    AppointmentRow,
    AppointmentsSnapshot,
    BlockedRow,
    BulkRow,
    BusinessSnapshot,
    CacheFigures,
    CallRow,
    CallsSnapshot,
    Change,
    CompanyRow,
    DatabaseSnapshot,
    FleetSnapshot,
    HeldGroup,
    JobTypeRow,
    NodeRow,
    PauseRow,
    ProcessRow,
    QuarantineRow,
    QueueRow,
    QueuesSnapshot,
    SlotChange,
    SlotRow,
    Snapshot,
    Timing,
    Trend,
    TroubleRow,
    WorkerRow,
)

AT = 1_795_500_000.0

HOSTILE = (
    "Ann\x1b]52;c;QUJD\x07",
    "\x9b2J\u202e\u2066evil\x00\r\n\tx",
    "[/nope][@click=app.quit]x[/]",
    "z" + "\u0301" * 200,
    "y" * 10_000,
    "\u2028\u2029\ufeff\u200b\U000e0001",
)
"""An escape, controls with bidi marks, markup, a pile of marks, a long one, invisible ones."""

S = TypeVar("S", bound=msgspec.Struct)

TREND = Trend(values=tuple(float(step % 7) for step in range(60)), step_s=60.0, unit="calls/min")

_CALL = CallRow(
    id="01a20c37-29bc-74a7-8704-28248dcab16e",
    provider_call_id="call_1",
    company="nord",
    branch="mitte",
    direction="inbound",
    from_number="+4915112345678",
    to_number="+493012345",
    caller="Anna Schmidt",
    status="ended",
    outcome="booked",
    sentiment="positive",
    started_at=AT - 300,
    ended_at=AT - 180,
    duration_s=120.0,
    cost_cents=21,
    customer_id="01a20c36-c50d-763e-8560-76d6b0460f8b",
    appointment_id=None,
    summary="wants an appointment",
)

_APPOINTMENT = AppointmentRow(
    id="01a20c37-3fd0-7320-9e92-81ebcc6b7809",
    company="nord",
    branch="mitte",
    staff="Dr. Weiß",
    service="Prophylaxe",
    customer="Anna Schmidt",
    customer_id=None,
    call_id=None,
    starts_at=AT + 3600,
    ends_at=AT + 5400,
    time_zone="Europe/Berlin",
    status="confirmed",
    source="call",
    price_cents=4500,
    created_at=AT - 60,
    version=1,
)

_WORKER = WorkerRow(
    id="46c096b3-7bf5-4752-90f7-b06f43a816ed",
    node="node-1",
    queue="webhooks",
    pid=77,
    version="0.1.0",
    concurrency=30,
    busy=4,
    done=1200,
    rss_bytes=61_000_000,
    state="running",
    started_at=AT - 9000,
    heartbeat_at=AT - 1,
)

SAMPLES: dict[str, Snapshot] = {
    "calls": CallsSnapshot(
        taken_at=AT,
        took_ms=2.0,
        ongoing=1,
        started_last_hour=12,
        started_today=80,
        median_duration_s=110.0,
        by_outcome_today={"booked": 30, "hangup": 4},
        per_minute=TREND,
        rows=(_CALL, msgspec.structs.replace(_CALL, ended_at=None, duration_s=None, cost_cents=None, outcome="")),
    ),
    "appointments": AppointmentsSnapshot(
        taken_at=AT,
        booked_today=12,
        upcoming_today=3,
        by_status_7d={"confirmed": 40, "no_show": 1},
        upcoming=(_APPOINTMENT,),
        latest=(_APPOINTMENT, msgspec.structs.replace(_APPOINTMENT, time_zone="Nowhere/At all")),
        open_callbacks=2,
        overdue_callbacks=1,
    ),
    "queues": QueuesSnapshot(
        taken_at=AT,
        queues=(
            QueueRow(
                queue="webhooks",
                ready=12,
                scheduled=1,
                running=4,
                held=2,
                oldest_s=0.4,
                drain_s=3.0,
                done_per_s=6.0,
                in_per_s=2.0,
                concurrency=30,
                workers=1,
                ready_trend=TREND,
            ),
            QueueRow(
                queue="notifications",
                ready=41,
                scheduled=0,
                running=0,
                held=0,
                oldest_s=720.0,
                drain_s=None,
                done_per_s=0.0,
                in_per_s=0.1,
                concurrency=0,
                workers=0,
                paused=True,
            ),
        ),
        job_types=(
            JobTypeRow(
                entrypoint="webhooks.retell_call",
                queue="webhooks",
                ready=12,
                scheduled=1,
                running=4,
                held=2,
                done=900,
                retried=3,
                wait_p50_s=0.01,
                wait_p99_s=0.4,
                run_p50_s=0.012,
                run_p99_s=None,
            ),
        ),
        held=(
            HeldGroup(
                fingerprint="f1",
                queue="webhooks",
                entrypoint="webhooks.retell_call",
                error_type="CalendarRefused",
                message="HTTP 429 Too Many Requests",
                companies=3,
                held_1h=2,
                held_24h=2,
                held_total=2,
                first_at=AT - 900,
                last_at=AT - 60,
            ),
        ),
        held_causes={"webhooks": 3},
        workers=(_WORKER,),
        inbox_waiting=2,
        inbox_oldest_s=0.2,
        quarantined=1,
        accepted_1h=400,
        rejected_1h=3,
        rejected_by_reason_1h={"signature_wrong": 3},
        pauses=(
            PauseRow(
                id=2,
                kind="queue",
                name="notifications",
                reason="the mail server moves",
                paused_by="anna",
                paused_at=AT - 720,
                until=AT + 1800,
            ),
            PauseRow(
                id=1,
                kind="provider",
                name="calcom",
                reason="HTTP 429",
                paused_by="ben",
                paused_at=AT - 3600,
                ramp_s=300,
                resumed_at=AT - 100,
                parked=3,
            ),
        ),
        slots=(
            SlotRow(
                queue="webhooks",
                node="node-1",
                slots=31,
                floor=10,
                ceiling=60,
                base=30,
                decided_by="balancer",
                reason="webhooks clears in 5 s",
                decided_at=AT - 5,
            ),
        ),
        slot_changes=(
            SlotChange(
                at=AT - 5,
                queue="webhooks",
                node="node-1",
                before=30,
                after=31,
                decided_by="balancer",
                why="webhooks clears in 5 s",
            ),
        ),
        quarantines=(
            QuarantineRow(
                id=7,
                entrypoint="webhooks.retell_call",
                company="nord",
                contains="call_1",
                fingerprint="f1",
                reason="kills its worker",
                made_by="anna",
                made_at=AT - 60,
                held=2,
            ),
        ),
        troubles=(
            TroubleRow(
                at=AT - 9,
                node="node-1",
                queue="webhooks",
                entrypoint="webhooks.retell_call",
                job_id=9,
                kind="overrun",
                detail="runs for 40 s of 30 s",
                count=2,
            ),
        ),
        bulk_actions=(
            BulkRow(
                id="01a20c37-29bc-74a7-8704-28248dcab16e",
                action="retry",
                reason="the provider is back",
                started_by="anna",
                started_at=AT - 20,
                ended_at=None,
                state="running",
                matched=500,
                done=120,
                skipped=1,
                per_s=10.0,
            ),
        ),
    ),
    "database": DatabaseSnapshot(
        taken_at=AT,
        notes=("disk: the data directory is not on this machine",),
        version="18.6",
        started_at=AT - 90_000,
        is_replica=False,
        connections=22,
        connections_usable=94,
        by_state={"active": 2, "idle": 20},
        by_application={"askpro-api": 10, "psql": 1},
        waiting_for_lock=1,
        blocked=(
            BlockedRow(
                pid=501, blocked_by=(77, 78), application="psql", state="active", wait_s=3.2, query="update calls …"
            ),
        ),
        oldest_transaction_s=0.4,
        oldest_query_s=None,
        oldest_idle_in_transaction_s=None,
        deadlocks=0,
        commits=1000,
        rollbacks=2,
        blocks_hit=9000,
        blocks_read=10,
        temp_bytes=0,
        wal_bytes=10_000_000,
        size_bytes=1_092_485_120,
        freeze_age=380,
        replication_lag_s=None,
        disk_free_bytes=None,
        disk_total_bytes=None,
        commits_per_s=12.5,
        hit_ratio=0.999,
        wal_bytes_per_s=20_000.0,
    ),
    "fleet": FleetSnapshot(
        taken_at=AT,
        nodes=(
            NodeRow(
                node="node-1",
                version="0.1.0",
                seen_at=AT - 1,
                cpu_ratio=0.31,
                cores=2,
                load_1m=0.7,
                memory_used_bytes=2_100_000_000,
                memory_total_bytes=8_000_000_000,
                disk_used_bytes=41_000_000_000,
                disk_total_bytes=100_000_000_000,
                net_in_bytes_per_s=1200.0,
                net_out_bytes_per_s=900.0,
                uptime_s=100_000.0,
                processes=(
                    ProcessRow(
                        name="worker-webhooks",
                        pid=77,
                        state="ready",
                        rss_bytes=61_000_000,
                        cpu_ratio=0.02,
                        restarts=1,
                        since=AT - 9000,
                        detail="",
                    ),
                    ProcessRow(
                        name="publisher",
                        pid=None,
                        state="backoff",
                        rss_bytes=0,
                        cpu_ratio=0.0,
                        restarts=3,
                        since=None,
                        detail="exit code 1",
                    ),
                ),
            ),
        ),
        workers=(_WORKER,),
        cache=CacheFigures(
            up=True,
            version="9.1.2",
            used_bytes=2_000_000,
            max_bytes=256_000_000,
            keys=12,
            keys_without_ttl=0,
            evicted=0,
            clients=9,
            commands_per_s=40.0,
        ),
        publisher="node-1",
    ),
    "business": BusinessSnapshot(
        taken_at=AT,
        companies=(CompanyRow(company="nord", name="Praxis Nord", calls=20, booked=12, revenue_cents=54_000),),
        calls_ongoing=1,
        bookings_per_min=4.2,
        bookings_per_min_last_week=None,
        bookings=TREND,
        webhooks=TREND,
        webhook_success_ratio=0.998,
        webhook_effect_p99_s=0.31,
        median_call_s=110.0,
        revenue_today_cents=54_000,
        call_cost_today_cents=420,
        revenue_per_request_cents=31.2,
        routes=(
            Timing(
                route="POST /api/retell/webhook", per_s=12.8, p50_ms=4.0, p95_ms=11.0, p99_ms=23.0, errors=0, refused=2
            ),
            Timing(route="GET /api/dashboard", per_s=0.1, p50_ms=None, p95_ms=None, p99_ms=None, errors=1, refused=0),
        ),
        error_ratio=0.0002,
        changes=(Change(at=AT - 600, what="worker webhooks started on node-1, version 0.1.0"),),
        watching_ratio=0.003,
    ),
}


def hostile(struct: S) -> S:
    """The same record with hostile text in the place of every text, in nested records as well."""
    changes: dict[str, object] = {}
    for number, name in enumerate(struct.__struct_fields__):
        value = getattr(struct, name)
        if isinstance(value, str):
            changes[name] = HOSTILE[number % len(HOSTILE)]
        elif isinstance(value, msgspec.Struct):
            changes[name] = hostile(value)
        elif isinstance(value, dict):
            changes[name] = {HOSTILE[place % len(HOSTILE)]: each for place, each in enumerate(value.values())}
        elif isinstance(value, tuple):
            changes[name] = tuple(
                hostile(each) if isinstance(each, msgspec.Struct) else HOSTILE[0] if isinstance(each, str) else each
                for each in value
            )
    return msgspec.structs.replace(struct, **changes)
