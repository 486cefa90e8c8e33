"""The fleet: nodes with their processes, workers, and the cache."""

from __future__ import annotations

import time

import msgspec

from backend.valkey.client import ValkeyUnavailable
from backend.watch.cache import cache_figures
from backend.watch.collect import Sources
from backend.watch.connection import Connection
from backend.watch.nodes import read_nodes
from backend.watch.snapshots import FleetSnapshot, NodeRow, WorkerRow

STATEMENT = """
select coalesce(json_agg(json_build_object(
    'id', id, 'node', node, 'queue', queue, 'pid', pid, 'version', version, 'concurrency', concurrency,
    'busy', busy, 'done', done, 'rss_bytes', rss_bytes, 'state', state,
    'started_at', date_part('epoch', started_at), 'heartbeat_at', date_part('epoch', heartbeat_at))
    order by node, queue, started_at), '[]')
from (select * from workers where heartbeat_at > now() - interval '1 hour' order by heartbeat_at desc limit 500) seen
"""

_answer = msgspec.json.Decoder(tuple[WorkerRow, ...])


async def collect(connection: Connection, sources: Sources) -> FleetSnapshot:
    """The whole fleet; one round trip to each store. Raises what asyncpg raises; Valkey may be gone."""
    began = time.perf_counter()
    workers = _answer.decode(await connection.fetchval(STATEMENT))
    now = time.time()
    took_ms = (time.perf_counter() - began) * 1000
    cache, unknown = await cache_figures(sources.valkey)
    notes = [*sources.notes, *([unknown] if unknown else [])]
    nodes: tuple[NodeRow, ...] = ()
    if sources.valkey is not None and cache.up:
        try:
            nodes = await read_nodes(sources.valkey, now)
        except ValkeyUnavailable as error:
            notes.append(f"other nodes are unknown: {error}")
    if sources.own is not None:
        own = sources.own
        nodes = tuple(sorted((own, *(row for row in nodes if row.node != own.node)), key=lambda row: row.node))
    elif not nodes:
        notes.append("nodes are unknown: no publisher tells of them")
    return FleetSnapshot(
        taken_at=now,
        took_ms=took_ms,
        node=sources.node,
        notes=tuple(notes),
        nodes=nodes,
        workers=workers,
        cache=cache,
        publisher=sources.node,
    )
