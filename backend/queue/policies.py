"""What is true of each queue and job type: slots, time limits, retries, alert limits. The one place where it stands.

A queue says what holds for its job types unless they say otherwise. Settings are laid over what is built in, value by
value, and each value remembers where it comes from. What people and the balancer decide while the system runs
(`backend/queue/control.py`) is not a policy.

Sources: the report of 2025-06-26 (workers per queue, back-off), QUEUES §3 (batch sizes, heartbeat), TRUST (alerts).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import msgspec

from backend.domain.vocabulary import Provider, QueueName

HEARTBEAT_S = 15.0
"""A running job whose worker has been silent for so long is given to another."""

DEQUEUE_WAIT_S = 2.0
"""Longest sleep between looks at the queue when no notice arrives."""

BUILT_IN_SOURCE = "built in"


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """Beyond which a queue needs a person. Zero: never."""

    oldest_s: float = 60.0
    """Age of the oldest job that may start: warned of here, critical at three times as much."""
    drain_s: float = 120.0
    """Time until all that is ready is done: warned of here, critical at five times as much."""
    backlog: int = 10_000
    """Jobs that are ready."""
    silence_s: float = 0.0
    """Without a job being put in. Zero where a quiet night is nothing unusual."""
    failure_share: float = 0.2
    """Of the runs of the last 15 minutes, when there are at least `FEWEST_RUNS` of them."""


FEWEST_RUNS = 20
"""Of fewer runs no share of failures is told."""

OLDEST_CRITICAL, DRAIN_CRITICAL = 3.0, 5.0
"""So many times its limit a value is critical."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """One queue: what it may use, what is worth an alert, and what holds for its job types."""

    queue: QueueName
    concurrency: int
    """Jobs at once of one worker, while nobody has said otherwise."""
    batch: int
    """Jobs claimed in one round trip."""
    floor: int = 1
    """Slots that the balancer never takes away."""
    ceiling: int = 1_000
    """Slots that nobody goes beyond."""
    limits: AlertLimits = AlertLimits()
    pausable: bool = True
    timeout_s: float
    """A job that runs longer has failed."""
    attempts: int = 4
    """Attempts before a job is held."""
    backoff_s: tuple[float, ...] = (10.0, 30.0, 60.0)
    """Wait before each retry; the last one holds for all further ones."""
    jitter: float = 0.2
    """Each wait varies by up to this share in both directions."""
    crash_starts: int = 3
    """So many starts without an end make a job poison: it is held before it runs again."""
    keep_done_minutes: int = 60
    """Life of the record of a run that succeeded."""
    keep_failed_minutes: int = 10_080
    """Life of the record of a run that did not."""
    keep_held_minutes: int = 10_080
    """Life of a held job after somebody decided about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPolicy:
    """One job type."""

    entrypoint: str
    """The job type, `<queue>.<job>`."""
    priority: int = 0
    """Within its queue: higher starts first."""
    timeout_s: float
    """A job that runs longer has failed."""
    attempts: int
    """Attempts before a job is held."""
    backoff_s: tuple[float, ...]
    """Wait before each retry; the last one holds for all further ones."""
    jitter: float
    """Each wait varies by up to this share in both directions."""
    crash_starts: int
    """So many starts without an end make a job poison."""
    permanent: tuple[str, ...] = ("Permanent",)
    """Names of error types that no further attempt can mend: the job is held at once."""
    provider: Provider | None = None
    """The provider that it calls: paused with it, and named when it hangs."""
    pausable: bool = True
    keep_done_minutes: int
    keep_failed_minutes: int
    keep_held_minutes: int

    def wait_s(self, attempt: int) -> float:
        """Wait after the failure of this attempt (1 for the first), without jitter."""
        return self.backoff_s[min(attempt, len(self.backoff_s)) - 1] if self.backoff_s else 0.0

    def is_permanent(self, error: BaseException) -> bool:
        """Whether the error, or what it is a kind of, is named as one that cannot pass."""
        return any(kind.__name__ in self.permanent for kind in type(error).__mro__)


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """One value in force, for people."""

    subject: str
    """A queue or a job type."""
    name: str
    value: str
    source: str
    """`built in`, the settings file's line and table, the environment's variable, or the queue it is taken from."""


@dataclass(frozen=True, slots=True)
class Published:
    """The policies of one queue as a worker of it works by them; stands in `workers.policies`."""

    queue: QueuePolicy
    jobs: tuple[JobPolicy, ...]
    lines: tuple[PolicyLine, ...]


_CALLERS_WAIT = AlertLimits(oldest_s=10.0, drain_s=120.0)
"""Of queues a caller waits for: ten seconds are long here, a minute elsewhere (TRUST, oldest job age)."""

