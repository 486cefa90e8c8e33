"""In front of the documented resources: who asks, whether we can understand it and say it, and errors as problems.

What comes after it (FastAPI) gets a body that is whole, bounded and strict JSON, or none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api.access import authenticate
from backend.api.body import read_already, read_body
from backend.api.problems import Problem
from backend.api.resources import Resources
from backend.providers.delivery import Malformed
from backend.providers.json_body import read_object

RAW_BODY = "askpro.body"
"""Key of the request's body (bytes) in the ASGI scope."""

RESOURCE_BODY_LIMIT = 64 * 1024
"""Largest body of a request for a resource, bytes."""

SENDING = frozenset({"POST", "PATCH", "PUT"})

READABLE = frozenset({b"application/json", b"application/merge-patch+json"})
"""Content types of bodies."""

WRITTEN = ("application/json", "application/problem+json")

ANSWERABLE = frozenset({"*/*", "application/*", *WRITTEN})
"""Media ranges that one of our answers falls into."""

MOST_ERRORS = 20
"""Invalid fields that one answer tells of."""

_ZERO = re.compile(r"0(\.0{0,3})?")


class Entrance:
    """ASGI: authenticates, bounds and parses, then hands on; translates what FastAPI raises."""

    def __init__(self, app: ASGIApp, resources: Resources) -> None:
        self._app = app
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await authenticate(scope, self._resources)
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if not is_acceptable(headers):
            raise Problem(406, f"answers are {' or '.join(WRITTEN)}")
        body = b""
        if scope["method"] in SENDING:
            body = await read_body(headers, receive, limit=RESOURCE_BODY_LIMIT)
            if body:
                _check_json(headers, body)
        scope[RAW_BODY] = body
        try:
            await self._app(scope, read_already(body, receive), send)
        except RequestValidationError as invalid:
            raise invalid_request(invalid.errors()) from None
        except HTTPException as refused:
            raise Problem(refused.status_code) from None


def is_acceptable(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether JSON is among what the client takes. Without an `Accept` it takes anything."""
    accepted = b",".join(value for name, value in headers if name == b"accept").decode("latin-1").lower()
    if not accepted.strip():
        return True
    for one in accepted.split(","):
        media, *parameters = (part.strip() for part in one.split(";"))
        if media in ANSWERABLE and not any(_is_zero(parameter) for parameter in parameters):
            return True
    return False


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and _ZERO.fullmatch(value.strip()) is not None


def _check_json(headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
    """Raises a `Problem`: 415 for another content type, 422 for what is no strict JSON object."""
    content_type = next((value for name, value in headers if name == b"content-type"), b"")
    if content_type.partition(b";")[0].strip().lower() not in READABLE:
        raise Problem(415, "a body is application/json")
    try:
        read_object(body)
    except Malformed as fault:
        raise Problem(422, fault.problem, field=fault.field) from None


def invalid_request(errors: Sequence[object]) -> Problem:
    """422 that names each invalid field; 404 when it is the path that can name nothing."""
    told: list[dict[str, str]] = []
    for error in errors[:MOST_ERRORS]:
        assert isinstance(error, dict)
        place, *names = error["loc"]
        if place == "path":
            return Problem(404)
        field = ".".join(str(name) for name in names)[:200]
        message = str(error["msg"]).removeprefix("Value error, ")
        told.append({"in": str(place), "field": field, "message": message[:200]})
    first = told[0]
    where = first["field"] or first["in"]
    return Problem(422, f"{where}: {first['message']}", field=first["field"], reason="invalid", more={"errors": told})
