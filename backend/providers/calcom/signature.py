"""Cal.com's webhook signature: `X-Cal-Signature-256` = HMAC-SHA256(secret, raw body) in hex, without a time.

An optional `sha256=` before the digest is accepted. `no-secret-provided` is what Cal.com sends for a webhook
that was set up without a secret: it is refused as a missing signature.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from backend.domain.vocabulary import RejectReason
from backend.providers.delivery import Headers, single_header

HEADER = b"x-cal-signature-256"

NO_SECRET = b"no-secret-provided"

_form = re.compile(rb"(?:sha256=)?([0-9A-Fa-f]{64})")


def sign(body: bytes, secret: str) -> str:
    """The header's value for a body."""
    return hmac.digest(secret.encode(), body, "sha256").hex()


def verify(body: bytes, headers: Headers, secrets: Sequence[str]) -> RejectReason | None:
    """None when one of the secrets signed the body, else what is wrong. Never raises."""
    value = single_header(headers, HEADER)
    if value is None or value.strip().lower() == NO_SECRET:
        return RejectReason.SIGNATURE_MISSING
    match = _form.fullmatch(value)
    if match is None:
        return RejectReason.SIGNATURE_WRONG
    given = match[1].lower()
    right = False
    for secret in secrets:
        if secret:
            expected = hmac.digest(secret.encode(), body, "sha256").hex().encode()
            right |= hmac.compare_digest(expected, given)
    return None if right else RejectReason.SIGNATURE_WRONG
