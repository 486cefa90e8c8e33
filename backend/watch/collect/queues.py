"""Queues: what waits, runs, fails and is held, who works, and the intake in front of it all."""

from __future__ import annotations

import time

import msgspec

from backend.domain.vocabulary import PauseKind, QueueName
from backend.queue.policies import AlertLimits
from backend.queue.roster import LIVE_S
from backend.watch.collect import Sources
from backend.watch.collect.held_groups import HELD, HELD_TABLES, MANY, MANY_S, HeldFigures
from backend.watch.collect.queue_control import (
    CONTROL,
    HELD_BY_QUARANTINE,
    Control,
    paused_now,
    quarantine_rows,
    slot_rows,
)
from backend.watch.collect.queue_troubles import LIMITS, TROUBLES
from backend.watch.collect.rows import FIGURES_S, is_due
from backend.watch.collect.trend import extend
from backend.watch.connection import Connection
from backend.watch.queue_alerts import broken
from backend.watch.snapshots import (
    JobTypeRow,
    ProviderRow,
    QueueRow,
    QueuesSnapshot,
    ReconciledRow,
    Trend,
    TroubleRow,
    WorkerRow,
)

COUNTED = 50_000
"""Jobs of one type are counted no further than this (the statement's limit)."""

RATED = 6_000
"""A rate is taken over the last minute, or over so many entries when there are more (the statement's limit)."""

BUSY = 2_000
"""With more runs or deliveries (or held jobs) than this the slower figures are taken every tenth second only."""

TREND_STEP_S = 10.0

