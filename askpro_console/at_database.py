"""Commands at the system's database: one piece of work on one connection, its failures as sentences."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from askpro_console.refusal import Refused

if TYPE_CHECKING:
    from askpro_console.system import System
    from backend.postgres.address import Role
    from backend.postgres.pools import Connection

Result = TypeVar("Result")


async def reaching(work: Awaitable[Result], hint: str = "`askpro status` shows it.") -> Result:
    """`work`, with the database's refusals as sentences. Raises Refused, whose cause is the database's error."""
    from backend.postgres.pools import DATABASE_ERRORS

    try:
        return await work
    except DATABASE_ERRORS as wrong:
        from backend.valkey.client import in_few_words

        reason = in_few_words(wrong).removesuffix(".")
        raise Refused(f"The database cannot be reached or refuses: {reason}.", hint) from wrong


def where_to_look(system: System) -> str:
    """What shows more when the database does not answer: a node that joined only knows how it stands itself."""
    if system.join is None:
        return "`askpro status` shows it."
    return f"It is another system's, at {system.join.where}: `askpro status` there, `askpro doctor` here."


async def in_transaction(connection: Connection, work: Callable[[], Awaitable[Result]], *, keep: bool) -> Result:
    """The result of `work` in one transaction, which is taken back again unless it is to `keep`.

    A dry run is that: whatever would refuse the work refuses it, and nothing is left of it.
    """
    from backend.postgres.pools import DATABASE_ERRORS

    transaction = connection.transaction()
    await transaction.start()
    try:
        result = await work()
    except BaseException:
        with suppress(*DATABASE_ERRORS):  # what happened is told, not that the link went with it
            await transaction.rollback()
        raise
    await (transaction.commit() if keep else transaction.rollback())
    return result


def with_database(
    system: System, role: Role, application: str, work: Callable[[Connection], Awaitable[Result]]
) -> Result:
    """Do `work` on a connection that logs in as `role`, and close it. Raises Refused."""
    from backend.postgres.pools import connect

    address = system.postgres()
    if role.value not in address.passwords:
        raise Refused(
            f"A node that joined may not do that: it was not given the role {role.value}.",
            "Do it on the machine that has the database.",
        )

    async def connected() -> Result:
        connection = await connect(address, role, application=application)
        try:
            return await work(connection)
        finally:
            await connection.close(timeout=2)

    return asyncio.run(reaching(connected(), where_to_look(system)))
