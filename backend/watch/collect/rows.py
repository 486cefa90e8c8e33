"""Lists that are renewed by what changed: the statement names every row of the list and spells out the changed ones.

Spelling out a row costs lookups in four tables; naming it costs an index entry. Changed is what a transaction wrote
that the snapshot before could not see (the row's `xmin`), whatever any clock says. Nothing depends on it: without a
recent snapshot before, and every half minute anyway, all rows are spelled out, which also picks up what changed
elsewhere (a customer's new name).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from backend.watch.snapshots import AppointmentsSnapshot, CallsSnapshot, Snapshot

WHOLE_S = 30.0
"""Every row is read anew whenever the clock passes a multiple of this."""

FIGURES_S = 10.0
"""Figures that only time changes (of the last hour, of today) are taken anew whenever it passes a multiple of this."""


class Row(Protocol):
    """A row of a list; its id does not change."""

    @property
    def id(self) -> str:
        """The key that the database gave it."""


R = TypeVar("R", bound=Row)


def is_due(previous: Snapshot | None, now: float, every_s: float) -> bool:
    """Whether the clock passed a multiple of `every_s` since `previous`, or `previous` is of no use.

    `now` is Unix seconds by the clock that stamped `previous`.
    """
    if previous is None or not 0.0 <= now - previous.taken_at < every_s:
        return True
    return now // every_s != previous.taken_at // every_s


def horizon_of(previous: CallsSnapshot | AppointmentsSnapshot | None, now: float) -> str | None:
    """From which transaction on changes are asked for, as the server's 32-bit ids count; None asks for everything."""
    if previous is None or previous.horizon is None or is_due(previous, now, WHOLE_S):
        return None
    return str(previous.horizon % 2**32)


def figures_wanted(previous: Snapshot | None, now: float, *, is_busy: bool) -> bool | None:
    """Whether to take the slower figures: True, False, or None for "when something changed"."""
    if is_due(previous, now, FIGURES_S):
        return True
    return False if is_busy else None


def merge(ids: Sequence[str], changed: Iterable[R], before: Iterable[R]) -> tuple[R, ...]:
    """The list `ids`, each row as it `changed`, else as it was `before`; a row known from neither is left out."""
    known = {row.id: row for row in before}
    known.update((row.id, row) for row in changed)
    return tuple(known[row_id] for row_id in ids if row_id in known)
