"""The breaker's states, on a clock moved by hand."""

from __future__ import annotations

import pytest

from backend.providers.breaker import HELD_RETRY_S, Breaker, BreakerOpen, BreakerPolicy, BreakerState
from tests.providers.clocks import HandClock

POLICY = BreakerPolicy(window=10, least=4, share=0.5, open_s=5.0, longest_open_s=20.0)


class Scene:
    """A breaker, its clock and the states it went through."""

    def __init__(self, spread: float = 0.5) -> None:
        self.clock = HandClock()
        self.states: list[BreakerState] = []
        self.breaker = Breaker(
            "cal.com",
            self.clock.monotonic,
            POLICY,
            on_change=lambda breaker: self.states.append(breaker.state),
            spread=lambda: spread,
        )

    def calls(self, *failed: bool) -> None:
        """Calls that end one after the other."""
        for one in failed:
            permit = self.breaker.permit()
            (permit.failed if one else permit.succeeded)()

    @property
    def state(self) -> str:
        """The breaker's state now."""
        return self.breaker.state.value

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.passed_s += seconds


def test_a_few_failures_among_many_calls_leave_it_closed() -> None:
    scene = Scene()
    scene.calls(*([False, True, False, False] * 10))
    assert scene.state == BreakerState.CLOSED
    assert scene.states == []


def test_it_does_not_judge_by_too_few_calls() -> None:
    scene = Scene()
    scene.calls(True, True, True)
    assert scene.state == BreakerState.CLOSED
    scene.calls(True)
    assert scene.state == BreakerState.OPEN


def test_while_open_no_call_goes_out_and_the_caller_learns_for_how_long() -> None:
    scene = Scene()
    scene.calls(*[True] * 4)
    scene.wait(2.0)
    with pytest.raises(BreakerOpen) as refused:
        scene.breaker.permit()
    assert refused.value.retry_after_s == pytest.approx(3.0)


def test_a_single_probe_goes_out_when_the_time_is_over() -> None:
    scene = Scene()
    scene.calls(*[True] * 4)
    scene.wait(5.0)
    probe = scene.breaker.permit()
    assert probe.is_probe
    for _ in range(10):
        with pytest.raises(BreakerOpen):
            scene.breaker.permit()
    probe.succeeded()
    assert scene.state == BreakerState.CLOSED
    assert not scene.breaker.permit().is_probe
    assert scene.states == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


def test_each_probe_that_fails_doubles_the_time_up_to_the_longest() -> None:
    scene = Scene()
    scene.calls(*[True] * 4)
    waits = []
    for _ in range(4):
        waits.append(scene.breaker.retry_after_s)
        scene.wait(scene.breaker.retry_after_s)
        scene.calls(True)
    assert waits == pytest.approx([5.0, 10.0, 20.0, 20.0])


def test_after_it_has_closed_it_starts_with_the_short_time_again() -> None:
    scene = Scene()
    scene.calls(*[True] * 4)
    scene.wait(5.0)
    scene.calls(True)
    scene.wait(10.0)
    scene.calls(False)
    scene.calls(*[True] * 4)
    assert scene.breaker.retry_after_s == pytest.approx(5.0)


def test_a_probe_that_was_given_up_leaves_its_turn_to_the_next_call() -> None:
    scene = Scene()
    scene.calls(*[True] * 4)
    scene.wait(5.0)
    scene.breaker.permit().abandoned()
    assert scene.breaker.permit().is_probe


def test_calls_from_before_it_opened_do_not_speak_about_the_provider_afterwards() -> None:
    scene = Scene()
    late = [scene.breaker.permit() for _ in range(8)]
    scene.calls(*[True] * 4)
    scene.wait(5.0)
    probe = scene.breaker.permit()
    for permit in late:
        permit.failed()
    assert scene.state == BreakerState.HALF_OPEN
    probe.succeeded()
    assert scene.state == BreakerState.CLOSED
    assert scene.breaker.failing == 0.0


def test_a_permit_counts_once() -> None:
    scene = Scene()
    permit = scene.breaker.permit()
    for _ in range(5):
        permit.failed()
    assert scene.state == BreakerState.CLOSED


@pytest.mark.parametrize(("spread", "open_s"), [(0.0, 4.0), (1.0, 6.0)])
def test_the_time_varies_a_little(spread: float, open_s: float) -> None:
    scene = Scene(spread)
    scene.calls(*[True] * 4)
    assert scene.breaker.retry_after_s == pytest.approx(open_s)


def test_held_by_order_it_lets_nothing_out_whatever_comes_back_until_it_is_let_go_and_then_probes() -> None:
    scene = Scene()
    under_way = scene.breaker.permit()
    scene.breaker.hold(float("inf"))
    under_way.succeeded()
    scene.wait(10_000)
    with pytest.raises(BreakerOpen, match="is paused") as refused:
        scene.breaker.permit()
    assert refused.value.retry_after_s == HELD_RETRY_S
    scene.breaker.let_go()
    assert scene.state == BreakerState.OPEN
    probe = scene.breaker.permit()
    assert probe.is_probe
    scene.breaker.let_go()
    probe.succeeded()
    assert scene.state == BreakerState.CLOSED


def test_a_hold_with_an_end_ends_by_itself() -> None:
    scene = Scene()
    scene.breaker.hold(50.0)
    scene.breaker.hold(20.0)
    scene.wait(20.0)
    assert scene.breaker.permit().is_probe
    assert not scene.breaker.is_held
    assert scene.breaker.opened == 0


def test_closed_by_order_it_forgets_what_failed() -> None:
    scene = Scene()
    scene.calls(*[True] * 4)
    scene.breaker.close()
    assert scene.state == BreakerState.CLOSED
    scene.calls(True, True, True)
    assert scene.state == BreakerState.CLOSED