BUILT_IN_QUEUES: tuple[QueuePolicy, ...] = (
    QueuePolicy(
        queue=QueueName.WEBHOOKS, floor=10, concurrency=30, ceiling=60, batch=15, timeout_s=30.0, limits=_CALLERS_WAIT
    ),
    # Its floor is all it has: nothing of it is ever lent.
    QueuePolicy(
        queue=QueueName.APPOINTMENTS,
        floor=15,
        concurrency=15,
        ceiling=30,
        batch=7,
        timeout_s=30.0,
        limits=_CALLERS_WAIT,
    ),
    # Something comes round in it every thirty seconds: five silent minutes mean that nobody keeps the schedule.
    QueuePolicy(
        queue=QueueName.DEFAULT,
        floor=5,
        concurrency=20,
        ceiling=40,
        batch=10,
        timeout_s=120.0,
        limits=AlertLimits(silence_s=300.0),
    ),
    QueuePolicy(queue=QueueName.NOTIFICATIONS, floor=2, concurrency=10, ceiling=20, batch=5, timeout_s=60.0),
)

BUILT_IN_JOBS: Mapping[str, Mapping[str, object]] = {
    "webhooks.retell_call": {},
    "webhooks.calcom_booking": {},
    "appointments.book": {},
    "default.calendar_sync": {"priority": 10, "provider": Provider.CALCOM},
    # While it is paused, slots that nobody wants stay taken.
    "default.release_holds": {"priority": 5, "pausable": False},
    "default.reminders_due": {"priority": 5},
    "default.callbacks_overdue": {},
    "default.close_stale_calls": {},
    # Sealed personal data has to go when its time is over.
    "default.purge_rejects": {"pausable": False},
    "default.retention": {"priority": -10},
    "default.reconcile_calls": {"priority": -5, "provider": Provider.RETELL},
    "default.reconcile_bookings": {"priority": -5, "provider": Provider.CALCOM},
    "default.reconcile_nightly": {"priority": -5},
    "notifications.reminder": {},
    "notifications.follow_up": {},
    "notifications.callback_overdue": {"priority": 10},
}
"""What is built in for each job type where it is not its queue's."""

OF_QUEUE = frozenset(
    {
        "timeout_s",
        "attempts",
        "backoff_s",
        "jitter",
        "crash_starts",
        "keep_done_minutes",
        "keep_failed_minutes",
        "keep_held_minutes",
    }
)
"""What a job type takes from its queue."""

LIMITS_PREFIX = "alert_"
"""Before the names of alert limits where they stand beside a queue's other values."""

_QUEUES = frozenset(queue.value for queue in QueueName)


