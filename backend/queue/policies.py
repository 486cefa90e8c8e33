"""What is true of each queue and job type: sizes, time limits, retries. The one place where it stands.

Sources: the report of 2025-06-26 (workers per queue, back-off), QUEUES §3 (batch sizes, heartbeat).
"""

from __future__ import annotations

from dataclasses import dataclass

from backend.domain.vocabulary import QueueName


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """Limits of one queue."""

    queue: QueueName
    concurrency: int
    """Jobs at once; the engine wants at least twice the batch."""
    batch: int
    """Jobs claimed in one round trip."""
    timeout_s: float
    """A job that runs longer has failed."""
    backoff_s: tuple[float, ...] = (10.0, 30.0, 60.0)
    """Wait before each retry: one first attempt, then one retry for each entry."""
    jitter: float = 0.2
    """Each wait varies by up to this share in both directions."""
    crash_starts: int = 3
    """So many starts without an end make a job poison: it is held before it runs again."""

    @property
    def attempts(self) -> int:
        """Attempts before a job is held."""
        return 1 + len(self.backoff_s)


POLICIES: dict[QueueName, QueuePolicy] = {
    policy.queue: policy
    for policy in (
        QueuePolicy(queue=QueueName.WEBHOOKS, concurrency=30, batch=15, timeout_s=30.0),
        QueuePolicy(queue=QueueName.APPOINTMENTS, concurrency=15, batch=7, timeout_s=30.0),
        QueuePolicy(queue=QueueName.DEFAULT, concurrency=20, batch=10, timeout_s=120.0),
        QueuePolicy(queue=QueueName.NOTIFICATIONS, concurrency=10, batch=5, timeout_s=60.0),
    )
}

HEARTBEAT_S = 15.0
"""A running job whose worker has been silent for so long is given to another."""

DEQUEUE_WAIT_S = 2.0
"""Longest sleep between looks at the queue when no notice arrives."""
