"""Who may do what: company tokens at the resources, and who may read the system's own figures."""

from __future__ import annotations

import hmac
import ipaddress

from starlette.types import Scope

from backend.api.database import borrowed
from backend.api.problems import Problem
from backend.api.resources import Resources
from backend.domain.vocabulary import TokenScope
from backend.services.tokens import PREFIX, Caller, find_caller

CALLER = "askpro.caller"
"""Key of the request's `Caller` in the ASGI scope, once it is known."""

PROXY_HEADERS = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})
"""A request that carries one of them came through a proxy: its address is not its sender's."""


async def authenticate(scope: Scope, resources: Resources) -> Caller:
    """The company token's caller; asked of the database once a request, so that a revoked token is refused at once.

    Raises a `Problem`: 401 without detail for anything but a good token, 503 without a database.
    """
    known: Caller | None = scope.get(CALLER)
    if known is None:
        token = bearer(scope)
        if token.startswith(PREFIX):
            async with borrowed(resources) as connection:
                known = await find_caller(connection, token)
        if known is None:
            raise unauthorised()
        scope[CALLER] = known
    return known


def require(caller: Caller, needed: TokenScope) -> None:
    """Raises a 403 `Problem` that names the scope, unless the caller has it."""
    if not caller.may(needed):
        raise Problem(403, f"the token lacks the scope {needed.value}", reason="scope_missing")


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
    given = b""
    proxied = False
    for name, value in scope["headers"]:
        if name == b"authorization":
            given = value
        elif name in PROXY_HEADERS:
            proxied = True
    if not proxied and _is_local(scope):
        return True
    return bool(token) and hmac.compare_digest(given, b"Bearer " + str(token).encode())


def _is_local(scope: Scope) -> bool:
    client = scope.get("client")
    if client is None:
        return True  # a Unix socket
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
