"""The fake of Retell's API is faithful: the vendor's own client talks to it and reads what it says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from retell import APIStatusError, AsyncRetell, AuthenticationError, NotFoundError

from tests.fakes.retell import FAILING, KEY, RetellFake, busy, call_of, ongoing, running_retell

START_MS = 1_767_607_200_000


@pytest.fixture
def fake() -> Iterator[RetellFake]:
    """A running fake with five calls, a minute apart; the last one goes on."""
    with running_retell() as running:
        running.add(*(call_of(f"call_{number}", START_MS + 60_000 * number) for number in range(4)))
        running.add(ongoing("call_4", START_MS + 240_000))
        yield running


async def test_the_vendors_client_reads_all_pages(fake: RetellFake) -> None:
    async with AsyncRetell(api_key=KEY, base_url=fake.url, max_retries=0) as vendor:
        first = await vendor.call.list(limit=2, sort_order="ascending", include_total=True)
        assert first.pagination_key is not None
        second = await vendor.call.list(limit=2, sort_order="ascending", pagination_key=first.pagination_key)
        assert second.pagination_key is not None
        last = await vendor.call.list(limit=2, sort_order="ascending", pagination_key=second.pagination_key)
    assert [call.call_id for page in (first, second, last) for call in page.items] == [f"call_{n}" for n in range(5)]
    assert (first.has_more, second.has_more, last.has_more, last.pagination_key) == (True, True, False, None)
    assert first.total == 5
    assert not hasattr(first.items[0], "transcript")


async def test_the_vendors_client_filters_by_time_and_status(fake: RetellFake) -> None:
    async with AsyncRetell(api_key=KEY, base_url=fake.url, max_retries=0) as vendor:
        since = await vendor.call.list(
            filter_criteria={"start_timestamp": {"type": "number", "op": "ge", "value": START_MS + 180_000}}
        )
        on_the_line = await vendor.call.list(
            filter_criteria={"call_status": {"type": "enum", "op": "in", "value": ["ongoing"]}}
        )
    assert [call.call_id for call in since.items] == ["call_4", "call_3"]
    assert [call.call_id for call in on_the_line.items] == ["call_4"]


async def test_the_vendors_client_reads_stops_and_deletes_a_call(fake: RetellFake) -> None:
    async with AsyncRetell(api_key=KEY, base_url=fake.url, max_retries=0) as vendor:
        call = await vendor.call.retrieve("call_1")
        assert (call.call_status, call.transcript) == ("ended", "Agent: Hallo.\nUser: Guten Tag.")
        await vendor.call.stop("call_4")
        assert (await vendor.call.retrieve("call_4")).call_status == "ended"
        await vendor.call.delete("call_1")
        with pytest.raises(NotFoundError):
            await vendor.call.retrieve("call_1")


async def test_the_vendors_client_meets_the_faults_that_are_asked_for(fake: RetellFake) -> None:
    async with AsyncRetell(api_key=KEY, base_url=fake.url, max_retries=0) as vendor:
        fake.misbehave(FAILING)
        fake.misbehave(busy("7"), on="/v3/")
        with pytest.raises(APIStatusError, match="500"):
            await vendor.call.retrieve("call_1")
        with pytest.raises(APIStatusError) as caught:
            await vendor.call.list()
        assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (429, "7")
        assert (await vendor.call.retrieve("call_1")).call_id == "call_1"
    async with AsyncRetell(api_key="key_wrong", base_url=fake.url, max_retries=0) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.call.list()
    assert fake.refused_keys == 1
