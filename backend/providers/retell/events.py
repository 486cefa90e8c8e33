"""From Retell's words to the domain's: one stored delivery as a `CallEvent`.

What the voice agent extracts stands in `call.call_analysis.custom_analysis_data`; its form is in docs/webhooks.md.
Words that the domain does not know become unknown, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from backend.domain.calls import BookingWish, CallEvent
from backend.domain.text import LINE_LIMIT, NAME_LIMIT, long_text, one_line
from backend.domain.vocabulary import CallOutcome, CallStatus, Sentiment
from backend.providers.retell.payloads import Call, read_call_webhook

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_CENTS = 2**31 - 1


def read_call_event(body: bytes, received_at: datetime) -> CallEvent:
    """The event that a stored body tells. Raises `Malformed` for a body that the intake would refuse."""
    webhook = read_call_webhook(body)
    call = webhook.call
    analysis = call.call_analysis
    extracted: Mapping[str, object] = (analysis and analysis.custom_analysis_data) or {}
    return CallEvent(
        kind=webhook.event,
        provider_call_id=call.call_id,
        received_at=received_at,
        agent_id=one_line(call.agent_id),
        call_type=one_line(call.call_type),
        direction=one_line(call.direction),
        from_number=one_line(call.from_number),
        to_number=one_line(call.to_number),
        status=_status(call.call_status),
        started_at=_moment(call.start_timestamp),
        ended_at=_moment(call.end_timestamp),
        duration_ms=call.duration_ms,
        disconnection_reason=one_line(call.disconnection_reason),
        transcript=long_text(call.transcript),
        summary=long_text(analysis.call_summary) if analysis else None,
        sentiment=_sentiment(analysis.user_sentiment) if analysis else None,
        recording_url=one_line(call.recording_url, 2000),
        cost_cents=_cents(call),
        latency=call.latency,
        outcome=_outcome(extracted),
        caller_name=_line(extracted.get("customer_name"), NAME_LIMIT),
        caller_email=_line(extracted.get("customer_email"), 320),
        booking=_booking(extracted.get("booking")),
        callback_reason=_callback(extracted.get("callback")),
    )


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else EPOCH + timedelta(milliseconds=milliseconds)


def _status(word: str | None) -> CallStatus | None:
    try:
        return CallStatus(word) if word else None
    except ValueError:
        return None


def _sentiment(word: str | None) -> Sentiment | None:
    try:
        return Sentiment(word.lower()) if word else None
    except ValueError:
        return Sentiment.UNKNOWN


def _outcome(extracted: Mapping[str, object]) -> CallOutcome | None:
    word = extracted.get("outcome")
    if not isinstance(word, str) or not word:
        return None
    try:
        return CallOutcome(word.lower())
    except ValueError:
        return CallOutcome.UNKNOWN


def _cents(call: Call) -> int | None:
    cost = call.call_cost.combined_cost if call.call_cost else None
    return None if cost is None else max(0, min(MAX_CENTS, round(cost)))


def _line(value: object, limit: int = LINE_LIMIT) -> str | None:
    return one_line(value, limit) if isinstance(value, str) else None


def _booking(value: object) -> BookingWish | None:
    if not isinstance(value, Mapping):
        return None
    return BookingWish(
        service=_line(value.get("service")) or "",
        staff=_line(value.get("staff")),
        branch=_line(value.get("branch")),
        starts_at=_start(value.get("starts_at")),
    )


def _start(value: object) -> datetime | None:
    """The wished start as extracted, ISO 8601; a naive one stays naive, an unreadable one is None."""
    try:
        return datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
    except ValueError:
        return None


def _callback(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None
    return _line(value.get("reason")) or "unspecified"
