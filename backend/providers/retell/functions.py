"""Retell's custom functions: one POST for each tool call of the voice agent.

The arguments stand under `args`, as an object or as the text of one, or else beside `name` and `call`. Only the fields
below are taken over; everything else that the provider sends along (the transcript so far) is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from backend.domain.function_calls import FunctionCall
from backend.domain.text import one_line
from backend.domain.vocabulary import Provider
from backend.providers.delivery import Malformed, dialled_number
from backend.providers.json_body import read_object
from backend.providers.retell.payloads import LATEST_MS
from backend.providers.validation import validated

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_KEY = 128
"""A longer tool call id is replaced by its hash."""

ENVELOPE = frozenset({"name", "call", "args", "arguments", "tool_call_id", "event"})
"""Names at the root that are no arguments."""

Name = Annotated[str, Field(min_length=1, max_length=256)]


def _text_or_none(value: object) -> object:
    return value if isinstance(value, str) else None


def _milliseconds_or_none(value: object) -> object:
    right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST_MS
    return int(value) if right and isinstance(value, int | float) else None


Text = Annotated[str | None, BeforeValidator(_text_or_none)]


class Call(BaseModel):
    """The call during which a function is called."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    call_id: Name
    agent_id: Text = None
    call_type: Text = None
    direction: Text = None
    from_number: Text = None
    to_number: Text = None
    start_timestamp: Annotated[int | None, BeforeValidator(_milliseconds_or_none)] = None


class FunctionBody(BaseModel):
    """The body of a tool call, without its arguments."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Name
    call: Call
    tool_call_id: Text = None


def read_function_call(body: bytes) -> FunctionCall:
    """The tool call that `body` makes. Raises `Malformed` when it can't be told which function of which call is meant.

    Arguments are never a reason to raise: what can't be read counts as not given, and the agent is asked for it.
    """
    root = read_object(body)
    read = validated(FunctionBody, root)
    call = read.call
    arguments = _arguments(root)
    canonical = msgspec.json.encode([read.name, arguments], order="deterministic")
    payload_hash = hashlib.sha256(canonical).digest()
    outbound = call.direction == "outbound"
    ours, theirs = (call.from_number, call.to_number) if outbound else (call.to_number, call.from_number)
    return FunctionCall(
        provider=Provider.RETELL,
        name=read.name,
        provider_call_id=call.call_id,
        tool_key=_tool_key(read.tool_call_id, payload_hash),
        payload_hash=payload_hash,
        dialled=dialled_number(ours),
        agent=call.agent_id or None,
        caller_number=one_line(theirs),
        call_type=one_line(call.call_type),
        direction=one_line(call.direction),
        from_number=one_line(call.from_number),
        to_number=one_line(call.to_number),
        started_at=None if call.start_timestamp is None else EPOCH + timedelta(milliseconds=call.start_timestamp),
        arguments=arguments,
    )


def _arguments(root: Mapping[str, object]) -> Mapping[str, object]:
    given = root.get("args", root.get("arguments"))
    if isinstance(given, str):
        try:
            return read_object(given.encode())
        except Malformed:
            return {}
    if isinstance(given, dict):
        return given
    return {name: value for name, value in root.items() if name not in ENVELOPE}


def _tool_key(tool_call_id: str | None, payload_hash: bytes) -> str:
    if not tool_call_id:
        return "args:" + payload_hash.hex()
    if len(tool_call_id) > LONGEST_KEY:
        return "id:sha256:" + hashlib.sha256(tool_call_id.encode()).hexdigest()
    return "id:" + tool_call_id
