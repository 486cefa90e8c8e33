"""A webhook delivery as the intake takes it, whoever sent it; and what can be wrong with one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from backend.domain.vocabulary import Provider

Headers = Iterable[tuple[bytes, bytes]]
"""Header names (lower case) and values as they came over the wire."""

KEPT_HEADERS = frozenset(
    {
        b"content-type",
        b"user-agent",
        b"x-cal-signature-256",
        b"x-cal-webhook-version",
        b"x-retell-signature",
    }
)
"""What is stored beside the body: enough to verify it again and to tell its sender."""

HEADER_LIMIT = 512
"""Longest header value that is kept, in characters."""

_controls = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_not_dialled = re.compile(r"[^0-9+]")


class Malformed(Exception):
    """A delivery that is not what its provider sends: where the first fault lies, and which."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        """Path of the field, `call.call_id`; empty when the body as a whole is meant."""
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Delivery:
    """One verified and understood delivery."""

    provider: Provider
    event: str
    subject: str
    """What it is about: the provider's call id or booking uid."""
    dedup_key: str
    """Equal for two deliveries of the same event."""
    dialled: str | None
    """The number by which its tenant is found, E.164 as far as the provider gave it so."""
    agent: str | None
    """What its tenant is found by otherwise: the agent's id, or `calcom:<event type id>`."""
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)


def kept_headers(headers: Headers) -> dict[str, str]:
    """The headers worth keeping, as text without control characters, bounded."""
    kept: dict[str, str] = {}
    for name, value in headers:
        if name in KEPT_HEADERS:
            text = value[: 2 * HEADER_LIMIT].decode("latin-1")
            kept[name.decode()] = (text if text.isprintable() else _controls.sub("", text))[:HEADER_LIMIT]
    return kept


def single_header(headers: Headers, wanted: bytes) -> bytes | None:
    """The value of a header that may come once; two of them are as good as none that verifies (empty bytes)."""
    found: bytes | None = None
    for name, value in headers:
        if name == wanted:
            if found is not None:
                return b""
            found = value
    return found


def dialled_number(raw: str | None) -> str | None:
    """A provider's phone number in the form that numbers are mapped by; None when it is none.

    Spaces and punctuation go, a leading 00 becomes +. No region is guessed: providers send E.164.
    """
    if not raw or len(raw) > 64:
        return None
    if raw[0] == "+" and raw[1:].isdecimal() and raw.isascii():
        return raw
    if raw.lower().startswith("sip"):
        return None
    number = _not_dialled.sub("", raw)
    if number.startswith("00"):
        number = "+" + number[2:]
    digits = number[1:]
    return number if number[:1] == "+" and digits.isdecimal() and len(digits) >= 5 else None
