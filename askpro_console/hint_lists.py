"""Which keys are worth telling of here and now: the hints at the bottom, and every key for the help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from askpro_console import modes
from askpro_console.actions import BY_ID, Action, valid_on
from screens.base import ConsoleScreen
from widgets.key_hints import Hint

if TYPE_CHECKING:
    from askpro_console.app import AskProApp

START = "start"
"""The screen shown until the system is ready."""

AT_START = frozenset({"console.quit", "console.theme"})
"""Besides its own, the actions that make sense while there is no system."""


def hints(app: AskProApp, screen: str) -> tuple[Sequence[Hint], Sequence[Hint], Sequence[Hint]]:
    """Key hints for a screen: its own actions, the ways to other screens, and what is the same everywhere."""
    actions = sorted((action for action in valid_on(screen) if action.hint), key=lambda action: action.hint)
    if screen == START:
        failed = getattr(app.screen, "failure", None) is not None
        possible = AT_START | ({"start.retry", "start.logs"} if failed else {"start.logs"})
        actions = [action for action in actions if action.id in possible]
    own = [
        replace(hint(app, action), title=title)
        for action in actions
        if app.keys_of(action) and (title := title_here(app, action))
    ]
    if screen == START:
        return own, (), ()
    short = app.size.height < 30
    ways = [
        Hint(mode.key, mode.title, current=mode.name == app.current_mode)
        for mode in modes.MODES
        if not (short and mode.name == app.current_mode)
    ]
    tail = ["console.command", "console.help"] if short else ["console.command", "console.palette", "console.help"]
    return own, ways, [hint(app, BY_ID[name]) for name in tail]


def help_groups(app: AskProApp, screen: str) -> Mapping[str, Sequence[Hint]]:
    """Every valid action by group."""
    groups: dict[str, list[Hint]] = {}
    for action in valid_on(screen):
        keys = " ".join(app.keys_of(action)) or "".join(f":{word}" for word in action.words[:1])
        groups.setdefault(action.group, []).append(Hint(keys, action.help or action.title, app.allowed(action)))
    groups["Screens"] = [*(Hint(mode.key, mode.title) for mode in modes.MODES), *groups.get("Screens", ())]
    return groups


def hint(app: AskProApp, action: Action) -> Hint:
    """One action as a hint."""
    return Hint(app.keys_of(action)[0], action.title, app.allowed(action))


def title_here(app: AskProApp, action: Action) -> str | None:
    """What an action is called here and now; None while there is nothing for it to do."""
    screen = app.screen
    if not isinstance(screen, ConsoleScreen):
        return action.title
    if action.id == "console.back" and len(app.screen_stack) == 1:
        table = screen.table
        if table is None:
            return None
        return "clear filter" if table.book.filter else "unmark" if table.book.marked else None
    if action.id == "console.pause" and app.paused:
        return "resume"
    return screen.title_of(action.id, action.title)
