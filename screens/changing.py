"""Changes made from a screen: in the background, in one transaction, by the person who sits here, told in words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from textual.app import App

from screens.link import Link, NotDone

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.operating.audit import By
    from screens.base import ConsoleScreen
    from screens.host import Host

Result = TypeVar("Result")

GROUP = "change"
"""The app's workers that change something."""


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

    def succeeded(result: Result) -> None:
        done()
        host.say(said(result))

    def refused(problem: str) -> None:
        failed()
        host.say(problem, severity="error")

    carry_out(screen.app, work, done=succeeded, failed=refused)


def carry_out(
    app: App[Any],
    work: Callable[[Connection, By], Awaitable[Result]],
    *,
    done: Callable[[Result], object],
    failed: Callable[[str], object],
) -> None:
    """Do `work` in the background of the console; whoever asked for it tells how it went.

    The work is the app's: it goes on when the screen or dialog that asked for it is left.

    Args:
        app: The console.
        work: What is to be done, in the transaction of the connection that it is given.
        done: Called on the event loop with its result after it is in the database.
        failed: Called instead with a sentence when nothing was changed.
    """
    host: Host = app  # type: ignore[assignment]  # the app is the host

    async def whole() -> None:
        try:
            result = await Link(host).change(work)
        except NotDone as problem:
            failed(str(problem))
        else:
            done(result)

    app.run_worker(whole(), group=GROUP, exit_on_error=False)
