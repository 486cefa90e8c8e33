"""Which job makes its worker grow: each growth of the process is shared among the jobs that run while it happens.

Jobs that stand beside the one that grows get a share too; the suspects' lane, where they then run one at a time, tells
them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backend.queue.claims import Claim

LOOK_S = 0.5
"""Time between two looks at the process's memory."""

CEILING_SHARE = 0.9
"""A job is stopped at this part of the ceiling, before the supervisor recycles the whole process at it."""

GUILTY_SHARE = 0.25
"""A running job is stopped when so large a part of what would be its share came while it ran; else it was others."""


@dataclass(frozen=True, slots=True)
class Accused:
    """A job, and how much of the growth is laid to its account."""

    entrypoint: str
    job_id: int
    grown_bytes: int


@dataclass(frozen=True, slots=True)
class Grown:
    """The worker has grown to its ceiling."""

    rss_bytes: int
    running: tuple[Accused, ...]
    """Jobs that run now and that a large part of the growth is laid to, the worst first."""
    ended: Accused | None
    """When no running job is to blame: the job type during whose runs it grew most, with its latest job."""


class MemoryWatch:
    """Follows one process's memory."""

    def __init__(self, ceiling_bytes: int, rss: Callable[[], int], running: Callable[[], Iterable[Claim]]) -> None:
        """`rss`: resident bytes now. `running`: the jobs in work."""
        self._limit = int(ceiling_bytes * CEILING_SHARE)
        self._rss = rss
        self._running = running
        self._last = rss()
        self._by_job: dict[int, float] = {}
        self._by_type: Counter[str] = Counter()
        self._latest: dict[str, int] = {}
        self._is_over = False

    def look(self) -> Grown | None:
        """Lay growth to the account of what runs; tells once when the limit is reached, and of each further culprit."""
        rss, running = self._rss(), list(self._running())
        grown, self._last = max(0, rss - self._last), rss
        self._by_job = {claim.job_id: self._by_job.get(claim.job_id, 0.0) for claim in running}
        for claim in running:
            self._by_job[claim.job_id] += grown / len(running)
            self._by_type[claim.entrypoint] += grown // len(running)
            self._latest[claim.entrypoint] = claim.job_id
        if rss < self._limit:
            self._is_over = False
            return None
        guilty = [
            Accused(claim.entrypoint, claim.job_id, int(self._by_job[claim.job_id]))
            for claim in running
            if self._by_job[claim.job_id] >= GUILTY_SHARE * self._limit / len(running)
        ]
        was_over, self._is_over = self._is_over, True
        if guilty:
            return Grown(rss, tuple(sorted(guilty, key=lambda one: -one.grown_bytes)), None)
        return None if was_over else Grown(rss, (), self._worst_type())

    def _worst_type(self) -> Accused | None:
        for kind, grown in self._by_type.most_common(1):
            return Accused(kind, self._latest[kind], grown)
        return None
