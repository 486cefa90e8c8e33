"""A screen's own line to the database: opened when it is first needed, every wait bounded, failures as sentences.

What reads takes `Link.run`; what changes something takes `Link.change`, which logs in as the role that may, in one
transaction. asyncpg is imported in a thread, so that keys are answered meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from screens.host import Host

Result = TypeVar("Result")

LIMIT_S = 6.0
"""Longest wait for the database; a statement's own limit is shorter as a rule."""


CLOSE_S = 2.0
"""Longest wait for a connection to be closed in good order."""

AGAIN = "ctrl+r tries again."

UNCHANGED = "Nothing was changed."

UNKNOWN = "The database did not say whether it was done: look before you do it again."

BY_STATE = {
    "57P01": "The database is being stopped.",
    "57P02": "The database starts anew after a crash.",
    "57P03": "The database is starting, or being stopped.",
    "53300": "The database has no connection left.",
    "57014": "The database needed too long for it.",
    "55P03": "Somebody else is at work on the same thing.",
}
"""Sentences for errors of the server that say little by themselves, by their SQLSTATE."""


class NotDone(Exception):
    """It was not read or done; the text says why, and what can be done about it."""


class Link:
    """One connection to read with, kept until `aclose`; and a connection of its own for each change."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._connection: Any = None
        self._one_at_a_time = asyncio.Lock()

    async def run(self, work: Callable[[Connection], Awaitable[Result]], *, limit_s: float = LIMIT_S) -> Result:
        """What `work` reads. When the task is cancelled, the statement is too. Raises NotDone."""
        try:
            async with asyncio.timeout(limit_s), self._one_at_a_time:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connected(self._host, changes=False)
                return await work(self._connection)
        except NotDone:
            raise
        except Exception as error:
            raise NotDone(f"{sentence_of(error)} {AGAIN}" if _is_trouble(error) else sentence_of(error)) from error

    async def change(self, work: Callable[[Connection, By], Awaitable[Result]]) -> Result:
        """What `work` did, in one transaction, by the person who sits here.

        Raises NotDone; then nothing was done, or the text says that this is not known.
        """
        connection, is_asked_to_keep = None, False
        try:
            by = await who(self._host)
            async with asyncio.timeout(LIMIT_S):
                connection = await connected(self._host, changes=True)
                transaction = connection.transaction()
                await transaction.start()
                result = await work(connection, by)
                is_asked_to_keep = True
                await transaction.commit()
        except NotDone:
            raise
        except Exception as error:
            if is_asked_to_keep and _is_trouble(error):
                raise NotDone(UNKNOWN) from error
            raise NotDone(f"{sentence_of(error)} {UNCHANGED}" if _is_trouble(error) else sentence_of(error)) from error
        else:
            return result
        finally:
            if connection is not None:
                await _close(connection)

    async def aclose(self) -> None:
        """Close the connection, without waiting for what still runs on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def connected(host: Host, *, changes: bool) -> Any:  # noqa: ANN401 -- asyncpg is not imported before it is needed
    """A new connection that may read, or also change; close it. Raises NotDone and what asyncpg raises."""
    address = host.postgres
    if address is None:
        raise NotDone("The database is not known: no system runs here.")
    pools = await module("backend.postgres.pools")
    from backend.postgres.address import Role

    return await pools.connect(address, Role.WORKER if changes else Role.CONSOLE, application="askpro-console")


async def who(host: Host) -> By:
    """The person who sits here, for the record."""
    audit = await module("backend.services.operating.audit")
    by: By = audit.By(actor=host.user or "unknown", node=host.node or "unknown")
    return by


async def module(name: str) -> Any:  # noqa: ANN401 -- a module
    """A module of the backend, imported in a thread the first time."""
    return await asyncio.to_thread(import_module, name)


async def _close(connection: Any) -> None:  # noqa: ANN401 -- asyncpg is not imported before it is needed
    """Close a connection whose work is done, or will not be; nobody needs to hear when that goes wrong."""
    try:
        await connection.close(timeout=CLOSE_S)
    except Exception:
        connection.terminate()


def _is_trouble(error: BaseException) -> bool:
    """Whether the database could not do it just now, instead of refusing it."""
    state = getattr(error, "sqlstate", None) or ""
    return isinstance(error, (TimeoutError, OSError)) or _is_lost(error) or state[:2] == "57" or state in BY_STATE


def _is_lost(error: BaseException) -> bool:
    """Whether the connection ended meanwhile: class 08, or asyncpg's own word for it, which has no SQLSTATE."""
    return (getattr(error, "sqlstate", None) or "")[:2] == "08" or type(error).__name__ == "InterfaceError"


def sentence_of(error: BaseException) -> str:
    """What went wrong, as a sentence; what to do about it where the error knows."""
    if isinstance(error, TimeoutError):
        return f"The database did not answer within {LIMIT_S:.0f} s."
    if isinstance(error, OSError):
        return f"The database cannot be reached: {error.strerror or error}."
    if _is_lost(error):
        return "The connection to the database was lost."
    if (told := BY_STATE.get(getattr(error, "sqlstate", None) or "")) is not None:
        return told
    hint = getattr(error, "hint", "")
    text = str(error) or type(error).__name__
    text = text[:1].upper() + text[1:]
    if not text.endswith((".", "?", "!")):
        text = f"{text}."
    return f"{text} {hint}".strip() if isinstance(hint, str) and hint else text
