"""The rule of a rate limit, pure: GCRA, the generic cell rate algorithm (ITU-T I.371).

All that is kept of a subject is one time, its TAT ("theoretical arrival time"): when the next request would come if
it kept exactly to its rate. Times are microseconds of one clock. Valkey runs the same rule in Lua
(`backend.valkey.rates`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

SECOND_US = 1_000_000


@dataclass(frozen=True)
class Limit:
    """So many requests in a period, evenly refilled; up to `burst` of them at once."""

    name: str
    """Its word in keys, headers and figures."""
    count: int
    period_s: float = 60.0
    burst: int = 0
    """0: as many as `count`."""

    @cached_property
    def interval_us(self) -> int:
        """Time that one request uses up."""
        return max(1, round(self.period_s * SECOND_US / self.count))

    @cached_property
    def tolerance_us(self) -> int:
        """How far a TAT may lie ahead: the time in which a burst is refilled."""
        return self.interval_us * (self.burst or self.count)

    def share_of(self, processes: int) -> Limit:
        """What one of so many processes may grant when none of them knows of the others' grants."""
        if processes <= 1:
            return self
        burst = max(1, (self.burst or self.count) // processes)
        return Limit(self.name, self.count, self.period_s * processes, burst)


@dataclass(frozen=True, slots=True)
class Check:
    """One request is to be counted against one limit of one subject."""

    limit: Limit
    key: str
    """Of the subject, unique among all limits."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a subject stands with one limit."""

    limit: Limit
    remaining: int
    """Requests that would be granted now."""
    reset_s: float
    """Until everything is refilled."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is granted by all its limits; if not, none of them has counted it."""

    wait_s: float
    """0 when it is granted, else how long until it can be."""
    standings: tuple[Standing, ...]
    """In the order of the checks."""
    binding: Limit | None = None
    """The limit that has to be waited for longest; None when it is granted."""

    @property
    def granted(self) -> bool:
        """Whether the request may go on."""
        return self.binding is None


def judge(limits: Sequence[Limit], tats: Sequence[int], now: int) -> tuple[Verdict, list[int]]:
    """The verdict over one request, and the TATs after it.

    A TAT can't be further ahead than the tolerance, whatever is told: nobody is shut out for longer than a period.
    """
    bounded = [max(now, min(tat, now + limit.tolerance_us)) for limit, tat in zip(limits, tats, strict=True)]
    wait, binding = 0, None
    for limit, tat in zip(limits, bounded, strict=True):
        over = tat + limit.interval_us - limit.tolerance_us - now
        if over > wait:
            wait, binding = over, limit
    if binding is None:
        bounded = [tat + limit.interval_us for limit, tat in zip(limits, bounded, strict=True)]
    return verdict_of(limits, bounded, now, wait, binding), bounded


def verdict_of(limits: Sequence[Limit], tats: Sequence[int], now: int, wait: int, binding: Limit | None) -> Verdict:
    """The verdict that these TATs mean."""
    standings = tuple(
        Standing(
            limit,
            max(0, (limit.tolerance_us - (tat - now)) // limit.interval_us),
            max(0, tat - now) / SECOND_US,
        )
        for limit, tat in zip(limits, tats, strict=True)
    )
    return Verdict(wait / SECOND_US, standings, binding)


class Memory:
    """The newest TATs that this process knows of, at most `size` of them; the longest unused are forgotten."""

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._tats: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tats)

    def get(self, key: str) -> int:
        """The TAT of a key; 0 when none is known."""
        return self._tats.get(key, 0)

    def learn(self, key: str, tat: int) -> None:
        """Remember a TAT if it is newer than the known one."""
        known = self._tats.pop(key, 0)
        self._tats[key] = max(tat, known)
        if len(self._tats) > self._size:
            self._tats.popitem(last=False)
