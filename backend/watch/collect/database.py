"""PostgreSQL itself, the fast tier: who is connected, who waits for whom, what was done, what is left.

Reads only what no lock of a table can hold up (statistics views, `pg_locks`, `pg_class`), never `pg_settings` and
never a size function, so that it still answers behind a migration. Needs a member of `pg_monitor`, PostgreSQL 14+.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from backend.watch.collect import Sources
from backend.watch.connection import Connection
from backend.watch.disk import disk_space
from backend.watch.snapshots import BlockedRow, DatabaseSnapshot

STATEMENT = """
with clients as materialized (
    select pid, application_name, state, xact_start, query_start, state_change, wait_event_type, backend_xmin, query
    from pg_stat_activity where backend_type = 'client backend'
),
waits as materialized (
    select c.pid, c.application_name, c.state, c.query,
           coalesce(date_part('epoch', now() - (select min(l.waitstart) from pg_locks l
                                                where l.pid = c.pid and not l.granted)), 0) as wait_s
    from clients c where c.wait_event_type = 'Lock'
    order by c.query_start limit 50
),
own as (
    select * from pg_stat_database where datname = current_database()
)
select json_build_object(
    'version', current_setting('server_version'),
    'started_at', date_part('epoch', pg_postmaster_start_time()),
    'is_replica', pg_is_in_recovery(),
    'connections', (select count(*) from clients),
    'connections_usable', current_setting('max_connections')::int
                          - current_setting('superuser_reserved_connections')::int
                          - coalesce(current_setting('reserved_connections', true)::int, 0),
    'by_state', (select coalesce(json_object_agg(state, clients), '{}')
                 from (select coalesce(state, 'unknown') as state, count(*) as clients from clients group by 1) each),
    'by_application', (select coalesce(json_object_agg(application, clients), '{}') from (
        select left(coalesce(application_name, ''), 64) as application, count(*) as clients from clients
        group by 1 order by 2 desc limit 30) each),
    'waiting_for_lock', (select count(*) from clients where wait_event_type = 'Lock'),
    'blocked', (select coalesce(json_agg(json_build_object(
        'pid', pid, 'blocked_by', pg_blocking_pids(pid), 'application', left(coalesce(application_name, ''), 64),
        'state', coalesce(state, 'unknown'), 'wait_s', wait_s, 'query', left(coalesce(query, ''), 500))
        order by wait_s desc), '[]') from waits),
    'oldest_transaction_s', (select date_part('epoch', now() - min(xact_start)) from clients
                             where pid <> pg_backend_pid()),
    'oldest_query_s', (select date_part('epoch', now() - min(query_start)) from clients
                       where state = 'active' and pid <> pg_backend_pid()),
    'oldest_idle_in_transaction_s', (select date_part('epoch', now() - min(state_change)) from clients
                                     where state like 'idle in transaction%'),
    'deadlocks', (select deadlocks from own),
    'commits', (select xact_commit from own),
    'rollbacks', (select xact_rollback from own),
    'blocks_hit', (select blks_hit from own),
    'blocks_read', (select blks_read from own),
    'temp_bytes', (select temp_bytes from own),
    'wal_bytes', case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end
                 - '0/0'::pg_lsn,
    'size_bytes', (select sum(relpages::bigint) * current_setting('block_size')::int from pg_class),
    'freeze_age', (select max(age(datfrozenxid)) from pg_database),
    'replication_lag_s', case
        when not pg_is_in_recovery() then (select max(date_part('epoch', replay_lag)) from pg_stat_replication)
        when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
        else date_part('epoch', now() - pg_last_xact_replay_timestamp()) end,
    'may_see_all', pg_has_role('pg_read_all_stats', 'usage'),
    'data_directory', case when pg_has_role('pg_read_all_settings', 'usage')
                            and inet_server_addr() is not distinct from inet_client_addr()
                           then current_setting('data_directory') end)
"""


class Answer(msgspec.Struct, frozen=True):
    """The statement's answer."""

    version: str
    started_at: float
    is_replica: bool
    connections: int
    connections_usable: int
    by_state: dict[str, int]
    by_application: dict[str, int]
    waiting_for_lock: int
    blocked: tuple[BlockedRow, ...]
    oldest_transaction_s: float | None
    oldest_query_s: float | None
    oldest_idle_in_transaction_s: float | None
    deadlocks: int
    commits: int
    rollbacks: int
    blocks_hit: int
    blocks_read: int
    temp_bytes: int
    wal_bytes: int
    size_bytes: int
    freeze_age: int
    replication_lag_s: float | None
    may_see_all: bool
    data_directory: str | None


_answer = msgspec.json.Decoder(Answer)


async def collect(connection: Connection, sources: Sources) -> DatabaseSnapshot:
    """The database server and this database; one round trip. Raises what asyncpg raises."""
    began = time.perf_counter()
    answer = _answer.decode(await connection.fetchval(STATEMENT))
    now = time.time()
    took_ms = (time.perf_counter() - began) * 1000
    notes = [*sources.notes]
    if not answer.may_see_all:
        notes.append("this role is not a member of pg_monitor: what other sessions do is unknown")
    # In a thread, since a network file system may not answer.
    disk = await asyncio.to_thread(disk_space, Path(answer.data_directory)) if answer.data_directory else None
    if disk is None:
        notes.append("disk: the data directory is not on this machine or not readable from here")
    previous = sources.previous if isinstance(sources.previous, DatabaseSnapshot) else None
    per_s = Rates(previous, answer, now)
    return DatabaseSnapshot(
        taken_at=now,
        took_ms=took_ms,
        node=sources.node,
        notes=tuple(notes),
        disk_free_bytes=disk.free if disk is not None else None,
        disk_total_bytes=disk.total if disk is not None else None,
        commits_per_s=per_s.of("commits"),
        hit_ratio=per_s.hit_ratio(),
        wal_bytes_per_s=per_s.of("wal_bytes"),
        **{name: getattr(answer, name) for name in SHARED},
    )


SHARED = tuple(name for name in Answer.__struct_fields__ if name not in {"may_see_all", "data_directory"})
"""What the answer and the snapshot call by one name."""


class Rates:
    """Differences to the snapshot before; None where there is none, or the counters began anew in between."""

    def __init__(self, previous: DatabaseSnapshot | None, answer: Answer, now: float) -> None:
        self._answer = answer
        self._seconds = now - previous.taken_at if previous is not None else 0.0
        is_same = previous is not None and previous.started_at == answer.started_at and 0.0 < self._seconds < 300.0
        self._previous = previous if is_same else None

    def difference(self, name: str) -> int | None:
        """How much the counter grew."""
        if self._previous is None:
            return None
        grown = int(getattr(self._answer, name)) - int(getattr(self._previous, name))
        return grown if grown >= 0 else None

    def of(self, name: str) -> float | None:
        """How much it grew in a second."""
        grown = self.difference(name)
        return None if grown is None else grown / self._seconds

    def hit_ratio(self) -> float | None:
        """Share of blocks found in memory since the snapshot before; None when none was asked for."""
        hit, read = self.difference("blocks_hit"), self.difference("blocks_read")
        return hit / (hit + read) if hit is not None and read is not None and hit + read else None
