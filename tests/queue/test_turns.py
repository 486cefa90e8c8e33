"""Turns: one at a time for each key, others not held up, nothing left behind."""

from __future__ import annotations

import asyncio

from backend.queue.turns import Turns


async def test_those_with_one_key_come_in_turn_and_others_do_not_wait() -> None:
    turns = Turns()
    order: list[str] = []
    gate = asyncio.Event()

    async def visit(name: str, key: str, *, waits: bool = False) -> None:
        async with turns.turn(key):
            order.append(f"{name} in")
            if waits:
                await gate.wait()
            order.append(f"{name} out")

    async with asyncio.TaskGroup() as group:
        group.create_task(visit("first", "a", waits=True))
        group.create_task(visit("second", "a"))
        await group.create_task(visit("other", "b"))
        assert order == ["first in", "other in", "other out"]
        gate.set()
    assert order[3:] == ["first out", "second in", "second out"]
    assert len(turns) == 0


async def test_one_who_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    turns = Turns()
    async with asyncio.TaskGroup() as group, turns.turn("a"):

        async def visit() -> None:
            async with turns.turn("a"):
                pass

        impatient = group.create_task(visit())
        patient = group.create_task(visit())
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait({impatient})
        assert not patient.done()
    assert patient.done()
    assert len(turns) == 0
