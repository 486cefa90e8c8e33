"""What can go wrong with a job, and how a failure is described so that failures of one cause look alike."""

from __future__ import annotations

import hashlib
import re
import traceback
from dataclasses import dataclass

MESSAGE_LIMIT = 2_000
"""Longest message kept, in characters."""

TRACEBACK_LIMIT = 16_000
"""Longest traceback kept, in characters: its head and, above all, its tail."""

_VARIABLE = re.compile(
    r"""
      (?P<mail>[\w.%+-]+@[\w-]+(?:\.[\w-]+)+)
    | (?P<uuid>\b[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\b)
    | (?P<quoted>(?<!\w)'(?:[^'\\]|\\.)*'(?!\w)|"(?:[^"\\]|\\.)*"|„[^“”]*[“”]|“[^”]*”|»[^«]*«|«[^»]*»|`[^`]*`)
    | (?P<values>(?<==)\([^()]*\))
    | (?P<hex>\b0x[0-9a-fA-F]+\b|\b(?=[a-fA-F]*\d)[0-9a-fA-F]{12,}\b)
    | (?P<digits>\d+)
    """,
    re.VERBOSE,
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Permanent(Exception):
    """The job cannot succeed, however often it is tried: it is held at once."""


class Later(Exception):
    """Somebody else must be waited for: the job is queued again after a while, and this counts as no attempt.

    For a wait that the job did not cause and cannot shorten (a provider that asked to be left alone, or is down), and
    which therefore may come any number of times. Who raises it keeps what is worth knowing about the wait.
    """

    def __init__(self, seconds: float, reason: str) -> None:
        """`seconds`: from now, at least a moment. `reason` stands in the run's record."""
        super().__init__(reason)
        self.seconds = max(0.05, seconds)


class ClaimLost(Exception):
    """Another worker has the job now; whatever this one still does must have no effect."""


class JobTimeout(Exception):
    """The job ran longer than its queue allows."""


class WorkerBlocked(Exception):
    """The job held up its worker's event loop for so long that the process had to be ended."""


class WorkerCrashed(Exception):
    """The job was running each time when its worker ended without a word."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt, ready to be stored: no NUL, no lone surrogate, bounded."""

    fingerprint: str
    """Equal for equal job types and equal messages, apart from numbers, ids, addresses and quoted values."""
    error_type: str
    message: str
    traceback: str


def describe(error: BaseException, entrypoint: str) -> Failure:
    """Describe what a job of this type raised. Never raises, whatever the exception's own methods do."""
    error_type = type(error).__qualname__
    try:
        message = str(error)
    except Exception as unprintable:
        message = f"(its message cannot be shown: {type(unprintable).__qualname__})"
    try:
        lines = "".join(traceback.format_exception(error))
    except Exception:
        lines = f"{error_type}: {message}"
    return Failure(
        fingerprint=fingerprint(entrypoint, error_type, message),
        error_type=storable(error_type)[:200],
        message=storable(message[:MESSAGE_LIMIT]),
        traceback=storable(bounded(lines, TRACEBACK_LIMIT)),
    )


def fingerprint(entrypoint: str, error_type: str, message: str) -> str:
    """Sixteen hex digits that name one cause."""
    cause = "\x1f".join((entrypoint, error_type, normalise(message)))
    return hashlib.sha256(cause.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def normalise(message: str) -> str:
    """The message with everything replaced that differs from case to case."""
    masked = _VARIABLE.sub(lambda match: f"<{match.lastgroup}>", message[:MESSAGE_LIMIT])
    return " ".join(masked.split())


def storable(text: str) -> str:
    """The text with what PostgreSQL cannot store replaced by U+FFFD."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def bounded(text: str, limit: int) -> str:
    """The text, or its first quarter and last three quarters when it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    mark = f"\n… {len(text) - limit} characters left out …\n"
    room = limit - len(mark)
    return text[: room // 4] + mark + text[-(room - room // 4) :]
