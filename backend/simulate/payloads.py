"""Bodies as Retell sends them: one function per kind of request, deterministic to the byte.

The shapes are the provider's (its API reference, docs/webhooks.md); `custom_analysis_data` is what our own agents are
told to fill in.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from backend.domain.vocabulary import CallOutcome, CallStatus, RefusalReason
from backend.simulate.businesses import ZONE
from backend.simulate.calls import Booking, Odd, PlannedCall, Written
from backend.simulate.conversation import Turn, summary, turns
from backend.simulate.dice import seeded

Json = dict[str, object]

STARTED: Final = "call_started"
ENDED: Final = "call_ended"
ANALYZED: Final = "call_analyzed"
TRANSCRIPT: Final = "transcript_updated"
TRANSFER_STARTED: Final = "transfer_started"
TRANSFER_BRIDGED: Final = "transfer_bridged"
TRANSFER_ENDED: Final = "transfer_ended"
UNKNOWN: Final = "call_reviewed"
"""A kind of event that the provider may invent one day."""

REPEATABLE: Final = frozenset({TRANSCRIPT, TRANSFER_STARTED, TRANSFER_BRIDGED, TRANSFER_ENDED})
"""Events that may come several times for one call; told apart by their body."""

ODD_REASON, ODD_SENTIMENT, ODD_OUTCOME = "caller_walked_away", "Amused", "gift_card_sold"

_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Told:
    """What the agent's functions led to, as the provider tells it after the call."""

    outcome: CallOutcome
    booking: Json | None = None
    callback: str | None = None
    tool_calls: tuple[Json, ...] = ()
    """Invocations and results, as they stand in the transcript."""


def inbound(call: PlannedCall) -> bytes:
    """The question that comes before the phone is answered."""
    question: Json = {
        "agent_id": call.agent_id,
        "from_number": call.from_number or "",
        "to_number": call.to_number or "",
    }
    return _ENCODER.encode({"event": "call_inbound", "call_inbound": question})


def call_event(call: PlannedCall, event: str, sequence: int = 0, told: Told | None = None) -> bytes:
    """The body of one event. `sequence` counts repeatable events of one kind within a call, from 0.

    `told` is what functions led to; without it nothing was done in the call.
    """
    body: Json = {"event": event, "call": _call(call, event, sequence, told or _untold(call))}
    if event in {TRANSFER_STARTED, TRANSFER_BRIDGED, TRANSFER_ENDED}:
        body["transfer_destination"] = {"type": "predefined", "number": call.to_number}
    return _ENCODER.encode(body)


def transcript(call: PlannedCall) -> str:
    """Everything that was said, one turn to a line."""
    return _text(_dialogue(call))


def recording_url(call: PlannedCall) -> str:
    """Where the recording is."""
    return f"https://recordings.example/{call.call_id}/recording.wav"


def latency(call: PlannedCall) -> Json:
    """How long the voice agent took to answer, milliseconds."""
    rng = seeded(call.call_id, "latency")
    medians = {"e2e": 900.0, "llm": 420.0, "asr": 90.0, "tts": 210.0}
    return {part: _percentiles(rng, median) for part, median in medians.items()}


def function_call(call: PlannedCall, name: str, arguments: Mapping[str, object], tool_call_id: str | None) -> bytes:
    """The body with which an agent calls a function.

    Arguments stand in an object, in the text of one, or at the root, as the agent is configured.
    """
    about: Json = {
        "call_id": call.call_id,
        "call_type": call.call_type,
        "agent_id": call.agent_id,
        "call_status": CallStatus.ONGOING,
        "start_timestamp": call.started_ms,
    }
    if call.call_type == "phone_call":
        about |= {"direction": "inbound", "from_number": call.from_number, "to_number": call.to_number}
    body: Json = {"name": name, "call": about}
    if tool_call_id:
        body["tool_call_id"] = tool_call_id
    form = hashlib.sha256(call.call_id.encode()).digest()[0] % 10
    if form == 0 and not body.keys() & arguments.keys():
        return _ENCODER.encode(body | dict(arguments))
    return _ENCODER.encode(body | {"args": _ENCODER.encode(arguments).decode() if form == 1 else arguments})


def _untold(call: PlannedCall) -> Told:
    return Told(call.outcome, _booking(call.booking) if call.booking else None, call.callback_reason)


def _call(call: PlannedCall, event: str, sequence: int, told_after: Told) -> Json:
    over = event in {ENDED, ANALYZED, UNKNOWN}
    told: Json = {
        "call_id": call.call_id,
        "call_type": call.call_type,
        "agent_id": call.agent_id,
        "agent_version": 3,
        "call_status": call.status if over else CallStatus.ONGOING,
        "metadata": {},
        "retell_llm_dynamic_variables": {"sprache": "de"},
        "opt_out_sensitive_data_storage": False,
    }
    if call.call_type == "phone_call":
        told |= {"direction": "inbound", "from_number": call.from_number, "to_number": call.to_number}
    if call.connected or over:
        told["start_timestamp"] = call.started_ms
    if event == TRANSCRIPT:
        said = _dialogue(call)[: 2 + 2 * sequence]
        told["transcript"] = _text(said)
        told["transcript_object"] = [{"role": turn.role, "content": turn.content} for turn in said]
    if over:
        told |= _after_the_call(call, told_after)
    if event == ANALYZED:
        told["call_analysis"] = _analysis(call, told_after)
    return told


