"""Reading from a database that may be restarting: a question is asked again until it is answered or time is up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from backend.postgres.address import PostgresAddress, Role
from backend.postgres.pools import Connection, connect

Result = TypeVar("Result")

APPLICATION = "askpro-simulate"
PATIENCE_S = 60.0
PAUSE_S = 0.5
COMMAND_TIMEOUT_S = 60.0

AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    EOFError,
)
"""How a database that restarts answers; another error is the question's own fault."""


async def ask(
    address: PostgresAddress,
    question: Callable[[Connection], Awaitable[Result]],
    *,
    role: Role = Role.CONSOLE,
    patience_s: float = PATIENCE_S,
) -> Result:
    """Answer of `question`, asked on a fresh connection.

    Raises what the last attempt raised (OSError or asyncpg.PostgresError) when the database is away for longer.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            connection = await connect(address, role, application=APPLICATION, command_timeout=COMMAND_TIMEOUT_S)
            try:
                await connection.execute("set statement_timeout = '60s'")
                return await question(connection)
            finally:
                connection.terminate()
        except AWAY:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(PAUSE_S)
