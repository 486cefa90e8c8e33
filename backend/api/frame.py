"""Around every request: its id, its timing, and an answer whatever happens inside.

Requests for the known routes go straight to their endpoints; all others go on to the router, which says why not.
Every route has one label for its timings, whatever stands in the place of its parameters.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Mapping
from time import perf_counter

from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.body import ClientGone
from backend.api.problems import REQUEST_ID, Problem, send_problem
from backend.api.timings import Timings

log = logging.getLogger(__name__)

ELSEWHERE = "other"
"""The route of requests that no route takes."""

CLIENT_GONE = 499
"""The status that a request counts with when nobody waited for its answer."""

_sane = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


class Frame:
    """ASGI middleware, outermost of ours."""

    def __init__(self, app: ASGIApp, *, timings: Timings, endpoints: Mapping[tuple[str, str], ASGIApp]) -> None:
        """`endpoints` by method and path, which may have parameters in braces.

        Both together are the label under which their requests are counted.
        """
        self.app = app
        self._timings = timings
        self._endpoints: dict[tuple[str, str], tuple[str, ASGIApp]] = {}
        self._templates: dict[str, list[tuple[re.Pattern[str], tuple[str, ASGIApp]]]] = {}
        for (method, path), endpoint in endpoints.items():
            labelled = (f"{method} {path}", endpoint)
            if "{" in path:
                self._templates.setdefault(method, []).append((compile_path(path)[0], labelled))
            else:
                self._endpoints[method, path] = labelled
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        request_id = self._request_id(scope)
        scope[REQUEST_ID] = request_id.decode("ascii")
        status = 0
        route, app = self._endpoints.get((scope["method"], scope["path"])) or self._templated(scope)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await app(scope, receive, send_with_id)
        except Problem as problem:
            await send_problem(problem, scope, send_with_id)
        except ClientGone:
            status = CLIENT_GONE
        except Exception:
            log.exception("request %s failed", scope[REQUEST_ID])
            if status:
                raise  # the answer has begun: the server can only cut the connection
            await send_problem(Problem(500), scope, send_with_id)
        finally:
            self._timings.observe(route, status or 500, perf_counter() - started)

    def _templated(self, scope: Scope) -> tuple[str, ASGIApp]:
        """The label and endpoint of a path with parameters; the router's when there is none."""
        path: str = scope["path"]
        for pattern, labelled in self._templates.get(scope["method"], ()):
            if pattern.match(path):
                return labelled
        return ELSEWHERE, self.app

    def _request_id(self, scope: Scope) -> bytes:
        """The sender's own id when it is a sane one, else one of ours."""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _sane.fullmatch(value):
                return bytes(value)
        return b"%s-%x" % (self._prefix.encode(), next(self._numbers))
