"""Questions that many ask at once and that need asking only once, within one process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Coalesced(Generic[Answer]):
    """One question of each kind is on its way at a time; whoever asks meanwhile gets the same answer.

    An answer is never kept: who asks after it came asks anew.
    """

    def __init__(self) -> None:
        self._asked: dict[Hashable, asyncio.Future[tuple[Answer] | None]] = {}

    async def ask(self, key: Hashable, question: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
        """The answer, and whether it was asked for here. Raises what `question` raises, if it was.

        When whoever asked first failed, everybody else asks by themselves.
        """
        pending = self._asked.get(key)
        if pending is not None and pending.get_loop() is asyncio.get_running_loop():
            found = await asyncio.shield(pending)
            return (found[0], False) if found is not None else (await question(), True)
        mine: asyncio.Future[tuple[Answer] | None] = asyncio.get_running_loop().create_future()
        self._asked[key] = mine
        answer: tuple[Answer] | None = None
        try:
            answer = (await question(),)
        finally:
            if self._asked.get(key) is mine:
                del self._asked[key]
            mine.set_result(answer)
        return answer[0], True
