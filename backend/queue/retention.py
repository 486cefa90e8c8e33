"""How long the queue's own records are kept. Undecided held jobs are kept until somebody decides about them.

Each function deletes at most a thousand rows in the caller's transaction and says how many; call it until it says less.
"""

from __future__ import annotations

from datetime import timedelta

from backend.postgres.pools import Connection

LOG_KEPT = timedelta(days=7)
"""Life of a row in the engine's log; its count lives on in the engine's statistics."""

STATISTICS_KEPT = timedelta(days=30)
RUNS_KEPT = timedelta(days=7)

HELD_KEPT = timedelta(minutes=10_080)
"""Life of a held job after somebody decided about it."""

WORKERS_KEPT = timedelta(days=1)
"""A worker that has been silent for so long is taken off the roster."""

AT_MOST = 1_000

_LOG = """
with aged as (
    select id from pgqueuer_log where created < now() - $1::interval order by created limit $2
    for update skip locked
), gone as (
    delete from pgqueuer_log using aged where pgqueuer_log.id = aged.id
    returning pgqueuer_log.entrypoint, pgqueuer_log.priority, pgqueuer_log.status, pgqueuer_log.created,
              pgqueuer_log.aggregated
), folded as (
    insert into pgqueuer_statistics as kept (count, created, entrypoint, priority, status)
    select count(*), date_trunc('sec', created), entrypoint, priority, status
    from gone where not aggregated
    group by date_trunc('sec', created), entrypoint, priority, status
    on conflict (priority, date_trunc('sec', created at time zone 'UTC'), status, entrypoint)
    do update set count = kept.count + excluded.count
)
select count(*) from gone
"""

_STATISTICS = """
delete from pgqueuer_statistics where id in (
    select id from pgqueuer_statistics where created < now() - $1::interval order by created limit $2
)
"""

_RUNS = """
delete from job_runs where (job_id, started_at) in (
    select job_id, started_at from job_runs where started_at < now() - $1::interval order by started_at limit $2
)
"""

_HELD = """
delete from held_jobs where job_id in (
    select job_id from held_jobs where state <> 'held' and held_at < now() - $1::interval limit $2
)
"""

_WORKERS = """
delete from workers where id in (
    select id from workers where heartbeat_at < now() - $1::interval limit $2
)
"""


async def prune_log(connection: Connection) -> int:
    """Fold the oldest rows of the engine's log into its statistics, and delete them."""
    pruned: int = await connection.fetchval(_LOG, LOG_KEPT, AT_MOST)
    return pruned


async def prune_statistics(connection: Connection) -> int:
    """Delete the oldest rows of the engine's statistics."""
    return _rows(await connection.execute(_STATISTICS, STATISTICS_KEPT, AT_MOST))


async def prune_runs(connection: Connection) -> int:
    """Delete the oldest runs."""
    return _rows(await connection.execute(_RUNS, RUNS_KEPT, AT_MOST))


async def prune_held(connection: Connection) -> int:
    """Delete held jobs that were decided about."""
    return _rows(await connection.execute(_HELD, HELD_KEPT, AT_MOST))


async def prune_workers(connection: Connection) -> int:
    """Delete workers that no longer live."""
    return _rows(await connection.execute(_WORKERS, WORKERS_KEPT, AT_MOST))


PRUNERS = (prune_log, prune_statistics, prune_runs, prune_held, prune_workers)


def _rows(status: str) -> int:
    """The number of rows in a command's completion, for example `DELETE 3`."""
    return int(status.rsplit(" ", 1)[-1])
