"""Actions on processes and nodes."""

from __future__ import annotations

from askpro_console.action_lists.entry import Action, Danger

ACTIONS: tuple[Action, ...] = (
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
)
