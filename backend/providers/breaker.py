"""A circuit breaker: a provider that keeps failing is left alone for a while, then asked once before everybody returns.

closed: every call may go out. open: none may, for a time that doubles with each probe that fails.
half-open: one call, the probe, decides which of the two comes next. People may hold it open, and close it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from backend.domain.vocabulary import BreakerState

__all__ = ["Breaker", "BreakerOpen", "BreakerPolicy", "BreakerState", "Permit"]


class BreakerOpen(Exception):
    """The call was not made: the provider has been failing, or is paused."""

    def __init__(self, name: str, retry_after_s: float, *, is_held: bool = False) -> None:
        why = "is paused" if is_held else "keeps failing"
        super().__init__(f"{name} {why}; asked again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


HELD_RETRY_S = 30.0
"""Who is refused because the provider is paused may try again after so long."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long. Seconds are those of the breaker's clock."""

    window: int = 20
    """It judges by the last so many calls,"""
    least: int = 5
    """but not by fewer than these,"""
    share: float = 0.5
    """and opens when so large a part of them failed."""
    open_s: float = 5.0
    """How long it stays open at first;"""
    longest_open_s: float = 60.0
    """at most, after probes that failed."""
    jitter: float = 0.2
    """Each time varies by up to this share, so that several processes don't probe at the same moment."""


class Permit:
    """Leave to make one call; its maker says how the call ended, exactly once (later words have no effect)."""

    __slots__ = ("_breaker", "_is_open", "_turn", "is_probe")

    def __init__(self, breaker: Breaker, turn: int, is_probe: bool) -> None:
        self._breaker = breaker
        self._turn = turn
        self._is_open = True
        self.is_probe = is_probe

    def succeeded(self) -> None:
        """The provider answered, be it with a refusal."""
        self._end(False)

    def failed(self) -> None:
        """The provider did not answer, or with a failure of its own."""
        self._end(True)

    def abandoned(self) -> None:
        """The call was given up for a reason that says nothing about the provider."""
        self._end(None)

    def _end(self, failed: bool | None) -> None:
        if self._is_open:
            self._is_open = False
            self._breaker._ended(self._turn, self.is_probe, failed)


class Breaker:
    """The breaker of one provider, for one process's calls. Not for several threads."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        policy: BreakerPolicy | None = None,
        on_change: Callable[[Breaker], None] = lambda breaker: None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """`clock`: seconds, monotonic. `on_change` is called after each change of state. `spread`: from 0 to 1."""
        self.name = name
        self.state = BreakerState.CLOSED
        self.opened = 0
        """How often it has opened since the start."""
        self.is_held = False
        """Whether it is open because somebody said so."""
        self._clock = clock
        self._policy = policy or BreakerPolicy()
        self._on_change = on_change
        self._spread = spread
        self._recent: deque[bool] = deque(maxlen=self._policy.window)
        self._open_s = self._policy.open_s
        self._until = 0.0
        self._turn = 0
        """Counts changes of state, so that calls from before a change don't speak about what came after it."""

    @property
    def retry_after_s(self) -> float:
        """Seconds until a call may be tried; 0 when it may now."""
        match self.state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.OPEN:
                left = max(0.0, self._until - self._clock())
                return min(left, HELD_RETRY_S) if self.is_held else left
            case BreakerState.HALF_OPEN:
                return self._policy.open_s

    @property
    def failing(self) -> float:
        """The part of the recent calls that failed."""
        return sum(self._recent) / len(self._recent) if self._recent else 0.0

    def permit(self) -> Permit:
        """Leave to make one call. Raises BreakerOpen."""
        if self.state is BreakerState.OPEN and self._clock() >= self._until:
            self.is_held = False
            self._become(BreakerState.HALF_OPEN)
            return Permit(self, self._turn, is_probe=True)
        if self.state is not BreakerState.CLOSED:
            raise BreakerOpen(self.name, self.retry_after_s, is_held=self.is_held)
        return Permit(self, self._turn, is_probe=False)

    def hold(self, seconds: float) -> None:
        """Let no call out for so long (inf: until `let_go`), whatever calls that are out bring. The next is a probe."""
        self._until = self._clock() + seconds
        if not self.is_held:
            self.is_held = True
            self._become(BreakerState.OPEN)

    def let_go(self) -> None:
        """Hold it open no longer: the next call is a probe. Without effect on one that was not held."""
        if self.is_held:
            self.is_held = False
            self._until = self._clock()
            self._become(BreakerState.OPEN)

    def close(self) -> None:
        """Let every call out again and forget what failed."""
        self.is_held = False
        self._recent.clear()
        self._open_s = self._policy.open_s
        self._become(BreakerState.CLOSED)

    def _ended(self, turn: int, is_probe: bool, failed: bool | None) -> None:
        if turn != self._turn:
            return
        if is_probe:
            if failed is None:
                # The next call is the probe then.
                self._until = self._clock()
                self._become(BreakerState.OPEN)
            elif failed:
                self._open_s = min(self._open_s * 2, self._policy.longest_open_s)
                self._open()
            else:
                self._recent.clear()
                self._open_s = self._policy.open_s
                self._become(BreakerState.CLOSED)
        elif failed is not None:
            self._recent.append(failed)
            if failed and len(self._recent) >= self._policy.least and self.failing >= self._policy.share:
                self._open()

    def _open(self) -> None:
        spread = 1 + self._policy.jitter * (2 * self._spread() - 1)
        self._until = self._clock() + self._open_s * spread
        self.opened += 1
        self._become(BreakerState.OPEN)

    def _become(self, state: BreakerState) -> None:
        self.state = state
        self._turn += 1
        self._on_change(self)
