"""Every action of the console, once: from this list come bindings, key hints, help, palette, `:` commands, keymap.

An action names what it runs: `app.…` a method of the console, `screen.…` one of the shown screen, `list.…` one of the
table that has the focus (or of the screen's first). To add one, write an `action_…` method there and one entry in the
list of its subject in `askpro_console.action_lists`.
"""

from __future__ import annotations

from askpro_console.action_lists import console, fleet, held, lists, queues
from askpro_console.action_lists.entry import Action, Danger

__all__ = ["ACTIONS", "BY_ID", "Action", "Danger", "valid_on"]

ACTIONS: tuple[Action, ...] = (
    *console.START,
    *fleet.ACTIONS,
    *queues.ACTIONS,
    *held.ACTIONS,
    *lists.ACTIONS,
    *console.ACTIONS,
)
"""The registry."""

BY_ID = {action.id: action for action in ACTIONS}

assert len(BY_ID) == len(ACTIONS), "two actions have one id"


def valid_on(screen: str) -> tuple[Action, ...]:
    """Actions that can be run while `screen` is shown."""
    return tuple(action for action in ACTIONS if not action.screens or screen in action.screens)
