"""What every snapshot is made of."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What every snapshot carries."""

    domain: ClassVar[str]

    taken_at: float
    """When the database answered, by the clock of the machine that took it."""
    took_ms: float = 0.0
    """How long the collector's round trip lasted."""
    node: str = ""
    """The node whose publisher took it."""
    due_s: float | None = None
    """When the next one is due after this one: a publisher slows down where looking is dear."""
    notes: tuple[str, ...] = ()
    """Why a figure is unknown, or what was left out (in words, for a person)."""


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """Sixty steps of one figure, oldest first; the last step is still filling."""

    values: tuple[float, ...]
    step_s: float
    unit: str = ""
