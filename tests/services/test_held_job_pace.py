"""The pace of decisions about many held jobs: never above the rate, nothing caught up, and a rate has to be one."""

from __future__ import annotations

import math

import pytest

from backend.domain.vocabulary import BulkAction
from backend.postgres.address import PostgresAddress
from backend.services.held_jobs.bulk import run_bulk
from backend.services.held_jobs.pace import Pace, is_rate
from backend.services.held_jobs.selecting import HeldFilter
from backend.services.operating.refusals import NotPossible
from tests.services.held_scenes import ANNA, worker_at


def test_batches_follow_each_other_at_the_rate() -> None:
    pace = Pace(10.0, now=100.0)
    assert (pace.batch, pace.wait_s(100.0)) == (10, 0.0)
    pace.went(began=100.0, done=10)
    assert pace.wait_s(100.25) == 0.75
    pace.went(began=101.0, done=10)
    assert pace.wait_s(101.0) == 1.0


def test_what_a_stall_cost_is_not_caught_up_on() -> None:
    pace = Pace(10.0, now=0.0)
    pace.went(began=0.0, done=10)
    # It was due after one second and went after sixty.
    pace.went(began=60.0, done=10)
    assert pace.wait_s(60.0) == 1.0
    # A batch that takes long itself holds up only those after it, each of which waits again.
    pace.went(began=61.0, done=10)
    assert pace.wait_s(75.0) == 0.0
    pace.went(began=75.0, done=10)
    assert pace.wait_s(75.0) == 1.0


def test_what_was_skipped_costs_nothing_and_without_a_rate_nothing_waits() -> None:
    slow, free = Pace(0.5, now=0.0), Pace(None, now=0.0)
    slow.went(began=0.0, done=0)
    free.went(began=0.0, done=100)
    assert (slow.batch, slow.wait_s(0.0)) == (1, 0.0)
    assert (free.batch, free.wait_s(0.0)) == (100, 0.0)
    slow.went(began=0.0, done=1)
    assert slow.wait_s(0.0) == 2.0


@pytest.mark.parametrize("per_s", [0.0, -1.0, math.inf, -math.inf, math.nan])
async def test_what_is_no_rate_is_refused_before_anything_begins(database: PostgresAddress, per_s: float) -> None:
    assert not is_rate(per_s)
    with pytest.raises(NotPossible, match="is no rate"):
        await run_bulk(worker_at(database), ANNA, BulkAction.RETRY, HeldFilter(), per_s=per_s)