STATEMENT = f"""
with recursive queued(entrypoint) as (
    -- index pgqueuer_ep_ea_idx, one probe for each job type
    (select entrypoint from pgqueuer where status = 'queued' order by entrypoint limit 1)
    union all
    select (select p.entrypoint from pgqueuer p where p.status = 'queued' and p.entrypoint > queued.entrypoint
            order by p.entrypoint limit 1)
    from queued where queued.entrypoint is not null
),
run(entrypoint) as (
    -- index job_runs_entrypoint, one probe for each job type
    (select entrypoint from job_runs order by entrypoint limit 1)
    union all
    select (select r.entrypoint from job_runs r where r.entrypoint > run.entrypoint order by r.entrypoint limit 1)
    from run where run.entrypoint is not null
),
waiting as (
    -- index pgqueuer_ep_ea_idx
    select entrypoint,
        (select count(*) from (select from pgqueuer p where p.status = 'queued' and p.entrypoint = queued.entrypoint
                               and p.execute_after <= now() limit 50000) counted) as ready,
        (select count(*) from (select from pgqueuer p where p.status = 'queued' and p.entrypoint = queued.entrypoint
                               and p.execute_after > now() limit 50000) counted) as scheduled,
        (select date_part('epoch', now() - p.execute_after) from pgqueuer p
         where p.status = 'queued' and p.entrypoint = queued.entrypoint and p.execute_after <= now()
         order by p.execute_after limit 1) as oldest_s
    from queued where entrypoint is not null
),
running as (
    -- index pgqueuer_picked_heartbeat_idx: no more rows than the workers have slots
    select entrypoint, count(*) as running from pgqueuer where status = 'picked' group by entrypoint
),
logged as materialized (
    -- index pgqueuer_log_created
    select entrypoint, created, status = 'queued' and traceback is null as is_new
    from pgqueuer_log where created > now() - interval '1 minute'
    order by created desc limit 6000
),
span as materialized (
    select case when count(*) < 6000 then 60.0::float8
                else greatest(date_part('epoch', now() - min(created)), 0.5) end as s
    from logged
),
put_in as (
    -- what is queued again after a failure (with its traceback) was in already
    select entrypoint, count(*) / (select s from span) as per_s from logged where is_new group by entrypoint
),
finished as (
    -- index job_runs_entrypoint alone
    select run.entrypoint, count(*) filter (where outcome in ('done', 'held'))
           / case when count(*) < 6000 then 60.0::float8
                  else greatest(date_part('epoch', now() - min(ended_at)), 0.5) end as per_s
    from run, lateral (select outcome, ended_at from job_runs r
                       where r.entrypoint = run.entrypoint and r.ended_at > now() - interval '1 minute'
                       order by r.ended_at desc limit 6000) latest
    group by run.entrypoint
),
runs as (
    -- index job_runs_entrypoint alone
    select run.entrypoint,
           count(*) filter (where outcome = 'done') as done,
           count(*) filter (where outcome = 'retry') as retried,
           count(*) filter (where outcome in ('retry', 'held')) as failed,
           percentile_cont(array[0.5, 0.99]) within group (order by date_part('epoch', ended_at - started_at)) as run_s,
           percentile_cont(array[0.5, 0.99]) within group (order by waited_ms / 1000.0::float8) as wait_s
    from run, lateral (select outcome, started_at, ended_at, waited_ms from job_runs r
                       where r.entrypoint = run.entrypoint and r.ended_at > now() - interval '15 minutes'
                       order by r.ended_at desc limit 2000) latest
    where $1
    group by run.entrypoint
),
{HELD_TABLES.format(wanted="$2")}
select json_build_object(
    'waiting', (select coalesce(json_agg(waiting), '[]') from waiting),
    'running', (select coalesce(json_object_agg(entrypoint, running), '{{}}') from running),
    'put_in', (select coalesce(json_object_agg(entrypoint, per_s), '{{}}') from put_in),
    'finished', (select coalesce(json_object_agg(entrypoint, per_s), '{{}}') from finished),
    'workers', (select coalesce(json_agg(json_build_object(
                    'id', id, 'node', node, 'queue', queue, 'pid', pid, 'version', version, 'concurrency', concurrency,
                    'busy', busy, 'done', done, 'rss_bytes', rss_bytes, 'state', state,
                    'started_at', date_part('epoch', started_at), 'heartbeat_at', date_part('epoch', heartbeat_at))
                    order by queue, node, started_at), '[]')
                from (select * from workers where heartbeat_at > now() - interval '1 hour'
                      order by heartbeat_at desc limit 200) seen),
    'alive', (select coalesce(json_agg(id), '[]') from workers
              where state <> 'stopped' and heartbeat_at > now() - interval '{LIVE_S:g} seconds'),
    'inbox_waiting', (select count(*) from (select from webhook_inbox where state = 'accepted' limit 50000) counted),
    'inbox_oldest_s', (select date_part('epoch', now() - min(received_at)) from webhook_inbox where state = 'accepted'),
    'quarantined', (select count(*) from (select from webhook_inbox where state = 'quarantined' limit 50000) counted),
    -- index calendar_sync_open
    'calendar', (select json_build_object(
                     'pending', count(*) filter (where state = 'pending'),
                     'failed', count(*) filter (where state = 'failed'),
                     'oldest_s', date_part('epoch', now() - min(pending_since) filter (where state = 'pending')))
                 from (select state, pending_since from calendar_sync
                       where state in ('pending', 'failed') limit 50000) open),
    -- a row for each worker that calls providers
    'providers', (select coalesce(json_agg(each order by provider), '[]') from (
        select provider,
               (array_agg(breaker order by breaker = 'closed', breaker = 'half_open'))[1] as breaker,
               date_part('epoch', now() - (array_agg(since order by breaker = 'closed', breaker = 'half_open'))[1])
                   as since_s,
               sum(calls) as calls, sum(failures) as failures,
               max((select max((e.value ->> 'p99_s')::float8) from jsonb_each(endpoints) e)) as p99_s
        from provider_state where updated_at > now() - interval '2 minutes' group by provider) each),
    'control', {CONTROL},
    'troubles', {TROUBLES},
    'limits', {LIMITS},
    'held', case when $2 then {HELD} end,
    'held_by_quarantine', case when $2 then {HELD_BY_QUARANTINE} end,
    'figures', case when $1 then json_build_object(
        'runs', (select coalesce(json_agg(runs), '[]') from runs),
        'accepted_1h', (select count(*) from webhook_inbox where received_at > now() - interval '1 hour'),
        'rejected_by_reason_1h', (select coalesce(json_object_agg(reason, rejects), '{{}}') from (
            select reason, sum(count) as rejects from webhook_rejects
            where received_at > now() - interval '1 hour' group by reason) each),
        -- indexes reconciliation_runs_started and reconciliation_differences_open
        'reconciled', (select coalesce(json_agg(each order by provider), '[]') from (
            select provider,
                   coalesce((array_agg(state order by state = 'failed' desc, state = 'delayed' desc,
                                       state = 'running' desc) filter (where state is not null))[1], 'done') as state,
                   date_part('epoch', now() - max(done_at)) as done_s, coalesce(max(open), 0) as open
            from (
                select provider, state, null::timestamptz as done_at, null::bigint as open from (
                    select distinct on (provider, account) provider, state from reconciliation_runs
                    where started_at > now() - interval '1 hour' order by provider, account, started_at desc) latest
                union all
                select provider, null, max(ended_at), null from reconciliation_runs
                where started_at > now() - interval '1 hour' and state = 'done' group by provider
                union all
                select provider, null, null, count(*) from (
                    select provider from reconciliation_differences where resolved_at is null limit 50000) differing
                group by provider
            ) told group by provider) each)) end)
"""  # noqa: S608  # only constants


