"""What must be in the database after a run: worked out from the plan and from what the system said yes to.

An independent statement of the product's rules; it calls none of the product's code. It knows nothing of the order in
which things happened: where order decides (who wins a contested slot; whether a caller without a name was known yet),
it says how many or which results are right.

A delivery that was given up may or may not have been taken. What depends on one is *open*: it may be there, once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from backend.domain.vocabulary import CallOutcome, CallStatus, InboxState, RejectReason
from backend.simulate import payloads
from backend.simulate.businesses import Branch
from backend.simulate.calls import Booking, Odd, PlannedCall
from backend.simulate.conversation import summary
from backend.simulate.deliveries import Delivery
from backend.simulate.front_desk import Visit
from backend.simulate.people import Person
from backend.simulate.plan import Plan
from backend.simulate.promises import Promises, after_visits, promised
from backend.simulate.sender import Ledger

Value = object
CustomerNumber = int | None
"""Number of a person of the plan, None for no customer."""

QUIET_EVENTS = payloads.REPEATABLE | {payloads.UNKNOWN}
"""Events from which nothing may follow; the system may ignore them or fold them."""


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """One row of calls."""

    call: PlannedCall
    company: str
    is_open: bool
    columns: dict[str, Value]
    """Values of the columns that are certain."""
    customers: frozenset[CustomerNumber]
    """Who the call may be linked to; mostly one."""


@dataclass(frozen=True, slots=True)
class ExpectedCustomer:
    """One row of customers."""

    person: Person
    is_open: bool


@dataclass(frozen=True, slots=True)
class ExpectedAppointment:
    """One row of appointments, should its call win its contest."""

    call: PlannedCall
    booking: Booking
    staff: frozenset[str]
    """Slugs of who may have it."""
    customer: CustomerNumber


@dataclass(frozen=True, slots=True)
class ExpectedContest:
    """Bookings of which exactly so many succeed; for each of the others somebody is called back."""

    contenders: tuple[ExpectedAppointment, ...]
    winners: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class ExpectedInbox:
    """One row of the inbox."""

    subject: str
    event: str
    digest: bytes
    """SHA-256 of the body."""
    company: str | None
    states: frozenset[InboxState]
    is_open: bool


@dataclass(frozen=True, slots=True)
class Expectation:
    """Everything a run leaves behind."""

    prefix: str
    calls: tuple[ExpectedCall, ...]
    customers: tuple[ExpectedCustomer, ...]
    contests: tuple[ExpectedContest, ...]
    callbacks: dict[str, str]
    """Reason by call id, for callers who asked to be called back."""
    inbox: tuple[ExpectedInbox, ...]
    rejects: Counter[RejectReason]
    """Deliveries that were refused as they had to be."""
    wrong_answers: tuple[str, ...]
    """Deliveries that were answered as they must not be, in words."""
    undeliverable: int
    """Good deliveries that were given up."""
    promises: Promises = field(default_factory=Promises)
    """What functions answered that they did."""
    is_open: bool = field(default=False)
    """Something was given up, so totals are not certain."""


@dataclass(slots=True)
class _Told:
    """What the system was told about one call."""

    surely: set[str] = field(default_factory=set)
    """Events that it said yes to."""
    maybe: set[str] = field(default_factory=set)


def expect(plan: Plan, ledgers: Sequence[Ledger], visits: Sequence[Visit] = ()) -> Expectation:
    """What follows from a plan, given the fates of its deliveries (one ledger for each wave that was sent).

    `visits` are what the front desks said afterwards.
    """
    sent = [
        (delivery, fate.accepted, fate.status, fate.attempts)
        for wave, ledger in zip(plan.waves, ledgers, strict=False)
        for delivery, fate in zip(wave, ledger.fates, strict=True)
    ]
    told: dict[str, _Told] = defaultdict(_Told)
    for delivery, accepted, _, attempts in sent:
        if delivery.reject is None and not delivery.is_question and attempts:
            known = told[delivery.call.call_id]
            (known.surely if accepted else known.maybe).add(delivery.event)
    talks = [talk for ledger in ledgers for talk in ledger.talks]
    promises = after_visits(promised(talks, plan.ground, plan.companies), visits)
    for talk in talks:
        if any(exchange.asked for exchange in talk.exchanges) and not told[talk.call.call_id].surely:
            told[talk.call.call_id].maybe.add(talk.exchanges[0].ask.function)
    for call_id in promises.open_calls:
        told[call_id].maybe.add("function")
    for known in told.values():
        known.maybe -= known.surely
    heard = [call for call in plan.calls if call.call_id in told and call.business]
    customers = tuple(_customers(heard, told, promises))
    on_line = _by_line(customers)
    calls = tuple(_call(call, told[call.call_id], on_line, promises) for call in heard)
    rejects = Counter(reason for talk in talks for one in talk.exchanges for reason, _ in _answered(one.rejected))
    rejects += Counter(
        delivery.reject
        for delivery, _, status, _ in sent
        if delivery.reject and status is not None and 400 <= status < 500
    )
    undeliverable = sum(
        1 for delivery, accepted, _, attempts in sent if delivery.reject is None and attempts and not accepted
    )
    return Expectation(
        prefix=plan.spec.prefix,
        calls=calls,
        customers=customers,
        contests=tuple(_contests(plan, told)),
        callbacks={
            call.call_id: call.callback_reason
            for call in heard
            if call.callback_reason and not call.errand and payloads.ANALYZED in told[call.call_id].surely
        }
        | dict(promises.callbacks),
        promises=promises,
        inbox=tuple(_inbox(plan, ledgers)),
        rejects=rejects,
        wrong_answers=(*_wrong_answers(sent), *promises.broken),
        undeliverable=undeliverable,
        is_open=any(known.maybe for known in told.values()),
    )


def _answered(rejected: Sequence[tuple[RejectReason, int | None]]) -> Iterator[tuple[RejectReason, int]]:
    """Requests that were surely refused."""
    for reason, status in rejected:
        if status is not None and 400 <= status < 500:
            yield reason, status


def _customers(heard: Sequence[PlannedCall], told: dict[str, _Told], promises: Promises) -> Iterator[ExpectedCustomer]:
    """A caller with a name and a usable phone is a customer: one for each name on a line."""
    surely: dict[int, Person] = {}
    maybe: dict[int, Person] = {}
    for call in heard:
        if call.person and call.spoken_name:
            known = told[call.call_id]
            named = promises.named.get(call.call_id)
            if payloads.ANALYZED in known.surely or named:
                surely[call.person.number] = call.person
            elif payloads.ANALYZED in known.maybe or named is False:
                maybe[call.person.number] = call.person
    for number, person in (maybe | surely).items():
        yield ExpectedCustomer(person, is_open=number not in surely)


def _by_line(customers: Sequence[ExpectedCustomer]) -> dict[tuple[str, str], list[ExpectedCustomer]]:
    lines: dict[tuple[str, str], list[ExpectedCustomer]] = defaultdict(list)
    for customer in customers:
        lines[customer.person.business, customer.person.phone].append(customer)
    return lines


def _call(
    call: PlannedCall,
    known: _Told,
    on_line: dict[tuple[str, str], list[ExpectedCustomer]],
    promises: Promises,
) -> ExpectedCall:
    assert call.business is not None
    over = bool(known.surely & {payloads.ENDED, payloads.ANALYZED, payloads.UNKNOWN})
    columns: dict[str, Value] = {
        "agent_id": call.agent_id,
        "call_type": call.call_type,
        "direction": "inbound" if call.call_type == "phone_call" else None,
        "from_number": call.from_number or None,
        "to_number": call.to_number,
        "branch": _branch(call.branch),
        "status": call.status if over else CallStatus.ONGOING,
        "started_at": _moment(call.started_ms),
    }
    if over:
        columns |= {
            "ended_at": _moment(call.ended_ms),
            "duration_ms": call.duration_ms,
            "disconnection_reason": (payloads.ODD_REASON if call.odd is Odd.REASON else call.disconnection_reason),
            "cost_cents": round(call.cost_cents),
            "transcript": payloads.transcript(call) if call.connected else None,
            "recording_url": payloads.recording_url(call) if call.connected else None,
            "has_latency": call.connected,
        }
    if payloads.ANALYZED in known.surely:
        columns |= {
            "summary": summary(call) or None,
            "sentiment": "unknown" if call.odd is Odd.SENTIMENT else call.sentiment.lower(),
            "caller_name": call.spoken_name,
            "events": frozenset(known.surely - QUIET_EVENTS),
        }
        if call.booking is None:  # the outcome of a booking is judged with its contest
            analysed = promises.analysed.get(call.call_id, call.outcome)
            told = CallOutcome.UNKNOWN if call.odd is Odd.OUTCOME else analysed
            columns["outcome"] = promises.outcomes.get(call.call_id, told)
    return ExpectedCall(
        call=call,
        company=call.business.slug,
        is_open=bool(known.maybe),
        columns=columns,
        customers=_linked(call, known, on_line),
    )


def _linked(
    call: PlannedCall, known: _Told, on_line: dict[tuple[str, str], list[ExpectedCustomer]]
) -> frozenset[CustomerNumber]:
    """Whom a call may belong to.

    A name on a usable line: that person. A hidden number with name and e-mail: whose both are. No name: the one
    customer of the line; while the first wave is under way, the line may not have had its customers yet.
    """
    assert call.business is not None
    if call.spoken_name and payloads.ANALYZED in known.surely:
        if call.person:
            return frozenset({call.person.number})
        if call.email:
            owners = {
                customer.person.number
                for line in on_line.values()
                for customer in line
                if customer.person.business == call.business.slug and customer.person.email == call.email
            }
            return frozenset(owners) if owners else frozenset({None})
        return frozenset({None})
    if call.person is None:
        return frozenset({None})
    line = on_line.get((call.business.slug, call.person.phone), [])
    if call.wave == 0 or any(customer.is_open for customer in line):
        return frozenset({None, *(customer.person.number for customer in line)})
    return frozenset({line[0].person.number if len(line) == 1 else None})


def _contests(plan: Plan, told: dict[str, _Told]) -> Iterator[ExpectedContest]:
    """Every accepted booking belongs to a contest, most of them alone."""
    for contest in plan.contests:
        contending: list[ExpectedAppointment] = []
        is_open = False
        for number in contest.calls:
            call = plan.calls[number]
            known = told.get(call.call_id)
            if known is None or call.booking is None or call.business is None:
                continue
            is_open = is_open or payloads.ANALYZED in known.maybe
            if payloads.ANALYZED in known.surely:
                offering = call.business.offering(call.booking.branch, call.booking.service)
                staff = [call.booking.staff] if call.booking.staff else offering
                contending.append(
                    ExpectedAppointment(
                        call=call,
                        booking=call.booking,
                        staff=frozenset(person.slug for person in staff),
                        customer=call.person.number if call.person and call.spoken_name else None,
                    )
                )
        if contending:
            yield ExpectedContest(tuple(contending), min(contest.capacity, len(contending)), is_open)


def _inbox(plan: Plan, ledgers: Sequence[Ledger]) -> Iterator[ExpectedInbox]:
    """One row for each distinct delivery that was accepted, with the very bytes that were signed.

    Events that repeat are distinct when their bodies are; all others have one body here anyway.
    """
    found: dict[tuple[str, str, bytes], ExpectedInbox] = {}
    for wave, ledger in zip(plan.waves, ledgers, strict=False):
        for delivery, fate in zip(wave, ledger.fates, strict=True):
            if delivery.reject or delivery.is_question or not fate.attempts:
                continue
            key = delivery.call.call_id, delivery.event, fate.digest
            earlier = found.get(key)
            if earlier is None or (earlier.is_open and fate.accepted):
                found[key] = _inbox_row(delivery, fate.digest, is_open=not fate.accepted)
    yield from found.values()


def _inbox_row(delivery: Delivery, digest: bytes, *, is_open: bool) -> ExpectedInbox:
    business = delivery.call.business
    if business is None:
        states = frozenset({InboxState.QUARANTINED})
    elif delivery.event in QUIET_EVENTS:
        states = frozenset({InboxState.PROCESSED, InboxState.IGNORED})
    else:
        states = frozenset({InboxState.PROCESSED})
    return ExpectedInbox(
        subject=delivery.call.call_id,
        event=delivery.event,
        digest=digest,
        company=business.slug if business else None,
        states=states,
        is_open=is_open,
    )


def _wrong_answers(sent: Sequence[tuple[Delivery, bool, int | None, int]]) -> Iterator[str]:
    for delivery, accepted, status, _ in sent:
        what = f"{delivery.event} of {delivery.call.call_id}"
        if delivery.reject and accepted:
            yield f"{what}: answered {status}, should be refused as {delivery.reject}"
        elif delivery.reject is None and status is not None and 400 <= status < 500 and status not in {408, 429}:
            yield f"{what}: answered {status}, is a good delivery"


def _branch(branch: Branch | None) -> str | None:
    return branch.slug if branch else None


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
