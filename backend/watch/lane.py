"""A lane: one connection on which collections take turns, opened when needed and anew after it broke."""

from __future__ import annotations

import asyncio

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import DATABASE_ERRORS
from backend.valkey.client import in_few_words
from backend.watch.collect import Sources
from backend.watch.collect.take import take
from backend.watch.connection import Connection, is_gone, open_watch_connection
from backend.watch.snapshots import Snapshot


class CollectionFailed(Exception):
    """The database did not answer a collector; the message says why, in a few words."""


class Lane:
    """Collects over one connection of a role that watches."""

    def __init__(self, address: PostgresAddress, role: Role, *, application: str) -> None:
        self._address = address
        self._role = role
        self._application = application
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def collect(self, domain: str, sources: Sources | None = None) -> Snapshot:
        """Collect one domain; `sources` says everything but the connection. Raises CollectionFailed.

        Waits for the collection before it on this lane; each takes at most four seconds on a dead link.
        """
        async with self._turn:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await open_watch_connection(
                        self._address, self._role, application=self._application
                    )
                return await take(domain, self._connection, sources or Sources())
            except DATABASE_ERRORS as error:
                if is_gone(error):
                    self.close()
                raise CollectionFailed(in_few_words(error)) from error

    def close(self) -> None:
        """Drop the connection without waiting for anybody; the next collection opens another."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
