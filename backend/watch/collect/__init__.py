"""Collectors: one module for each domain, each one round trip to PostgreSQL, its statement beside it.

A collector is a function of a connection (and of what else it was given); it keeps nothing. What needs two
looks, such as a rate, is worked out against the snapshot before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.watch.snapshots import Change, NodeRow, Snapshot

if TYPE_CHECKING:
    from redis.asyncio import Redis


@dataclass(slots=True)
class Sources:
    """What collectors ask besides PostgreSQL, and what they are told."""

    valkey: Redis | None = None
    """None when Valkey is known to be gone: its figures are then unknown."""
    previous: Snapshot | None = None
    """The domain's snapshot before this one, of whatever age."""
    node: str = ""
    """The node whose publisher collects; empty when a reader collects for itself."""
    own: NodeRow | None = None
    """The collecting node as it sees itself."""
    changes: tuple[Change, ...] = ()
    """Changes that the publisher saw happen, newest first."""
    watching_ratio: float | None = None
    """Cost of watching so far: the publisher's CPU, of one core."""
    notes: tuple[str, ...] = ()
