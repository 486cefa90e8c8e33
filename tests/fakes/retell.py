"""Retell as its API behaves: calls listed in pages, read one by one, deleted and stopped; and misbehaving on demand.

What is known of the real one [vendor's reference and SDK types]: `POST /v3/list-calls` sorts by `start_timestamp`,
newest first unless asked otherwise, 50 a page and 1,000 at most, refuses `skip` beside `pagination_key`, and leaves out
transcripts and recordings; `GET /v2/get-call/{id}` has them. A key that is wrong gets 401.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.serving import serving

KEY = "key_retell_fake_0123456789"
LONGEST_PAGE = 1_000
USUAL_PAGE = 50

ONLY_WITH_GET = ("transcript", "transcript_object", "transcript_with_tool_calls", "recording_url")
"""Fields that the list leaves out."""

Call = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """One answer that is not what was asked for."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"status":"error","message":"Something went wrong"}'
    silent: bool = False
    """No answer at all, until the caller hangs up."""
    repeat_page: bool = False
    """The list answers with the page before this one, and its key."""


FAILING = Fault(500)
BROKEN_JSON = Fault(200, body=b'{"items": [{"call_id": "call_')
SILENT = Fault(silent=True)
PAGE_AGAIN = Fault(repeat_page=True)


def busy(retry_after: str) -> Fault:
    """429 with this Retry-After."""
    return Fault(429, {"retry-after": retry_after}, b'{"status":"error","message":"Rate limited, slow down"}')


def call_of(call_id: str, start_ms: int, **fields: object) -> Call:
    """A call that took place and was analysed, as the provider keeps it; more or other fields by keyword."""
    call: Call = {
        "call_id": call_id,
        "call_type": "phone_call",
        "agent_id": "agent_anna",
        "agent_version": 1,
        "agent_name": "Anna",
        "call_status": "ended",
        "direction": "inbound",
        "from_number": "+4917012345678",
        "to_number": "+4930123456",
        "start_timestamp": start_ms,
        "end_timestamp": start_ms + 90_000,
        "duration_ms": 90_000,
        "disconnection_reason": "user_hangup",
        "transcript": "Agent: Hallo.\nUser: Guten Tag.",
        "transcript_object": [],
        "transcript_with_tool_calls": [],
        "recording_url": f"https://recordings.example/{call_id}.wav",
        "metadata": {},
        "call_cost": {
            "combined_cost": 12.5,
            "product_costs": [],
            "total_duration_seconds": 90,
            "total_duration_unit_price": 0.1,
        },
        "call_analysis": {
            "call_summary": "Short.",
            "user_sentiment": "Positive",
            "call_successful": True,
            "in_voicemail": False,
            "custom_analysis_data": {"customer_name": "Hans Müller", "outcome": "enquiry"},
        },
        **fields,
    }
    return {name: value for name, value in call.items() if value is not None}


def ongoing(call_id: str, start_ms: int, **fields: object) -> Call:
    """A call that has not ended yet."""
    unknown = dict.fromkeys(
        ("end_timestamp", "duration_ms", "disconnection_reason", "transcript", "recording_url", "call_cost")
    )
    return call_of(call_id, start_ms, **{**unknown, "call_analysis": None, "call_status": "ongoing", **fields})


