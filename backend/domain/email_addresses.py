"""E-mail addresses: which ones a message can be sent to, and which belong to nobody."""

from __future__ import annotations

import re

LONGEST = 254
"""Characters of an address (RFC 5321 §4.5.3.1.3, without the angle brackets)."""

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"({_LOCAL})@({_LABEL}(?:\.{_LABEL})*)", re.ASCII)

_NOBODYS = ("example.com", "example.net", "example.org", "example", "invalid")
"""Domains that never have a mail server (RFC 2606, RFC 6761)."""


def usable_address(text: str) -> str | None:
    """The address in the form that travels in a message, its domain in ASCII; None when it is none.

    Quoted local parts, and letters beyond ASCII before the @, are not taken: few servers are.
    """
    local, _, domain = text.strip().rpartition("@")
    try:
        address = f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return None
    found = _ADDRESS.fullmatch(address)
    if found is None or len(address) > LONGEST or len(found[1]) > 64:
        return None
    return address


def belongs_to_nobody(address: str) -> bool:
    """Whether the address is in a domain that is reserved for examples and tests."""
    domain = address.rpartition("@")[2].lower()
    return any(domain == name or domain.endswith(f".{name}") for name in _NOBODYS)
