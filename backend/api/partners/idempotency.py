"""`Idempotency-Key`: a request that comes twice has its effect once, and the same answer.

The answer is stored in the transaction of the effect, so there is never one without the other. Only answers that had
an effect (2xx) are stored: after a refusal the same key may be tried again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import Header
from starlette.responses import Response

from backend.api.partners.answers import Visit
from backend.api.problems import Problem
from backend.postgres.pools import Connection
from backend.services.idempotent_answers import Begun, KeyedRequest, StoredAnswer, begin, store

KEPT = timedelta(hours=24)
"""So long the same key gets the same answer."""

REPLAYED = "idempotency-replayed"

KEPT_HEADERS = ("etag", "location", "content-type")

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Your own id of this request: sent again within 24 hours, it has no second effect.",
        examples=["order-4711"],
    ),
]


async def once(visiting: Visit, key: str | None, work: Callable[[Connection], Awaitable[Response]]) -> Response:
    """Do `work` in a transaction of the caller's company, or give what was answered to this key before.

    Raises a `Problem`: 409 while the same key is being worked on, 422 when it was used for another request; and
    whatever `work` raises, which then had no effect.
    """
    caller = visiting.caller
    async with visiting.company() as connection:
        if key is None:
            return await work(connection)
        request = KeyedRequest(caller.company_id, caller.token_id, key, _request_digest(visiting))
        begun, stored = await begin(connection, request)
        if begun is Begun.RUNNING:
            raise Problem(409, "a request with this key is being worked on", reason="key_in_use", retry_after_s=1)
        if begun is Begun.OTHER:
            told = [{"in": "header", "field": "Idempotency-Key", "message": "was used for another request"}]
            raise Problem(
                422,
                "this key was used for another request",
                field="Idempotency-Key",
                reason="key_reused",
                more={"errors": told},
            )
        if stored is not None:
            return Response(stored.body, status_code=stored.status, headers={**stored.headers, REPLAYED: "true"})
        answer = await work(connection)
        kept = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
        await store(connection, request, StoredAnswer(answer.status_code, kept, bytes(answer.body)), KEPT)
        return answer


def _request_digest(visiting: Visit) -> bytes:
    """What makes two requests the same: method, path, condition and the body's bytes."""
    request = visiting.request
    about = [request.method, request.url.path, request.headers.get("if-match", "")]
    return hashlib.sha256(msgspec.json.encode(about) + visiting.body).digest()
