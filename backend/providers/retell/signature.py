"""Retell's webhook signature: `x-retell-signature: v={unix_ms},d={hex}`, d = HMAC-SHA256(API key, body + ms).

The raw bytes are verified, never JSON that was parsed and written again. Source: the vendor's SDK, which the tests
sign with.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from backend.domain.vocabulary import RejectReason
from backend.providers.delivery import Headers, single_header

HEADER = b"x-retell-signature"

MADE_UP = "key_demo_"
"""A key that begins like this was made by the system itself, to sign its demo traffic: the provider knows it not."""

TOLERANCE_MS = 300_000
"""Largest distance between the signature's time and ours, in both directions, inclusive."""

_form = re.compile(rb"v=([0-9]{1,16}),d=([0-9A-Fa-f]{64})")


def sign(body: bytes, key: str, at_ms: int) -> str:
    """The header's value for a body sent at `at_ms` (Unix milliseconds)."""
    digest = hmac.digest(key.encode(), body + str(at_ms).encode(), "sha256").hex()
    return f"v={at_ms},d={digest}"


def verify(body: bytes, headers: Headers, keys: Sequence[str], now_ms: int) -> RejectReason | None:
    """None when one of the keys signed the body at a time near `now_ms` (Unix milliseconds), else what is wrong.

    A delivery is `stale` only when its signature is right: wrong ones say nothing about their age.
    Never raises, whatever the header holds.
    """
    value = single_header(headers, HEADER)
    if value is None:
        return RejectReason.SIGNATURE_MISSING
    match = _form.fullmatch(value)
    if match is None:
        return RejectReason.SIGNATURE_WRONG
    at_ms = int(match[1])
    given = match[2].lower()
    signed = body + str(at_ms).encode()
    right = False
    for key in keys:
        if key:
            expected = hmac.digest(key.encode(), signed, "sha256").hex().encode()
            right |= hmac.compare_digest(expected, given)
    if not right:
        return RejectReason.SIGNATURE_WRONG
    if abs(now_ms - at_ms) > TOLERANCE_MS:
        return RejectReason.STALE
    return None
