"""Collectors: one module for each domain, each one round trip to PostgreSQL, its statement beside it.

A collector is a function of a connection (and of what else it was given); it keeps nothing. What needs two
looks, such as a rate, is worked out against the snapshot before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backend.watch.snapshots import Change, NodeRow, Snapshot

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from backend.watch.connection import Connection


@dataclass(slots=True)
class Sources:
    """What collectors ask, and what they are told."""

    connection: Connection
    valkey: Redis | None = None
    """None when Valkey is known to be gone: its figures are then unknown."""
    previous: Snapshot | None = None
    """The domain's snapshot before this one, of whatever age."""
    node: str = ""
    """The node whose publisher collects; empty when a reader collects for itself."""
    own: NodeRow | None = None
    """The collecting node as it sees itself."""
    changes: tuple[Change, ...] = ()
    """Changes that the publisher saw happen, newest first."""
    watching_ratio: float | None = None
    notes: tuple[str, ...] = field(default=())


async def take(domain: str, sources: Sources) -> Snapshot:
    """Collect one domain.

    Raises KeyError for an unknown domain, asyncpg.PostgresError, OSError or TimeoutError when the database does
    not answer. A Valkey that is gone makes figures unknown, never an error.
    """
    from backend.watch.collect import appointments, business, calls, database, fleet, queues

    match domain:
        case "calls":
            return await calls.collect(sources)
        case "appointments":
            return await appointments.collect(sources)
        case "queues":
            return await queues.collect(sources)
        case "database":
            return await database.collect(sources)
        case "fleet":
            return await fleet.collect(sources)
        case "business":
            return await business.collect(sources)
        case _:
            raise KeyError(domain)
