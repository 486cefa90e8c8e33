"""How many requests are worked on at once, and who goes first when that is not enough.

The number adapts by AIMD (additive increase, multiplicative decrease): as long as answers come within their class's
target it grows by one, as soon as a part of them does not it shrinks by a fifth. Its measure is the time from entering
to leaving, so it finds the concurrency that this machine and its database bear, whatever the requests are. (A gradient
of latencies would mistake a change in the mix of requests, whose costs differ a hundredfold, for a change in load.)

Of the places, lower classes may fill only a part, so that a request of a higher class finds one free at once. Who finds
none waits, highest class first. A class whose requests have all waited long for a while has a standing queue, which
makes everybody late and serves nobody more: until it is empty they wait only briefly (after CoDel).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum


class Priority(IntEnum):
    """Classes of requests; the lowest number is served first and shed last."""

    IN_CALL = 0
    """A caller is on the line; and the probes of our own supervision."""
    INTAKE = 1
    """Providers' deliveries."""
    BOOKING = 2
    """Bookings through the API."""
    REPORT = 3
    """Lists, searches, dashboards, figures."""

    @property
    def word(self) -> str:
        """As figures and documentation spell it."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """How a gate behaves. Seconds."""

    start: int = 8
    """Concurrency to begin with;"""
    least: int = 4
    most: int = 128
    share: tuple[float, ...] = (1.0, 0.9, 0.75, 0.5)
    """Part of the places that each class, and all of them together, may fill when one of it enters."""
    target_s: tuple[float, ...] = (0.15, 0.25, 0.2, 0.2)
    """An answer that takes longer than its class's target is late."""
    late_share: float = 0.1
    """A window with a larger part of late answers makes the concurrency shrink,"""
    decrease: float = 0.8
    """to this part of it."""
    window_s: float = 0.25
    """The concurrency changes at most once in such a window;"""
    least_samples: int = 5
    """fewer answers say nothing."""
    wait_s: float = 1.0
    """Longest wait for a place;"""
    in_call_wait_s: float = 0.3
    """of a request during a call, whose caller hears nothing meanwhile: rather an answer that says so;"""
    brief_s: float = 0.2
    """longest while the queue is standing,"""
    standing_s: float = 0.5
    """which it is when everybody who got a place in so long a time had waited longer than that."""
    most_waiting: int = 256
    """Of each class; further ones are refused at once."""


class Overloaded(Exception):
    """There was no place in time."""

    def __init__(self, priority: Priority) -> None:
        super().__init__(f"too much to do for {priority.word} requests")
        self.priority = priority


@dataclass(slots=True)
class ClassFigures:
    """One class since the start."""

    inflight: int = 0
    """Now."""
    entered: int = 0
    late: int = 0
    """Answers beyond the target, or that failed for want of a resource."""
    shed: int = 0


@dataclass(slots=True)
class _Waiting:
    place: asyncio.Future[bool] = field(repr=False)
    since: float
    timer: asyncio.TimerHandle | None = None

    def settle(self, granted: bool) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if not self.place.done():
            self.place.set_result(granted)


