"""Every action of the console, once: from this list come bindings, key hints, help, palette, `:` commands, keymap.

An action names what it runs: `app.…` a method of the console, `screen.…` one of the shown screen, `list.…` one of the
table that has the focus (or of the screen's first). To add one, write an `action_…` method there and one entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Danger(StrEnum):
    """What an action can do to the system."""

    NONE = "none"
    """Shows something."""
    CHANGES = "changes"
    """Changes something that can be changed back. Greyed out in read-only mode."""
    DANGEROUS = "dangerous"
    """Cannot be undone: confirmed with what and how many. Greyed out in read-only mode."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing the console can do."""

    id: str
    """`group.verb`: how the keymap file names it."""
    title: str
    """A word or two, as the key hints show it."""
    group: str
    """Heading in the help."""
    run: str
    """`target.method`, the method without its `action_`."""
    keys: tuple[str, ...] = ()
    """Default keys, in Textual's names; the first is the one that is shown."""
    screens: tuple[str, ...] = ()
    """Screens on which it is valid; empty for all."""
    danger: Danger = Danger.NONE
    hint: int = 0
    """Place among the key hints, smallest first; 0 for not there."""
    words: tuple[str, ...] = ()
    """Names on the `:` line and in the palette."""
    help: str = ""
    """A sentence for help and palette; the title when empty."""


OPENED = ("calls", "queues", "fleet", "cause", "detail")
"""Screens with a table whose rows can be opened."""

LISTS = (*OPENED, "process")
"""Screens with a table whose rows are marked, sorted and filtered."""

ACTIONS: tuple[Action, ...] = (
    Action("start.retry", "try again", "Start", "app.retry_start", ("r",), ("start",), hint=1),
    Action("start.logs", "logs", "Start", "app.start_logs", ("l",), ("start",), hint=2),
    Action(
        "fleet.restart",
        "restart",
        "Fleet",
        "screen.restart",
        ("R",),
        ("fleet",),
        Danger.CHANGES,
        hint=15,
        words=("restart",),
        help="drain the marked processes, or the one under the cursor, and start them afresh",
    ),
    Action("list.open", "open", "List", "list.open", ("enter",), OPENED, hint=10, help="open the row"),
    Action(
        "list.filter",
        "filter",
        "List",
        "app.filter",
        ("slash",),
        LISTS,
        hint=20,
        help="show only rows with these words; !word without, ~word fuzzy",
    ),
    Action(
        "list.mark", "mark", "List", "list.mark", ("space",), LISTS, hint=30, help="mark the row, go on to the next"
    ),
    Action("list.unmark", "unmark all", "List", "list.unmark_all", ("U",), LISTS, help="take all marks away"),
    Action(
        "list.sort_previous",
        "sort",
        "List",
        "list.sort_previous",
        ("less_than_sign",),
        LISTS,
        help="sort by the column to the left",
    ),
    Action(
        "list.sort_next",
        "sort",
        "List",
        "list.sort_next",
        ("greater_than_sign",),
        LISTS,
        hint=40,
        help="sort by the column to the right",
    ),
    Action(
        "list.sort_flip", "turn order", "List", "list.sort_flip", ("o",), LISTS, hint=50, help="turn the order round"
    ),
    Action("list.down", "down", "List", "list.cursor_down", ("down", "j")),
    Action("list.up", "up", "List", "list.cursor_up", ("up", "k")),
    Action("list.page_down", "page down", "List", "list.page_down", ("pagedown", "ctrl+f")),
    Action("list.page_up", "page up", "List", "list.page_up", ("pageup", "ctrl+b")),
    Action("list.home", "first", "List", "list.home", ("home", "g"), help="to the first row, and show what is new"),
    Action("list.end", "last", "List", "list.end", ("end", "G")),
    Action(
        "console.back",
        "back",
        "Console",
        "app.close",
        ("escape",),
        hint=90,
        help="close what is open, clear the filter, go back",
    ),
    Action(
        "console.pause",
        "pause",
        "Console",
        "app.pause",
        ("p",),
        hint=80,
        words=("pause",),
        help="pause or resume live refresh",
    ),
    Action(
        "console.refresh",
        "refresh",
        "Console",
        "app.refresh_now",
        ("ctrl+r",),
        words=("refresh",),
        help="read everything on this screen anew, now",
    ),
    Action("console.command", "command", "Console", "app.command", ("colon",), help="the command line"),
    Action(
        "console.palette", "find", "Console", "app.palette", ("ctrl+p",), help="find a command by a few of its letters"
    ),
    Action(
        "console.help",
        "help",
        "Console",
        "app.help",
        ("question_mark", "f1"),
        words=("help",),
        help="what every key does here",
    ),
    Action(
        "console.theme",
        "theme",
        "Console",
        "app.next_theme",
        ("f9",),
        words=("theme",),
        help="next colour theme; `:theme NAME` takes one",
    ),
    Action(
        "console.quit",
        "quit",
        "Console",
        "app.leave",
        ("q", "ctrl+c"),
        words=("q", "quit", "exit"),
        hint=99,
        help="leave the console; the system may stay running",
    ),
)
"""The registry."""

BY_ID = {action.id: action for action in ACTIONS}

assert len(BY_ID) == len(ACTIONS), "two actions have one id"


def valid_on(screen: str) -> tuple[Action, ...]:
    """Actions that can be run while `screen` is shown."""
    return tuple(action for action in ACTIONS if not action.screens or screen in action.screens)
