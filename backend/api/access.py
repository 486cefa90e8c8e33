"""Who may do what: company tokens at the resources, and who may read the system's own figures."""

from __future__ import annotations

import hmac
import logging

from starlette.types import Scope

from backend.api.database import borrowed
from backend.api.limits.clients import is_this_machine
from backend.api.limits.limiting import count_caller
from backend.api.problems import REQUEST_ID, Problem
from backend.api.resources import Resources
from backend.domain.vocabulary import TokenScope
from backend.services.tokens import PREFIX, Caller, find_caller, token_id_of

log = logging.getLogger(__name__)

CALLER = "askpro.caller"
"""Key of the request's `Caller` in the ASGI scope, once it is known."""


async def authenticate(scope: Scope, resources: Resources) -> Caller:
    """The company token's caller; asked of the database once a request, so that a revoked token is refused at once.

    Raises a `Problem`: 401 without detail for anything but a good token, 429 when a limit of its address, the token or
    the company is used up, 503 without a database.
    """
    known: Caller | None = scope.get(CALLER)
    if known is None:
        token = bearer(scope)
        if token.startswith(PREFIX):
            async with borrowed(resources) as connection:
                known = await find_caller(connection, token)
        if known is None:
            await resources.guard.note_failed_auth(scope)
            _note("a request without a good token", scope, resources, token_id_of(token))
            raise unauthorised()
        await count_caller(scope, known.token_id, known.company_id)
        scope[CALLER] = known
    return known


def require(caller: Caller, needed: TokenScope) -> None:
    """Raises a 403 `Problem` that names the scope, unless the caller has it."""
    if not caller.may(needed):
        log.info("a token without the scope it needs", extra={"api_client": caller.token_id, "scope": needed.value})
        raise Problem(403, f"the token lacks the scope {needed.value}", reason="scope_missing")


def _note(what: str, scope: Scope, resources: Resources, token_id: str | None) -> None:
    """A line for the log. How many there can be is bounded by the limit on such requests."""
    told = {
        "remote": resources.guard.clients.address(scope),
        "route": f"{scope['method']} {scope['path'][:200]}",
        "request_id": scope.get(REQUEST_ID, ""),
        "api_client": token_id,
    }
    log.info(what, extra=told)


def bearer(scope: Scope) -> str:
    """The token of the request's one `Authorization: Bearer …`; empty without it, or with several."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1:
        return ""
    scheme, _, token = found[0].partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def unauthorised() -> Problem:
    """401, and nothing about why."""
    problem = Problem(401)
    problem.headers = [(b"www-authenticate", b"Bearer")]
    return problem


def require_reader(scope: Scope, token: str | None) -> None:
    """Raises a 401 `Problem` unless the request comes from this machine itself or carries the token."""
    if not is_reader(scope, token):
        raise unauthorised()


def is_reader(scope: Scope, token: str | None) -> bool:
    """Whether the request comes from this machine itself or carries the operator's token."""
    if is_this_machine(scope):
        return True
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return bool(token) and hmac.compare_digest(given, b"Bearer " + str(token).encode())
