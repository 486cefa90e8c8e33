"""Text from data made fit for a terminal without a screen: no control, no escape, no bidi trick, one line, bounded."""

from __future__ import annotations

import json
import unicodedata

LIMIT = 200
"""Longest text that is printed, in characters."""

MARKS = 8
"""Combining marks one after another; further ones are left out."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "…"


def plain(text: str, limit: int = LIMIT) -> str:
    """`text` on one line, printable only, at most `limit` characters (1 or more) long.

    Controls, escapes, direction marks and everything else that is not printable become U+FFFD; white space becomes
    blanks; invisible joiners and piles of marks are left out.
    """
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    kept: list[str] = []
    marks = 0
    for character in text[: 4 * limit]:
        category = unicodedata.category(character)
        if category in {"Mn", "Me"}:
            marks += 1
            if marks <= MARKS:
                kept.append(character)
            continue
        marks = 0
        if character.isspace():
            kept.append(" ")
        elif character.isprintable():
            kept.append(character)
        elif character not in "\u200b\u200c\u200d\u2060\ufeff\u00ad":
            kept.append(REPLACEMENT)
    done = "".join(kept)
    return done if len(done) <= limit and len(text) <= 4 * limit else done[: limit - 1] + ELLIPSIS


def masked_phone(number: str) -> str:
    """A phone number of which only the country and the last three digits can be read, such as `+49••••123`."""
    number = plain(number, 24)
    if len(number) < 8 or not any(character.isdigit() for character in number):
        return number if not any(character.isdigit() for character in number) else "•" * 4
    return f"{number[:3] if number.startswith('+') else ''}••••{number[-3:]}"


def harmless_json(text: str) -> str:
    """JSON on one line, the same value, with everything that is not printable as an escape of JSON's own."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else json.dumps(mark)[1:-1] for mark in text)