class _Line:
    """Those of one class who wait, oldest first."""

    __slots__ = ("is_standing", "slow_since", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.slow_since: float | None = None
        """Since when everybody who got a place had waited long."""
        self.is_standing = False

    def __len__(self) -> int:
        return sum(not each.place.done() for each in self.waiting)

    def trim(self) -> None:
        """Forget those at the front who were answered."""
        while self.waiting and self.waiting[0].place.done():
            self.waiting.popleft()
        if not self.waiting:
            self.slow_since = None
            self.is_standing = False

    def note_wait(self, waited: float, now: float, policy: GatePolicy) -> None:
        """Somebody's turn came, or patience ended, after so long."""
        if waited <= policy.brief_s:
            self.slow_since = None
        elif self.slow_since is None:
            self.slow_since = now
        elif now - self.slow_since > policy.standing_s:
            self.is_standing = True


class Gate:
    """One process's gate. Enter, work, leave; each `enter` that returns needs its `leave`."""

    def __init__(self, policy: GatePolicy | None = None) -> None:
        self.policy = policy or GatePolicy()
        self.limit = float(self.policy.start)
        self.inflight = 0
        self.figures = {priority: ClassFigures() for priority in Priority}
        self._lines = {priority: _Line() for priority in Priority}
        self._queued = 0
        self._window_began = float("-inf")
        self._answers = 0
        self._late = 0
        self._most_inflight = 0

    def waiting(self, priority: Priority) -> int:
        """Requests of a class that wait for a place."""
        return len(self._lines[priority])

    def try_enter(self, priority: Priority) -> bool:
        """Take a place if one is free for this class and nobody of it waits."""
        if self._queued and self._lines[priority].waiting:
            return False
        if self.inflight >= self._places(priority):
            return False
        self._take(priority)
        return True

    async def enter(self, priority: Priority) -> None:
        """Take a place; waits for one if need be. Raises `Overloaded`."""
        if self.try_enter(priority):
            return
        loop = asyncio.get_running_loop()
        line = self._lines[priority]
        line.trim()
        if len(line.waiting) >= self.policy.most_waiting:
            self.figures[priority].shed += 1
            raise Overloaded(priority)
        waiting = _Waiting(loop.create_future(), loop.time())
        line.waiting.append(waiting)
        self._queued += 1
        waiting.timer = loop.call_later(self._patience(priority), waiting.settle, False)
        try:
            granted = await waiting.place
        except asyncio.CancelledError:
            if waiting.place.done() and not waiting.place.cancelled() and waiting.place.result():
                self._give_back(priority)
            waiting.settle(False)
            raise
        finally:
            self._queued -= 1
            line.trim()
        if not granted:
            now = loop.time()
            line.note_wait(now - waiting.since, now, self.policy)
            self.figures[priority].shed += 1
            raise Overloaded(priority)

    def leave(self, priority: Priority, seconds: float, *, failed: bool = False) -> None:
        """Give the place back after so many seconds; `failed` for want of a resource, such as a connection."""
        late = failed or seconds > self.policy.target_s[priority]
        if late:
            self.figures[priority].late += 1
            self._late += 1
        self._answers += 1
        self._adapt()
        self._give_back(priority)

    def _places(self, priority: Priority) -> float:
        return max(1.0, self.limit * self.policy.share[priority])

    def _take(self, priority: Priority) -> None:
        self.inflight += 1
        self._most_inflight = max(self._most_inflight, self.inflight)
        figures = self.figures[priority]
        figures.inflight += 1
        figures.entered += 1

    def _give_back(self, priority: Priority) -> None:
        self.inflight -= 1
        self.figures[priority].inflight -= 1
        if self._queued:
            self._grant()

    def _grant(self) -> None:
        """Give free places to those who wait, highest class first."""
        now = asyncio.get_running_loop().time()
        for priority, line in self._lines.items():
            while line.waiting and self.inflight < self._places(priority):
                first = line.waiting.popleft()
                if first.place.done():
                    continue
                if now - first.since > self._patience(priority):
                    first.settle(False)
                    continue
                line.note_wait(now - first.since, now, self.policy)
                self._take(priority)
                first.settle(True)
            line.trim()

    def _patience(self, priority: Priority) -> float:
        policy = self.policy
        longest = policy.wait_s if priority is not Priority.IN_CALL else min(policy.wait_s, policy.in_call_wait_s)
        return min(longest, policy.brief_s) if self._lines[priority].is_standing else longest

    def _adapt(self) -> None:
        now = asyncio.get_running_loop().time()
        policy = self.policy
        if now - self._window_began < policy.window_s or self._answers < policy.least_samples:
            return
        if self._late > self._answers * policy.late_share:
            self.limit = max(policy.least, self.limit * policy.decrease)
        elif self._most_inflight * 2 >= self.limit:
            self.limit = min(policy.most, self.limit + 1)
        self._window_began = now
        self._answers = self._late = 0
        self._most_inflight = self.inflight
