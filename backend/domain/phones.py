"""Phone numbers: E.164 for what identifies a line, None for callers who hide theirs.

`phonenumbers` takes about 100 ms to import, so it is loaded with the first number.
"""

from __future__ import annotations

from functools import lru_cache

ANONYMOUS_NUMBERS = frozenset({"+266696687"})
"""Numbers that stand for a withheld one: 266696687 spells ANONYMOUS."""

LONGEST = 64
"""Nothing longer is a phone number."""


def normalise(raw: str | None, region: str = "DE") -> str | None:
    """`raw` as E.164, or None when it names no line: withheld, a SIP address, or not a possible number.

    `region` (ISO 3166) is the branch's country, for numbers without a country code. Never raises.
    """
    if raw is None or len(raw) > LONGEST:
        return None
    return _normalise(raw.strip(), region)


@lru_cache(maxsize=4096)
def _normalise(raw: str, region: str) -> str | None:
    if not any(char.isdigit() for char in raw) or raw.lower().startswith(("sip:", "sips:")) or "@" in raw:
        return None
    import phonenumbers

    try:
        number = phonenumbers.parse(raw, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    formatted = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return None if formatted in ANONYMOUS_NUMBERS else formatted


def masked(number: str | None) -> str:
    """A phone number as everybody may see it, `+49••••123`: its country and its last three digits.

    What is too short to hide anything in is hidden whole. What is no number (withheld, a SIP address) is empty.
    """
    digits = "".join(char for char in number or "" if char.isdigit())
    if not digits:
        return ""
    if len(digits) < 8:
        return "••••"
    lead = f"+{digits[:2]}" if (number or "").startswith("+") else ""
    return f"{lead}••••{digits[-3:]}"
