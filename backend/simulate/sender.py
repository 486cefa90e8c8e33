"""Sends deliveries as the provider would: really signed, at their time or as fast as possible, again when refused.

What became of each delivery is written into a `Ledger`, which is all that the oracle learns about the sending.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from backend.simulate.deliveries import Delivery, Seal
from backend.simulate.dice import seeded
from backend.simulate.http_client import HttpConnection, NoAnswer
from backend.simulate.payloads import Told
from backend.simulate.signing import SIGNATURE_HEADER, retell_signature
from backend.simulate.switchboard import Exchange, Talking

TIMEOUT_S: Final = 10.0
"""The provider waits so long for an answer."""
RETRIES: Final = 3
RETRY_AFTER_S: Final = (1.0, 3.0, 9.0)
"""Waits before the retries; the provider does not say how long its are."""
JITTER: Final = 0.2
PATIENT_AFTER_S: Final = 2.0
"""Longest wait before a retry of a patient sender, which never gives up."""
TALKS_AT_ONCE: Final = 8
"""Conversations at a time when nothing else slows them down: each is as busy as ten in which people speak."""
WAITS_KEPT: Final = 100_000
OLD_S: Final = 600.0
"""Age of a stale signature; the limit is 300 s."""

WEBHOOK_PATH, INBOUND_PATH = b"/api/retell/webhook", b"/api/retell/inbound"
_HEADERS = b"content-type: application/json\r\nuser-agent: askpro-simulator\r\n"


@dataclass(slots=True)
class Fate:
    """What became of one delivery."""

    status: int | None = None
    """Of the final answer; None: there was none, the delivery was given up or never sent."""
    attempts: int = 0
    in_doubt: bool = False
    """At least one attempt had no answer, so the system may have taken it without saying so."""
    digest: bytes = b""
    """SHA-256 of the body as sent."""
    why: str = ""
    """What the last failure was."""

    @property
    def accepted(self) -> bool:
        """The system said yes."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class Ledger:
    """Fates by position of the delivery in its wave."""

    fates: list[Fate]
    talks: list[Talking] = field(default_factory=list)
    """Conversations that went on meanwhile."""
    waits_s: list[float] = field(default_factory=list)
    """Time to the answer of answered attempts, seconds, at most the latest 100,000."""
    began_at: float = 0.0
    """Unix seconds."""
    seconds: float = 0.0
    """From the first request to the last answer."""

    @property
    def retries(self) -> int:
        """Attempts beyond each delivery's first."""
        return sum(max(0, fate.attempts - 1) for fate in self.fates)

    @property
    def exchanges(self) -> list[Exchange]:
        """Functions that were called."""
        return [one for talk in self.talks for one in talk.exchanges if one.asked]


class Courier:
    """Knows how to send one delivery, and when to try again."""

    def __init__(
        self,
        api_url: str,
        key: str,
        *,
        patient: bool = False,
        timeout_s: float = TIMEOUT_S,
        retry_after_s: Sequence[float] = RETRY_AFTER_S,
    ) -> None:
        self._key = key
        self._patient = patient
        self._timeout_s = timeout_s
        self._retry_after_s = retry_after_s
        self._dice = seeded("retries", api_url)
        self.waits_s: deque[float] = deque(maxlen=WAITS_KEPT)
        """Time to the answer of every answered attempt, seconds, the latest ones."""

    async def attempt(
        self, connection: HttpConnection, delivery: Delivery, fate: Fate, told: Told | None = None
    ) -> bool:
        """Send once; true when the delivery needs no further attempt. `told` is what its call's functions led to."""
        body = delivery.body(told)
        if not fate.attempts:
            fate.digest = hashlib.sha256(body).digest()
        fate.attempts += 1
        path = INBOUND_PATH if delivery.is_question else WEBHOOK_PATH
        began = time.monotonic()
        try:
            answer = await connection.post(path, self.signed(body, delivery.seal), body, self._timeout_s)
        except NoAnswer as failed:
            fate.in_doubt, fate.why = True, str(failed)
        else:
            self.waits_s.append(time.monotonic() - began)
            for_good = 400 <= answer.status < 500 and answer.status not in {408, 429}
            if 200 <= answer.status < 300 or (delivery.reject and for_good):
                fate.status = answer.status
                return True
            fate.why = f"answered {answer.status}"
            if fate.attempts > RETRIES and (for_good or not self._patient):
                fate.status = answer.status
                return True
        return not self._patient and fate.attempts > RETRIES

    def signed(self, body: bytes, seal: Seal) -> bytes:
        """Header lines with the signature that a seal asks for."""
        if seal is Seal.ABSENT:
            return _HEADERS
        at_ms = int((time.time() - (OLD_S if seal is Seal.OLD else 0.0)) * 1000)
        key = f"{self._key}-forged" if seal is Seal.WRONG else self._key
        return b"%b%b: %b\r\n" % (_HEADERS, SIGNATURE_HEADER.encode(), retell_signature(key, body, at_ms).encode())

    def wait(self, fate: Fate) -> float:
        """Seconds before the next attempt."""
        if self._patient:
            wait: float = min(PATIENT_AFTER_S, 0.25 * 2.0 ** min(fate.attempts - 1, 8))
        else:
            wait = self._retry_after_s[min(fate.attempts, len(self._retry_after_s)) - 1]
        return wait * self._dice.uniform(1.0 - JITTER, 1.0 + JITTER)


