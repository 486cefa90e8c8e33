"""Actions on the rows of a list, and the screens that have such lists."""

from __future__ import annotations

from askpro_console.action_lists.entry import Action

OPENED = (
    "calls",
    "queues",
    "fleet",
    "cause",
    "job",
    "find",
    "audit",
    "detail",
)
"""Screens with a table whose rows can be opened."""

LISTS = (
    *OPENED,
    "process",
    "policies",
    "schedule",
    "history",
)
"""Screens with a table whose rows are marked, sorted and filtered."""

FILTERED = tuple(screen for screen in LISTS if screen not in {"queues", "find"})
"""Where `/` filters; elsewhere it finds jobs."""

ACTIONS: tuple[Action, ...] = (
    Action("list.open", "open", "List", "screen.open_row", ("enter",), OPENED, hint=10, help="open the row"),
    Action(
        "list.filter",
        "filter",
        "List",
        "app.filter",
        ("slash",),
        FILTERED,
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
)
