"""SCRAM-SHA-256 verifiers (RFC 5803), so that a password itself never reaches the server or its log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

ITERATIONS = 4096
"""PostgreSQL's default; our passwords are random, so more rounds would protect nothing."""


def make_verifier(password: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """What PostgreSQL stores for `password`; accepted as is by `create role … password`.

    Raises ValueError when the password is empty or not printable ASCII (SASLprep would change it).
    """
    if not password or not password.isascii() or not password.isprintable():
        raise ValueError("a database password must be printable ASCII")
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def agrees(password: str, verifier: str | None) -> bool:
    """Whether `verifier` was made from `password`; False for one of another kind."""
    try:
        _, parameters, _ = (verifier or "").split("$")
        iterations, salt = parameters.split(":")
        expected = make_verifier(password, salt=base64.b64decode(salt), iterations=int(iterations))
    except ValueError:
        return False
    return hmac.compare_digest(expected, verifier or "")