class Waiting(msgspec.Struct, frozen=True):
    """Jobs of one type that wait."""

    entrypoint: str
    ready: int
    scheduled: int
    oldest_s: float | None


class Runs(msgspec.Struct, frozen=True):
    """Runs of one job type within the last 15 minutes, the latest 2,000 of them."""

    entrypoint: str
    done: int
    retried: int
    failed: int
    """Retried or held."""
    run_s: tuple[float | None, float | None] | None
    wait_s: tuple[float | None, float | None] | None


class Figures(msgspec.Struct, frozen=True):
    """The slower figures."""

    runs: tuple[Runs, ...]
    accepted_1h: int
    rejected_by_reason_1h: dict[str, int]
    reconciled: tuple[ReconciledRow, ...]


class Calendar(msgspec.Struct, frozen=True):
    """Appointments that are not as they should be at the provider."""

    pending: int
    failed: int
    oldest_s: float | None


class Answer(msgspec.Struct, frozen=True):
    """The statement's answer."""

    waiting: tuple[Waiting, ...]
    running: dict[str, int]
    put_in: dict[str, float]
    finished: dict[str, float]
    workers: tuple[WorkerRow, ...]
    alive: frozenset[str]
    inbox_waiting: int
    inbox_oldest_s: float | None
    quarantined: int
    calendar: Calendar
    providers: tuple[ProviderRow, ...]
    control: Control
    troubles: tuple[TroubleRow, ...]
    limits: dict[str, AlertLimits]
    held: HeldFigures | None
    held_by_quarantine: dict[str, int] | None
    figures: Figures | None


_answer = msgspec.json.Decoder(Answer)


