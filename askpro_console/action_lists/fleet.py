"""Actions on processes and nodes."""

from __future__ import annotations

from askpro_console.action_lists.entry import Action, Danger

FLEET = ("fleet",)

ACTIONS: tuple[Action, ...] = (
    Action(
        "fleet.restart",
        "restart",
        "Fleet",
        "screen.restart",
        ("R",),
        FLEET,
        Danger.CHANGES,
        hint=11,
        words=("restart",),
        help="drain the marked processes, or the one under the cursor, and start them afresh, on whatever machine",
    ),
    Action(
        "fleet.drain",
        "drain",
        "Fleet",
        "screen.drain",
        ("P",),
        FLEET,
        Danger.CHANGES,
        hint=12,
        words=("drain", "undrain"),
        help="let the machine's workers take nothing more, or take jobs again",
    ),
    Action(
        "fleet.more",
        "more",
        "Fleet",
        "screen.more",
        ("plus",),
        FLEET,
        Danger.CHANGES,
        hint=13,
        help="scale the worker's queue on its machine: more jobs at once, until `=`",
    ),
    Action(
        "fleet.fewer",
        "fewer",
        "Fleet",
        "screen.fewer",
        ("minus",),
        FLEET,
        Danger.CHANGES,
        hint=14,
        help="scale the worker's queue on its machine: fewer jobs at once, until `=`",
    ),
    Action(
        "fleet.unpin",
        "auto",
        "Fleet",
        "screen.unpin",
        ("equals_sign",),
        FLEET,
        Danger.CHANGES,
        help="give the queue's slots on that machine back to policy and balancer",
    ),
    Action(
        "fleet.restart_node",
        "restart all",
        "Fleet",
        "screen.restart_node",
        ("A",),
        FLEET,
        Danger.CHANGES,
        hint=16,
        help="start every process of ours on the machine afresh",
    ),
    Action(
        "fleet.stop_node",
        "stop machine",
        "Fleet",
        "screen.stop_node",
        ("S",),
        FLEET,
        Danger.DANGEROUS,
        help="take a joined machine down in good order",
    ),
    Action(
        "fleet.forget",
        "forget",
        "Fleet",
        "screen.forget",
        ("F",),
        FLEET,
        Danger.CHANGES,
        help="strike a machine that is gone for good off the list",
    ),
)
"""Their place in the registry."""
