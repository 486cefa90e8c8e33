"""Pauses between restarts grow with jitter, start small again after health, and end after a crash loop."""

from __future__ import annotations

from backend.stack.restarts import CRASH_WINDOW_S, CRASHES_UNTIL_FAILED, HEALTHY_AFTER_S, LONGEST_PAUSE_S, RestartPolicy


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def longest(_low: float, high: float) -> float:
    return high


def test_pauses_double_up_to_half_a_minute() -> None:
    clock = Clock()
    policy = RestartPolicy(clock=clock, jitter=longest)
    pauses = []
    for _ in range(9):
        clock.now += CRASH_WINDOW_S
        pauses.append(policy.crashed(1.0))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_the_jitter_draws_from_nothing_to_the_limit() -> None:
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    assert RestartPolicy(clock=Clock(), jitter=draw).crashed(1.0) == 0.0
    assert drawn == [(0.0, 0.5)]


def test_five_crashes_within_a_minute_are_the_end() -> None:
    policy = RestartPolicy(clock=Clock(), jitter=longest)
    outcomes = [policy.crashed(0.1) for _ in range(CRASHES_UNTIL_FAILED)]
    assert None not in outcomes[:-1]
    assert outcomes[-1] is None


def test_five_crashes_over_a_longer_time_are_not() -> None:
    clock = Clock()
    policy = RestartPolicy(clock=clock, jitter=longest)
    for _ in range(20):
        clock.now += CRASH_WINDOW_S / (CRASHES_UNTIL_FAILED - 1) + 0.1
        assert policy.crashed(1.0) is not None


def test_a_healthy_run_makes_the_next_pause_small() -> None:
    clock = Clock()
    policy = RestartPolicy(clock=clock, jitter=longest)
    for _ in range(3):
        clock.now += CRASH_WINDOW_S
        policy.crashed(1.0)
    clock.now += HEALTHY_AFTER_S
    assert policy.crashed(HEALTHY_AFTER_S) == 0.5


def test_what_its_work_brings_down_is_started_again_soon_and_without_end() -> None:
    policy = RestartPolicy(clock=Clock(), jitter=longest)
    assert [policy.crashed(0.1, at_work=True) for _ in range(20)] == [0.5, 1.0, *[2.0] * 18]
    assert policy.crashed(HEALTHY_AFTER_S, at_work=True) == 0.5
    assert policy.crashed(0.1) is not None


def test_forgiving_begins_the_count_anew() -> None:
    policy = RestartPolicy(clock=Clock(), jitter=longest)
    for _ in range(CRASHES_UNTIL_FAILED - 1):
        policy.crashed(0.1)
    policy.forgive()
    assert policy.crashed(0.1) == 0.5
