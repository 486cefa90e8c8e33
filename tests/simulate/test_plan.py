"""Plans: repeatable, as frequent and as faulty as they should be, and clear of everything that is there already."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.vocabulary import CallOutcome, CallStatus
from backend.simulate.arrivals import Arrivals
from backend.simulate.businesses import DEMO, TRIAL, ZONE, businesses, week
from backend.simulate.calls import PlannedCall
from backend.simulate.deliveries import Delivery
from backend.simulate.plan import Busy, Ground, Plan, RunSpec, make_plan
from backend.simulate.presets import (
    ANONYMOUS,
    OUTCOMES,
    PACES,
    PER_CALL,
    PER_DELIVERY,
    RETURNING,
    UNKNOWN_NUMBER,
    Fault,
)

NOW = datetime(2026, 3, 11, 15, 30, tzinfo=UTC).timestamp()
COMPANIES = businesses(TRIAL)


def plan_of(
    calls: int,
    *,
    seed: int = 1,
    run: str = "a",
    preset: str = "tenfold",
    faults: bool = True,
    ground: Ground | None = None,
) -> Plan:
    spec = RunSpec(calls=calls, seed=seed, run=run, pace=PACES[preset], now=NOW, faults=faults)
    return make_plan(spec, COMPANIES, ground or Ground())


@pytest.fixture(scope="module")
def big() -> Plan:
    """20,000 calls with all faults."""
    return plan_of(20_000, seed=20_000)


def first_wave(plan: Plan) -> list[PlannedCall]:
    return [call for call in plan.calls if call.wave == 0]


def expect_share(found: int, of: int, share: float) -> None:
    """`found` of `of` is `share` within five standard deviations."""
    assert abs(found - of * share) <= 5 * math.sqrt(of * share * (1 - share)) + 1, (found / of, share)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), calls=st.integers(1, 120), faults=st.booleans())
def test_the_same_seed_makes_the_same_plan_and_the_same_bytes(seed: int, calls: int, faults: bool) -> None:
    one, other = (plan_of(calls, seed=seed, faults=faults) for _ in range(2))
    assert one == other
    assert [delivery.body() for delivery in one.deliveries] == [delivery.body() for delivery in other.deliveries]


def test_two_runs_of_one_seed_share_neither_calls_nor_lines() -> None:
    one = plan_of(300)
    other = plan_of(300, run="b", ground=Ground(phones=frozenset(c.person.phone for c in one.calls if c.person)))
    assert not {call.call_id for call in one.calls} & {call.call_id for call in other.calls}
    assert not {c.person.phone for c in one.calls if c.person} & {c.person.phone for c in other.calls if c.person}


def test_outcomes_have_their_shares(big: Plan) -> None:
    # Rivals for a contested slot book as well, so bookings are counted without them.
    rivals = {number for contest in big.contests for number in contest.calls[1:]}
    calls = [call for call in first_wave(big) if call.number not in rivals and call.business]
    found = Counter(call.outcome for call in calls)
    for outcome, share in OUTCOMES.items():
        expect_share(found[outcome], len(calls), share)


def test_fates_have_their_shares(big: Plan) -> None:
    calls = first_wave(big)
    expect_share(sum(call.business is None for call in calls), len(calls), UNKNOWN_NUMBER)
    known = [call for call in calls if call.business and call.call_type == "phone_call"]
    expect_share(sum(call.person is None for call in known), len(known), ANONYMOUS)
    seen: set[int] = set()
    returning = total = 0
    for call in calls:
        if call.person:
            total += 1
            returning += call.person.number in seen
            seen.add(call.person.number)
    expect_share(returning, total, RETURNING)


def test_every_fault_occurs_at_its_rate(big: Plan) -> None:
    sent = [delivery for delivery in big.waves[0] if not delivery.is_question]
    originals = [delivery for delivery in sent if delivery.fault not in PER_DELIVERY]
    found = Counter(delivery.fault for delivery in sent)
    for fault, share in PER_DELIVERY.items():
        expect_share(found[fault], len(originals), share)
    calls = first_wave(big)
    events: dict[int, set[str]] = {}
    for delivery in originals:
        events.setdefault(delivery.call.number, set()).add(delivery.event)
    connected = [call for call in calls if call.connected]
    expect_share(found[Fault.OUT_OF_ORDER], len(calls), PER_CALL[Fault.OUT_OF_ORDER])
    lacking = sum("call_started" not in events[call.number] for call in connected)
    expect_share(lacking, len(connected), PER_CALL[Fault.STARTED_MISSING])
    lost = sum("call_ended" not in events[call.number] for call in calls)
    expect_share(lost, len(calls), PER_CALL[Fault.ENDED_LOST])
    expect_share(sum(call.odd is not None for call in calls), len(calls), PER_CALL[Fault.UNKNOWN_ENUM])


def test_even_a_small_run_shows_every_fault() -> None:
    for seed in range(5):
        plan = plan_of(40, seed=seed)
        found = {delivery.fault for delivery in plan.waves[0]}
        assert found >= set(PER_DELIVERY) | {Fault.OUT_OF_ORDER, Fault.UNKNOWN_ENUM}
        started = {d.call.number for d in plan.waves[0] if d.event == "call_started"}
        ended = {d.call.number for d in plan.waves[0] if d.event == "call_ended"}
        calls = first_wave(plan)
        assert any(call.connected and call.number not in started for call in calls)
        assert any(call.number not in ended for call in calls)


def test_without_faults_every_call_is_told_once_and_in_order() -> None:
    told: dict[int, list[str]] = {}
    for delivery in plan_of(300, faults=False).waves[0]:
        assert delivery.reject is None
        if delivery.event in {"call_started", "call_ended", "call_analyzed"}:
            told.setdefault(delivery.call.number, []).append(delivery.event)
    assert len(told) == 300
    for number, events in told.items():
        assert events in (["call_started", "call_ended", "call_analyzed"], ["call_ended", "call_analyzed"]), number


def test_deliveries_come_in_the_order_of_their_times(big: Plan) -> None:
    for wave in big.waves:
        assert all(one.at <= other.at for one, other in pairwise(wave))


def busy_times(plan: Plan) -> dict[tuple[str, str], list[tuple[int, int, int]]]:
    """By staff member: begin and end of what a booking takes, and its contest."""
    found: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for call in plan.calls:
        if call.booking and call.business:
            booking = call.booking
            staff = [booking.staff] if booking.staff else call.business.offering(booking.branch, booking.service)
            if booking.flaw:
                continue
            begin = booking.start - booking.service.before
            end = booking.start + booking.service.minutes + booking.service.after
            for person in staff:
                found.setdefault((call.business.slug, person.slug), []).append((begin, end, booking.contest))
    return found


def test_bookings_meet_only_within_their_contest_and_always_there() -> None:
    plan = plan_of(4_000, seed=4)
    assert sum(len(contest.calls) > 1 for contest in plan.contests) > 20
    for times in busy_times(plan).values():
        times.sort()
        for at, (begin, end, number) in enumerate(times):
            for other_begin, _, other_number in times[at + 1 :]:
                if other_begin >= end:
                    break
                assert number == other_number, (begin, end)
    for contest in plan.contests:
        bookings = [plan.calls[number].booking for number in contest.calls]
        starts = [booking.start for booking in bookings if booking]
        assert max(starts) - min(starts) < min(booking.service.minutes for booking in bookings if booking)


def test_bookings_lie_in_working_hours_and_in_the_future() -> None:
    for call in plan_of(2_000, seed=5).calls:
        if call.booking is None or call.business is None:
            continue
        booking = call.booking
        starts = datetime.fromtimestamp(booking.start * 60, UTC).astimezone(ZONE)
        assert starts.timestamp() > NOW + timedelta(hours=12).total_seconds()
        assert starts.timestamp() < NOW + timedelta(days=700).total_seconds()
        begin = starts.hour * 60 + starts.minute
        staff = [booking.staff] if booking.staff else call.business.offering(booking.branch, booking.service)
        for person in staff if booking.flaw is None else ():
            assert booking.service.slug in person.services
            assert booking.branch.slug in person.branches
            spans = week(person.hours)[starts.isoweekday()]
            assert any(span.start <= begin and begin + booking.service.minutes <= span.end for span in spans)


def test_a_plan_keeps_clear_of_what_is_taken() -> None:
    first = plan_of(1_500, seed=6)
    ground = Ground(
        phones=frozenset(call.person.phone for call in first.calls if call.person),
        busy=tuple(
            Busy(business, staff, begin, end)
            for (business, staff), times in busy_times(first).items()
            for begin, end, _ in times
        ),
    )
    second = plan_of(1_500, seed=6, run="b", ground=ground)
    taken = busy_times(first)
    for who, times in busy_times(second).items():
        for begin, end, _ in times:
            assert not any(begin < taken_end and taken_begin < end for taken_begin, taken_end, _ in taken.get(who, []))


def test_calls_that_never_connect_have_no_start_and_no_talk(big: Plan) -> None:
    never = [call for call in first_wave(big) if call.status is CallStatus.NOT_CONNECTED]
    assert never
    numbers = {call.number for call in never}
    assert not [d for d in big.waves[0] if d.call.number in numbers and d.event == "call_started"]
    assert all(call.outcome is CallOutcome.ERROR and call.duration_ms == 0 for call in never)


def test_durations_are_as_long_as_real_ones(big: Plan) -> None:
    booked = sorted(call.duration_ms / 1000 for call in first_wave(big) if call.outcome is CallOutcome.BOOKED)
    assert 100 < booked[len(booked) // 2] < 120
    assert booked[-1] <= 900
    hangups = [call.duration_ms / 1000 for call in first_wave(big) if call.outcome is CallOutcome.HANGUP]
    assert min(hangups) >= 6
    assert max(hangups) <= 15


def test_bodies_are_between_small_and_300_kilobytes() -> None:
    plan = plan_of(3_000, seed=9)
    longest = max(plan.calls, key=lambda call: (call.with_words, call.duration_ms))
    sizes = [len(Delivery(0.0, longest, event).body()) for event in ("call_started", "call_ended", "call_analyzed")]
    assert sizes[0] < 1_000
    assert 50_000 < sizes[2] < 300_000


@pytest.mark.parametrize("preset", ["dev", "now", "tenfold"])
def test_the_mean_rate_is_the_presets(preset: str) -> None:
    pace = PACES[preset]
    step = 300.0
    weeks = 4
    arrivals = Arrivals(pace, "rate")
    expected = sum(arrivals.rate(NOW - at * step) * step for at in range(int(weeks * 7 * 86_400 / step)))
    # Two bursts a day add a few per cent to what the weights alone would give.
    assert 1.0 <= expected / (pace.calls_per_day * 7 * weeks) < 1.06


def test_as_many_calls_arrive_as_the_rate_promises() -> None:
    arrivals = Arrivals(PACES["now"], "count")
    begin = NOW - 7 * 86_400
    promised = sum(arrivals.rate(begin + at * 60.0) * 60.0 for at in range(7 * 24 * 60))
    arrived = sum(1 for _ in takewhile(lambda at: at >= begin, arrivals.before(NOW)))
    assert abs(arrived - promised) < 5 * math.sqrt(promised)


def test_more_calls_come_on_monday_morning_than_on_sunday_night() -> None:
    rates = Arrivals(PACES["now"], "weights")
    monday = datetime(2026, 3, 9, 9, 30, tzinfo=ZONE).timestamp()
    sunday = datetime(2026, 3, 15, 3, 30, tzinfo=ZONE).timestamp()
    assert rates.rate(monday) / rates.rate(sunday) >= 1.25 / 0.15 * 1.8 / 0.1 - 1e-6


def test_forward_and_backward_arrivals_are_sorted_and_on_their_side() -> None:
    arrivals = Arrivals(PACES["tenfold"], "sides")
    earlier, later = list(islice(arrivals.before(NOW), 500)), list(islice(arrivals.after(NOW), 500))
    assert earlier == sorted(earlier, reverse=True)
    assert earlier[0] <= NOW <= later[0]
    assert later == sorted(later)


def test_a_storm_is_flat() -> None:
    storm = Arrivals(PACES["storm"], "storm")
    instants = list(islice(storm.after(NOW), 6_000))
    assert 50 < instants[-1] - NOW < 70


def test_the_invented_companies_do_not_share_numbers_agents_or_slugs() -> None:
    everyone = businesses(DEMO) + businesses(TRIAL)
    for values in (
        [company.slug for company in everyone],
        [company.agent for company in everyone],
        [number for company in everyone for branch in company.branches for number in branch.numbers],
    ):
        assert len(values) == len(set(values))
    for company in everyone:
        for branch in company.branches:
            assert company.offered(branch)
        for person in company.staff:
            assert week(person.hours)
