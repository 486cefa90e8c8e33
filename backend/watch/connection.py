"""Connections that watch: short limits on every statement, so that watching never waits long behind the watched."""

from __future__ import annotations

from typing import TypeAlias

import asyncpg

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import connect

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

STATEMENT_MS = 1500
"""Longest run of one statement, kept by the server."""

COMMAND_S = 1.8
"""Longest wait for an answer, in case the link is dead."""

LOCK_MS = 100
"""Longest wait for a lock: behind a migration a figure is unknown rather than late."""


async def open_watch_connection(address: PostgresAddress, role: Role, *, application: str) -> Connection:
    """A connection for collecting with the limits above, without just-in-time compilation.

    Raises OSError, TimeoutError or asyncpg.PostgresError when the database does not let it in.
    """
    connection = await connect(address, role, application=application, command_timeout=COMMAND_S)
    await connection.execute(
        f"set statement_timeout = {STATEMENT_MS}; set lock_timeout = {LOCK_MS}; set jit = off;"
        # Planning a collector's statement takes as long as running it, and its parameters never change the plan.
        " set plan_cache_mode = force_generic_plan; set idle_in_transaction_session_timeout = '5s'"
    )
    return connection


def is_gone(error: BaseException) -> bool:
    """Whether the failure means that the connection is of no more use (as against: one statement failed)."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in {"08", "53", "57"} and error.sqlstate != "57014"
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError | EOFError)
