"""The screens that can be called by name, with a key of their own or not, and where their code is.

They are imported when first shown, or before that once the first frame stands.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from screens.base import ConsoleScreen


@dataclass(frozen=True, slots=True)
class Mode:
    """One screen."""

    name: str
    key: str
    """Empty on the second level."""
    title: str
    module: str
    screen: str
    """Its class."""
    words: tuple[str, ...] = ()
    """Other names on the `:` line."""

    def make(self) -> ConsoleScreen:
        """A new screen of this mode; imports its module."""
        made = cast("Callable[[], ConsoleScreen]", getattr(import_module(self.module), self.screen))
        return made()


MODES: tuple[Mode, ...] = (
    Mode("pulse", "1", "Pulse", "screens.pulse", "PulseScreen", ("home", "health")),
    Mode("calls", "2", "Calls", "screens.calls", "CallsScreen", ("call",)),
    Mode("queues", "5", "Queues", "screens.queues", "QueuesScreen", ("queue", "jobs")),
    Mode("fleet", "9", "Fleet", "screens.fleet", "FleetScreen", ("nodes", "processes")),
)
"""In the order of their keys; the first one is shown first."""

SECOND: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode("find", "", "Find jobs", "screens.find", "FindScreen"),
        Mode("audit", "", "Audit", "screens.audit", "AuditScreen"),
        Mode("policies", "", "Policies", "screens.policies", "PoliciesScreen"),
        Mode("schedule", "", "Schedule", "screens.schedule", "ScheduleScreen"),
        Mode("history", "", "History", "screens.history", "HistoryScreen"),
    )
}
"""Screens over the others, opened by an action that runs `open.NAME`, left with escape."""

IMPORT_AFTER_S = 1.0
"""From the first frame until what may be shown next is imported."""


async def import_ahead() -> None:
    """Import all screens in a thread, the first level first, so that their keys find them ready."""
    for mode in (*MODES, *SECOND.values()):
        await asyncio.to_thread(import_module, mode.module)
