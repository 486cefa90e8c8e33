"""Error answers: `application/problem+json` (RFC 9457) with the request's id, and nothing that helps an attacker."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.types import Scope, Send

REQUEST_ID = "askpro.request_id"
"""Key of the request's id in the ASGI scope."""

_encode = msgspec.json.Encoder().encode

RawHeaders = list[tuple[bytes, bytes]]


class Problem(Exception):
    """A request ends with an error answer."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        field: str = "",
        reason: str = "",
        more: Mapping[str, object] | None = None,
        retry_after_s: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail or HTTPStatus(status).phrase)
        self.status = status
        self.detail = detail
        self.field = field
        """The field of the body that is meant."""
        self.reason = reason
        """A word for programs, which stays when the detail's wording changes."""
        self.more = more or {}
        """Further members of the answer."""
        self.retry_after_s = retry_after_s
        self.close = close
        """The connection ends with the answer, because the rest of the request is not read."""
        self.headers: RawHeaders = []
        """Further headers of the answer."""


async def send_problem(problem: Problem, scope: Scope, send: Send) -> None:
    """Answer with the problem."""
    content: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
    }
    if problem.detail:
        content["detail"] = problem.detail
    if problem.field:
        content["field"] = problem.field
    if problem.reason:
        content["reason"] = problem.reason
    content.update(problem.more)
    content["request_id"] = scope.get(REQUEST_ID, "")
    headers = list(problem.headers)
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % problem.retry_after_s))
    if problem.close:
        headers.append((b"connection", b"close"))
    await send_bytes(send, problem.status, _encode(content), content_type=b"application/problem+json", headers=headers)


async def send_json(send: Send, status: int, content: object, *, headers: RawHeaders | None = None) -> None:
    """Answer with a record or plain data as JSON."""
    await send_bytes(send, status, _encode(content), content_type=b"application/json", headers=headers)


async def send_bytes(
    send: Send, status: int, body: bytes, *, content_type: bytes, headers: RawHeaders | None = None
) -> None:
    """Answer with a body that is ready."""
    start = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    if headers:
        start += headers
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
