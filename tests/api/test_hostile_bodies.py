"""Bodies as nobody should send them, correctly signed, so that they get as far as they can."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from backend.services.companies.applying import apply_company
from tests.api.conftest import CALCOM_SECRET, RETELL_KEY, StartApi
from tests.databases import OwnConnection
from tests.hostile_bodies import PATHS, HostileBodies
from tests.voice_agent import SALON

COUNT = 800
"""`python -m bench.bodies` sends 100,000."""


async def test_no_body_makes_the_api_fail_or_log_that_something_failed(
    start_api: StartApi, setup: OwnConnection, caplog: pytest.LogCaptureFixture
) -> None:
    await apply_company(setup, SALON)
    api = await start_api(patience_s=60.0, function_s=60.0)
    bodies = HostileBodies(11, retell_key=RETELL_KEY, calcom_secret=CALCOM_SECRET)
    answers: Counter[tuple[str, int]] = Counter()

    async def send(times: int) -> None:
        for _ in range(times):
            hostile = bodies.next()
            answer = await api.client.post(hostile.path, content=hostile.body, headers=hostile.headers)
            assert answer.status_code in {200, 204, 422}, (hostile, answer.text)
            answers[hostile.path, answer.status_code] += 1

    with caplog.at_level(logging.WARNING, "backend"):
        await asyncio.gather(*(send(COUNT // 8) for _ in range(8)))
    assert [record.getMessage() for record in caplog.records if record.name.startswith("backend")] == []
    for path in PATHS:
        good = sum(count for (where, status), count in answers.items() if where == path and status < 300)
        assert good > COUNT / 40, "enough of them get past the reading"


def test_equal_seeds_make_equal_bodies() -> None:
    one, other = (HostileBodies(5, retell_key="k", calcom_secret="s") for _ in range(2))
    first, second = [[maker.next() for _ in range(300)] for maker in (one, other)]
    assert [(each.path, each.kind, each.body) for each in first] == [
        (each.path, each.kind, each.body) for each in second
    ]
    assert len({each.kind for each in first}) == 10
