"""What Retell sends: call events and the question before a call is answered.

The models know what the system uses; every other field is kept in them and, in any case, in the stored raw body.
Words of an enumeration are plain text here, because the provider adds to them without notice.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BeforeValidator, Field

from backend.domain.vocabulary import Provider
from backend.providers.delivery import Delivery, Headers, dialled_number, kept_headers
from backend.providers.json_body import read_object
from backend.providers.validation import Tolerant, validated

ONCE = frozenset({"call_started", "call_ended", "call_analyzed"})
"""Events that happen once in a call: (call_id, event) tells two deliveries apart. Of all others the body counts too."""

LATEST_MS = 4_102_444_800_000
"""2100-01-01, Unix milliseconds: later times are faults."""

Name = Annotated[str, Field(min_length=1, max_length=256)]
Milliseconds = Annotated[int, Field(ge=0, le=LATEST_MS)]


def _object_or_none(value: object) -> object:
    return value if isinstance(value, dict) else None


class CallAnalysis(Tolerant):
    """The provider's judgement of a finished call."""

    call_successful: bool | None = None
    call_summary: str | None = None
    in_voicemail: bool | None = None
    user_sentiment: str | None = None
    custom_analysis_data: Annotated[dict[str, object] | None, BeforeValidator(_object_or_none)] = None
    """What the voice agent was told to extract (docs/webhooks.md); anything but an object counts as nothing."""


class CallCost(Tolerant):
    """What a call cost."""

    combined_cost: float | None = None
    """Cents, may be fractional."""


class Call(Tolerant):
    """A call as an event tells it."""

    call_id: Name
    agent_id: str | None = None
    call_type: str | None = None
    direction: str | None = None
    from_number: str | None = None
    to_number: str | None = None
    call_status: str | None = None
    start_timestamp: Milliseconds | None = None
    end_timestamp: Milliseconds | None = None
    duration_ms: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    disconnection_reason: str | None = None
    transcript: str | None = None
    recording_url: str | None = None
    latency: Annotated[dict[str, object] | None, BeforeValidator(_object_or_none)] = None
    call_cost: CallCost | None = None
    call_analysis: CallAnalysis | None = None


class CallWebhook(Tolerant):
    """The body of a call event."""

    event: Annotated[str, Field(min_length=1, max_length=64)]
    call: Call


class IncomingCall(Tolerant):
    """A call that rings and is not answered yet."""

    agent_id: str | None = None
    from_number: str | None = None
    to_number: str | None = None
    call_id: str | None = None


class InboundWebhook(Tolerant):
    """The body of the question before a call is answered."""

    event: str
    call_inbound: IncomingCall


def read_call_webhook(body: bytes) -> CallWebhook:
    """The event that `body` tells. Raises `Malformed`."""
    return validated(CallWebhook, read_object(body))


def read_inbound(body: bytes) -> InboundWebhook:
    """The question that `body` asks. Raises `Malformed`."""
    return validated(InboundWebhook, read_object(body))


def read_delivery(body: bytes, headers: Headers) -> Delivery:
    """A verified body as the intake takes it. Raises `Malformed`."""
    webhook = read_call_webhook(body)
    call = webhook.call
    event = webhook.event
    key = f"{event}:{call.call_id}"
    if event not in ONCE:
        key += ":" + hashlib.sha256(body).hexdigest()
    ours = call.from_number if call.direction == "outbound" else call.to_number
    return Delivery(
        provider=Provider.RETELL,
        event=event,
        subject=call.call_id,
        dedup_key=key,
        dialled=dialled_number(ours),
        agent=call.agent_id or None,
        body=body,
        headers=kept_headers(headers),
    )
