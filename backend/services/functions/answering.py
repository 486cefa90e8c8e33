"""Answers the voice agent's tool calls: always with something that it can speak, and always in time.

Each is one transaction: the effect, the answer that is kept for a repeated tool call, and what the call led to are in
the database together or not at all. What is late is rolled back; only a commit that was already under way may still
take effect, and then the same tool call again is told so.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import msgspec

from backend.domain.function_calls import FunctionCall
from backend.domain.vocabulary import RefusalReason
from backend.postgres.pools import DATABASE_ERRORS, Pool, transaction
from backend.queue.turns import Turns
from backend.services.booking import CalendarUnsettled
from backend.services.companies.catalogue import Catalogues
from backend.services.functions import wording
from backend.services.functions.refusals import Declined, FunctionRefusal
from backend.services.functions.registry import FUNCTIONS, Function
from backend.services.functions.scene import Answer, Scene, enter, leave
from backend.services.functions.spoken import Language, spoken_list

log = logging.getLogger(__name__)

ANSWER_S = 2.5
"""The agent has its answer by then, whatever the database does: a caller waits."""

AGAIN_S = 1.0
"""So long a tool call is begun anew when its connection is lost or another transaction was in its way."""

PAUSE_S = 0.05

AGAIN: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    EOFError,
    CalendarUnsettled,
)
"""What may go better the next time. Beginning anew is safe: what was done already is answered from what was kept."""

TROUBLE: tuple[type[Exception], ...] = (*DATABASE_ERRORS, CalendarUnsettled)
"""What is no fault of the program's."""

LINES_KEPT = 4_096
"""Lines whose language is remembered."""

MOST_AT_ONCE = 512
"""Tool calls at work, those included whose answer nobody waits for any more."""


class Functions:
    """Answers tool calls. Never raises."""

    def __init__(
        self,
        pool: Pool,
        *,
        answer_s: float = ANSWER_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        changed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`changed` is told after each effect that is in the database."""
        self._pool = pool
        self._answer_s = answer_s
        self._clock = clock
        self._changed = changed
        self._turns = Turns()
        self._catalogues = Catalogues()
        self._working: set[asyncio.Task[bytes]] = set()
        self._languages: OrderedDict[tuple[str | None, str | None], Language] = OrderedDict()

    async def answer(self, call: FunctionCall) -> bytes:
        """The answer to one tool call, as JSON."""
        if len(self._working) >= MOST_AT_ONCE:
            return self.unavailable(call)
        task = asyncio.create_task(self._worked(call), name="function")
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        done, _ = await asyncio.wait({task}, timeout=self._answer_s)
        if done:
            return task.result()
        # Not waited for: undoing a statement can itself wait for a dead database.
        task.cancel()
        log.warning("the function %.64r was not answered in time", call.name)
        return self.unavailable(call)

    def unavailable(self, call: FunctionCall) -> bytes:
        """The answer when there is none: in the language in which this line was answered last."""
        language = self._languages.get((call.dialled, call.agent), Language.GERMAN)
        return refused(Declined(FunctionRefusal.UNAVAILABLE), language)

    async def close(self) -> None:
        """End what is still at work."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    async def _worked(self, call: FunctionCall) -> bytes:
        try:
            # Tool calls of one call would wait for each other in the database, each with one of few connections.
            async with self._turns.turn(call.provider_call_id):
                return await self._persistently(call)
        except TROUBLE as error:
            log.warning("the function %.64r was not answered: %s: %s", call.name, type(error).__name__, error)
        except Exception:
            log.exception("the function %.64r failed", call.name)
        return self.unavailable(call)

    async def _persistently(self, call: FunctionCall) -> bytes:
        loop = asyncio.get_running_loop()
        end = loop.time() + min(AGAIN_S, self._answer_s)
        while True:
            try:
                return await self._in_transaction(call, FUNCTIONS.get(call.name))
            except AGAIN:
                if loop.time() > end:
                    raise
                await asyncio.sleep(PAUSE_S)

    async def _in_transaction(self, call: FunctionCall, function: Function | None) -> bytes:
        has_effect = function is not None and function.has_effect
        async with self._pool.acquire(timeout=self._answer_s) as connection, transaction(connection, "select 1"):
            entered = await enter(connection, call, has_effect=has_effect)
            if entered is None:
                return refused(Declined(FunctionRefusal.UNKNOWN_NUMBER))
            self._remember(call, entered.language)
            if entered.answer is not None:
                if entered.is_same:
                    return entered.answer.encode()
                return refused(Declined(FunctionRefusal.TOOL_CALL_REUSED), entered.language)
            if function is None:
                return refused(Declined(FunctionRefusal.FUNCTION_UNKNOWN), entered.language)
            scene = Scene(connection, call, entered, self._catalogues, self._clock())
            try:
                if not entered.is_active:
                    raise Declined(RefusalReason.COMPANY_INACTIVE)
                answer = await function.work(scene)
            except Declined as declined:
                answer = refusal(declined, entered.language)
                if declined.alternatives:
                    answer["alternatives"] = told = await scene.slots(declined.alternatives)
                    answer["message"] = f"{answer['message']} {offered(told, entered.language)}"
            if function.has_effect:
                await leave(scene, answer)
        if function.has_effect and answer["ok"] and self._changed is not None:
            await self._changed()
        return msgspec.json.encode(answer)

    def _remember(self, call: FunctionCall, language: Language) -> None:
        line = (call.dialled, call.agent)
        self._languages[line] = language
        self._languages.move_to_end(line)
        if len(self._languages) > LINES_KEPT:
            self._languages.popitem(last=False)


def refusal(declined: Declined, language: Language) -> Answer:
    """A refusal as an answer, without its alternatives."""
    message = wording.REFUSALS[declined.reason].say(language, declined.words)
    if "names" in declined.words:
        message += " " + wording.SUGGESTIONS.say(language, declined.words)
    if declined.reason is FunctionRefusal.POLICY_FORBIDS:
        message += " " + (wording.FEE if "fee" in declined.words else wording.ASK_TEAM).say(language, declined.words)
    return {"ok": False, "reason": declined.reason.value, "message": message, "alternatives": [], **declined.fields}


def refused(declined: Declined, language: Language = Language.GERMAN) -> bytes:
    """A refusal as JSON; in German while nobody knows whose call it is."""
    return msgspec.json.encode(refusal(declined, language))


def offered(told: list[Answer], language: Language) -> str:
    """The sentence that names slots as a way out."""
    slots = spoken_list([str(slot["spoken"]) for slot in told], language, choice=True)
    return wording.ALTERNATIVES.say(language, {"slots": slots})
