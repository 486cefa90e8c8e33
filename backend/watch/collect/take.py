"""Collect any domain by its name."""

from __future__ import annotations

from backend.watch.collect import Sources, appointments, business, calls, database, fleet, queues
from backend.watch.connection import Connection
from backend.watch.snapshots import Snapshot


async def take(domain: str, connection: Connection, sources: Sources) -> Snapshot:
    """Collect one domain.

    Raises KeyError for an unknown domain, asyncpg.PostgresError, OSError or TimeoutError when the database does
    not answer. A Valkey that is gone makes figures unknown, never an error.
    """
    match domain:
        case "calls":
            return await calls.collect(connection, sources)
        case "appointments":
            return await appointments.collect(connection, sources)
        case "queues":
            return await queues.collect(connection, sources)
        case "database":
            return await database.collect(connection, sources)
        case "fleet":
            return await fleet.collect(connection, sources)
        case "business":
            return await business.collect(connection, sources)
        case _:
            raise KeyError(domain)
