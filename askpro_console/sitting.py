"""Who sits at a console, and how: what does not change while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sitting:
    """One person at one console."""

    user: str = ""
    scope: str = "all companies"
    node: str = ""
    """This machine's name in the fleet, for the record."""
    read_only: bool = False
    theme: str = "night"
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Keys by action; what it does not name keeps its own."""
