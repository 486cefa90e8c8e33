"""The policies that live workers work by, each value with its source: as they publish them, and as was said since."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from backend.postgres.pools import Connection
from backend.queue.policies import PolicyLine
from backend.queue.roster import LIVE_S


class PolicyInForce(msgspec.Struct, frozen=True, kw_only=True):
    """One value in force."""

    subject: str
    """A queue or a job type."""
    name: str
    value: str
    source: str
    """`built in`, a line of the settings file, a variable, the queue it is taken from, or who set it."""
    node: str = ""
    """Where it holds; empty: on every node."""


class _Worker(msgspec.Struct, frozen=True):
    node: str
    queue: str
    lines: tuple[PolicyLine, ...]


class _Said(msgspec.Struct, frozen=True):
    queue: str
    node: str
    slots: int
    decided_by: str
    reason: str


class _Read(msgspec.Struct, frozen=True):
    workers: tuple[_Worker, ...]
    slots: tuple[_Said, ...]


_READ = """
select json_build_object(
    'workers', (
        select coalesce(json_agg(json_build_object('node', node, 'queue', queue, 'lines', policies -> 'lines')
                                 order by array_position(array['webhooks', 'appointments', 'default', 'notifications'],
                                                         queue), node), '[]')
        from (
            select distinct on (node, queue) node, queue, policies from workers
            where state <> 'stopped' and heartbeat_at > now() - make_interval(secs => $1)
              and jsonb_typeof(policies -> 'lines') = 'array'
            order by node, queue, started_at desc
        ) living
    ),
    'slots', (
        select coalesce(json_agg(json_build_object(
            'queue', queue, 'node', node, 'slots', slots, 'decided_by', decided_by, 'reason', reason)), '[]')
        from queue_slots
    )
)
"""


async def read_policies(connection: Connection) -> tuple[PolicyInForce, ...]:
    """Every value that live workers work by, by queue; one row for each node where nodes differ.

    Empty while no worker lives. Needs no more than to read; raises asyncpg's errors.
    """
    read = msgspec.json.decode(await connection.fetchval(_READ, LIVE_S), type=_Read)
    said = {(one.queue, one.node): one for one in read.slots}

    found: defaultdict[tuple[str, str], dict[tuple[str, str], list[str]]] = defaultdict(dict)
    for worker in read.workers:
        decided = said.get((worker.queue, worker.node)) or said.get((worker.queue, ""))
        for line in worker.lines:
            value, source = line.value, line.source
            if decided is not None and (line.subject, line.name) == (worker.queue, "concurrency"):
                value, source = f"{decided.slots:,}", _who(decided)
            found[line.subject, line.name].setdefault((value, source), []).append(worker.node)
    return tuple(
        PolicyInForce(subject=subject, name=name, value=value, source=source, node=node)
        for (subject, name), values in found.items()
        for (value, source), where in values.items()
        for node in ([""] if len(values) == 1 else where)
    )


def _who(said: _Said) -> str:
    return f"set by {said.decided_by}" + (f": {said.reason}" if said.reason else "")
