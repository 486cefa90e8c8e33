"""Lists that are renewed by what changed: the statement names every row of the list and spells out the changed ones.

Spelling out a row costs lookups in four tables; naming it costs an index entry. Nothing depends on it: whenever
the snapshot before is missing, old or from another clock, and at every tenth second anyway, all rows are spelled
out, which also picks up what changed elsewhere (a customer's new name).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from backend.watch.snapshots import Snapshot

WHOLE_S = 10.0
"""Everything is read anew whenever the clock passes a multiple of this."""

OVERLAP_S = 10.0
"""A change is looked for so much further back than the snapshot before: its transaction began before it ended."""


class Row(Protocol):
    """A row of a list; its id does not change."""

    @property
    def id(self) -> str:
        """The key that the database gave it."""


R = TypeVar("R", bound=Row)


def lookback(previous: Snapshot | None, now: float) -> float | None:
    """How many seconds back changes must be looked for; None to read everything.

    `now` is Unix seconds by the clock that stamped `previous`.
    """
    if previous is None or not 0.0 <= now - previous.taken_at < WHOLE_S:
        return None
    if now // WHOLE_S != previous.taken_at // WHOLE_S:
        return None
    return now - previous.taken_at + OVERLAP_S


def merge(ids: Sequence[str], changed: Iterable[R], before: Iterable[R]) -> tuple[R, ...]:
    """The list `ids`, each row as it `changed`, else as it was `before`; a row known from neither is left out."""
    known = {row.id: row for row in before}
    known.update((row.id, row) for row in changed)
    return tuple(known[row_id] for row_id in ids if row_id in known)
