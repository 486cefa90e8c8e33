"""Snapshots of queues for tests of screens: a night on which everything that can be in force is."""

from __future__ import annotations

import msgspec

from backend.watch.snapshots import (
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
    Trend,
    TroubleRow,
)

NOW = 1_763_989_200.0
"""Mon 24 Nov 2025 14:00:00 in Berlin."""

SIZES = {"webhooks": (10, 30, 60), "appointments": (15, 15, 30), "default": (5, 20, 40), "notifications": (2, 10, 20)}
"""Floor, base and ceiling of each queue."""


def queue_row(queue: str, **changes: object) -> QueueRow:
    """A queue that is well, but for the changes."""
    row = QueueRow(
        queue=queue, ready=0, scheduled=1, running=2, held=0, oldest_s=None, drain_s=None, done_per_s=3.0,
        in_per_s=3.0, concurrency=SIZES[queue][1], workers=1,
        ready_trend=Trend(values=tuple(float(step % 7) for step in range(60)), step_s=60),
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def slot_row(queue: str, node: str = "node-1", **changes: object) -> SlotRow:
    """Slots as the policy says, but for the changes."""
    floor, base, ceiling = SIZES[queue]
    row = SlotRow(queue=queue, node=node, slots=base, floor=floor, ceiling=ceiling, base=base)
    return msgspec.structs.replace(row, **changes)


def type_row(entrypoint: str, **changes: object) -> JobTypeRow:
    """A job type that is well, but for the changes."""
    row = JobTypeRow(
        entrypoint=entrypoint, queue=entrypoint.partition(".")[0], ready=0, scheduled=0, running=0, held=0, done=120,
        retried=0, wait_p50_s=0.004, wait_p99_s=0.02, run_p50_s=0.1, run_p99_s=0.4,
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def cause(fingerprint: str = "f1", **changes: object) -> HeldGroup:
    """Held calendar syncs, but for the changes."""
    row = HeldGroup(
        fingerprint=fingerprint, queue="default", entrypoint="default.calendar_sync", error_type="ProviderRefused",
        message="calcom: HTTP 429 too many requests", companies=3, held_1h=198, held_24h=201, held_total=220,
        first_at=NOW - 3600, last_at=NOW - 30, held_7d=220, trend=(0, 0, 1, 3, 9, 20, 40, 40, 30, 20, 20, 15),
        top_companies=(("praxis-nord", 190), ("physio-sued", 6)),
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def well(*, now: float = NOW) -> QueuesSnapshot:
    """All is well: nothing is held, paused or decided."""
    return QueuesSnapshot(
        taken_at=now,
        queues=tuple(queue_row(queue) for queue in SIZES),
        job_types=(type_row("webhooks.retell_call"), type_row("default.calendar_sync")),
        held=(),
        workers=(),
        inbox_waiting=0,
        inbox_oldest_s=None,
        quarantined=0,
        accepted_1h=1204,
        rejected_1h=0,
        rejected_by_reason_1h={},
        slots=tuple(slot_row(queue) for queue in SIZES),
    )


def night(*, now: float = NOW) -> QueuesSnapshot:
    """Everything at once."""
    at = now - 240
    return msgspec.structs.replace(
        well(now=now),
        queues=(
            queue_row("webhooks", ready=1240, running=33, oldest_s=12.0, drain_s=41.0, concurrency=33,
                      limits_broken=("oldest",), in_per_s=41.0, done_per_s=70.0),
            queue_row("appointments", running=1),
            queue_row("default", ready=37, running=4, oldest_s=3.0, in_per_s=9.0, done_per_s=2.0, held=223),
            queue_row("notifications", ready=41, oldest_s=720.0, running=0, paused=True),
        ),
        job_types=(
            type_row("webhooks.retell_call", ready=1240, running=33),
            type_row("default.calendar_sync", ready=37, running=4, held=223, retried=31),
            type_row("appointments.book", running=1),
            type_row("notifications.deliver", ready=41),
        ),
        held=(
            cause(),
            cause("f2", entrypoint="webhooks.retell_call", queue="webhooks", error_type="ValidationError",
                  message="from_number: value is not a phone number", held_1h=3, held_24h=12, held_total=12,
                  companies=1, top_companies=(("physio-sued", 12),), last_at=now - 900),
        ),
        providers=(
            ProviderRow(provider="calcom", breaker="open", since_s=190.0, calls=900, failures=410, p99_s=8.0),
            ProviderRow(provider="retell", breaker="closed", since_s=9000.0, calls=120, failures=1, p99_s=0.4),
        ),
        reconciled=(ReconciledRow(provider="calcom", state="delayed", done_s=None, open=2),),
        calendar_pending=37,
        calendar_oldest_s=190.0,
        slots=(
            slot_row("webhooks", slots=33, decided_by="balancer", reason="clears in 41 s", decided_at=at),
            slot_row("appointments"),
            slot_row("default", slots=12, is_pinned=True, decided_by="anna", reason="calcom is slow", decided_at=at),
            slot_row("notifications", slots=10),
        ),
        pauses=(
            PauseRow(id=7, kind="queue", name="notifications", reason="mail server down", paused_by="anna",
                     paused_at=now - 720, until=now + 1800, ramp_s=60),
            PauseRow(id=8, kind="company", name="praxis-nord", reason="floods us", paused_by="marie",
                     paused_at=now - 300, parked=87),
        ),
        slot_changes=(
            SlotChange(at=at, queue="webhooks", node="node-1", before=30, after=33, decided_by="balancer",
                       why="1 240 ready clear in 41 s, default idles: +3"),
            SlotChange(at=at - 60, queue="default", node="", before=20, after=12, decided_by="anna",
                       why="calcom is slow"),
        ),
        quarantines=(
            QuarantineRow(id=3, entrypoint="webhooks.retell_call", company="physio-sued", contains="+49 30 000",
                          fingerprint="f2", reason="kills the parser", made_by="anna", made_at=now - 600, held=12),
        ),
        troubles=(
            TroubleRow(at=now - 40, node="node-1", queue="default", entrypoint="default.report", job_id=4711,
                       kind="memory", detail="grew to 498 MB", count=2),
        ),
        bulk_actions=(
            BulkRow(id="0198a5c4-0000-7000-8000-000000000001", action="retry", reason="calcom is back",
                    started_by="anna", started_at=now - 20, ended_at=None, state="running", matched=10_000, done=4100,
                    skipped=12, per_s=200.0),
        ),
    )  # fmt: skip
