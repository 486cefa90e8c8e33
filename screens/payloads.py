"""Payloads as text and back: laid out for a person, harmless on a terminal, and never silently another payload."""

from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import dataclass

MOST = 200_000
"""Bytes of a payload that can be edited on a screen."""


MOST_MARKS = 3
"""Combining marks on one character; every script gets by with them."""


@dataclass(frozen=True, slots=True)
class Edited:
    """What the text under the editor means."""

    payload: bytes | None
    """None while it means nothing."""
    problem: str = ""
    """What is wrong, and where."""
    line: int = 0
    """Of the problem, from 1; 0: nowhere in particular."""
    changes: tuple[str, ...] = ()
    """Outermost fields that differ: `customer_name`, `+note`, `-branch`."""


def laid_out(payload: bytes) -> str:
    """JSON with a field a line; anything else as it is. Characters that move a cursor stand there as escapes."""
    text = payload.decode("utf-8", "replace")
    try:
        shown = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
    return _harmless(shown)


def is_json(payload: bytes) -> bool:
    """Whether it is JSON."""
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return True


def why_not_editable(payload: bytes) -> str:
    """Why it cannot be edited as text; empty when it can."""
    if len(payload) > MOST:
        return f"The payload has {len(payload):,} bytes: too long for this editor. `askpro queue edit` takes a file."
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        return "The payload is no text. `askpro queue edit` takes a file."
    if not is_json(payload) and _harmless(text) != text:
        return "The payload holds characters that move the cursor. `askpro queue edit` takes a file."
    return ""


def edited(before: bytes, text: str) -> Edited:
    """What `text` makes of the payload `before`: what was JSON has to stay JSON; equal JSON is the same payload."""
    if len(text) > MOST:
        return Edited(None, f"{len(text):,} characters are too many for this editor: at most {MOST:,}")
    if not is_json(before):
        after = text.encode("utf-8", "replace")
        return Edited(after, changes=() if after == before else ("the text",))
    try:
        new = json.loads(text, parse_constant=_no_number, parse_float=_number)
    except json.JSONDecodeError as wrong:
        return Edited(None, f"No JSON: line {wrong.lineno}, column {wrong.colno}: {wrong.msg}", wrong.lineno)
    except (ValueError, RecursionError) as wrong:
        return Edited(None, f"No JSON: {wrong}" if isinstance(wrong, ValueError) else "No JSON: too deep")
    old = json.loads(before)
    if _same(old, new):
        return Edited(before)
    return Edited(_written(new), changes=_changes(old, new))


def _no_number(text: str) -> object:
    """Python reads and writes these; JSON has none of them."""
    raise ValueError(f"{text} is no number")


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too big a number")
    return number


def pasted(text: str) -> str:
    """Pasted text with its lines kept and nothing that a terminal could obey."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return _harmless(lines)


def _written(value: object) -> bytes:
    """The value as JSON; half of a surrogate pair can stand in it as an escape only."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _same(old: object, new: object) -> bool:
    """Equal as JSON, where 1, 1.0 and true are three things."""
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


def _changes(old: object, new: object) -> tuple[str, ...]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return ("the value",)
    added = [f"+{name}" for name in new if name not in old]
    taken = [f"-{name}" for name in old if name not in new]
    other = [name for name in new if name in old and not _same(old[name], new[name])]
    return (*other, *added, *taken)


def _harmless(text: str) -> str:
    """Text of JSON with escapes for what would move a cursor, and for marks that pile up on a character."""
    shown: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) or unicodedata.category(character) == "Me" else 0
        is_plain = (character.isprintable() or character == "\n") and marks <= MOST_MARKS
        shown.append(character if is_plain else _escape(character))
    return "".join(shown)


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
