"""Balancing: whatever the loads are, bounds hold, slots are conserved, what is fixed stays, and it comes to rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.balancing import COOLDOWN_S, MOST, NEED_S, Load, applied, decide

FLOORS = {"webhooks": (10, 30, 60), "appointments": (15, 15, 30), "default": (5, 20, 40), "notifications": (2, 10, 20)}
"""Floor, base, ceiling."""


@st.composite
def loads(draw: st.DrawFn, *, settled: bool = False) -> tuple[Load, ...]:
    """The queues of one node under some load; `settled`: within bounds, as many slots as they have of their own."""
    found = []
    for queue, (floor, base, ceiling) in FLOORS.items():
        ready = draw(st.one_of(st.just(0), st.integers(1, 100), st.integers(101, 50_000)))
        found.append(
            Load(
                queue=queue,
                node="n1",
                slots=base if settled else draw(st.integers(0, ceiling + 5)),
                floor=floor,
                base=base,
                ceiling=ceiling,
                work_s=ready * draw(st.floats(0.001, 30.0)),
                ready=ready,
                is_fixed=draw(st.booleans()) if draw(st.booleans()) else False,
            )
        )
    return tuple(found)


def history(queues: tuple[Load, ...], at_most: int = 400) -> list[tuple[Load, ...]]:
    """What becomes of the slots while the load stays the same."""
    states = [queues]
    while shifts := decide(states[-1]):
        states.append(applied(states[-1], shifts))
        assert len(states) <= at_most, "it does not come to rest"
    return states


def total(queues: tuple[Load, ...]) -> int:
    return sum(load.slots for load in queues)


@given(loads())
def test_the_same_load_brings_it_to_rest_without_ever_coming_back_to_where_it_was(queues: tuple[Load, ...]) -> None:
    states = history(queues)
    seen = [tuple(load.slots for load in state) for state in states]
    assert len(set(seen)) == len(seen)


@given(loads(settled=True))
def test_slots_are_lent_and_never_made(queues: tuple[Load, ...]) -> None:
    for state in history(queues):
        assert total(state) == total(queues)
        for load in state:
            assert load.floor <= load.slots <= load.ceiling


@given(loads(settled=True))
def test_the_floor_of_appointments_is_never_lent(queues: tuple[Load, ...]) -> None:
    for state in history(queues):
        (appointments,) = (load for load in state if load.queue == "appointments")
        assert appointments.slots >= 15


@given(loads())
def test_what_is_pinned_or_paused_neither_takes_nor_gives(queues: tuple[Load, ...]) -> None:
    before = {load.queue: load.slots for load in queues if load.is_fixed}
    after = {load.queue: load.slots for load in history(queues)[-1] if load.is_fixed}
    assert after == before


@given(loads())
def test_one_decision_moves_few_slots_and_says_why_in_one_line(queues: tuple[Load, ...]) -> None:
    shifts = decide(queues)
    bounds = {load.queue: load for load in queues}
    assert len(shifts) <= 2
    for shift in shifts:
        load = bounds[shift.queue]
        assert shift.before == load.slots != shift.after
        assert shift.why
        assert "\n" not in shift.why
        if load.floor <= load.slots <= load.ceiling:
            assert abs(shift.after - shift.before) <= MOST


@given(loads(), st.integers(0, 3))
def test_whoever_gets_slots_needs_them_and_is_not_better_off_than_who_gave(
    queues: tuple[Load, ...], steps: int
) -> None:
    for state in history(queues)[: steps + 1]:
        shifts = decide(state)
        if len(shifts) != 2:
            continue
        after = {load.queue: load for load in applied(state, shifts)}
        getter = next(after[shift.queue] for shift in shifts if shift.after > shift.before)
        giver = next(after[shift.queue] for shift in shifts if shift.after < shift.before)
        assert giver.clears_s <= max(getter.clears_s, NEED_S / 2)


@given(loads(settled=True))
def test_everything_comes_back_once_nobody_has_anything_to_do(queues: tuple[Load, ...]) -> None:
    strained = history(queues)[-1]
    idle = tuple(replace(load, work_s=0.0, ready=0) for load in strained)
    for load in history(idle)[-1]:
        assert load.slots == load.base


@given(loads(settled=True), st.integers(1, 60))
@settings(max_examples=50)
def test_what_a_person_says_about_one_queue_does_not_cost_the_others_their_own(
    queues: tuple[Load, ...], said: int
) -> None:
    strained = history(queues)[-1]
    pinned = tuple(
        replace(load, slots=said, is_fixed=True) if load.queue == "webhooks" else replace(load, work_s=0.0)
        for load in strained
    )
    for load in history(pinned)[-1]:
        assert load.is_fixed or load.slots == load.base


def test_a_flood_of_webhooks_borrows_from_idle_queues_but_not_from_appointments() -> None:
    queues = tuple(
        Load(
            queue=queue,
            node="n1",
            slots=base,
            floor=floor,
            base=base,
            ceiling=ceiling,
            work_s=50_000 * 0.05 if queue == "webhooks" else 0.0,
            ready=50_000 if queue == "webhooks" else 0,
        )
        for queue, (floor, base, ceiling) in FLOORS.items()
    )
    after = {load.queue: load.slots for load in history(queues)[-1]}
    assert after == {"webhooks": 53, "appointments": 15, "default": 5, "notifications": 2}
    first = decide(queues)
    assert "webhooks" in first[0].why
    assert "50,000 wait" in first[0].why


def test_a_flood_beside_steady_work_is_lent_to_once_and_given_back_once() -> None:
    """A minute of flood, minutes of rest, with the other queues at their usual work that comes and goes."""
    queues = {
        queue: Load(queue=queue, node="n1", slots=base, floor=floor, base=base, ceiling=ceiling, work_s=0.0)
        for queue, (floor, base, ceiling) in FLOORS.items()
    }
    run_s = {"webhooks": 0.3, "appointments": 0.1, "default": 0.8, "notifications": 0.5}
    waiting = dict.fromkeys(queues, 0.0)
    slots: dict[str, list[int]] = {queue: [load.slots] for queue, load in queues.items()}
    shifted = -99
    for second in range(600):
        for queue, load in queues.items():
            # Half of what its own slots manage, in gusts; a flood of five times as much in the first minute.
            usual = 0.5 * load.base / run_s[queue] * (2 if second % 4 < 2 else 0)
            flood = 2.5 * load.base / run_s[queue] if queue == "webhooks" and second < 60 else 0.0
            waiting[queue] = max(0.0, waiting[queue] + usual + flood - load.slots / run_s[queue])
            queues[queue] = replace(load, work_s=waiting[queue] * run_s[queue], ready=int(waiting[queue]))
        if second - shifted >= COOLDOWN_S and (shifts := decide(tuple(queues.values()))):
            queues = {load.queue: load for load in applied(tuple(queues.values()), shifts)}
            shifted = second
        for queue, load in queues.items():
            slots[queue].append(load.slots)
    assert max(slots["webhooks"]) >= 45
    assert set(slots["appointments"]) == {15}
    for queue, seen in slots.items():
        steps = [after - before for before, after in pairwise(seen) if after != before]
        turns = sum((one > 0) != (other > 0) for one, other in pairwise(steps))
        assert turns <= 1, f"{queue} goes to and fro: {steps}"
        assert seen[-1] == queues[queue].base


def test_a_queue_that_clears_at_once_gets_nothing() -> None:
    busy = Load(queue="webhooks", node="n1", slots=30, floor=10, base=30, ceiling=60, work_s=30 * NEED_S, ready=100)
    idle = replace(busy, queue="default", slots=20, floor=5, base=20, work_s=0.0, ready=0)
    assert decide((busy, idle)) == ()
    assert decide((replace(busy, work_s=31 * NEED_S), idle)) != ()
