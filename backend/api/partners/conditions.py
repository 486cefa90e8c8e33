"""Conditional requests: an entity tag is the version of what it stands for (RFC 9110, section 13)."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header

from backend.api.problems import Problem

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=500, description="Only when it still has this entity tag.", examples=['"3"']),
]

IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", max_length=500, description="Only when it has another entity tag.", examples=['"3"']),
]


def etag(version: int | str) -> str:
    """The strong entity tag of a version."""
    return f'"{version}"'


def is_unchanged(if_none_match: str | None, version: int | str) -> bool:
    """Whether the client has this version already: answer 304."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or any(tag[2] == str(version) for tag in _TAG.finditer(if_none_match))


def expected_version(if_match: str | None, present: int) -> int | None:
    """The version that the client insists on; None when it takes any. Raises a 412 `Problem` when it is another.

    What is checked here is checked again by whatever makes the change, in its transaction.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    if not any(tag[1] is None and tag[2] == str(present) for tag in _TAG.finditer(if_match)):
        raise stale()
    return present


def require_condition(if_match: str | None) -> str:
    """Raises a 428 `Problem` without `If-Match`: a change that was not based on what is there would undo another's."""
    if if_match is None:
        raise Problem(428, "send If-Match with the entity tag that you saw", reason="condition_missing")
    return if_match


def stale() -> Problem:
    """412: somebody changed it in between."""
    return Problem(412, "it has changed since: read it again first", reason="stale")
