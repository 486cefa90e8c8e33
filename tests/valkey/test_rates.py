"""Shared rate limits against a real server: the rule, the sharing, and what happens while the server is away."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.stack.plans import valkey_plan
from backend.stack.valkey_server import SAVED, ValkeyServer
from backend.valkey.client import open_valkey
from backend.valkey.gcra import SECOND_US, Check, Limit, Memory, judge
from backend.valkey.rates import CHECK, PROCESSES_KEY, RATE_KEY, Rates
from tests.engines import layout_below, running

MINUTE = Limit("minute", 60)
FIVE = Limit("five", 5, period_s=3600.0)
"""So slow that nothing refills while a test runs."""
TWO = Limit("two", 2, period_s=3600.0)


def subject() -> str:
    """A subject that no other test knows."""
    return uuid.uuid4().hex


@asynccontextmanager
async def sharing(
    url: str | None, process: str = "p1", *, answer_s: float = 10.0, hang_s: float = 10.0
) -> AsyncIterator[Rates]:
    """Patient by default: how long an answer takes on a busy machine is not these tests' subject."""
    rates = Rates(url, process, answer_s=answer_s, hang_s=hang_s)
    await rates.start()
    try:
        yield rates
    finally:
        await rates.aclose()


async def granted(rates: Rates, key: str, limit: Limit = FIVE, tries: int = 10) -> int:
    return sum([(await rates.check([Check(limit, key)])).granted for _ in range(tries)])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.01)


async def until_mode(rates: Rates, mode: str) -> None:
    await until(lambda: rates.mode == mode)


# The rule


def test_a_burst_is_granted_and_then_one_request_for_each_interval() -> None:
    tat, now = 0, 10 * SECOND_US
    for _ in range(60):
        verdict, (tat,) = judge([MINUTE], [tat], now)
        assert verdict.granted
    verdict, (tat,) = judge([MINUTE], [tat], now)
    assert (verdict.granted, verdict.wait_s, verdict.binding) == (False, 1.0, MINUTE)
    assert verdict.standings[0].remaining == 0
    verdict, (tat,) = judge([MINUTE], [tat], now + SECOND_US)
    assert verdict.granted
    verdict, _ = judge([MINUTE], [tat], now + SECOND_US)
    assert not verdict.granted


@given(
    gaps=st.lists(st.integers(0, 3 * SECOND_US), min_size=1, max_size=300),
    count=st.integers(1, 40),
    burst=st.integers(0, 10),
)
@settings(max_examples=60, deadline=None)
def test_no_span_of_time_sees_more_than_the_rate_and_one_burst(gaps: list[int], count: int, burst: int) -> None:
    limit = Limit("any", count, period_s=10.0, burst=burst)
    now, tat = 1, 0
    moments: list[int] = []
    for gap in gaps:
        now += gap
        verdict, (tat,) = judge([limit], [tat], now)
        if verdict.granted:
            moments.append(now)
        else:
            assert verdict.wait_s > 0
            later, _ = judge([limit], [tat], now + round(verdict.wait_s * SECOND_US))
            assert later.granted, "who waits as long as told is granted"
    for first in range(len(moments)):
        for last in range(first, len(moments)):
            seen = last - first + 1
            assert seen <= (burst or count) + (moments[last] - moments[first]) / limit.interval_us


def test_a_time_told_wrongly_shuts_nobody_out_for_longer_than_a_burst_takes_to_refill() -> None:
    verdict, _ = judge([MINUTE], [10**18], now=1)
    assert 0 < verdict.wait_s <= 60.0


def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    memory = Memory(size=3)
    for key in "abc":
        memory.learn(key, 1)
    memory.learn("a", 5)
    memory.learn("a", 2)
    memory.learn("d", 1)
    assert len(memory) == 3
    assert (memory.get("a"), memory.get("b"), memory.get("d")) == (5, 0, 1)


# Shared


