"""Who may read the system's figures: this machine, and whoever has the token."""

from __future__ import annotations

import hmac
import ipaddress

from starlette.types import Scope

from backend.api.problems import Problem

PROXY_HEADERS = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})
"""A request that carries one of them came through a proxy: its address is not its sender's."""


def require_reader(scope: Scope, token: str | None) -> None:
    """Raises a 401 `Problem` unless the request comes from this machine itself or carries the token."""
    given = b""
    proxied = False
    for name, value in scope["headers"]:
        if name == b"authorization":
            given = value
        elif name in PROXY_HEADERS:
            proxied = True
    if not proxied and _is_local(scope):
        return
    if token and hmac.compare_digest(given, b"Bearer " + token.encode()):
        return
    raise Problem(401)


def _is_local(scope: Scope) -> bool:
    client = scope.get("client")
    if client is None:
        return True  # a Unix socket
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