def _after_the_call(call: PlannedCall, told_after: Told) -> Json:
    """What the call object says once the call is over, beside what it said before."""
    told: Json = {
        "end_timestamp": call.ended_ms,
        "duration_ms": call.duration_ms,
        "disconnection_reason": ODD_REASON if call.odd is Odd.REASON else call.disconnection_reason,
        "call_cost": {
            "combined_cost": call.cost_cents,
            "total_duration_seconds": round(call.duration_ms / 1000),
            "product_costs": [{"product": "voice_engine", "unit_price": 0.117, "cost": call.cost_cents}],
        },
    }
    if not call.connected:
        return told
    said = _dialogue(call)
    spoken = _spoken(said, timed=call.with_words)
    told |= {
        "transcript": transcript(call),
        "transcript_object": spoken,
        "transcript_with_tool_calls": [*spoken, *(told_after.tool_calls or _tool_calls(call))],
        "recording_url": recording_url(call),
        "public_log_url": f"https://recordings.example/{call.call_id}/public.log",
        "latency": latency(call),
    }
    return told


def _analysis(call: PlannedCall, told_after: Told) -> Json:
    custom: Json = {"outcome": ODD_OUTCOME if call.odd is Odd.OUTCOME else told_after.outcome}
    if call.spoken_name:
        custom["customer_name"] = call.spoken_name
    if call.email:
        custom["customer_email"] = call.email
    if told_after.booking:
        custom["booking"] = told_after.booking
    if told_after.callback:
        custom["callback"] = {"reason": told_after.callback}
    return {
        "call_successful": call.outcome not in {CallOutcome.HANGUP, CallOutcome.ERROR},
        "call_summary": summary(call),
        "in_voicemail": False,
        "user_sentiment": ODD_SENTIMENT if call.odd is Odd.SENTIMENT else call.sentiment,
        "custom_analysis_data": custom,
    }


def _booking(booking: Booking) -> Json:
    wish: Json = {
        "service": booking.service.slug,
        "staff": booking.staff.slug if booking.staff else None,
        "starts_at": _written(datetime.fromtimestamp(booking.start * 60, UTC), booking.written),
        "branch": booking.branch.slug if booking.names_branch else None,
    }
    match booking.flaw:
        case RefusalReason.SERVICE_UNKNOWN:
            wish["service"] = "zeitreise"
        case RefusalReason.STAFF_UNKNOWN:
            wish["staff"] = "niemand"
        case RefusalReason.BRANCH_UNKNOWN:
            wish["branch"] = "mond"
        case RefusalReason.TIME_UNREADABLE:
            wish["starts_at"] = "übermorgen gegen drei"
        case RefusalReason.IN_PAST:
            wish["starts_at"] = "2019-05-06T10:00:00+02:00"
        case RefusalReason.TOO_FAR:
            wish["starts_at"] = "2199-05-06T10:00:00+02:00"
        case _:
            pass
    return wish


def _written(start: datetime, how: Written) -> str:
    local = start.astimezone(ZONE)
    match how:
        case Written.OFFSET:
            return local.isoformat()
        case Written.UTC:
            return start.strftime("%Y-%m-%dT%H:%M:%SZ")
        case Written.WALL:
            return local.replace(tzinfo=None).isoformat()


@lru_cache(maxsize=256)
def _dialogue(call: PlannedCall) -> list[Turn]:
    return turns(call)


def _text(said: list[Turn]) -> str:
    return "".join(f"{turn.role.capitalize()}: {turn.content}\n" for turn in said)


def _spoken(said: list[Turn], *, timed: bool) -> list[Json]:
    if not timed:
        return [{"role": turn.role, "content": turn.content} for turn in said]
    spoken: list[Json] = []
    at = 0.4
    for turn in said:
        words: list[Json] = []
        for word in turn.content.split():
            end = at + 0.06 * len(word)
            words.append({"word": word, "start": round(at, 3), "end": round(end, 3)})
            at = end + 0.05
        spoken.append({"role": turn.role, "content": turn.content, "words": words})
        at += 0.4
    return spoken


def _tool_calls(call: PlannedCall) -> list[Json]:
    if call.booking is None:
        return []
    arguments = _ENCODER.encode(_booking(call.booking)).decode()
    tool = f"tool_{call.number}"
    return [
        {"role": "tool_call_invocation", "tool_call_id": tool, "name": "book_appointment", "arguments": arguments},
        {"role": "tool_call_result", "tool_call_id": tool, "content": '{"ok":true}'},
    ]


def _percentiles(rng: random.Random, median_ms: float) -> Json:
    middle = rng.lognormvariate(0.0, 0.25) * median_ms
    factors = {"p50": 1.0, "p90": 1.5, "p95": 1.8, "p99": 2.6, "max": 3.0, "min": 0.6}
    found: Json = {name: round(middle * factor, 1) for name, factor in factors.items()}
    return found | {"num": rng.randrange(3, 40)}
