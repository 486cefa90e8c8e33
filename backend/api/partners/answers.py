"""What routes of the documented API share: the visit, scopes, answers with their entity tag, documented problems."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency
from pydantic import BaseModel, Field
from starlette.responses import Response

from backend.api.access import authenticate, require
from backend.api.database import in_company
from backend.api.partners.conditions import etag
from backend.api.partners.entrance import RAW_BODY
from backend.api.partners.pages import PAGE, Listing, cursor_key
from backend.api.partners.values import Moment, Told
from backend.api.resources import Resources
from backend.domain.vocabulary import TokenScope
from backend.postgres.pools import Connection
from backend.services.tokens import Caller


@dataclass(frozen=True, slots=True)
class Visit:
    """One request by an authenticated caller."""

    resources: Resources
    caller: Caller
    request: Request

    def company(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction of the caller's company. Raises a 503 `Problem` without a database."""
        return in_company(self.resources, self.caller.company_id)

    @property
    def body(self) -> bytes:
        """As it was sent."""
        sent: bytes = self.request.scope[RAW_BODY]
        return sent

    def listing(self, query: BaseModel) -> Listing:
        """The list that this request asks for; `query` has `limit` and `cursor` beside its filters."""
        given = query.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        limit = int(given.pop("limit", PAGE))
        given.pop("cursor", None)
        filters = {
            name: [str(one) for one in value] if isinstance(value, list) else str(value)
            for name, value in given.items()
        }
        return Listing(
            cursor_key(self.resources.config.reject_key), self.request.url.path, self.caller.company_id, filters, limit
        )


async def visit(request: Request) -> Visit:
    """The visit that a request is."""
    resources: Resources = request.app.state.resources
    return Visit(resources, await authenticate(request.scope, resources), request)


Visiting = Annotated[Visit, Depends(visit)]


@dataclass(frozen=True, slots=True)
class Requires:
    """A dependency: the token has this scope, else 403."""

    scope: TokenScope

    async def __call__(self, visiting: Visiting) -> None:
        """Raises a 403 `Problem`."""
        require(visiting.caller, self.scope)


def requires(scope: TokenScope) -> list[Dependency]:
    """The dependencies of a route that needs `scope`."""
    dependency = Depends(Requires(scope))
    assert isinstance(dependency, Dependency)
    return [dependency]


class Alternative(Told):
    """A slot that is free instead."""

    starts_at: Moment
    ends_at: Moment
    staff: list[str] = Field(description="Slugs of those who could do it.")


class InvalidField(Told):
    """A field that could not be understood."""

    in_: str = Field(alias="in", description="body, query or header")
    field: str
    message: str


class ProblemShape(Told):
    """Why a request was not met (RFC 9457)."""

    type: str = Field(description="Always about:blank.")
    title: str
    status: int
    detail: str | None = Field(None, description="For people; its wording may change.")
    field: str | None = Field(None, description="The field that is meant.")
    reason: str | None = Field(None, description="For programs; a word that stays.", examples=["slot_taken"])
    errors: list[InvalidField] | None = Field(None, description="With 422: every field that is invalid.")
    alternatives: list[Alternative] | None = Field(None, description="With 409: up to three free slots.")
    request_id: str = Field(description="Also in the header X-Request-ID; tell it when you ask for help.")


MEANINGS: Mapping[int, str] = {
    304: "You have this version already.",
    401: "No token, or not a good one.",
    403: "The token lacks the scope.",
    404: "There is none.",
    406: "Answers are JSON.",
    409: "Understood, but the state of things does not allow it; `reason` says why.",
    412: "It has another version by now.",
    413: "The body is too large.",
    415: "Bodies are JSON.",
    422: "The request cannot be understood; `errors` names the fields.",
    428: "Send If-Match with the entity tag that you saw.",
    429: "Too many requests; come back after Retry-After seconds.",
    500: "A mistake of ours.",
    503: "Not now; come back after Retry-After seconds.",
}

PROBLEM_CONTENT: dict[str, object] = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

ALWAYS = (401, 403, 406, 422, 429, 500, 503)
"""Problems that every documented operation can end with."""


def problems(*statuses: int) -> dict[int | str, dict[str, object]]:
    """The documented problems of a route, those of every route included."""
    told: dict[int | str, dict[str, object]] = {}
    for status in sorted({*ALWAYS, *statuses}):
        told[status] = {"description": MEANINGS[status]}
        if status != 304:
            told[status]["content"] = PROBLEM_CONTENT
    return told


def answered(
    content: BaseModel, *, status: int = 200, version: int | str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer with its entity tag."""
    told = dict(headers or {})
    if version is not None:
        told["etag"] = etag(version)
    return Response(
        content.model_dump_json(by_alias=True), status_code=status, headers=told, media_type="application/json"
    )


def page_answer(content: BaseModel, following: str | None) -> Response:
    """A page, with where the next one is as a `Link` too."""
    return answered(content, headers={} if following is None else {"link": f'<{following}>; rel="next"'})


def not_modified(version: int | str) -> Response:
    """304: the client has it."""
    return Response(status_code=304, headers={"etag": etag(version)})
