"""The schedule as people see it: what comes round when, how it went the last times; and a periodic job put in by hand.

To pause one is a pause of kind `schedule`: it is left out until somebody resumes it, and then comes round at its next
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from backend.queue.periodic import SCHEDULE, Periodic, dedupe_key_of
from backend.queue.port import JobQueue, NewJob

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By

RUNS_SHOWN = 10
"""Latest runs of each periodic job."""


class ScheduledRun(msgspec.Struct, frozen=True):
    """One run of a periodic job."""

    at: datetime
    """When it started."""
    outcome: str
    """done, retry, held, released or postponed."""
    took_s: float


class SchedulePause(msgspec.Struct, frozen=True):
    """Why a periodic job does not come round."""

    paused_by: str
    paused_at: datetime
    reason: str
    until: datetime | None
    """None: until somebody resumes it."""


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One periodic job."""

    entrypoint: str
    expression: str
    """How often: `every 30 s`, `every 5 min`, `daily at 02:30 UTC`."""
    next_run: datetime | None
    """None when it never came round yet."""
    last_run: datetime | None
    """When it last started, or was last put in if no start is known any more."""
    last_outcome: str | None
    last_took_s: float | None
    is_waiting: bool
    """Put in and not started."""
    is_running: bool
    runs: tuple[ScheduledRun, ...]
    """The latest that ended, newest first."""
    paused: SchedulePause | None


_ROWS = """
select wanted.entrypoint, wanted.expression, known.next_run, known.last_run,
       job.status::text as status,
       (select json_agg(json_build_object('at', run.started_at, 'outcome', run.outcome,
                                          'took_s', extract(epoch from run.ended_at - run.started_at))
                        order by run.ended_at desc)
        -- index job_runs_entrypoint
        from (select started_at, ended_at, outcome from job_runs
              where entrypoint = wanted.entrypoint and ended_at is not null
              order by ended_at desc limit $3) run) as runs,
       (select json_build_object('paused_by', pause.paused_by, 'paused_at', pause.paused_at, 'reason', pause.reason,
                                 'until', pause.until)
        from pauses pause
        where pause.kind = 'schedule' and pause.name = wanted.entrypoint and pause.resumed_at is null
          and (pause.until is null or pause.until > now())) as paused
from unnest($1::text[], $2::text[], $4::text[]) with ordinality
    as wanted (entrypoint, expression, dedupe_key, position)
left join pgqueuer_schedules known using (expression, entrypoint)
left join lateral (
    select status from pgqueuer where dedupe_key = wanted.dedupe_key and status in ('queued', 'picked') limit 1
) job on true
order by position
"""

_runs = msgspec.json.Decoder(tuple[ScheduledRun, ...])
_pause = msgspec.json.Decoder(SchedulePause)


async def schedule(connection: Connection, items: Sequence[Periodic] = SCHEDULE) -> tuple[ScheduleRow, ...]:
    """Every periodic job with its last runs; one round trip. Needs a role that reads. Raises asyncpg's errors."""
    rows = await connection.fetch(
        _ROWS,
        [item.entrypoint for item in items],
        [item.expression for item in items],
        RUNS_SHOWN,
        [dedupe_key_of(item.entrypoint) for item in items],
    )
    told = []
    for item, row in zip(items, rows, strict=True):
        runs = _runs.decode(row["runs"]) if row["runs"] else ()
        latest = runs[0] if runs else None
        told.append(
            ScheduleRow(
                entrypoint=item.entrypoint,
                expression=item.rhythm,
                next_run=row["next_run"],
                last_run=latest.at if latest is not None else row["last_run"],
                last_outcome=None if latest is None else latest.outcome,
                last_took_s=None if latest is None else latest.took_s,
                is_waiting=row["status"] == "queued",
                is_running=row["status"] == "picked",
                runs=runs,
                paused=_pause.decode(row["paused"]) if row["paused"] else None,
            )
        )
    return tuple(told)


async def run_now(connection: Connection, by: By, entrypoint: str, *, reason: str = "") -> int | None:
    """Put a periodic job in, whether it is due or paused or not; its id, or None when it waits or runs already.

    When it is due next does not change. Audited. In the caller's transaction, with the worker's role.
    Raises NotPossible for what does not come round, asyncpg's errors.
    """
    from backend.services.operating.audit import record
    from backend.services.operating.subjects import known_schedule

    known_schedule(entrypoint)
    job = NewJob(entrypoint, b"{}", dedupe_key=dedupe_key_of(entrypoint))
    (job_id,) = await JobQueue().enqueue(connection, [job])
    if job_id is not None:
        await record(connection, by, "schedule.run", entrypoint, reason=reason, detail={"job_id": job_id})
    return job_id
