"""The schedule: jobs that come round by themselves. The elected publisher asks here, a worker does them.

When each is due next stands in the engine's table of schedules, so a change of the publisher neither doubles a job nor
leaves one out; what was due several times meanwhile comes once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from backend.postgres.pools import Connection
from backend.queue import jobs, notification_jobs, reconciliation_jobs
from backend.queue.port import JobQueue, NewJob


@dataclass(frozen=True, slots=True)
class Periodic:
    """One job type and how often it comes round."""

    entrypoint: str
    every: timedelta
    at: time | None = None
    """Of the day (UTC), for what comes round daily."""

    @property
    def expression(self) -> str:
        """How the schedule is written down; changed, the job is new to the schedule and due at once."""
        if self.at is not None:
            return f"daily at {self.at:%H:%M} UTC"
        return f"every {self.every.total_seconds():g} s"

    @property
    def rhythm(self) -> str:
        """The same for people."""
        seconds = int(self.every.total_seconds())
        if self.at is not None or seconds < 60:
            return self.expression
        length, unit = (seconds // 3_600, "hour") if seconds % 3_600 == 0 else (seconds // 60, "min")
        return f"every {unit}" if length == 1 else f"every {length} {unit}{'s' * (unit == 'hour')}"

    def next_after(self, now: datetime) -> datetime:
        """When it is due again if it comes round `now` (aware)."""
        if self.at is None:
            return now + self.every
        today = datetime.combine(now.astimezone(UTC).date(), self.at, UTC)
        return today if today > now else today + timedelta(days=1)


SCHEDULE = (
    Periodic(jobs.RELEASE_HOLDS, timedelta(seconds=30)),
    Periodic(notification_jobs.REMINDERS_DUE, timedelta(seconds=30)),
    Periodic(notification_jobs.CALLBACKS_OVERDUE, timedelta(minutes=1)),
    Periodic(jobs.CLOSE_STALE_CALLS, timedelta(minutes=1)),
    Periodic(jobs.PURGE_REJECTS, timedelta(minutes=10)),
    Periodic(jobs.RETENTION, timedelta(minutes=5)),
    Periodic(reconciliation_jobs.RECONCILE_CALLS, timedelta(minutes=15)),
    Periodic(reconciliation_jobs.RECONCILE_BOOKINGS, timedelta(minutes=15)),
    Periodic(reconciliation_jobs.RECONCILE_NIGHTLY, timedelta(days=1), time(2, 30)),
)

_DUE = """
with wanted as (
    select * from unnest($2::text[], $3::text[], $4::timestamptz[]) as t (expression, entrypoint, next_run)
), paused as (
    select name as entrypoint from pauses
    where kind = 'schedule' and resumed_at is null and (until is null or until > $1::timestamptz)
)
insert into pgqueuer_schedules as known (expression, entrypoint, next_run, last_run)
select expression, entrypoint, next_run,
       case when entrypoint in (select entrypoint from paused) then null else $1::timestamptz end
from wanted
where not exists (
    select from pgqueuer_schedules later
    where later.expression = wanted.expression and later.entrypoint = wanted.entrypoint
      and later.next_run > $1::timestamptz
)
on conflict (expression, entrypoint) do update
set next_run = excluded.next_run, last_run = coalesce(excluded.last_run, known.last_run), updated = now()
where known.next_run <= $1::timestamptz
returning known.entrypoint, known.entrypoint in (select paused.entrypoint from paused) as is_paused
"""


def dedupe_key_of(entrypoint: str) -> str:
    """The key by which a periodic job waits or runs once at most."""
    return f"periodic:{entrypoint}"


async def enqueue_due(connection: Connection, now: datetime, schedule: tuple[Periodic, ...] = SCHEDULE) -> list[str]:
    """Put in what is due at `now` (aware); the job types put in. Writes nothing when nothing is due.

    A job type that still waits or runs is not put in again; one whose schedule is paused is left out this time.
    Needs the worker's role. Raises asyncpg's errors.
    """
    async with connection.transaction():
        rows = await connection.fetch(
            _DUE,
            now,
            [item.expression for item in schedule],
            [item.entrypoint for item in schedule],
            [item.next_after(now) for item in schedule],
        )
        due = [
            NewJob(row["entrypoint"], b"{}", dedupe_key=dedupe_key_of(row["entrypoint"]))
            for row in rows
            if not row["is_paused"]
        ]
        ids = await JobQueue().enqueue(connection, due)
    return [job.entrypoint for job, job_id in zip(due, ids, strict=True) if job_id is not None]
