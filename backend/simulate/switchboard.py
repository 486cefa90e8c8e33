"""Carries a voice agent's function calls to the system, with what goes wrong on their way, and keeps what was answered.

What is kept is all that the check learns of a conversation: see `backend.simulate.promises`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import msgspec

from backend.domain.vocabulary import CallOutcome, RejectReason
from backend.simulate import payloads
from backend.simulate.calls import PlannedCall
from backend.simulate.deliveries import Damage, Seal, damaged
from backend.simulate.dice import seeded
from backend.simulate.http_client import HttpConnection, NoAnswer
from backend.simulate.presets import PER_FUNCTION, FunctionFault
from backend.simulate.talk import CHANGING, Achieved, Ask, Conversation, Json, conversation

FUNCTION_PATH: Final = b"/api/retell/function"
TIMEOUT_S: Final = 10.0
LOST_S: Final = 0.003
"""An answer that is lost: nobody waits longer for it."""
RETRIES: Final = 12
RETRY_AFTER_S: Final = 0.25
"""Before the first retry; doubled from one to the next."""
LONGEST_WAIT_S: Final = 2.0
TALK_AFTER_S: Final = 1.2
"""The agent calls its first function so long after the call began."""
BREATH_S: Final = 6.0
"""Longest time between two functions: somebody speaks."""

Sign = Callable[[bytes, Seal], bytes]
"""Header lines for a body, signed as a seal says."""


@dataclass(slots=True)
class Exchange:
    """One function that was called, with all requests for it."""

    ask: Ask
    tool_call_id: str | None
    faults: frozenset[FunctionFault]
    asked: int = 0
    """Place of the first request in the order of all requests and answers of the run; 0: none was sent."""
    asked_at: float = 0.0
    """Unix seconds of the first request."""
    answered: int = 0
    """Place of the answer; 0: there is none."""
    answer: Json | None = None
    """None when the agent gave up: what was asked for may or may not have been done."""
    others: list[Json] = field(default_factory=list)
    """Further answers to the same tool call."""
    rejected: list[tuple[RejectReason, int | None]] = field(default_factory=list)
    """What was forged or broken, and the status it was answered with."""
    attempts: int = 0
    seconds: float = 0.0
    """Until the answer, of the request that got it."""
    why: str = ""
    """What the last failure was."""

    @property
    def is_done(self) -> bool:
        """Answered, with what was asked for."""
        return self.answer is not None and self.answer.get("ok") is True

    @property
    def is_in_doubt(self) -> bool:
        """It may have changed something without anybody knowing."""
        return self.answer is None and self.asked > 0 and self.ask.function in CHANGING


class Talking:
    """One call's conversation with the system, step by step."""

    def __init__(
        self,
        call: PlannedCall,
        *,
        at: float,
        order: count[int],
        patient: bool = False,
        faults: bool = True,
    ) -> None:
        self.call = call
        self.at = at
        """When it begins, Unix seconds of the virtual clock."""
        self.exchanges: list[Exchange] = []
        self.is_over = False
        self.breath_s = min(BREATH_S, call.duration_ms / 10_000)
        """Time between two functions."""
        self._order = order
        self._patient = patient
        self._faults = faults
        self._achieved = Achieved(CallOutcome.ENQUIRY)
        self._dice = seeded(call.call_id, "line")
        self._conversation: Conversation | None = None
        self._is_first_change = True

    @property
    def line(self) -> tuple[str, str]:
        """What can be in one call at a time."""
        company = self.call.business.slug if self.call.business else ""
        return company, self.call.person.phone if self.call.person else self.call.call_id

    @property
    def told(self) -> payloads.Told:
        """What the provider tells of it afterwards."""
        tools: list[Json] = []
        for one in self.exchanges:
            arguments = msgspec.json.encode(one.ask.arguments).decode()
            tool = {"tool_call_id": one.tool_call_id or "", "name": one.ask.function, "arguments": arguments}
            result = {"tool_call_id": one.tool_call_id or "", "content": msgspec.json.encode(one.answer).decode()}
            tools += [{"role": "tool_call_invocation", **tool}, {"role": "tool_call_result", **result}]
        done = self._achieved
        return payloads.Told(done.outcome, done.booking, done.callback, tuple(tools))

    async def step(self, connection: HttpConnection, url: str, sign: Sign) -> float:
        """Make the next request or requests; seconds to wait before the next step, negative after an answer.

        `is_over` says when there is none.
        """
        if self._conversation is None:
            self._conversation = conversation(self.call)
            self._go_on(next(self._conversation))
        exchange = self.exchanges[-1]
        answer = await self._attempt(_Wire(connection, url, sign), exchange)
        if answer is not None:
            exchange.answer, exchange.answered = answer, next(self._order)
            try:
                self._go_on(self._conversation.send(answer))
            except StopIteration as ended:
                self._achieved, self.is_over = ended.value, True
            return -1.0
        if exchange.why.startswith("refused") or (exchange.attempts > RETRIES and not self._patient):
            self._conversation.close()
            self.is_over = True
        wait: float = RETRY_AFTER_S * 2.0 ** min(exchange.attempts - 1, 6)
        return min(LONGEST_WAIT_S, wait)

    def _go_on(self, ask: Ask) -> None:
        number = len(self.exchanges)
        faults = {fault for fault, chance in PER_FUNCTION.items() if self._faults and self._dice.random() < chance}
        if ask.function in CHANGING and self._is_first_change and self.call.errand:
            self._is_first_change = False
            faults.update(self.call.errand.faults)
        tool = None if FunctionFault.NO_ID in faults else f"tool_{self.call.call_id}_{number}"
        self.exchanges.append(Exchange(ask, tool, frozenset(faults)))

    async def _attempt(self, wire: _Wire, exchange: Exchange) -> Json | None:
        """One more attempt at getting an answer."""
        body = payloads.function_call(self.call, exchange.ask.function, exchange.ask.arguments, exchange.tool_call_id)
        if not exchange.attempts:
            for reason, damage, seal in _forgeries(exchange.faults, self._dice):
                exchange.rejected.append((reason, await wire.status(damaged(body, damage), seal)))
            exchange.asked, exchange.asked_at = next(self._order), time.time()
        exchange.attempts += 1
        if exchange.attempts == 1 and FunctionFault.ANSWER_LOST in exchange.faults:
            lost = await wire.post(body, exchange, timeout_s=LOST_S)
            if lost is not None:
                exchange.others.append(lost)
        if FunctionFault.TWIN in exchange.faults:
            with contextlib.closing(HttpConnection(wire.url)) as other:
                one, two = await asyncio.gather(
                    wire.post(body, exchange), _Wire(other, wire.url, wire.sign).post(body, exchange)
                )
            answer = one or two
            if one is not None and two is not None:
                exchange.others.append(two)
        else:
            answer = await wire.post(body, exchange)
        if answer is not None and FunctionFault.REPEATED in exchange.faults:
            again = await wire.post(body, exchange)
            if again is not None:
                exchange.others.append(again)
        return answer