class RetellFake:
    """Its calls, what it was asked, and how it will misbehave. Used from any thread."""

    def __init__(self, key: str = KEY) -> None:
        self.key = key
        self.calls: dict[str, Call] = {}
        self.requests: list[tuple[str, str, Any]] = []
        """Method, path and body of each request with a right key, in order."""
        self.refused_keys = 0
        self.url = ""
        """Where it answers."""
        self._faults: list[tuple[str, Fault]] = []
        self._last_page: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def add(self, *calls: Call) -> None:
        """Let calls have taken place."""
        for call in calls:
            self.calls[call["call_id"]] = call

    def misbehave(self, fault: Fault, *, times: int = 1, on: str = "", after: int = 0) -> None:
        """Answer the next `times` requests whose path begins with `on` like this, once `after` of them went well."""
        with self._lock:
            self._faults += [(on, Fault(status=0))] * after + [(on, fault)] * times

    def behave(self) -> None:
        """Forget all faults that are still to come."""
        with self._lock:
            self._faults.clear()

    def asked(self, path: str) -> list[Any]:
        """The bodies of all requests for a path that begins like this."""
        return [body for _, asked, body in self.requests if asked.startswith(path)]

    def app(self) -> Starlette:
        """The application that answers."""
        return Starlette(
            routes=[
                Route("/v3/list-calls", self._list, methods=["POST"]),
                Route("/v2/get-call/{call_id:path}", self._get, methods=["GET"]),
                Route("/v2/delete-call/{call_id:path}", self._delete, methods=["DELETE"]),
                Route("/v2/stop-call/{call_id:path}", self._stop, methods=["POST"]),
            ]
        )

    async def _begin(self, request: Request) -> tuple[Any, Response | None, Fault | None]:
        """What was sent, the answer if it is decided already, and the fault that is due."""
        if request.headers.get("authorization") != f"Bearer {self.key}":
            self.refused_keys += 1
            return None, _error(401, "Invalid API key"), None
        raw = await request.body()
        body = json.loads(raw) if raw else None
        path = request.url.path
        with self._lock:
            self.requests.append((request.method, path, body))
            due = next((index for index, (on, _) in enumerate(self._faults) if path.startswith(on)), None)
            fault = None if due is None else self._faults.pop(due)[1]
        if fault is None or fault.status == 0 or fault.repeat_page:
            return body, None, fault
        if fault.silent:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            return body, Response(), fault
        return body, Response(fault.body, fault.status, fault.headers, "application/json"), fault

    async def _list(self, request: Request) -> Response:
        body, answer, fault = await self._begin(request)
        if answer is not None:
            return answer
        if fault is not None and fault.repeat_page and self._last_page is not None:
            return JSONResponse(self._last_page)
        asked = body or {}
        if "skip" in asked and "pagination_key" in asked:
            return _error(400, "skip and pagination_key exclude each other")
        limit = asked.get("limit", USUAL_PAGE)
        if not isinstance(limit, int) or not 1 <= limit <= LONGEST_PAGE:
            return _error(400, "limit must be from 1 to 1000")
        found = [call for call in self.calls.values() if _matches(call, asked.get("filter_criteria") or {})]
        found.sort(
            key=lambda call: (call.get("start_timestamp", 0), call["call_id"]),
            reverse=asked.get("sort_order", "descending") == "descending",
        )
        start = asked.get("skip", 0)
        if key := asked.get("pagination_key"):
            places = [index for index, call in enumerate(found) if call["call_id"] == key.removeprefix("page:")]
            if not key.startswith("page:") or not places:
                return _error(400, "pagination_key is not known")
            start = places[0] + 1
        page = found[start : start + limit]
        has_more = start + limit < len(found)
        told: dict[str, Any] = {
            "items": [{name: value for name, value in call.items() if name not in ONLY_WITH_GET} for call in page],
            "has_more": has_more,
        }
        if has_more:
            told["pagination_key"] = f"page:{page[-1]['call_id']}"
        if asked.get("include_total"):
            told["total"] = len(found)
        self._last_page = told
        return JSONResponse(told)

    async def _get(self, request: Request) -> Response:
        _, answer, _ = await self._begin(request)
        if answer is not None:
            return answer
        call = self.calls.get(request.path_params["call_id"])
        return _error(404, "Call not found") if call is None else JSONResponse(call)

    async def _delete(self, request: Request) -> Response:
        _, answer, _ = await self._begin(request)
        if answer is not None:
            return answer
        gone = self.calls.pop(request.path_params["call_id"], None)
        return _error(404, "Call not found") if gone is None else Response(status_code=204)

    async def _stop(self, request: Request) -> Response:
        _, answer, _ = await self._begin(request)
        if answer is not None:
            return answer
        call = self.calls.get(request.path_params["call_id"])
        if call is None:
            return _error(404, "Call not found")
        if call["call_status"] == "ongoing":
            call.update(call_status="ended", disconnection_reason="manual_stopped")
        return Response(status_code=204)


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"status": "error", "message": message}, status)


def _matches(call: Call, criteria: dict[str, Any]) -> bool:
    """All conditions hold; those that this fake does not know make it fail loudly."""
    for name, wanted in criteria.items():
        if name in {"start_timestamp", "end_timestamp", "duration_ms"}:
            if name not in call or not _number_matches(call[name], wanted):
                return False
        elif name == "agent":
            if call.get("agent_id") not in [agent["agent_id"] for agent in wanted]:
                return False
        elif name in {"call_status", "call_type", "direction"}:
            if call.get(name) not in wanted["value"]:
                return False
        else:
            raise NotImplementedError(f"filter_criteria.{name}")
    return True


def _number_matches(value: int, wanted: dict[str, Any]) -> bool:
    if wanted["type"] == "range":
        low, high = wanted["value"]
        return bool(low <= value <= high)
    limit = wanted["value"]
    return bool(
        {
            "eq": value == limit,
            "ne": value != limit,
            "gt": value > limit,
            "ge": value >= limit,
            "lt": value < limit,
            "le": value <= limit,
        }[wanted["op"]]
    )


@contextmanager
def running_retell(key: str = KEY) -> Iterator[RetellFake]:
    """A fake that answers under its `url` until the block ends."""
    fake = RetellFake(key)
    with serving(fake.app()) as url:
        fake.url = url
        yield fake
