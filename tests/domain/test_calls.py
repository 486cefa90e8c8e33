"""The fold of call events depends on the set of events and on nothing else."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.calls import BookingWish, CallEvent, fold_call
from backend.domain.vocabulary import CallOutcome, CallStatus, Sentiment

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)

moments = st.integers(0, 5).map(lambda minutes: START + timedelta(minutes=minutes))
words = st.sampled_from(["", "a", "b", "ab", "ä"])

wishes = st.builds(
    BookingWish,
    service=st.sampled_from(["schnitt", "farbe"]),
    starts_at=st.none() | moments | st.just(START.replace(tzinfo=None)),
    staff=st.none() | words,
    branch=st.none() | words,
)

events = st.builds(
    CallEvent,
    kind=st.sampled_from(
        ["call_started", "call_ended", "call_analyzed", "transcript_updated", "transfer_started", "new"]
    ),
    provider_call_id=st.just("call_1"),
    received_at=moments,
    agent_id=st.none() | words,
    call_type=st.none() | words,
    direction=st.sampled_from([None, "inbound", "outbound"]),
    from_number=st.none() | words,
    to_number=st.none() | words,
    status=st.none() | st.sampled_from(CallStatus),
    started_at=st.none() | moments,
    ended_at=st.none() | moments,
    duration_ms=st.none() | st.integers(0, 10_000),
    disconnection_reason=st.sampled_from([None, "user_hangup", "call_transfer"]),
    transcript=st.none() | words,
    summary=st.none() | words,
    sentiment=st.none() | st.sampled_from(Sentiment),
    cost_cents=st.none() | st.integers(0, 9),
    latency=st.none() | st.dictionaries(words, st.floats(allow_nan=False) | st.dictionaries(words, st.integers())),
    outcome=st.none() | st.sampled_from(CallOutcome),
    caller_name=st.none() | words,
    caller_email=st.none() | words,
    booking=st.none() | wishes,
    callback_reason=st.none() | words,
)


@given(st.lists(events, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_any_order_and_any_duplicates_make_the_same_record(given_events: list[CallEvent], rng: random.Random) -> None:
    mixed = given_events + [rng.choice(given_events) for _ in range(rng.randrange(4))]
    rng.shuffle(mixed)
    assert fold_call(mixed) == fold_call(given_events)


@given(st.lists(events, min_size=2, max_size=8), st.data())
def test_whatever_was_folded_before_late_arrivals_make_the_same_record(
    given_events: list[CallEvent], data: st.DataObject
) -> None:
    early = data.draw(st.lists(st.sampled_from(given_events), min_size=1))
    fold_call(early)
    late = [event for event in given_events if event not in early]
    assert fold_call(early + late) == fold_call(given_events)


@given(st.lists(events, min_size=1, max_size=8))
def test_a_call_never_ends_before_it_starts(given_events: list[CallEvent]) -> None:
    record = fold_call(given_events)
    assert record.ended_at is None or record.ended_at >= record.started_at
    assert record.duration_ms is None or record.duration_ms >= 0


@given(st.lists(events, min_size=1, max_size=6), events)
def test_more_events_never_reopen_an_ended_call(given_events: list[CallEvent], one_more: CallEvent) -> None:
    final = {CallStatus.ENDED, CallStatus.NOT_CONNECTED, CallStatus.ERROR}
    if fold_call(given_events).status in final:
        assert fold_call([*given_events, one_more]).status in final


def event(kind: str, **fields: object) -> CallEvent:
    return CallEvent(kind=kind, provider_call_id="call_1", received_at=START, **fields)  # type: ignore[arg-type] # fields of the event


def test_an_end_before_its_start_is_an_ended_call() -> None:
    record = fold_call([event("call_ended"), event("call_started", status=CallStatus.ONGOING)])
    assert record.status is CallStatus.ENDED


def test_analysis_alone_proves_that_the_call_ended() -> None:
    record = fold_call([event("call_started"), event("call_analyzed", outcome=CallOutcome.ENQUIRY)])
    assert (record.status, record.outcome) == (CallStatus.ENDED, CallOutcome.ENQUIRY)


def test_the_analysis_knows_better_than_the_end() -> None:
    record = fold_call([event("call_analyzed", cost_cents=12), event("call_ended", cost_cents=90)])
    assert record.cost_cents == 12


def test_a_final_transcript_beats_a_longer_draft_and_a_longer_draft_a_shorter_one() -> None:
    drafts = [event("transcript_updated", transcript=text) for text in ("Hallo", "Hallo, guten Tag", "Ha")]
    assert fold_call(drafts).transcript == "Hallo, guten Tag"
    assert fold_call([*drafts, event("call_ended", transcript="Hallo.")]).transcript == "Hallo."


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ([event("call_started")], None),
        ([event("call_ended")], None),
        ([event("call_analyzed")], CallOutcome.UNKNOWN),
        ([event("call_ended", status=CallStatus.ERROR)], CallOutcome.ERROR),
        ([event("call_ended", disconnection_reason="call_transfer")], CallOutcome.TRANSFER),
        (
            [event("call_ended", disconnection_reason="call_transfer"), event("call_analyzed", outcome="booked")],
            CallOutcome.BOOKED,
        ),
    ],
)
def test_the_outcome_is_what_was_extracted_else_what_the_end_tells(
    told: list[CallEvent], outcome: CallOutcome | None
) -> None:
    assert fold_call(told).outcome == outcome


def test_duration_and_end_follow_from_each_other() -> None:
    by_duration = fold_call([event("call_ended", started_at=START, duration_ms=90_000)])
    assert by_duration.ended_at == START + timedelta(seconds=90)
    by_end = fold_call([event("call_ended", started_at=START, ended_at=START + timedelta(seconds=30))])
    assert by_end.duration_ms == 30_000


def test_the_caller_is_at_the_other_end() -> None:
    numbers = {"from_number": "+491", "to_number": "+492"}
    assert fold_call([event("call_started", direction="inbound", **numbers)]).caller_number == "+491"
    assert fold_call([event("call_started", direction="outbound", **numbers)]).caller_number == "+492"


def test_nothing_and_two_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        fold_call([])
    other = CallEvent(kind="call_started", provider_call_id="call_2", received_at=START)
    with pytest.raises(ValueError, match="different calls"):
        fold_call([event("call_started"), other])
