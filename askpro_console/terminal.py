"""Whether this process has a terminal that the console can be drawn on, and how it says so when it has none."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import TextIO

_UTF8 = re.compile(r"utf-?8", re.IGNORECASE)
_PLAIN_LOCALES = frozenset({"C", "POSIX"})
_COERCED = frozenset({"C.UTF-8", "C.utf8", "UTF-8"})
"""What Python puts into LC_CTYPE by itself when LANG says C."""


def unfit(environ: Mapping[str, str], *, stdin_is_terminal: bool, stdout_is_terminal: bool) -> str | None:
    """Why the console cannot be drawn, as the start of a sentence, or None when it can."""
    if not (stdin_is_terminal and stdout_is_terminal):
        which = "input" if stdout_is_terminal else "output" if stdin_is_terminal else "input and output"
        return f"Standard {which} {'are' if ' and ' in which else 'is'} not a terminal"
    if environ.get("TERM", "") in {"", "dumb"}:
        return f"The terminal cannot move its cursor (TERM is {environ.get('TERM') or 'not set'})"
    if locale := not_utf8(environ):
        return f"The locale is not UTF-8 ({locale})"
    return None


def not_utf8(environ: Mapping[str, str]) -> str | None:
    """The variable that asks for a character set other than UTF-8, or None.

    Nothing set at all is taken for UTF-8: so are bare containers, on terminals that have shown UTF-8 for decades.
    """
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = environ.get(name, "")
        if not value:
            continue
        if name == "LC_CTYPE" and value in _COERCED and environ.get("LANG") in _PLAIN_LOCALES:
            continue
        return None if _UTF8.search(value) else f"{name}={value}"
    return None


def standard_streams_unfit(environ: Mapping[str, str]) -> str | None:
    """`unfit` for this process."""
    return unfit(environ, stdin_is_terminal=sys.stdin.isatty(), stdout_is_terminal=sys.stdout.isatty())


def rewritable(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a line of progress can be written over: a terminal that can move its cursor."""
    return stream.isatty() and environ.get("TERM", "dumb") != "dumb"


def coloured(environ: Mapping[str, str]) -> bool:
    """Whether printed text may be coloured: a terminal, and nobody asked for none (`NO_COLOR`)."""
    return rewritable(sys.stdout, environ) and not environ.get("NO_COLOR")


def harmless(text: str) -> str:
    """`text` on one line and without anything that a terminal would obey; data is printed through this."""
    return text if text.isprintable() else "".join(mark if mark.isprintable() else "�" for mark in text)
