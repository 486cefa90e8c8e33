"""What people and the balancer said about queues: parts of the statement about queues, and rows made of the answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from backend.domain.vocabulary import PauseKind, QueueName
from backend.queue.policies import POLICIES
from backend.queue.roster import LIVE_S
from backend.services.held_jobs.recorded import FELL_SILENT, SILENT_S
from backend.watch.snapshots import BulkRow, PauseRow, QuarantineRow, SlotChange, SlotRow

CONTROL = f"""json_build_object(
        -- indexes pauses_open and pauses_ended
        'pauses', (select coalesce(json_agg(json_build_object(
                'id', id, 'kind', kind, 'name', name, 'reason', reason, 'paused_by', paused_by,
                'paused_at', date_part('epoch', paused_at), 'until', date_part('epoch', until), 'ramp_s', ramp_s,
                'resumed_at', date_part('epoch', coalesce(resumed_at, case when until <= now() then until end)),
                'parked', (select count(*) from (select from parked_jobs j
                           where j.kind = p.kind and j.name = p.name limit 10000) counted))
                order by paused_at desc, id desc), '[]')
            from (select * from pauses where resumed_at is null
                    and (until is null or until + make_interval(secs => ramp_s) > now())
                  union all
                  select * from pauses where resumed_at > now() - interval '1 day'
                    and resumed_at + make_interval(secs => ramp_s) > now()
                  order by paused_at desc limit 200) p),
        -- a row for each decision, at most as many as queues times nodes
        'decided', (select coalesce(json_agg(json_build_object(
                'queue', queue, 'node', node, 'slots', slots, 'is_pinned', is_pinned, 'decided_by', decided_by,
                'reason', reason, 'decided_at', date_part('epoch', decided_at))), '[]') from queue_slots),
        'policies', (select coalesce(json_agg(json_build_object(
                'queue', queue, 'node', node, 'base', base, 'floor', floor, 'ceiling', ceiling)), '[]')
            from (select distinct on (queue, node) queue, node,
                         coalesce((policy ->> 'concurrency')::int, concurrency) as base,
                         (policy ->> 'floor')::int as floor, (policy ->> 'ceiling')::int as ceiling
                  -- Unpacked once: there is much more in it.
                  from workers, lateral (select policies -> 'queue' as policy offset 0) of_queue
                  where state <> 'stopped' and heartbeat_at > now() - interval '{LIVE_S:g} seconds'
                  order by queue, node, started_at desc) living),
        'slot_changes', (select coalesce(json_agg(json_build_object(
                'at', date_part('epoch', at), 'queue', queue, 'node', node, 'before', before, 'after', after,
                'decided_by', decided_by, 'why', why) order by at desc, id desc), '[]')
            from (select * from slot_changes order by at desc, id desc limit 20) latest),
        'bulk_actions', (select coalesce(json_agg(json_build_object(
                'id', id, 'action', action, 'reason', reason, 'started_by', started_by,
                'started_at', date_part('epoch', started_at), 'ended_at', date_part('epoch', ended_at),
                'state', case when is_silent then 'failed' else state end, 'matched', matched, 'done', done,
                'skipped', skipped, 'per_s', per_s,
                'error', case when is_silent then '{FELL_SILENT}' else error end)
                order by state = 'running' desc, started_at desc), '[]')
            from (select *, state = 'running' and seen_at < now() - interval '{SILENT_S:g} seconds' as is_silent
                  from bulk_actions where started_at > now() - interval '1 day'
                    and (ended_at > now() - interval '1 hour'
                         or ended_at is null and seen_at > now() - interval '1 hour')
                  order by state = 'running' desc, started_at desc limit 20) latest),
        -- index quarantines_open
        'quarantines', (select coalesce(json_agg(json_build_object(
                'id', q.id, 'entrypoint', q.entrypoint, 'company', coalesce(c.slug, ''), 'contains', q.contains,
                'fingerprint', coalesce(q.fingerprint, ''), 'reason', q.reason, 'made_by', q.made_by,
                'made_at', date_part('epoch', q.made_at), 'until', date_part('epoch', q.until))
                order by q.id desc), '[]')
            from (select * from quarantines where lifted_at is null and (until is null or until > now())
                  order by id desc limit 200) q left join companies c on c.id = q.company_id),
        'is_balancing', (select is_on from balancing))"""  # noqa: S608  # only constants
"""An object; asked for each time."""

HELD_BY_QUARANTINE = """(
            select coalesce(json_object_agg(id, jobs), '{}')
            from (select substring(message from '^held before it ran by quarantine ([0-9]+) of') as id, count(*) as jobs
                  from held_jobs where state = 'held' and error_type = 'Quarantined' group by 1) each
            where id is not null)"""
"""Jobs by the number of the quarantine, index held_jobs_quarantined."""


class Decided(msgspec.Struct, frozen=True):
    """What was decided about a queue's slots."""

    queue: str
    node: str
    slots: int
    is_pinned: bool
    decided_by: str
    reason: str
    decided_at: float


