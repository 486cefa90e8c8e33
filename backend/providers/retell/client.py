"""Retell's API: calls listed in pages, read one by one, deleted, stopped.

The list leaves out transcripts and recordings (vendor's reference), so a call that is to be folded in is read by
itself. What a call looks like inside is the payloads' subject: here it stays the object that the provider sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from backend.providers.calling import ProviderClient, ProviderRefused, ProviderUnreachable

NAME = "retell"
URL = "https://api.retellai.com"

PAGE = 200
"""Calls in one page; the provider allows 1,000."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_FOUND = 404
_LONGEST_KEY = 4096


@dataclass(frozen=True, slots=True)
class ListedCall:
    """A call as the list tells it."""

    call_id: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None
    is_analyzed: bool
    body: Mapping[str, object]
    """As it was sent, without transcript and recording."""


@dataclass(frozen=True, slots=True)
class CallPage:
    """Some calls of a list, and how to go on."""

    calls: tuple[ListedCall, ...]
    next_key: str | None
    """None after the last page."""


class RetellClient:
    """Retell for one account (one key)."""

    def __init__(self, client: ProviderClient, key: str) -> None:
        self._client = client
        self._key = key

    async def list_calls(
        self, since: datetime, until: datetime, *, after: str | None = None, limit: int = PAGE
    ) -> CallPage:
        """Calls that began from `since` to `until` (aware, both included), oldest first; `after`: a page's `next_key`.

        Raises ProviderRefused, ProviderBusy, ProviderUnreachable, BreakerOpen.
        """
        asked: dict[str, object] = {
            "filter_criteria": {
                "start_timestamp": {"type": "range", "op": "bt", "value": [_milliseconds(since), _milliseconds(until)]}
            },
            "sort_order": "ascending",
            "limit": limit,
        }
        if after is not None:
            asked["pagination_key"] = after
        reply = await self._client.call(
            "POST", "/v3/list-calls", endpoint="list-calls", bearer=self._key, json=asked, repeatable=True
        )
        return _page(reply.json())

    async def get_call(self, call_id: str) -> Mapping[str, object] | None:
        """One call with all that is known of it; None when the provider has none of this id. Raises as above."""
        try:
            reply = await self._client.call("GET", _path("get-call", call_id), endpoint="get-call", bearer=self._key)
        except ProviderRefused as refused:
            if refused.status == _NOT_FOUND:
                return None
            raise
        call = reply.json()
        if not isinstance(call, dict) or call.get("call_id") != call_id:
            raise ProviderUnreachable("the answer is not the call that was asked for", may_have_acted=False)
        return call

    async def delete_call(self, call_id: str) -> bool:
        """Delete a call and its recording for good; False when there is none. Raises as above."""
        return await self._done("DELETE", _path("delete-call", call_id), "delete-call")

    async def stop_call(self, call_id: str) -> bool:
        """End a call that goes on; False when there is none. Raises as above."""
        return await self._done("POST", _path("stop-call", call_id), "stop-call")

    async def _done(self, method: str, path: str, endpoint: str) -> bool:
        try:
            await self._client.call(method, path, endpoint=endpoint, bearer=self._key, repeatable=True)
        except ProviderRefused as refused:
            if refused.status == _NOT_FOUND:
                return False
            raise
        return True


def listed(call: Mapping[str, object]) -> ListedCall | None:
    """A call as far as it can be compared; None when it has no id."""
    call_id = call.get("call_id")
    if not isinstance(call_id, str) or not 1 <= len(call_id) <= 256:
        return None
    status = call.get("call_status")
    duration = call.get("duration_ms")
    return ListedCall(
        call_id=call_id,
        status=status if isinstance(status, str) else "",
        started_at=_moment(call.get("start_timestamp")),
        ended_at=_moment(call.get("end_timestamp")),
        duration_ms=duration if isinstance(duration, int) and not isinstance(duration, bool) else None,
        is_analyzed=isinstance(call.get("call_analysis"), dict) and bool(call["call_analysis"]),
        body=call,
    )


def _page(answer: object) -> CallPage:
    if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
        raise ProviderUnreachable("the answer is no list of calls", may_have_acted=False)
    calls = [listed(item) for item in answer["items"] if isinstance(item, dict)]
    key = answer.get("pagination_key")
    has_more = answer.get("has_more") is True
    if has_more and not (isinstance(key, str) and 1 <= len(key) <= _LONGEST_KEY):
        raise ProviderUnreachable("the answer says that there is more and not where", may_have_acted=False)
    return CallPage(tuple(call for call in calls if call is not None), key if has_more else None)


def _path(verb: str, call_id: str) -> str:
    return f"/v2/{verb}/{quote(call_id, safe='')}"


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _moment(milliseconds: object) -> datetime | None:
    if not isinstance(milliseconds, int) or isinstance(milliseconds, bool) or not 0 <= milliseconds < 2**42:
        return None
    return _EPOCH + timedelta(milliseconds=milliseconds)
