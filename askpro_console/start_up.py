"""Bringing the system up and taking it down from the console: what happens is posted to the start-up screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from askpro_console.local_stack import StackTrouble
from screens.start import Progressed, StartFailed, StartScreen

if TYPE_CHECKING:
    from askpro_console.local_stack import Stack
    from backend.stack.status import Status


async def bring_up(stack: Stack, screen: StartScreen, ready: Callable[[], None]) -> None:
    """Start or attach; calls `ready` when the system is, else the screen says what is wrong."""
    last: Status | None = None
    try:
        async for last in stack.bring_up():
            screen.post_message(Progressed(last))
    except StackTrouble as trouble:
        screen.post_message(StartFailed(str(trouble), trouble.hint))
        return
    if last is not None and last.ready:
        ready()
        return
    error = (last.error if last else "") or "The system did not become ready in time."
    hint = (last.hint if last else "") or "`askpro doctor` looks for the reason."
    screen.post_message(StartFailed(error, hint))


async def take_down(stack: Stack, screen: StartScreen, gone: Callable[[], None]) -> None:
    """Stop the system; calls `gone` when it has stopped, else the screen says what is wrong."""
    screen.ending = True
    try:
        async for status in stack.take_down():
            screen.post_message(Progressed(status))
    except StackTrouble as trouble:
        screen.post_message(StartFailed(str(trouble), trouble.hint))
        return
    gone()
