"""The gate in virtual time: who gets in, in which order, and how many at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from backend.api.limits.gate import Gate, GatePolicy, Overloaded, Priority
from tests.api.virtual_time import in_virtual_time

IN_CALL, BOOKING, REPORT = Priority.IN_CALL, Priority.BOOKING, Priority.REPORT

FIXED = GatePolicy(start=8, least=8, most=8)


def now() -> float:
    return asyncio.get_running_loop().time()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_lower_classes_leave_places_free_for_higher_ones() -> None:
    async def story() -> None:
        gate = Gate(FIXED)
        assert [gate.try_enter(REPORT) for _ in range(5)] == [True] * 4 + [False]
        assert [gate.try_enter(BOOKING) for _ in range(3)] == [True] * 2 + [False]
        assert [gate.try_enter(IN_CALL) for _ in range(3)] == [True] * 2 + [False]

    in_virtual_time(story())


def test_a_free_place_goes_to_the_highest_class_and_in_it_to_who_came_first() -> None:
    async def story() -> list[str]:
        gate = Gate(FIXED)
        for _ in range(8):
            assert gate.try_enter(IN_CALL)
        came: list[str] = []

        async def visit(name: str, priority: Priority) -> None:
            await gate.enter(priority)
            came.append(name)
            gate.leave(priority, 0.0)

        order = (("report", REPORT), ("booking", BOOKING), ("first call", IN_CALL), ("second call", IN_CALL))
        tasks = [asyncio.create_task(visit(name, priority)) for name, priority in order]
        await settled()
        assert [gate.waiting(priority) for priority in Priority] == [2, 0, 1, 1]
        for _ in range(8):
            gate.leave(IN_CALL, 0.0)
        await asyncio.gather(*tasks)
        assert gate.inflight == 0
        return came

    assert in_virtual_time(story()) == ["first call", "second call", "booking", "report"]


def test_nobody_waits_longer_than_the_policy_allows() -> None:
    async def story() -> None:
        gate = Gate(FIXED)
        for _ in range(8):
            assert gate.try_enter(IN_CALL)
        with pytest.raises(Overloaded):
            await gate.enter(REPORT)
        assert now() == pytest.approx(1.0)
        with pytest.raises(Overloaded):
            await gate.enter(IN_CALL)
        assert now() == pytest.approx(1.3), "a caller hears nothing meanwhile"
        assert gate.figures[REPORT].shed == 1
        assert gate.waiting(REPORT) == 0

    in_virtual_time(story())


def test_in_a_standing_queue_nobody_waits_long_and_the_longest_waiting_are_given_up() -> None:
    async def story() -> None:
        gate = Gate(FIXED)
        for _ in range(8):
            assert gate.try_enter(IN_CALL)

        async def try_in() -> float:
            came = now()
            with suppress(Overloaded):
                await gate.enter(REPORT)
            return now() - came

        tasks = []
        for _ in range(80):
            tasks.append(asyncio.create_task(try_in()))
            await asyncio.sleep(0.05)
        waits = await asyncio.gather(*tasks)
        assert waits[0] == pytest.approx(1.0)
        assert max(waits[-5:]) <= 0.2 + 1e-6

    in_virtual_time(story())


def test_a_queue_that_moves_on_is_not_a_standing_one() -> None:
    """Sixteen programs that each always have one request under way find eight places: nobody is refused."""

    async def story() -> int:
        gate = Gate(FIXED)

        async def program() -> None:
            while now() < 20.0:
                await gate.enter(IN_CALL)
                await asyncio.sleep(0.1)
                gate.leave(IN_CALL, 0.1)

        await asyncio.gather(*(program() for _ in range(16)))
        return gate.figures[IN_CALL].shed

    assert in_virtual_time(story()) == 0


def test_a_full_queue_refuses_at_once() -> None:
    async def story() -> None:
        gate = Gate(GatePolicy(start=4, least=4, most=4, most_waiting=3))
        for _ in range(4):
            assert gate.try_enter(IN_CALL)
        tasks = [asyncio.create_task(gate.enter(BOOKING)) for _ in range(3)]
        await settled()
        with pytest.raises(Overloaded):
            await gate.enter(BOOKING)
        assert now() == 0.0
        for each in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(each, Overloaded)

    in_virtual_time(story())


def test_late_answers_make_it_narrower_and_good_ones_wider_again() -> None:
    async def story() -> None:
        gate = Gate(GatePolicy(start=16))

        async def answers(seconds: float, count: int) -> None:
            for _ in range(count):
                places = [gate.try_enter(IN_CALL) for _ in range(int(gate.limit))]
                await asyncio.sleep(0.3)
                for entered in places:
                    if entered:
                        gate.leave(IN_CALL, seconds)

        await answers(0.9, 60)
        assert gate.limit == pytest.approx(4.0)
        await answers(0.01, 200)
        assert gate.limit == 128.0
        assert gate.inflight == 0

    in_virtual_time(story())


def test_it_does_not_grow_while_nobody_needs_it() -> None:
    async def story() -> None:
        gate = Gate(GatePolicy(start=16))
        for _ in range(200):
            assert gate.try_enter(IN_CALL)
            await asyncio.sleep(0.1)
            gate.leave(IN_CALL, 0.1)
        assert gate.limit == 16.0

    in_virtual_time(story())


@pytest.mark.parametrize("seed", range(10))
def test_places_are_neither_lost_nor_made_whatever_happens(seed: int) -> None:
    """Requests of all classes come, work, fail and are cancelled at random moments, also amid their waiting."""
    dice = random.Random(seed)

    async def story() -> None:
        gate = Gate(GatePolicy(start=8, most=16, most_waiting=20))
        inside: Counter[Priority] = Counter()

        async def visit(priority: Priority) -> None:
            await gate.enter(priority)
            inside[priority] += 1
            assert inside.total() <= gate.inflight <= gate.policy.most
            entered = now()
            try:
                await asyncio.sleep(dice.expovariate(10.0))
            finally:
                inside[priority] -= 1
                gate.leave(priority, now() - entered, failed=dice.random() < 0.1)

        tasks = []
        for _ in range(500):
            tasks.append(asyncio.create_task(visit(dice.choice((IN_CALL, BOOKING, REPORT)))))
            await asyncio.sleep(dice.expovariate(100.0))
            if dice.random() < 0.3:
                dice.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, Overloaded | asyncio.CancelledError) for result in results)
        assert gate.inflight == 0
        for priority, figures in gate.figures.items():
            assert (figures.inflight, gate.waiting(priority)) == (0, 0)
        assert gate.policy.least <= gate.limit <= gate.policy.most

    in_virtual_time(story())


@dataclass
class Seen:
    """What became of the requests of one class."""

    answered: list[float] = field(default_factory=list)
    """Seconds from arriving to the answer."""
    shed: int = 0

    @property
    def share(self) -> float:
        return len(self.answered) / max(1, len(self.answered) + self.shed)

    def within(self, seconds: float) -> int:
        return sum(took <= seconds for took in self.answered)

    def quantile(self, q: float) -> float:
        return sorted(self.answered)[int(len(self.answered) * q)]


WORK_S = {IN_CALL: 0.015, BOOKING: 0.02, REPORT: 0.04}
CONNECTIONS = 8


async def overload(
    rates: Mapping[Priority, float], seconds: float, gate: Gate | None, seed: int = 1
) -> dict[Priority, Seen]:
    """Poisson arrivals (a second, by class) at a server whose requests each need one of eight connections."""
    dice = random.Random(seed)
    pool = asyncio.Semaphore(CONNECTIONS)
    seen = {priority: Seen() for priority in rates}

    async def request(priority: Priority) -> None:
        came = now()
        if gate is not None:
            try:
                await gate.enter(priority)
            except Overloaded:
                seen[priority].shed += 1
                return
        entered = now()
        async with pool:
            await asyncio.sleep(dice.expovariate(1 / WORK_S[priority]))
        if gate is not None:
            gate.leave(priority, now() - entered)
        seen[priority].answered.append(now() - came)

    async def source(priority: Priority, rate: float) -> None:
        async with asyncio.TaskGroup() as requests:
            while now() < seconds:
                await asyncio.sleep(dice.expovariate(rate))
                requests.create_task(request(priority))

    async with asyncio.TaskGroup() as sources:
        for priority, rate in rates.items():
            sources.create_task(source(priority, rate))
    return seen


FOURFOLD = {IN_CALL: 150.0, BOOKING: 400.0, REPORT: 540.0}
"""32 connection-seconds a second are asked of 8; the calls alone need 2.3."""


@pytest.mark.parametrize("seed", [1, 2])
def test_under_fourfold_load_reports_give_way_first_and_calls_are_served_in_time(seed: int) -> None:
    gated = in_virtual_time(overload(FOURFOLD, 6.0, Gate(), seed))
    calls, bookings, reports = (gated[priority] for priority in (IN_CALL, BOOKING, REPORT))
    assert calls.share > 0.999
    assert calls.share > bookings.share > reports.share
    assert calls.quantile(0.99) < 0.3
    open_door = in_virtual_time(overload(FOURFOLD, 6.0, None, seed))
    in_time = sum(each.within(1.0) for each in gated.values())
    assert in_time > 2 * sum(each.within(1.0) for each in open_door.values())
    work = sum(WORK_S[priority] * len(each.answered) for priority, each in gated.items())
    assert work > 0.9 * CONNECTIONS * 6.0, "and the connections were busy all the time"


def test_when_calls_alone_are_too_many_those_answered_are_answered_soon() -> None:
    seen = in_virtual_time(overload({IN_CALL: 2_000.0, REPORT: 50.0}, 5.0, Gate()))
    calls = seen[IN_CALL]
    assert len(calls.answered) / 5.0 > 0.9 * CONNECTIONS / WORK_S[IN_CALL]
    assert calls.quantile(0.99) < 0.5
    assert seen[REPORT].share < 0.1


def test_after_an_overload_everybody_is_served_again() -> None:
    async def story() -> dict[Priority, Seen]:
        gate = Gate()
        await overload(FOURFOLD, 3.0, gate)
        return await overload({IN_CALL: 40.0, BOOKING: 40.0, REPORT: 30.0}, now() + 5.0, gate)

    seen = in_virtual_time(story())
    assert all(each.share == 1.0 for each in seen.values())


def test_a_light_load_is_never_refused_and_hardly_waits() -> None:
    seen = in_virtual_time(overload({IN_CALL: 100.0, BOOKING: 100.0, REPORT: 40.0}, 10.0, Gate()))
    assert all(each.share == 1.0 for each in seen.values())
    assert seen[IN_CALL].quantile(0.99) < 0.15