async def test_two_processes_grant_no_more_than_one(valkey_url: str) -> None:
    key = subject()
    async with sharing(valkey_url, "p1") as one, sharing(valkey_url, "p2") as other:
        verdicts = await asyncio.gather(*(rates.check([Check(FIVE, key)]) for _ in range(20) for rates in (one, other)))
        assert sum(verdict.granted for verdict in verdicts) == 5
        refused = [verdict for verdict in verdicts if not verdict.granted]
        assert all(verdict.binding == FIVE and 0 < verdict.wait_s <= 720 for verdict in refused)
        assert (one.processes, other.processes) in {(1, 2), (2, 2)}


async def test_a_request_counts_against_all_its_limits_or_against_none(valkey_url: str) -> None:
    narrow, wide = subject(), subject()
    async with sharing(valkey_url) as rates:
        both = [Check(TWO, narrow), Check(FIVE, wide)]
        verdicts = [await rates.check(both) for _ in range(4)]
        assert [verdict.granted for verdict in verdicts] == [True, True, False, False]
        assert verdicts[2].binding == TWO
        assert [standing.remaining for standing in verdicts[1].standings] == [0, 3]
        assert await granted(rates, wide) == 3, "the refused ones did not count against the wide limit"


async def test_the_server_decides_as_the_rule_in_python_does(valkey_url: str) -> None:
    client = open_valkey(valkey_url)
    limits = [Limit("a", 7, period_s=0.02), Limit("b", 3, period_s=0.005, burst=2)]
    keys = [RATE_KEY + subject() for _ in limits]
    tats = [0, 0]
    verdicts = []
    for turn in range(300):
        known = [tats[0] + 10**9 if turn == 150 else 0, 0]
        told = [
            x for limit, tat in zip(limits, known, strict=True) for x in (limit.interval_us, limit.tolerance_us, tat)
        ]
        now, wait, *after = await client.eval(CHECK, 2, *keys, *told)
        verdict, expected = judge(limits, [max(pair) for pair in zip(tats, known, strict=True)], now)
        assert max(0, wait) == round(verdict.wait_s * SECOND_US)
        verdicts.append(verdict.granted)
        if verdict.granted:
            assert after == expected
            tats = expected
    assert {True, False} == set(verdicts)
    await client.aclose()


async def test_every_key_expires_when_it_says_nothing_any_more(valkey_url: str) -> None:
    key = subject()
    client = open_valkey(valkey_url)
    async with sharing(valkey_url) as rates:
        await rates.check([Check(MINUTE, key)])
        assert 0 < await client.pttl(RATE_KEY + key) <= 1_000
        assert 0 < await client.ttl(PROCESSES_KEY) <= 60
    await client.aclose()


async def test_forgotten_scripts_are_loaded_again(valkey_url: str) -> None:
    key = subject()
    client = open_valkey(valkey_url)
    async with sharing(valkey_url) as rates:
        assert await granted(rates, key, tries=2) == 2
        await client.script_flush()
        assert await granted(rates, key) == 3
        assert rates.mode == "shared"
        assert rates.counters.losses == 0
    await client.aclose()


async def test_what_is_known_to_be_refused_is_refused_without_asking(valkey_url: str) -> None:
    key = subject()
    async with sharing(valkey_url) as rates:
        await granted(rates, key, tries=7)
        asked, refused = rates.counters.shared, rates.counters.remembered
        await granted(rates, key, tries=100)
        assert rates.counters.shared == asked
        assert rates.counters.remembered == refused + 100


async def test_a_server_that_lost_its_memory_is_told_what_is_known(valkey_url: str) -> None:
    key = subject()
    client = open_valkey(valkey_url)
    async with sharing(valkey_url) as rates:
        assert await granted(rates, key, tries=4) == 4
        await client.delete(RATE_KEY + key)
        assert await granted(rates, key) == 1
    await client.aclose()


# Without the server


