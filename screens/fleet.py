"""Fleet: the machines, the processes on them, the workers, the cache."""

from __future__ import annotations

from screens.base import ConsoleScreen


class FleetScreen(ConsoleScreen):
    """Processes of every node."""

    NAME = "fleet"
    TITLE = "Fleet"
    DOMAINS = ("fleet",)
