"""Whole runs against a whole system: what should be in the database is there."""

from __future__ import annotations

import pytest

from backend.simulate.presets import PACES
from backend.simulate.run import Order, Simulation, Target


def order(calls: int, *, seed: int = 1, run: str = "a", faults: bool = True) -> Order:
    return Order(calls=calls, seed=seed, run=run, pace=PACES["now"], faults=faults, check=True, connections=24)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_run_with_all_faults_leaves_exactly_what_it_should(target: Target, seed: int) -> None:
    report = await Simulation(target, order(250, seed=seed)).run()
    assert "\n".join(report.shown) == ""
    assert report.differences == 0
    assert report.expected["calls"] > 240
    assert report.undeliverable == report.unsent == 0