async def test_without_a_server_a_process_limits_by_itself() -> None:
    async with sharing(None) as rates:
        assert rates.mode == "local"
        assert await granted(rates, subject()) == 5


async def test_alone_each_process_grants_its_share_of_what_is_left(valkey_url: str) -> None:
    with own_server() as (server, pid):
        async with (
            sharing(server.url, "p1") as one,
            sharing(server.url, "p2") as two,
            sharing(server.url, "p3") as three,
        ):
            await until(lambda: all(rates.processes == 3 for rates in (one, two, three)))
            os.kill(pid, signal.SIGKILL)
            for rates in (one, two, three):
                await rates.check([Check(FIVE, subject())])
                await until_mode(rates, "local")
            nine = Limit("nine", 9, period_s=3600.0)
            key = subject()
            assert [await granted(rates, key, nine) for rates in (one, two, three)] == [3, 3, 3]


async def test_a_server_that_hangs_is_not_waited_for_and_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    with own_server() as (server, pid):
        async with sharing(server.url, answer_s=0.005, hang_s=1.0) as rates:
            key = subject()
            await granted(rates, key, tries=2)
            psutil.Process(pid).suspend()
            assert (await rates.check([Check(FIVE, key)])).granted
            assert rates.counters.local >= 1, "by this process alone, since nobody answered"
            await until_mode(rates, "local")
            assert await granted(rates, key) == 2, "what was used before the hang still counts"
            psutil.Process(pid).resume()
            await until_mode(rates, "shared")
            assert await granted(rates, key) == 0, "and what was used alone counts afterwards"
    told = [record.getMessage() for record in caplog.records if record.name == "backend.valkey.rates"]
    assert len([text for text in told if "own" in text]) == 1


async def test_a_server_that_comes_back_empty_does_not_forgive() -> None:
    with own_directory() as base:
        server = ValkeyServer(layout_below(base))
        server.initialise()
        key = subject()
        with started(server, base) as pid:
            async with sharing(server.url) as rates:
                assert await granted(rates, key, tries=4) == 4
                os.kill(pid, signal.SIGKILL)
                await rates.check([Check(FIVE, subject())])
                await until_mode(rates, "local")
                with started(server, base):
                    await until_mode(rates, "shared")
                    assert await granted(rates, key) == 1


# Over a restart


async def test_limits_survive_the_restart_of_every_process() -> None:
    with own_directory() as base:
        server = ValkeyServer(layout_below(base))
        server.initialise()
        key = subject()
        with started(server, base):
            async with sharing(server.url) as rates:
                assert await granted(rates, key, tries=4) == 4
        with started(server, base):
            async with sharing(server.url) as rates:
                assert await granted(rates, key) == 1


async def test_a_saved_file_that_cannot_be_read_does_not_keep_the_server_from_starting() -> None:
    with own_directory() as base:
        layout = layout_below(base)
        server = ValkeyServer(layout)
        server.initialise()
        with started(server, base):
            pass
        saved = layout.valkey_data / SAVED
        saved.write_bytes(saved.read_bytes()[:-9] + b"nonsense!")
        with suppress(AssertionError), started(server, base):
            pass
        with started(server, base):
            assert server.ready()


@contextmanager
def own_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="askpro-r-") as name:
        base = Path(name)
        for directory in (base, base / "data", base / "run"):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
        yield base


@contextmanager
def own_server() -> Iterator[tuple[ValkeyServer, int]]:
    """A server that a test may harm, and its pid."""
    with own_directory() as base:
        server = ValkeyServer(layout_below(base))
        server.initialise()
        with started(server, base) as pid:
            yield server, pid


@contextmanager
def started(server: ValkeyServer, base: Path) -> Iterator[int]:
    """As the supervisor starts and ends it."""
    plan = valkey_plan(server)
    with running(
        plan.spec(), base / "valkey.log", lambda pid: plan.probe is not None and plan.probe(pid), plan.stop[0].signal
    ) as pid:
        yield pid