async def collect(connection: Connection, sources: Sources) -> QueuesSnapshot:
    """All queues; one round trip. Raises what asyncpg raises."""
    previous = sources.previous if isinstance(sources.previous, QueuesSnapshot) else None
    whole = previous is None or is_due(previous, time.time(), FIGURES_S) or not is_busy(previous)
    began = time.perf_counter()
    held_too = is_due(previous, time.time(), held_every_s(previous))
    answer = _answer.decode(await connection.fetchval(STATEMENT, whole, held_too))
    now = time.time()
    took_ms = (time.perf_counter() - began) * 1000
    job_types = job_type_rows(answer, previous)
    if answer.figures is not None:
        accepted = answer.figures.accepted_1h
        rejected = answer.figures.rejected_by_reason_1h
        reconciled = answer.figures.reconciled
    else:
        assert previous is not None
        accepted, rejected = previous.accepted_1h, previous.rejected_by_reason_1h
        reconciled = previous.reconciled
    many = [row.entrypoint for row in answer.waiting if COUNTED in {row.ready, row.scheduled}]
    return QueuesSnapshot(
        taken_at=now,
        took_ms=took_ms,
        node=sources.node,
        notes=(*sources.notes, *(f"more than {COUNTED:,} jobs of {kind} wait: counted no further" for kind in many)),
        queues=queue_rows(answer, job_types, previous, now),
        job_types=job_types,
        held=answer.held.groups if answer.held is not None else previous.held if previous is not None else (),
        held_causes=answer.held.causes
        if answer.held is not None
        else previous.held_causes
        if previous is not None
        else {},
        workers=answer.workers,
        inbox_waiting=answer.inbox_waiting,
        inbox_oldest_s=answer.inbox_oldest_s,
        quarantined=answer.quarantined,
        accepted_1h=accepted,
        rejected_1h=sum(rejected.values()),
        rejected_by_reason_1h=rejected,
        calendar_pending=answer.calendar.pending,
        calendar_failed=answer.calendar.failed,
        calendar_oldest_s=answer.calendar.oldest_s,
        providers=answer.providers,
        reconciled=reconciled,
        pauses=answer.control.pauses,
        slots=slot_rows(answer.control),
        slot_changes=answer.control.slot_changes,
        quarantines=quarantine_rows(
            answer.control,
            answer.held_by_quarantine,
            previous.quarantines if previous is not None else (),
        ),
        troubles=answer.troubles,
        bulk_actions=answer.control.bulk_actions,
        is_balancing=answer.control.is_balancing is not False,
    )


def is_busy(snapshot: QueuesSnapshot) -> bool:
    """Whether there is so much of something that its figures are better taken less often."""
    runs = sum(row.done + row.retried for row in snapshot.job_types)
    return max(runs, snapshot.accepted_1h) > BUSY


def held_every_s(previous: QueuesSnapshot | None) -> float:
    """Seconds after which held jobs are counted anew; zero: each time."""
    held = sum(row.held for row in previous.queues) if previous is not None else 0
    return MANY_S if held > MANY else FIGURES_S if held > BUSY else 0.0


def queue_of(entrypoint: str) -> str:
    """The queue in which jobs of this type run: what stands before the first dot."""
    return entrypoint.partition(".")[0]


def job_type_rows(answer: Answer, previous: QueuesSnapshot | None) -> tuple[JobTypeRow, ...]:
    """One row for each job type that waits, runs, ran lately or is held; by queue, then by name."""
    before = {row.entrypoint: row for row in previous.job_types} if previous is not None else {}
    waiting = {row.entrypoint: row for row in answer.waiting}
    runs = {row.entrypoint: row for row in answer.figures.runs} if answer.figures is not None else None
    held: dict[str, int] = {}
    for key, jobs in (answer.held.jobs if answer.held is not None else {}).items():
        held[key.partition(" ")[2]] = held.get(key.partition(" ")[2], 0) + jobs
    if answer.held is None:
        held = {row.entrypoint: row.held for row in before.values() if row.held}
    names = {*waiting, *answer.running, *held, *(before if runs is None else runs)}
    rows = []
    for name in sorted(names, key=lambda name: (queue_of(name), name)):
        waits = waiting.get(name)
        ran = runs.get(name) if runs is not None else None
        old = before.get(name) if runs is None else None
        run_s = ran.run_s or (None, None) if ran is not None else (None, None)
        wait_s = ran.wait_s or (None, None) if ran is not None else (None, None)
        if old is not None:
            run_s, wait_s = (old.run_p50_s, old.run_p99_s), (old.wait_p50_s, old.wait_p99_s)
        rows.append(
            JobTypeRow(
                entrypoint=name,
                queue=queue_of(name),
                ready=waits.ready if waits is not None else 0,
                scheduled=waits.scheduled if waits is not None else 0,
                running=answer.running.get(name, 0),
                held=held.get(name, 0),
                done=old.done if old is not None else ran.done if ran is not None else 0,
                retried=old.retried if old is not None else ran.retried if ran is not None else 0,
                wait_p50_s=wait_s[0],
                wait_p99_s=wait_s[1],
                run_p50_s=run_s[0],
                run_p99_s=run_s[1],
            )
        )
    return tuple(rows)


