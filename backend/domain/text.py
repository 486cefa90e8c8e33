"""Text from outside made fit for the database: no NUL, no lone surrogate, a bounded length.

What is invisible but harmless to store (escapes, bidi marks) is replaced in one-line fields, which end up in lists;
long texts keep their line breaks. Screens clean once more when they draw.
"""

from __future__ import annotations

import re
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

NAME_LIMIT = 200
LINE_LIMIT = 500
TEXT_LIMIT = 200_000

_NEVER_STORED = re.compile("[\x00\ud800-\udfff]")


def one_line(value: str | None, limit: int = LINE_LIMIT) -> str | None:
    """`value` as one line of at most `limit` characters, NFC; None when nothing is left of it.

    Every control, format or unassigned character becomes U+FFFD, every run of white space one space.
    """
    if value is None:
        return None
    value = unicodedata.normalize("NFC", _NEVER_STORED.sub(REPLACEMENT, value[: 4 * limit]))
    value = " ".join(value.split())
    if not value.isprintable():
        value = "".join(char if char.isprintable() else REPLACEMENT for char in value)
    return value[:limit].rstrip() or None


def long_text(value: str | None, limit: int = TEXT_LIMIT) -> str | None:
    """`value` with its lines, at most `limit` characters, without what the database can't store; None when empty."""
    if value is None:
        return None
    return _NEVER_STORED.sub(REPLACEMENT, value[:limit]) or None
