"""The counter: counts by the minute what queues did, on behalf of the workers."""

from __future__ import annotations

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import DATABASE_ERRORS, connect
from backend.queue.counting import Counting
from backend.valkey.client import in_few_words
from backend.watch.connection import Connection, is_gone


class CountingFailed(Exception):
    """The database did not count; the message says why, in a few words."""


class Counter:
    """Counts as the workers would: the role that watches may change nothing."""

    def __init__(self, address: PostgresAddress, *, application: str) -> None:
        self._address = address
        self._application = application
        self._connection: Connection | None = None
        self._counting = Counting()

    async def keep(self) -> float:
        """Count the next piece; seconds until there is more. Raises CountingFailed; the next call goes on."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._address, Role.WORKER, application=self._application)
            counted = await self._counting.count(self._connection)
        except DATABASE_ERRORS as error:
            if is_gone(error):
                self.close()
            raise CountingFailed(in_few_words(error)) from error
        return counted.rest_s

    def close(self) -> None:
        """Drop the connection without waiting for anybody."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
