"""What a process said before it ended, short enough for a status line."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

WORDS_LIMIT = 300
LINES_LIMIT = 3

OWN_MARK = "[supervisor]"
"""Begins the lines that the supervisor writes into a process's log."""

_GRAVE = re.compile(r"\b(?:FATAL|PANIC|ERROR|CRITICAL|[A-Z]\w*(?:Error|Exception|Failure))\b")


class _Record(msgspec.Struct):
    """What a log record in JSON may have."""

    message: str = ""
    level: str = "info"
    exception: str = ""


def last_words(lines: Iterable[str]) -> list[str]:
    """At most three lines for a person, the grave ones if there are any; log records become sentences."""
    said = [_sentence(line) for line in lines if line.strip() and not line.startswith(OWN_MARK)]
    grave = [words for words, is_grave in said if is_grave]
    chosen = grave or [words for words, _ in said]
    short = [words if len(words) <= WORDS_LIMIT else words[: WORDS_LIMIT - 1] + "…" for words in chosen]
    # A crash loop says the same again and again.
    return list(dict.fromkeys(short))[-LINES_LIMIT:]


def _sentence(line: str) -> tuple[str, bool]:
    """The line in words, and whether it is a grave one."""
    try:
        record = msgspec.json.decode(line, type=_Record)
    except msgspec.MsgspecError:
        return line.strip(), bool(_GRAVE.search(line))
    last = record.exception.strip().rpartition("\n")[2].strip()
    return f"{record.message}: {last}" if last else record.message, record.level in {"error", "critical"}
