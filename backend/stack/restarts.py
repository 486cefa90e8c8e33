"""When a process that ended by itself starts again: growing pauses with jitter, and an end to trying."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
CRASHES_UNTIL_FAILED = 5
CRASH_WINDOW_S = 60.0
AT_WORK_ATTEMPTS = 3
"""After what it works on brought it down, a process pauses no longer than after so many attempts: two seconds."""

HEALTHY_AFTER_S = 60.0
"""A run of this length makes the pauses small again."""


class RestartPolicy:
    """Full jitter: each pause is drawn between nothing and its limit, so that processes do not march in step."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._crashes: deque[float] = deque(maxlen=CRASHES_UNTIL_FAILED)
        self._attempt = 0

    def crashed(self, ran_s: float, *, at_work: bool = False) -> float | None:
        """Note a crash after a run of `ran_s` seconds. The result is the pause in seconds, None: give up.

        `at_work`: what it worked on brought it down, not itself. Then there is no end to trying, nor a long pause:
        others wait for it, and what brings it down is put aside after a few times.
        """
        now = self._clock()
        if at_work:
            self._attempt = 0 if ran_s >= HEALTHY_AFTER_S else self._attempt
            self._attempt = min(self._attempt + 1, AT_WORK_ATTEMPTS)
            return self._jitter(0.0, FIRST_PAUSE_S * 2 ** (self._attempt - 1))
        self._crashes.append(now)
        if len(self._crashes) == CRASHES_UNTIL_FAILED and now - self._crashes[0] <= CRASH_WINDOW_S:
            return None
        if ran_s >= HEALTHY_AFTER_S:
            self._attempt = 0
        limit = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._attempt)
        self._attempt = min(self._attempt + 1, 16)
        return self._jitter(0.0, limit)

    def forgive(self) -> None:
        """Forget all crashes."""
        self._crashes.clear()
        self._attempt = 0
