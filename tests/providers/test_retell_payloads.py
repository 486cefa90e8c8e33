"""From a Retell body to what the intake stores and what the domain folds."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest

from backend.domain.calls import BookingWish
from backend.domain.vocabulary import CallOutcome, CallStatus, Sentiment
from backend.providers.delivery import HEADER_LIMIT, Malformed, dialled_number, kept_headers
from backend.providers.retell.events import read_call_event
from backend.providers.retell.payloads import read_delivery

RECEIVED = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


def body(event: str = "call_ended", **call: object) -> bytes:
    return json.dumps({"event": event, "call": {"call_id": "call_1", **call}}, ensure_ascii=False).encode()


def analysed(**extracted: object) -> bytes:
    return body("call_analyzed", call_analysis={"custom_analysis_data": extracted})


@pytest.mark.parametrize("event", ["call_started", "call_ended", "call_analyzed"])
def test_an_event_that_happens_once_is_known_by_its_call_and_name(event: str) -> None:
    first = read_delivery(body(event, transcript="a"), [])
    second = read_delivery(body(event, transcript="b"), [])
    assert first.dedup_key == second.dedup_key == f"{event}:call_1"


@pytest.mark.parametrize("event", ["transcript_updated", "transfer_started", "never_heard_of"])
def test_any_other_event_is_known_by_its_body_too(event: str) -> None:
    one = body(event, transcript="a")
    assert read_delivery(one, []).dedup_key == f"{event}:call_1:{hashlib.sha256(one).hexdigest()}"
    assert read_delivery(one, []).dedup_key != read_delivery(body(event, transcript="b"), []).dedup_key


def test_only_useful_headers_are_kept_and_made_harmless() -> None:
    kept = kept_headers(
        [
            (b"user-agent", b"evil\x1b]52;c;\x07\x9b2J" + b"x" * 10_000),
            (b"authorization", b"Bearer secret"),
            (b"cookie", b"id=1"),
        ]
    )
    assert set(kept) == {"user-agent"}
    assert kept["user-agent"].isprintable()
    assert len(kept["user-agent"]) == HEADER_LIMIT


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("+493012345678", "+493012345678"),
        ("+49 (30) 1234-5678", "+493012345678"),
        ("00493012345678", "+493012345678"),
        ("03012345678", None),
        ("anonymous", None),
        ("sip:100@example.org", None),
        ("", None),
        (None, None),
        ("+", None),
        ("+49" + "1" * 100, None),
        ("+４９３０１２３４５６７８", None),
    ],
)
def test_a_dialled_number_is_brought_to_one_form(raw: str | None, number: str | None) -> None:
    assert dialled_number(raw) == number


def test_a_finished_call_is_translated_whole() -> None:
    event = read_call_event(
        body(
            "call_analyzed",
            agent_id="agent_1",
            call_status="ended",
            direction="inbound",
            from_number="+4915112345678",
            to_number="+493012345678",
            start_timestamp=1767607199000,
            end_timestamp=1767607259500,
            duration_ms=60500,
            disconnection_reason="user_hangup",
            transcript="Agent: Guten Tag",
            recording_url="https://example.org/r.wav",
            latency={"e2e": {"p50": 600.5}},
            call_cost={"combined_cost": 14.6},
            call_analysis={
                "call_summary": "Termin",
                "user_sentiment": "Positive",
                "custom_analysis_data": {
                    "customer_name": "Anna Müller",
                    "customer_email": "anna@example.org",
                    "outcome": "booked",
                    "booking": {"service": "prophylaxe", "starts_at": "2026-01-06T10:00:00+01:00", "staff": None},
                },
            },
        ),
        RECEIVED,
    )
    assert event.status is CallStatus.ENDED
    assert event.started_at == datetime(2026, 1, 5, 9, 59, 59, tzinfo=UTC)
    assert event.duration_ms == 60_500
    assert event.sentiment is Sentiment.POSITIVE
    assert event.cost_cents == 15
    assert event.outcome is CallOutcome.BOOKED
    assert event.caller_name == "Anna Müller"
    assert event.caller_email == "anna@example.org"
    assert event.booking == BookingWish(
        service="prophylaxe", starts_at=datetime.fromisoformat("2026-01-06T10:00:00+01:00")
    )
    assert event.latency == {"e2e": {"p50": 600.5}}


def test_words_that_nobody_knows_become_unknown() -> None:
    event = read_call_event(
        body(
            "call_analyzed",
            call_status="levitating",
            call_analysis={"user_sentiment": "Puzzled", "custom_analysis_data": {"outcome": "sang a song"}},
        ),
        RECEIVED,
    )
    assert event.status is None
    assert event.sentiment is Sentiment.UNKNOWN
    assert event.outcome is CallOutcome.UNKNOWN


@pytest.mark.parametrize("extracted", ["", "text", 7, [], None])
def test_extracted_data_of_another_shape_count_as_none(extracted: object) -> None:
    event = read_call_event(body("call_analyzed", call_analysis={"custom_analysis_data": extracted}), RECEIVED)
    assert event.caller_name is None
    assert event.booking is None


@pytest.mark.parametrize("starts_at", [None, "", "tomorrow", 1767607199000, "2026-13-01T00:00:00Z"])
def test_a_booking_with_an_unreadable_start_is_still_a_wish(starts_at: object) -> None:
    event = read_call_event(analysed(booking={"service": "prophylaxe", "starts_at": starts_at}), RECEIVED)
    assert event.booking == BookingWish(service="prophylaxe", starts_at=None)


def test_a_wish_to_be_called_back_has_a_reason() -> None:
    assert read_call_event(analysed(callback={"reason": "Rezept"}), RECEIVED).callback_reason == "Rezept"
    assert read_call_event(analysed(callback={}), RECEIVED).callback_reason == "unspecified"
    assert read_call_event(analysed(callback="yes"), RECEIVED).callback_reason is None


def test_a_hostile_name_is_one_harmless_bounded_line() -> None:
    name = read_call_event(
        analysed(customer_name="Ann\x1b]52;c;AAAA\x07\u202e\nX" + "y" * 10_000), RECEIVED
    ).caller_name
    assert name is not None
    assert name.isprintable()
    assert len(name) <= 200


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"event": "call_ended"}, "call"),
        ({"event": "call_ended", "call": {"call_id": "x" * 257}}, "call.call_id"),
        ({"event": "call_ended", "call": {"call_id": "c", "duration_ms": -1}}, "call.duration_ms"),
        ({"event": "call_ended", "call": {"call_id": "c", "call_analysis": "none"}}, "call.call_analysis"),
    ],
)
def test_a_fault_is_named_by_its_field(content: object, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_delivery(json.dumps(content).encode(), [])
    assert caught.value.field == field
