"""The fleet: nodes with their processes, workers, orders, and the cache."""

from __future__ import annotations

import time

import msgspec

from backend.watch.cache import cache_figures
from backend.watch.collect import Sources
from backend.watch.connection import Connection
from backend.watch.nodes import Registered, node_row
from backend.watch.snapshots import FleetSnapshot, NodeRow, OrderRow, WorkerRow

STATEMENT = """
select json_build_object(
    'workers', (
        select coalesce(json_agg(json_build_object(
            'id', id, 'node', node, 'queue', queue, 'pid', pid, 'version', version, 'concurrency', concurrency,
            'busy', busy, 'done', done, 'rss_bytes', rss_bytes, 'state', state,
            'started_at', date_part('epoch', started_at), 'heartbeat_at', date_part('epoch', heartbeat_at))
            order by node, queue, started_at), '[]')
        from (select * from workers where heartbeat_at > now() - interval '1 hour'
              order by heartbeat_at desc limit 500) seen),
    'nodes', (
        select coalesce(json_agg(json_build_object(
            'node', n.node, 'home', n.home, 'version', n.version, 'is_joined', n.is_joined,
            'untold_s', date_part('epoch', now() - n.seen_at),
            'silent_s', date_part('epoch', now() - greatest(n.seen_at, w.heartbeat_at)),
            'left_s', date_part('epoch', now() - n.left_at),
            'running_s', date_part('epoch', now() - n.started_at), 'told', n.told,
            'rival', case when n.rival_at > now() - interval '10 s' then n.rival_home end,
            'drained_by', p.paused_by, 'drained_s', date_part('epoch', now() - p.paused_at), 'drain_reason', p.reason)
            order by n.node), '[]')
        from nodes n
        left join (select node, max(heartbeat_at) as heartbeat_at from workers group by node) w on w.node = n.node
        left join pauses p on p.kind = 'node' and p.name = n.node and p.resumed_at is null
             and (p.until is null or p.until > now())
        where n.left_at is null or n.left_at > now() - interval '1 hour'),
    'orders', (
        select coalesce(json_agg(json_build_object(
            'id', id, 'node', node, 'process', process, 'action', action, 'state', state, 'ordered_by', ordered_by,
            'ordered_at', date_part('epoch', ordered_at), 'detail', detail) order by id desc), '[]')
        from (select * from node_orders where ordered_at > now() - interval '15 min'
              order by ordered_at desc limit 20) latest)
)
"""


DRAINED = ("drained_by", "drained_at", "drain_reason")


class _Answer(msgspec.Struct, frozen=True):
    workers: tuple[WorkerRow, ...]
    nodes: tuple[Registered, ...]
    orders: tuple[OrderRow, ...]


_answer = msgspec.json.Decoder(_Answer)


async def collect(connection: Connection, sources: Sources) -> FleetSnapshot:
    """The whole fleet; one round trip to each store. Raises what asyncpg raises; Valkey may be gone."""
    began = time.perf_counter()
    answer = _answer.decode(await connection.fetchval(STATEMENT))
    now = time.time()
    took_ms = (time.perf_counter() - began) * 1000
    cache, unknown = await cache_figures(sources.valkey)
    notes = [*sources.notes, *([unknown] if unknown else [])]
    nodes = [node_row(registered, now) for registered in answer.nodes]
    if sources.own is not None:
        nodes = _with_own(nodes, sources.own)
    if not nodes:
        notes.append("nodes are unknown: no publisher tells of them")
    return FleetSnapshot(
        taken_at=now,
        took_ms=took_ms,
        node=sources.node,
        notes=tuple(notes),
        nodes=tuple(nodes),
        workers=answer.workers,
        cache=cache,
        publisher=sources.node,
        orders=answer.orders,
    )


def _with_own(nodes: list[NodeRow], own: NodeRow) -> list[NodeRow]:
    """The collecting node in the newest of its own words, and in the register's."""
    registered = next((row for row in nodes if row.node == own.node), None)
    if registered is None:
        return sorted((own, *nodes), key=lambda row: row.node)
    if registered.home != own.home:
        return nodes  # Another home has the name: it is told of, with this one as its rival.
    kept = ("state", "silent_s", "untold_s", "is_joined", "started_at", "rival", *DRAINED)
    newest = msgspec.structs.replace(own, **{name: getattr(registered, name) for name in kept})
    return [newest if row is registered else row for row in nodes]
