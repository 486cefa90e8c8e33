"""Lists that are renewed by what changed: the statement names every row of the list and spells out the changed ones.

Spelling out a row costs lookups in four tables; naming it costs an index entry. Changed is what a transaction wrote
that the snapshot before could not see (the row's `xmin`), whatever any clock says. Nothing depends on it: without a
recent snapshot before, and at every tenth second anyway, all rows are spelled out, which also picks up what changed
elsewhere (a customer's new name).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from backend.watch.snapshots import Snapshot

WHOLE_S = 10.0
"""Everything is read anew whenever the clock passes a multiple of this."""


class Row(Protocol):
    """A row of a list; its id does not change."""

    @property
    def id(self) -> str:
        """The key that the database gave it."""


R = TypeVar("R", bound=Row)


def is_due_whole(previous: Snapshot | None, now: float) -> bool:
    """Whether everything must be read anew; `now` is Unix seconds by the clock that stamped `previous`."""
    if previous is None or not 0.0 <= now - previous.taken_at < WHOLE_S:
        return True
    return now // WHOLE_S != previous.taken_at // WHOLE_S


def merge(ids: Sequence[str], changed: Iterable[R], before: Iterable[R]) -> tuple[R, ...]:
    """The list `ids`, each row as it `changed`, else as it was `before`; a row known from neither is left out."""
    known = {row.id: row for row in before}
    known.update((row.id, row) for row in changed)
    return tuple(known[row_id] for row_id in ids if row_id in known)


def xid(horizon: int | None) -> str | None:
    """The horizon as the server's 32-bit transaction ids count, in text."""
    return None if horizon is None else str(horizon % 2**32)
