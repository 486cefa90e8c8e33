"""A short-lived process: can this node work on that database, and is its name free? The supervisor loads no client.

Reads one JSON object from standard input, writes one to standard output; exit code 1 when the node must not start.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from backend.stack.join import NEEDED, Join
from backend.stack.prepare_database import Told, tell

if TYPE_CHECKING:
    from backend.postgres.pools import Connection

TRY_AGAIN_S = 0.5

MISSED_S = 3.0
"""Who has been silent for so long missed a beat, and may be gone: worth waiting for."""

CONNECTIONS = 50
"""What a node takes of the database's connections at most, consoles and commands included."""

MORE_ROOM = "Raise the setting postgres.max_connections there, and start that system again."

INVITE = "Make another join file with `askpro node invite` there, then `askpro serve --join FILE`."


_ROOM = """
select usable, usable - (select count(*) from pg_stat_activity where backend_type = 'client backend') as free
from (select current_setting('max_connections')::int - current_setting('reserved_connections', true)::int
             - current_setting('superuser_reserved_connections')::int as usable) limits
"""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants to join what. Holds passwords, so it travels through a pipe."""

    join: Join
    node: str
    home: str
    version: str
    wait_s: float
    """How long a database that does not answer is waited for."""


class Unfit(Exception):
    """The node must not start; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


async def check(question: Question) -> str:
    """What was found, in words. Raises Unfit."""
    import asyncpg

    from backend.postgres.pools import DATABASE_ERRORS
    from backend.services.fleet.registry import NameTaken
    from backend.valkey.client import in_few_words

    join = question.join
    end = time.monotonic() + question.wait_s
    while True:
        try:
            return await _look(question)
        except NameTaken as taken:
            # A home that came back under another host name after a crash: its own last beat is soon too old.
            if taken.silent_s < MISSED_S or time.monotonic() + TRY_AGAIN_S > end:
                raise Unfit(
                    str(taken), "Set another one: `stack.node` in the settings, or ASKPRO_STACK_NODE."
                ) from taken
        except asyncpg.InvalidPasswordError as refused:
            raise Unfit(f"The database at {join.where} refuses this node's passwords: {refused}.", INVITE) from refused
        except asyncpg.InvalidAuthorizationSpecificationError as refused:
            raise Unfit(
                f"The database at {join.where} does not let this machine in: {refused}.",
                "Its pg_hba.conf must allow this machine's address with scram-sha-256.",
            ) from refused
        except asyncpg.TooManyConnectionsError as full:
            raise Unfit(f"The database at {join.where} has no connection left for a node: {full}.", MORE_ROOM) from full
        except asyncpg.InvalidCatalogNameError as missing:
            raise Unfit(f"The server at {join.where} has no database {join.postgres_database}.", INVITE) from missing
        except DATABASE_ERRORS as error:
            if time.monotonic() + TRY_AGAIN_S > end:
                raise Unfit(
                    f"The database at {join.where} cannot be reached: {in_few_words(error)}.",
                    "Is the system there up, and does the network let this machine in? Then `askpro serve` again.",
                ) from error
        await asyncio.sleep(TRY_AGAIN_S)


async def _look(question: Question) -> str:
    """One look. Raises Unfit, NameTaken, and the database's errors."""
    import asyncpg

    from backend.postgres.address import Role
    from backend.postgres.migrate import MigrationError, SchemaTooNew, pending
    from backend.postgres.pools import connect
    from backend.services.fleet.registry import Self, claim

    for role in NEEDED:
        connection = await connect(question.join.address, role, application="askpro-join")
        try:
            if role is Role.CONSOLE:
                await _need_room(connection)
            if role is not Role.WORKER:
                continue
            missing = await pending(connection)
            if missing:
                raise Unfit(
                    f"This node is newer than the system it joins: the database lacks {missing[0]}"
                    + (f" and {len(missing) - 1} more." if len(missing) > 1 else "."),
                    f"Bring the system there to version {question.version} first.",
                )
            await claim(
                connection,
                Self(node=question.node, home=question.home, version=question.version, is_joined=True),
            )
        except SchemaTooNew as error:
            there = f" ({question.join.version})" if question.join.version else ""
            raise Unfit(
                f"This node, version {question.version}, is older than the system it joins{there}:"
                f" it does not know the database's {error.migration}.",
                "Install the version that runs there.",
            ) from error
        except MigrationError as error:
            there = f" ({question.join.version})" if question.join.version else ""
            raise Unfit(
                f"This node, version {question.version}, does not fit the system it joins{there}: {error}",
                "Install the version that runs there.",
            ) from error
        except asyncpg.UndefinedTableError as error:
            raise Unfit(f"The database at {question.join.where} is none of askpro's: {error}.", INVITE) from error
        finally:
            connection.terminate()
    return f"found at {question.join.where}" + await _cache(question.join.valkey_url)


async def _need_room(connection: Connection) -> None:
    """Raises Unfit when the node would take connections that others need."""
    row = await connection.fetchrow(_ROOM)
    assert row is not None
    if row["free"] < CONNECTIONS:
        raise Unfit(
            f"The database has {row['free']} of {row['usable']} connections free; a node takes up to {CONNECTIONS}.",
            MORE_ROOM,
        )


async def _cache(url: str) -> str:
    """Whether Valkey answers: a node works without it, so that is only told."""
    from backend.valkey.client import ValkeyUnavailable, exchange, open_valkey

    client = open_valkey(url, size=1)
    try:
        async with exchange():
            await client.ping()
    except ValkeyUnavailable as error:
        return f"; Valkey does not answer ({error}): works on without it"
    finally:
        await client.aclose()
    return ""


def main() -> int:
    """Check what standard input asks for."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    try:
        found = asyncio.run(check(question))
    except Unfit as unfit:
        tell(Told(error=str(unfit), hint=unfit.hint))
        return 1
    tell(Told(detail=found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
