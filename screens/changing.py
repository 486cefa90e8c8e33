"""Changes made from a screen: in the background, in one transaction, by the person who sits here, told in words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from screens.link import Link, NotDone

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from screens.base import ConsoleScreen

Result = TypeVar("Result")


def change(
    screen: ConsoleScreen,
    work: Callable[[Connection, By], Awaitable[Result]],
    *,
    said: Callable[[Result], str],
    done: Callable[[], object] = lambda: None,
    failed: Callable[[], object] = lambda: None,
) -> None:
    """Do `work` in the background and say how it went; it goes on when the screen is left meanwhile.

    Args:
        screen: Where it was asked for.
        work: What is to be done, in the transaction of the connection that it is given.
        said: The remark about its result.
        done: Called on the event loop after it is in the database.
        failed: Called instead when nothing was changed.
    """
    host = screen.host

    async def carry_out() -> None:
        try:
            result = await Link(host).change(work)
        except NotDone as problem:
            failed()
            host.say(str(problem), severity="error")
        else:
            done()
            host.say(said(result))

    screen.app.run_worker(carry_out(), group="change", exit_on_error=False)
