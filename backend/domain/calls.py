"""A call as the fold of its provider events, in whatever order and however often they arrive.

The fold looks at the set of events only: each field of the record is the greatest of what the events say under an
order that depends on nothing but their content, so any permutation, any duplicate and any late arrival end alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from backend.domain.vocabulary import CallOutcome, CallStatus, Sentiment

Value = TypeVar("Value")

STARTED = "call_started"
ENDED = "call_ended"
ANALYZED = "call_analyzed"

_RANK = {STARTED: 0, ENDED: 2, ANALYZED: 3}
"""Later events know better; what happens during a call (transcripts, transfers) ranks between start and end."""

_DURING = 1

_STATUS_ORDER = (
    CallStatus.REGISTERED,
    CallStatus.ONGOING,
    CallStatus.ENDED,
    CallStatus.NOT_CONNECTED,
    CallStatus.ERROR,
)
FINAL_STATUSES = frozenset({CallStatus.ENDED, CallStatus.NOT_CONNECTED, CallStatus.ERROR})


@dataclass(frozen=True, slots=True, kw_only=True)
class BookingWish:
    """The appointment that a caller agreed to, as the voice agent extracted it: slugs, and not yet judged."""

    service: str
    starts_at: datetime | None
    """With an offset; naive means wall time where the branch is; None means that it could not be read."""
    staff: str | None = None
    """None: anybody who offers the service."""
    branch: str | None = None
    """None: the branch that was called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """One provider event, translated. None means that the event does not say.

    Text may be anything a caller said, cleaned by `backend.domain.text`; times are aware (UTC).
    """

    kind: str
    """The provider's word, for example `call_ended`."""
    provider_call_id: str
    received_at: datetime
    agent_id: str | None = None
    call_type: str | None = None
    direction: str | None = None
    from_number: str | None = None
    to_number: str | None = None
    status: CallStatus | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: int | None = None
    disconnection_reason: str | None = None
    transcript: str | None = None
    summary: str | None = None
    sentiment: Sentiment | None = None
    recording_url: str | None = None
    cost_cents: int | None = None
    latency: Mapping[str, object] | None = None
    outcome: CallOutcome | None = None
    caller_name: str | None = None
    caller_email: str | None = None
    booking: BookingWish | None = None
    callback_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """What is known of a call. Times are aware (UTC), `cost_cents` whole cents."""

    provider_call_id: str
    kinds: tuple[str, ...]
    """Kinds of the events behind it, sorted, each once."""
    status: CallStatus
    started_at: datetime
    """As the provider says, else when the first event arrived."""
    ended_at: datetime | None
    duration_ms: int | None
    agent_id: str | None
    call_type: str | None
    direction: str | None
    from_number: str | None
    to_number: str | None
    disconnection_reason: str | None
    transcript: str | None
    summary: str | None
    sentiment: Sentiment | None
    recording_url: str | None
    cost_cents: int | None
    latency: Mapping[str, object] | None
    outcome: CallOutcome | None
    """None while it is open what the call led to."""
    caller_name: str | None
    caller_email: str | None
    booking: BookingWish | None
    callback_reason: str | None

    @property
    def caller_number(self) -> str | None:
        """The number of the person at the other end, as the provider gave it."""
        return self.to_number if self.direction == "outbound" else self.from_number


def fold_call(events: Sequence[CallEvent]) -> CallRecord:
    """The record that a set of events of one call adds up to, whatever their order.

    Raises ValueError when there is no event, or when they are about different calls.
    """
    if not events:
        raise ValueError("a call needs at least one event")
    call_ids = {event.provider_call_id for event in events}
    if len(call_ids) > 1:
        raise ValueError("the events are about different calls")
    kinds = tuple(sorted({event.kind for event in events}))
    starts = [event.started_at for event in events if event.started_at is not None]
    started_at = min(starts) if starts else min(event.received_at for event in events)
    duration_ms = _latest(events, lambda event: event.duration_ms)
    ended_at = _latest(events, lambda event: event.ended_at)
    if ended_at is None and duration_ms is not None:
        ended_at = started_at + timedelta(milliseconds=duration_ms)
    if ended_at is not None:
        ended_at = max(ended_at, started_at)
        if duration_ms is None:
            duration_ms = (ended_at - started_at) // timedelta(milliseconds=1)
    status = max((_status(event) for event in events), key=_STATUS_ORDER.index)
    reason = _latest(events, lambda event: event.disconnection_reason)
    return CallRecord(
        provider_call_id=call_ids.pop(),
        kinds=kinds,
        status=status,
        started_at=started_at,
        ended_at=ended_at,
        duration_ms=duration_ms,
        agent_id=_latest(events, lambda event: event.agent_id),
        call_type=_latest(events, lambda event: event.call_type),
        direction=_latest(events, lambda event: event.direction),
        from_number=_latest(events, lambda event: event.from_number),
        to_number=_latest(events, lambda event: event.to_number),
        disconnection_reason=reason,
        transcript=_transcript(events),
        summary=_latest(events, lambda event: event.summary),
        sentiment=_latest(events, lambda event: event.sentiment),
        recording_url=_latest(events, lambda event: event.recording_url),
        cost_cents=_latest(events, lambda event: event.cost_cents),
        latency=_latest(events, lambda event: event.latency),
        outcome=_outcome(kinds, status, reason, _latest(events, lambda event: event.outcome)),
        caller_name=_latest(events, lambda event: event.caller_name),
        caller_email=_latest(events, lambda event: event.caller_email),
        booking=_latest(events, lambda event: event.booking),
        callback_reason=_latest(events, lambda event: event.callback_reason),
    )


def _latest(events: Iterable[CallEvent], field: Callable[[CallEvent], Value | None]) -> Value | None:
    """The field as the highest-ranking event that has it says; between equals the greater text decides."""
    best: tuple[tuple[int, str], Value] | None = None
    for event in events:
        value = field(event)
        if value is not None:
            key = (_RANK.get(event.kind, _DURING), _canonical(value))
            if best is None or key > best[0]:
                best = (key, value)
    return None if best is None else best[1]


def _canonical(value: object) -> str:
    """A text that is equal for equal values, also for mappings built in another order."""
    if isinstance(value, Mapping):
        return repr(sorted((str(key), _canonical(item)) for key, item in value.items()))
    if isinstance(value, list):
        return repr([_canonical(item) for item in value])
    return repr(value)


def _transcript(events: Iterable[CallEvent]) -> str | None:
    """The final transcript if there is one, else the longest so far: a transcript only grows."""
    found = [
        (_RANK.get(event.kind, _DURING), len(event.transcript), event.transcript)
        for event in events
        if event.transcript is not None
    ]
    return max(found)[2] if found else None


def _status(event: CallEvent) -> CallStatus:
    """The status that one event proves: what it says, but an end is an end even when the words lag behind."""
    if event.kind in {ENDED, ANALYZED} and event.status not in FINAL_STATUSES:
        return CallStatus.ENDED
    if event.status is not None:
        return event.status
    return CallStatus.ONGOING


def _outcome(
    kinds: Sequence[str], status: CallStatus, reason: str | None, stated: CallOutcome | None
) -> CallOutcome | None:
    """What the call led to: as extracted, else as far as its end tells."""
    if stated is not None:
        return stated
    if status is CallStatus.ERROR:
        return CallOutcome.ERROR
    if reason == "call_transfer":
        return CallOutcome.TRANSFER
    if ANALYZED in kinds:
        return CallOutcome.UNKNOWN
    return None
