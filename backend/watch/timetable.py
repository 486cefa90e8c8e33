"""The timetable: puts in the periodic jobs that are due, on behalf of the workers."""

from __future__ import annotations

from datetime import UTC, datetime

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import DATABASE_ERRORS, connect
from backend.queue.periodic import enqueue_due
from backend.valkey.client import in_few_words
from backend.watch.connection import Connection, is_gone

COMMAND_S = 2.0
"""Longest wait for an answer."""


class TimetableFailed(Exception):
    """The database did not take the jobs; the message says why, in a few words."""


class Timetable:
    """Puts periodic jobs in as the workers would: the role that watches may change nothing."""

    def __init__(self, address: PostgresAddress, *, application: str) -> None:
        self._address = address
        self._application = application
        self._connection: Connection | None = None

    async def keep(self) -> None:
        """Put in what is due now. Raises TimetableFailed; the next call tries again."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(
                    self._address, Role.WORKER, application=self._application, command_timeout=COMMAND_S
                )
            await enqueue_due(self._connection, datetime.now(UTC))
        except DATABASE_ERRORS as error:
            if is_gone(error):
                self.close()
            raise TimetableFailed(in_few_words(error)) from error

    def close(self) -> None:
        """Drop the connection without waiting for anybody."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
