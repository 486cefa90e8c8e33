"""Whose request it is: the sender's address, also behind proxies that are known and trusted."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

from starlette.types import Scope

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

LOCAL = "local"
"""Stands for a sender without an address, on a Unix socket."""

PROXY_HEADERS = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})
"""A request that carries one of them came through a proxy: its connection's address is not its sender's."""

FORWARDED_FOR = "x-forwarded-for"
FORWARDED = "forwarded"

MOST_HOPS = 32
"""Further proxies are not believed."""

_for = re.compile(r'for="?([^",;]+)"?', re.IGNORECASE)
_port = re.compile(r":\d{1,5}$")


class Clients:
    """Tells senders apart. Only what trusted proxies say is believed, and of their headers only the named one.

    A proxy appends the address it was called from, so the list is read from its end: the first address that is no
    trusted proxy is the sender's. Whatever stands before it was written by the sender.
    """

    def __init__(self, trusted: Iterable[str] = (), header: str = FORWARDED_FOR) -> None:
        """`trusted`: networks of proxies; `header`: the one they write. Raises ValueError for either."""
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(each.strip(), strict=False) for each in trusted)
        if header not in {FORWARDED_FOR, FORWARDED}:
            raise ValueError(f"{header!r} is not a header that proxies name senders in")
        self._header = header.encode()

    def address(self, scope: Scope) -> str:
        """The sender's address."""
        client = scope.get("client")
        if client is None:
            return LOCAL
        peer = parsed(client[0])
        if peer is None:
            return str(client[0])[:64]
        if self._trusted and self._trusts(peer):
            return str(self._behind(scope, peer))
        return str(peer)

    def _behind(self, scope: Scope, peer: Address) -> Address:
        """The nearest address that is no trusted proxy; where the chain cannot be read, the last that could be."""
        nearest = peer
        for text in reversed(self._hops(scope)[-MOST_HOPS:]):
            hop = parsed(text)
            if hop is None:
                return nearest
            nearest = hop
            if not self._trusts(hop):
                return nearest
        return nearest

    def _hops(self, scope: Scope) -> list[str]:
        told = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == self._header)
        if not told:
            return []
        if self._header == FORWARDED_FOR.encode():
            return told.split(",")
        hops = []
        for element in told.split(","):
            found = _for.search(element)
            hops.append(found[1] if found else "")
        return hops

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def parsed(text: str) -> Address | None:
    """The address that a proxy or a socket names, with or without port and brackets; IPv4 in IPv6 is IPv4."""
    bare = text.strip().strip('"')
    if bare.startswith("["):
        bare = bare[1:].split("]", 1)[0]
    elif bare.count(":") == 1:
        bare = _port.sub("", bare)
    try:
        address = ipaddress.ip_address(bare.split("%", 1)[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_this_machine(scope: Scope) -> bool:
    """Whether the request comes from this machine itself, and not through a proxy on it."""
    if any(name in PROXY_HEADERS for name, _ in scope["headers"]):
        return False
    client = scope.get("client")
    if client is None:
        return True  # a Unix socket
    peer = parsed(client[0])
    return peer is not None and peer.is_loopback