def job_type_of(entrypoint: str) -> str:
    """The job type behind an entrypoint: a type that was moved stands there as `<queue>.<type>`."""
    first, _, rest = entrypoint.partition(".")
    if "." in rest and first in _QUEUES and rest.partition(".")[0] in _QUEUES:
        return rest
    return entrypoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A value that somebody set."""

    subject: str
    """A queue or a job type."""
    name: str
    """Of a field; an alert limit's with `alert_` before it."""
    value: object
    source: str


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies of one process. Built once, never changed."""

    queues: Mapping[QueueName, QueuePolicy]
    told: tuple[Told, ...] = ()
    """What was laid over what is built in."""
    _jobs: dict[str, JobPolicy] = field(default_factory=dict, compare=False, repr=False)

    def queue(self, name: QueueName) -> QueuePolicy:
        """One queue's policy."""
        return self.queues[name]

    def job(self, entrypoint: str) -> JobPolicy:
        """One job type's policy; of a type that nobody named, its queue's. Raises ValueError without such a queue."""
        if (known := self._jobs.get(entrypoint)) is None:
            kind = job_type_of(entrypoint)
            queue = self.queues[QueueName(kind.partition(".")[0])]
            inherited = {name: getattr(queue, name) for name in OF_QUEUE}
            told = {one.name: one.value for one in self.told if one.subject == kind}
            values: dict[str, Any] = {**inherited, **BUILT_IN_JOBS.get(kind, {}), **told}
            known = self._jobs[entrypoint] = JobPolicy(entrypoint=kind, **values)
        return known

    def with_queue(self, policy: QueuePolicy) -> Policies:
        """The same with this policy for its queue."""
        return Policies({**self.queues, policy.queue: policy}, self.told)

    def laid_over(self, told: Iterable[Told]) -> Policies:
        """The same with these values over it. Their names and types are right, see the settings."""
        queues, kept = dict(self.queues), tuple(told)
        for one in kept:
            if one.subject not in _QUEUES:
                continue
            policy = queues[QueueName(one.subject)]
            if one.name.startswith(LIMITS_PREFIX):
                limits = replace(policy.limits, **{one.name.removeprefix(LIMITS_PREFIX): one.value})  # type: ignore[arg-type]  # its type was checked where it was read
                queues[policy.queue] = replace(policy, limits=limits)
            else:
                queues[policy.queue] = replace(policy, **{one.name: one.value})  # type: ignore[arg-type]  # as above
        return Policies(queues, (*self.told, *kept))

    def job_types(self) -> tuple[str, ...]:
        """Every job type that has a policy of its own, by queue."""
        return tuple(dict.fromkeys((*BUILT_IN_JOBS, *(one.subject for one in self.told if one.subject not in _QUEUES))))

    def lines(self, subject: str | None = None) -> tuple[PolicyLine, ...]:
        """Every value in force with its source; of one queue with its job types, or of one job type."""
        found: list[PolicyLine] = []
        for policy in self.queues.values():
            if subject in {None, policy.queue.value}:
                found += self._of_queue(policy)
            for kind in self.job_types():
                if kind.partition(".")[0] == policy.queue and subject in {None, policy.queue.value, kind}:
                    found += self._of_job(kind)
        return tuple(found)

    def published(self, queue: QueueName) -> str:
        """What a worker of this queue tells everybody: JSON of a `Published`."""
        kinds = (kind for kind in self.job_types() if kind.partition(".")[0] == queue)
        told = Published(self.queue(queue), tuple(self.job(kind) for kind in kinds), self.lines(queue.value))
        return msgspec.json.encode(told).decode()

    def _of_queue(self, policy: QueuePolicy) -> Iterable[PolicyLine]:
        subject = policy.queue.value
        for one in fields(QueuePolicy):
            if one.name == "limits":
                for limit in fields(AlertLimits):
                    name = LIMITS_PREFIX + limit.name
                    shown = _shown(name, policy.limits, limit.name)
                    yield PolicyLine(subject, name, shown, self._source(subject, name))
            elif one.name != "queue":
                shown = _shown(one.name, policy, one.name) + _unused(one.name, policy)
                yield PolicyLine(subject, one.name, shown, self._source(subject, one.name))

    def _of_job(self, kind: str) -> Iterable[PolicyLine]:
        policy, queue = self.job(kind), kind.partition(".")[0]
        for one in fields(JobPolicy):
            if one.name == "entrypoint":
                continue
            source = self._source(kind, one.name)
            if source == BUILT_IN_SOURCE and one.name in OF_QUEUE and one.name not in BUILT_IN_JOBS.get(kind, {}):
                above = self._source(queue, one.name)
                source = f"queue {queue}" + (f", {above}" if above != BUILT_IN_SOURCE else "")
            yield PolicyLine(kind, one.name, _shown(one.name, policy, one.name) + _unused(one.name, policy), source)

    def _source(self, subject: str, name: str) -> str:
        """Of whoever said it last."""
        sources = (one.source for one in reversed(self.told) if (one.subject, one.name) == (subject, name))
        return next(sources, BUILT_IN_SOURCE)


def _shown(name: str, record: object, attribute: str) -> str:
    """A value with its unit."""
    value = getattr(record, attribute)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        unit = " s" if name.endswith("_s") else ""
        return ", ".join(f"{item:g}{unit}" if isinstance(item, float | int) else str(item) for item in value) or "none"
    if name.startswith(LIMITS_PREFIX) and not value:
        return "off"
    if name in {"jitter", "alert_failure_share"}:
        return f"{value * 100:g} %"
    if name.endswith("_s"):
        return f"{value:g} s"
    if name.endswith("_minutes"):
        return f"{value:,} min"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _unused(name: str, policy: QueuePolicy | JobPolicy) -> str:
    """What of the waits never comes because there are too few attempts for it."""
    left = policy.backoff_s[max(0, policy.attempts - 1) :]
    if name != "backoff_s" or not left:
        return ""
    return f" (with {policy.attempts} attempts never {', '.join(f'{wait:g}' for wait in left)} s)"


class _InForce:
    """What this process works by."""

    policies: Policies


def in_force() -> Policies:
    """The policies that this process works by: what is built in until told otherwise."""
    return _InForce.policies


def put_in_force(policies: Policies) -> None:
    """Work by these from now on. For a process's start."""
    _InForce.policies = policies


BUILT_IN = Policies({policy.queue: policy for policy in BUILT_IN_QUEUES})

_InForce.policies = BUILT_IN

POLICIES: Mapping[QueueName, QueuePolicy] = BUILT_IN.queues
"""What is built in, by queue."""