def queue_rows(
    answer: Answer, job_types: tuple[JobTypeRow, ...], previous: QueuesSnapshot | None, now: float
) -> tuple[QueueRow, ...]:
    """One row for each queue, those of the vocabulary first."""
    names = [*(queue.value for queue in QueueName), *sorted({row.queue for row in job_types})]
    before = {row.queue: row for row in previous.queues} if previous is not None else {}
    paused = paused_now(answer.control.pauses)[PauseKind.QUEUE]
    rows = []
    for name in dict.fromkeys(names):
        kinds = [row for row in job_types if row.queue == name]
        ready = sum(row.ready for row in kinds)
        waits = [row for row in answer.waiting if queue_of(row.entrypoint) == name]
        oldest = [row.oldest_s for row in waits if row.oldest_s is not None]
        alive = [row for row in answer.workers if row.queue == name and row.id in answer.alive]
        done_per_s = sum(rate for kind, rate in answer.finished.items() if queue_of(kind) == name)
        in_per_s = sum(rate for kind, rate in answer.put_in.items() if queue_of(kind) == name)
        runs, failed = runs_lately(name, answer, before.get(name))
        trend: Trend | None = before[name].ready_trend if name in before else None
        rows.append(
            QueueRow(
                queue=name,
                ready=ready,
                scheduled=sum(row.scheduled for row in kinds),
                running=sum(row.running for row in kinds),
                held=sum(row.held for row in kinds),
                oldest_s=max(oldest, default=None),
                drain_s=drain_s(ready, done_per_s, in_per_s),
                done_per_s=done_per_s,
                in_per_s=in_per_s,
                concurrency=sum(row.concurrency for row in alive),
                workers=len(alive),
                paused=name in paused,
                limits=answer.limits.get(name),
                runs=runs,
                failed=failed,
                silent_s=silent_s(in_per_s, before.get(name), now - previous.taken_at if previous else 0.0),
                ready_trend=extend(
                    trend,
                    previous.taken_at if previous is not None else 0.0,
                    now,
                    float(ready),
                    step_s=TREND_STEP_S,
                    unit="jobs",
                ),
            )
        )
    return tuple(msgspec.structs.replace(row, limits_broken=tuple(one.limit for one in broken(row))) for row in rows)


def runs_lately(queue: str, answer: Answer, before: QueueRow | None) -> tuple[int, int]:
    """Runs of a queue within the last 15 minutes, and those of them that failed."""
    if answer.figures is None:
        return (before.runs, before.failed) if before is not None else (0, 0)
    ran = [row for row in answer.figures.runs if queue_of(row.entrypoint) == queue]
    failed = sum(row.failed for row in ran)
    return sum(row.done for row in ran) + failed, failed


def silent_s(in_per_s: float, before: QueueRow | None, since_s: float) -> float:
    """For how long nothing was put in, as far as it was watched: the rate is that of the last minute."""
    if in_per_s > 0 or before is None:
        return 0.0
    return before.silent_s + since_s if before.silent_s else 60.0


def drain_s(ready: int, done_per_s: float, in_per_s: float) -> float | None:
    """Seconds until `ready` jobs are gone at this net rate; None when they are not getting fewer."""
    if ready == 0:
        return 0.0
    net = done_per_s - in_per_s
    return ready / net if net > 0 else None
