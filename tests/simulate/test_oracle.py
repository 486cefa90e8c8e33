"""The oracle: agrees with the product's own fold though it shares no code with it, and allows for what is in doubt."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.calls import fold_call
from backend.domain.vocabulary import CallStatus
from backend.providers.retell.events import read_call_event
from backend.simulate.businesses import TRIAL, businesses
from backend.simulate.calls import PlannedCall
from backend.simulate.oracle import QUIET_EVENTS, Expectation, expect
from backend.simulate.plan import Ground, Plan, RunSpec, make_plan
from backend.simulate.presets import PACES
from backend.simulate.sender import Fate, Ledger

NOW = datetime(2026, 3, 11, 15, 30, tzinfo=UTC).timestamp()
RECEIVED = datetime(2026, 3, 11, 15, 31, tzinfo=UTC)

FOLDED = (
    "agent_id", "call_type", "direction", "from_number", "to_number", "started_at", "ended_at", "duration_ms",
    "disconnection_reason", "cost_cents", "transcript", "recording_url", "summary", "caller_name",
)  # fmt: skip


def plan_of(calls: int, seed: int) -> Plan:
    spec = RunSpec(calls=calls, seed=seed, run="a", pace=PACES["now"], now=NOW)
    return make_plan(spec, businesses(TRIAL), Ground())


def all_accepted(plan: Plan) -> list[Ledger]:
    """Every delivery answered as it should be."""
    return [
        Ledger([Fate(status=400 if one.reject else 204, attempts=1, digest=one.body()[:64]) for one in wave])
        for wave in plan.waves
    ]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.randoms(use_true_random=False))
def test_the_products_fold_of_the_deliveries_in_any_order_is_what_the_oracle_expects(
    seed: int, order: random.Random
) -> None:
    plan = plan_of(60, seed)
    expected = {item.call.call_id: item for item in expect(plan, all_accepted(plan)).calls}
    events: dict[str, list[bytes]] = {}
    for delivery in plan.deliveries:
        if delivery.reject is None and not delivery.is_question and delivery.call.business:
            events.setdefault(delivery.call.call_id, []).append(delivery.body())
    assert events.keys() == expected.keys()
    for call_id, bodies in events.items():
        order.shuffle(bodies)
        record = fold_call([read_call_event(body, RECEIVED) for body in bodies])
        columns = expected[call_id].columns
        assert {name: getattr(record, name) for name in FOLDED} == {name: columns[name] for name in FOLDED}
        assert record.status == columns["status"]
        assert record.sentiment == columns["sentiment"]
        assert record.outcome == columns.get("outcome", "booked")
        assert frozenset(record.kinds) - QUIET_EVENTS == columns["events"]
        assert (record.booking is None) == (expected[call_id].call.booking is None)


def test_expectations_do_not_depend_on_the_order_of_sending() -> None:
    plan = plan_of(150, 3)
    ledgers = all_accepted(plan)
    pairs = list(zip(plan.waves[0], ledgers[0].fates, strict=True))
    random.Random(5).shuffle(pairs)
    shuffled = Plan(
        spec=plan.spec,
        companies=plan.companies,
        calls=plan.calls,
        contests=plan.contests,
        waves=(tuple(delivery for delivery, _ in pairs), plan.waves[1]),
    )
    one = expect(plan, ledgers)
    other = expect(shuffled, [Ledger([fate for _, fate in pairs]), ledgers[1]])
    assert {item.call.call_id: item for item in one.calls} == {item.call.call_id: item for item in other.calls}
    assert {item.person.number for item in one.customers} == {item.person.number for item in other.customers}
    assert one.contests == other.contests
    assert set(one.inbox) == set(other.inbox)
    assert one.rejects == other.rejects
    assert one.callbacks == other.callbacks


def given_up(plan: Plan, call: PlannedCall, event: str) -> Expectation:
    """What is expected when the deliveries of one event of one call never got an answer."""
    ledgers = all_accepted(plan)
    for wave, ledger in zip(plan.waves, ledgers, strict=True):
        for delivery, fate in zip(wave, ledger.fates, strict=True):
            if delivery.call.number == call.number and delivery.event == event:
                fate.status, fate.attempts, fate.in_doubt = None, 4, True
    return expect(plan, ledgers)


def test_a_booking_in_doubt_may_have_succeeded_or_not() -> None:
    plan = plan_of(200, 4)
    contest = next(contest for contest in plan.contests if len(contest.calls) > contest.capacity)
    call = plan.calls[contest.calls[0]]
    expected = given_up(plan, call, "call_analyzed")
    assert expected.is_open
    assert expected.undeliverable >= 1
    item = next(item for item in expected.calls if item.call == call)
    assert item.is_open
    judged = next(one for one in expected.contests if one.contenders[0].booking.contest == contest.number)
    assert judged.is_open
    assert call not in [one.call for one in judged.contenders]


def test_a_customer_named_only_by_a_delivery_in_doubt_may_be_there() -> None:
    plan = plan_of(200, 5)
    first_names: dict[int, list[PlannedCall]] = {}
    for call in plan.calls:
        if call.person and call.spoken_name:
            first_names.setdefault(call.person.number, []).append(call)
    call = next(calls[0] for calls in first_names.values() if len(calls) == 1)
    assert call.person is not None
    expected = given_up(plan, call, "call_analyzed")
    item = next(item for item in expected.customers if item.person.number == call.person.number)
    assert item.is_open


def test_a_call_of_which_only_the_start_was_accepted_is_going_on() -> None:
    plan = plan_of(100, 6)
    call = next(call for call in plan.calls if call.connected and call.business and call.odd is None)
    ledgers = all_accepted(plan)
    for delivery, fate in zip(plan.waves[0], ledgers[0].fates, strict=True):
        if delivery.call.number == call.number and delivery.event != "call_started":
            fate.status, fate.attempts = None, 0
    item = next(item for item in expect(plan, ledgers).calls if item.call.number == call.number)
    assert item.columns["status"] == CallStatus.ONGOING
    assert "ended_at" not in item.columns


def test_a_refused_good_delivery_and_an_accepted_forgery_are_wrong_answers() -> None:
    plan = plan_of(100, 7)
    ledgers = all_accepted(plan)
    forgery = next(at for at, delivery in enumerate(plan.waves[0]) if delivery.reject)
    good = next(at for at, delivery in enumerate(plan.waves[0]) if not delivery.reject and not delivery.is_question)
    ledgers[0].fates[forgery].status = 204
    ledgers[0].fates[good].status = 401
    assert len(expect(plan, ledgers).wrong_answers) == 2
