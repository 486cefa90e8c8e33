"""A finding: one thing looked at, the judgement, and what to do about it."""

from __future__ import annotations

import msgspec

from backend.domain.vocabulary import Verdict


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a check-up."""

    area: str
    """machine, configuration, secrets or system"""
    name: str
    verdict: Verdict
    detail: str
    """What was found, in words; never a secret."""
    remedy: str = ""
    """What to do; empty when nothing is to be done."""


def size(count: float) -> str:
    """Bytes for a person, in 1024s: `512 MB`, `1.4 GB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"
