"""Rate limits that the processes of all nodes share, kept in Valkey; without it, each process limits by itself.

One round trip counts a request against all its limits, or against none when one of them refuses. Checks that come while
a round trip is under way share the next one, so the cost falls as the load rises, and one connection is enough.

Each process remembers the newest TATs it was told and tells them again with the next check; the newest anybody knows
counts. So limits outlive a Valkey that lost its memory (killed, flushed, keys evicted), and what is known to be refused
is refused without asking. The embedded server also saves its keys when it ends and once a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backend.valkey.client import ValkeyUnavailable, exchange, open_valkey
from backend.valkey.gcra import Check, Limit, Memory, Verdict, judge, verdict_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

RATE_KEY = "askpro:rate:"
"""Followed by a subject; a TAT in microseconds of the server's clock. It expires when it says nothing any more."""

PROCESSES_KEY = "askpro:rates:processes"
"""Sorted set: the processes that share the limits, by when they were last heard of."""

ANSWER_S = 0.005
"""So long a request waits for the shared verdict; then it gets this process's own."""

OWN_LAG_S = 0.001
"""A timer that comes later than this tells of a busy process, not of a slow answer."""

HANG_S = 0.25
"""A round trip that takes longer means that Valkey is gone."""

HEARTBEAT_S = 1.0
"""So often a process says that it lives, and tries again while Valkey is gone."""

HEARD_S = 10
"""A process that was not heard of for so long has no share."""

# KEYS: subjects. ARGV: for each its interval, tolerance and the TAT that the caller knows of, in microseconds.
# Answers the server's time, the wait (0: granted) and the TATs; the rule is `backend.valkey.gcra.judge`.
CHECK = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kept = redis.call('MGET', unpack(KEYS))
local wait, tats = 0, {}
for i = 1, #KEYS do
  local interval, tolerance, known = tonumber(ARGV[3*i-2]), tonumber(ARGV[3*i-1]), tonumber(ARGV[3*i])
  local tat = math.max(kept[i] and tonumber(kept[i]) or 0, known)
  tat = math.max(now, math.min(tat, now + tolerance))
  wait = math.max(wait, tat + interval - tolerance - now)
  tats[i] = tat
end
local answer = {now, wait}
for i = 1, #KEYS do
  if wait <= 0 then
    tats[i] = tats[i] + tonumber(ARGV[3*i-2])
    redis.call('SET', KEYS[i], string.format('%.0f', tats[i]), 'PX', math.ceil((tats[i] - now) / 1000))
  end
  answer[i + 2] = tats[i]
end
return answer
"""

# KEYS: the set. ARGV: this process, seconds after which one is forgotten. Answers the server's time and how many live.
BEAT = """
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (time[1] - ARGV[2]))
redis.call('EXPIRE', KEYS[1], ARGV[2] * 6)
return {tonumber(time[1]) * 1000000 + tonumber(time[2]), redis.call('ZCARD', KEYS[1])}
"""


@dataclass(slots=True)
class RateCounters:
    """Since the start."""

    shared: int = 0
    """Verdicts of all processes together."""
    local: int = 0
    """Verdicts of this process alone: Valkey was gone, or late."""
    late: int = 0
    """Those of them that waited in vain for an answer."""
    remembered: int = 0
    """Refusals that needed no asking."""
    losses: int = 0
    """How often Valkey went away."""


@dataclass(slots=True)
class _Asked:
    """One check on its way."""

    limits: tuple[Limit, ...]
    keys: tuple[str, ...]
    answer: asyncio.Future[Verdict | None] = field(repr=False)
    patience: asyncio.TimerHandle | None = None

    def arguments(self, memory: Memory) -> list[str | int]:
        found: list[str | int] = list(self.keys)
        for limit, key in zip(self.limits, self.keys, strict=True):
            found += (limit.interval_us, limit.tolerance_us, memory.get(key))
        return found

    def wait(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Settle without a verdict after so long; time in which this process itself was busy does not count."""
        due = loop.time() + seconds

        def over() -> None:
            if not self.answer.done():
                if loop.time() - due > OWN_LAG_S:
                    self.wait(loop, seconds)
                else:
                    self.answer.set_result(None)

        self.patience = loop.call_at(due, over)

    def settle(self, verdict: Verdict | None) -> None:
        if self.patience is not None:
            self.patience.cancel()
        if not self.answer.done():
            self.answer.set_result(verdict)


