"""Signatures as Retell makes them, so that simulated deliveries are as good as real ones.

Written from the provider's description alone and on purpose apart from the verifier in `backend.providers`:
two readings of one rule check each other. Tests compare it with the vendor's SDK.
"""

from __future__ import annotations

import hashlib
import hmac

SIGNATURE_HEADER = "x-retell-signature"


def retell_signature(key: str, body: bytes, at_ms: int) -> str:
    """The header's value for `body` signed with the API key at `at_ms` (Unix milliseconds).

    `v={ms},d={hex}`, where hex is HMAC-SHA256 over the raw body followed by the milliseconds in decimal.
    """
    digest = hmac.new(key.encode(), body + str(at_ms).encode(), hashlib.sha256).hexdigest()
    return f"v={at_ms},d={digest}"