class Bounds(msgspec.Struct, frozen=True):
    """What the policy of a queue's worker on a node allows."""

    queue: str
    node: str
    base: int
    floor: int | None
    ceiling: int | None
    """None: its worker does not say."""


class Control(msgspec.Struct, frozen=True):
    """The answer's part."""

    pauses: tuple[PauseRow, ...]
    decided: tuple[Decided, ...]
    policies: tuple[Bounds, ...]
    slot_changes: tuple[SlotChange, ...]
    bulk_actions: tuple[BulkRow, ...]
    quarantines: tuple[QuarantineRow, ...]
    is_balancing: bool | None


def slot_rows(control: Control) -> tuple[SlotRow, ...]:
    """One row for each queue on each node where it has a live worker, in the order of queues."""
    decided = {(row.queue, row.node): row for row in control.decided}
    order = {queue.value: place for place, queue in enumerate(QueueName)}
    rows = []
    for bounds in sorted(control.policies, key=lambda row: (row.node, order.get(row.queue, math.inf), row.queue)):
        said = decided.get((bounds.queue, bounds.node)) or decided.get((bounds.queue, ""))
        built_in = POLICIES.get(QueueName(bounds.queue)) if bounds.queue in order else None
        floor = bounds.floor if bounds.floor is not None else built_in.floor if built_in else 1
        ceiling = bounds.ceiling if bounds.ceiling is not None else built_in.ceiling if built_in else bounds.base
        rows.append(
            SlotRow(
                queue=bounds.queue,
                node=bounds.node,
                slots=said.slots if said is not None else bounds.base,
                floor=floor,
                ceiling=ceiling,
                base=bounds.base,
                is_pinned=said is not None and said.is_pinned,
                decided_by=said.decided_by if said is not None else "",
                reason=said.reason if said is not None else "",
                decided_at=said.decided_at if said is not None else None,
            )
        )
    return tuple(rows)


def paused_now(pauses: Iterable[PauseRow]) -> Mapping[str, frozenset[str]]:
    """Names of what is paused (not what is on a ramp), by kind."""
    names: dict[str, set[str]] = {kind.value: set() for kind in PauseKind}
    for row in pauses:
        if row.resumed_at is None:
            names.setdefault(row.kind, set()).add(row.name)
    return {kind: frozenset(found) for kind, found in names.items()}


def quarantine_rows(
    control: Control, held: Mapping[str, int] | None, before: Iterable[QuarantineRow]
) -> tuple[QuarantineRow, ...]:
    """The quarantines with how many jobs each holds; `held` is None when that was not asked for this time."""
    if held is None:
        held = {str(row.id): row.held for row in before}
    return tuple(msgspec.structs.replace(row, held=held.get(str(row.id), 0)) for row in control.quarantines)