class Rates:
    """Judges requests by shared limits. `start()` in the event loop that uses it, `aclose()` at the end."""

    def __init__(
        self, url: str | None, process: str, *, answer_s: float | None = None, hang_s: float | None = None
    ) -> None:
        """`process` names this one among all that share; without `url` every limit is this process's own.

        The bounds are `ANSWER_S` and `HANG_S` unless they are given.
        """
        self._url = url
        self._process = process
        self._answer_s = ANSWER_S if answer_s is None else answer_s
        self._hang_s = HANG_S if hang_s is None else hang_s
        self._memory = Memory()
        self._ahead_us = time.time_ns() // 1000 - self._monotonic_us()
        """The server's clock less this process's monotonic one."""
        self._client: Redis | None = None
        self._waiting: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._last_loss = ""
        self.shared = False
        """Whether Valkey answers; without it limits are this process's own."""
        self.processes = 1
        """How many share the limits, as last heard."""
        self.counters = RateCounters()

    @property
    def mode(self) -> str:
        """`shared`, or `local` while Valkey is gone."""
        return "shared" if self.shared else "local"

    async def start(self) -> None:
        """Look for Valkey, and keep looking."""
        if self._url is not None and self._beating is None:
            await self._beat()
            self._beating = asyncio.create_task(self._beat_on(), name="rates-heartbeat")

    async def aclose(self) -> None:
        """Tell the others, as far as Valkey lets us, and end."""
        for task in (self._beating, self._asking):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._settle_all()
        if self._client is not None and self.shared:
            with contextlib.suppress(ValkeyUnavailable):
                async with exchange(self._hang_s):
                    await self._client.zrem(PROCESSES_KEY, self._process)
        self.shared = False
        await self._drop_client()

    async def check(self, checks: Sequence[Check]) -> Verdict:
        """Count one request against all its limits, or against none. Raises nothing, and waits `ANSWER_S` at most."""
        limits = tuple(check.limit for check in checks)
        keys = tuple(RATE_KEY + check.key for check in checks)
        now = self._now_us()
        known, _ = judge(limits, [self._memory.get(key) for key in keys], now)
        if not known.granted:
            self.counters.remembered += 1
            return known
        if self.shared:
            verdict = await self._ask(limits, keys)
            if verdict is not None:
                self.counters.shared += 1
                return verdict
            if self.shared:
                self.counters.late += 1
        self.counters.local += 1
        return self._alone(limits, keys)

    def _alone(self, limits: Sequence[Limit], keys: Sequence[str]) -> Verdict:
        own = limits if self.shared else [limit.share_of(self.processes) for limit in limits]
        verdict, tats = judge(own, [self._memory.get(key) for key in keys], self._now_us())
        if verdict.granted and not self.shared:  # an answer that is only late counts the request by itself
            self._learn(keys, tats)
        return verdict

    async def _ask(self, limits: tuple[Limit, ...], keys: tuple[str, ...]) -> Verdict | None:
        loop = asyncio.get_running_loop()
        asked = _Asked(limits, keys, loop.create_future())
        self._waiting.append(asked)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_on(), name="rates")
        asked.wait(loop, self._answer_s)
        return await asked.answer

    async def _ask_on(self) -> None:
        """Ask for everybody who waits, until nobody does."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                async with exchange(self._hang_s):
                    answers = await self._round_trip(batch)
            except ValkeyUnavailable as error:
                self._lose(error)
                for asked in batch:
                    if asked.answer.done():  # nobody waited so long, and nobody has counted it
                        self._alone(asked.limits, asked.keys)
                    asked.settle(None)
                self._settle_all()
                await self._drop_client()
                return
            for asked, (now, wait, *tats) in zip(batch, answers, strict=True):
                self._ahead_us = now - self._monotonic_us()
                self._learn(asked.keys, tats)
                asked.settle(self._verdict(asked, tats, now, wait))

    @staticmethod
    def _verdict(asked: _Asked, tats: list[int], now: int, wait: int) -> Verdict:
        binding = None
        if wait > 0:
            over = [tat + limit.interval_us - limit.tolerance_us for limit, tat in zip(asked.limits, tats, strict=True)]
            binding = asked.limits[over.index(max(over))]
        return verdict_of(asked.limits, tats, now, max(0, wait), binding)

    async def _round_trip(self, batch: Sequence[_Asked]) -> list[list[int]]:
        from redis.exceptions import NoScriptError, ResponseError

        client = self._client
        if client is None:
            raise ValkeyUnavailable("not connected")
        if len(batch) == 1:
            (asked,) = batch
            with contextlib.suppress(NoScriptError):
                return [await client.evalsha(_CHECK_SHA, len(asked.keys), *asked.arguments(self._memory))]
        for loads in (False, True):
            async with client.pipeline(transaction=False) as pipe:
                if loads:
                    pipe.script_load(CHECK)
                for asked in batch:
                    pipe.evalsha(_CHECK_SHA, len(asked.keys), *asked.arguments(self._memory))
                answers = (await pipe.execute(raise_on_error=False))[int(loads) :]
            failed = next((answer for answer in answers if isinstance(answer, Exception)), None)
            if failed is None:
                return answers
            if not isinstance(failed, NoScriptError):
                raise failed
        raise ResponseError("the script is forgotten as soon as it is loaded")

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._beat()

    async def _beat(self) -> None:
        """Say that this process lives, and learn how many do; finds Valkey again when it was gone."""
        assert self._url is not None
        if self._client is None:
            self._client = open_valkey(self._url, size=2)
        try:
            async with exchange(2 * self._hang_s):
                now, alive = await self._client.eval(BEAT, 1, PROCESSES_KEY, self._process, str(HEARD_S))
        except ValkeyUnavailable as error:
            self._lose(error)
            await self._drop_client()
            return
        self._ahead_us = now - self._monotonic_us()
        self.processes = max(1, alive)
        if not self.shared:
            self.shared = True
            if self._last_loss:
                log.info("limits are shared again (processes: %d)", self.processes)
            self._last_loss = ""

    def _lose(self, error: ValkeyUnavailable) -> None:
        if self.shared or not self._last_loss:
            self.counters.losses += 1
            log.warning("limits are this process's own, 1/%d of each: Valkey: %s", self.processes, error)
        self.shared = False
        self._last_loss = str(error)

    async def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(HANG_S):
                    await client.aclose()

    def _settle_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            asked.settle(None)

    def _learn(self, keys: Sequence[str], tats: Sequence[int]) -> None:
        for key, tat in zip(keys, tats, strict=True):
            self._memory.learn(key, tat)

    def _now_us(self) -> int:
        return self._monotonic_us() + self._ahead_us

    def _monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


_CHECK_SHA = hashlib.sha1(CHECK.encode(), usedforsecurity=False).hexdigest()