@dataclass(frozen=True, slots=True)
class _Wire:
    """A connection to the system, and how requests on it are signed."""

    connection: HttpConnection
    url: str
    sign: Sign

    async def post(self, body: bytes, exchange: Exchange, *, timeout_s: float = TIMEOUT_S) -> Json | None:
        """The answer; None when there is none, or one that asks to try again."""
        began = time.monotonic()
        try:
            answer = await self.connection.post(FUNCTION_PATH, self.sign(body, Seal.GOOD), body, timeout_s)
        except NoAnswer as failed:
            exchange.why = str(failed)
            return None
        seconds = time.monotonic() - began
        if answer.status != 200:
            again = answer.status >= 500 or answer.status in {408, 429}
            exchange.why = f"{'answered' if again else 'refused with'} {answer.status}"
            return None
        try:
            told = msgspec.json.decode(answer.body, type=dict[str, object])
        except msgspec.MsgspecError as broken:
            exchange.why = f"refused with an answer that is no object: {broken}"
            return None
        if told.get("reason") == "unavailable":
            exchange.why = "answered unavailable"
            return None
        exchange.seconds = seconds
        return told

    async def status(self, body: bytes, seal: Seal) -> int | None:
        """The status of an answer to something that must be refused; None without one."""
        try:
            return (await self.connection.post(FUNCTION_PATH, self.sign(body, seal), body, TIMEOUT_S)).status
        except NoAnswer:
            return None


def _forgeries(faults: frozenset[FunctionFault], dice: random.Random) -> list[tuple[RejectReason, Damage | None, Seal]]:
    """Requests that must be refused and have no effect."""
    found: list[tuple[RejectReason, Damage | None, Seal]] = []
    if FunctionFault.BAD_SIGNATURE in faults:
        absent = dice.random() < 0.3
        reason = RejectReason.SIGNATURE_MISSING if absent else RejectReason.SIGNATURE_WRONG
        found.append((reason, None, Seal.ABSENT if absent else Seal.WRONG))
    if FunctionFault.STALE in faults:
        found.append((RejectReason.STALE, None, Seal.OLD))
    if FunctionFault.MALFORMED in faults:
        found.append((RejectReason.MALFORMED, dice.choice(tuple(Damage)), Seal.GOOD))
    return found