class Sender:
    """Sends waves of deliveries to one system."""

    def __init__(
        self,
        api_url: str,
        courier: Courier,
        *,
        connections: int = 48,
        stop: asyncio.Event | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._api_url = api_url
        self._connections = connections
        self._courier = courier
        self._stop = stop or asyncio.Event()
        self._progress = progress

    async def send(
        self, deliveries: Sequence[Delivery], talks: Sequence[Talking] = (), *, speed: float | None = None
    ) -> Ledger:
        """Send all deliveries, have all talks, and wait for what becomes of them.

        `speed` is virtual seconds per real second, the first one begins at once; None is as fast as possible.
        Ends early, with the rest unsent, when the stop event is set.
        """
        ledger = Ledger([Fate() for _ in deliveries], list(talks), began_at=time.time())
        wave = _Wave(deliveries, ledger, TALKS_AT_ONCE if speed is None else None)
        workers = [
            asyncio.create_task(self._work(wave, speed), name=f"simulated-provider-{number}")
            for number in range(min(self._connections, max(1, len(wave.items))))
        ]
        feeder = asyncio.create_task(self._feed(wave, speed), name="simulated-clock")
        stopped = asyncio.create_task(self._stop.wait(), name="simulated-stop")
        finished = asyncio.create_task(wave.finished.wait(), name="simulated-finish")
        began = time.monotonic()
        try:
            # A worker ends only by a fault of its own, which must not look like a system that does not answer.
            await asyncio.wait({finished, stopped, *workers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (feeder, stopped, finished, *workers):
                task.cancel()
            results = await asyncio.gather(feeder, stopped, finished, *workers, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        ledger.seconds = time.monotonic() - began
        ledger.waits_s = list(self._courier.waits_s)
        return ledger

    async def _feed(self, wave: _Wave, speed: float | None) -> None:
        """Put what is to be sent before the workers when its time has come."""
        if speed is None:
            for number in range(len(wave.items)):
                wave.waiting.put_nowait(number)
            return
        origin, began = (wave.items[0].at if wave.items else 0.0), time.monotonic()
        for number, item in enumerate(wave.items):
            pause = (item.at - origin) / speed - (time.monotonic() - began)
            if pause > 0.0:
                await asyncio.sleep(pause)
            wave.waiting.put_nowait(number)

    async def _work(self, wave: _Wave, speed: float | None) -> None:
        """One connection of the provider."""
        with contextlib.closing(HttpConnection(self._api_url)) as connection:
            while True:
                number = await wave.waiting.get()
                item = wave.items[number]
                if wave.has_to_wait(number):
                    continue
                if isinstance(item, Talking):
                    wait = await item.step(connection, self._api_url, self._courier.signed)
                    is_over = item.is_over
                    if wait < 0.0:
                        wait = item.breath_s / speed if speed else 0.0
                else:
                    talk = wave.talk_of(item)
                    fate = wave.fates[number]
                    is_over = await self._courier.attempt(connection, item, fate, talk.told if talk else None)
                    wait = self._courier.wait(fate)
                if is_over:
                    wave.settle(number)
                    if self._progress:
                        self._progress(wave.settled, len(wave.items))
                elif wait:
                    asyncio.get_running_loop().call_later(wait, wave.waiting.put_nowait, number)
                else:
                    wave.waiting.put_nowait(number)


class _Wave:
    """Deliveries and conversations under way, by number in the order of their times."""

    def __init__(self, deliveries: Sequence[Delivery], ledger: Ledger, talks_at_once: int | None) -> None:
        fates = dict(zip(map(id, deliveries), ledger.fates, strict=True))
        self.items: list[Delivery | Talking] = sorted((*deliveries, *ledger.talks), key=lambda item: item.at)
        self.fates = {number: fates[id(item)] for number, item in enumerate(self.items) if isinstance(item, Delivery)}
        self.waiting: asyncio.PriorityQueue[int] = asyncio.PriorityQueue()
        """Earlier ones first, also when they come back."""
        self.settled = 0
        self.finished = asyncio.Event()
        self._talks = {talk.call.call_id: talk for talk in ledger.talks}
        self._on_line: dict[tuple[str, str], Talking] = {}
        self._parked: dict[Talking, list[int]] = {}
        self._talks_at_once = len(self.items) if talks_at_once is None else talks_at_once
        self._going_on: set[Talking] = set()
        self._not_yet: deque[int] = deque()
        """Conversations for which there was no place."""
        if not self.items:
            self.finished.set()

    def talk_of(self, delivery: Delivery) -> Talking | None:
        """The conversation of a delivery's call."""
        return self._talks.get(delivery.call.call_id)

    def has_to_wait(self, number: int) -> bool:
        """Whether something must be over first; then it comes back by itself.

        A line is in one call at a time, and what tells of a conversation's end comes after it.
        """
        item = self.items[number]
        if isinstance(item, Talking):
            before: Talking | None = self._on_line.setdefault(item.line, item)
            if before is item:
                if item not in self._going_on and len(self._going_on) >= self._talks_at_once:
                    self._not_yet.append(number)
                    return True
                self._going_on.add(item)
                return False
        else:
            before = self.talk_of(item) if item.is_after_functions else None
        if before is None or before.is_over:
            return False
        self._parked.setdefault(before, []).append(number)
        return True

    def settle(self, number: int) -> None:
        """One more has its fate; what waited for it goes on."""
        item = self.items[number]
        if isinstance(item, Talking):
            del self._on_line[item.line]
            self._going_on.discard(item)
            if self._not_yet:
                self.waiting.put_nowait(self._not_yet.popleft())
            for parked in self._parked.pop(item, ()):
                self.waiting.put_nowait(parked)
        self.settled += 1
        if self.settled == len(self.items):
            self.finished.set()
