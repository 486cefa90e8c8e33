"""A run before it happens: its calls, their deliveries in the order of sending, and who contends for what.

Pure: the same spec on the same ground is the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

from backend.domain.vocabulary import CallOutcome
from backend.simulate.arrivals import Arrivals
from backend.simulate.businesses import ZONE, Business
from backend.simulate.calendar import Calendar
from backend.simulate.callers import Callers, to_nobody
from backend.simulate.calls import Contest, PlannedCall
from backend.simulate.deliveries import Delivery, deliveries_of, with_odd_word
from backend.simulate.dice import seeded
from backend.simulate.presets import ANALYSIS_LATE_S, PER_CALL, PER_DELIVERY, Fault, FunctionFault, Pace

SETTLE_S = 1_200.0
"""A run in compressed time ends so long before now, so that its last calls are over."""
EVERY_FAULT_FROM = 20
"""A run of so many calls shows each fault, and a call to an unknown number, at least once."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a run is asked to be."""

    calls: int
    seed: int
    run: str
    """Keeps runs of one seed apart; part of every call id. Lower-case letters and digits."""
    pace: Pace
    now: float
    """Unix seconds when the run is planned."""
    faults: bool = True
    live: bool = False
    """Calls begin at `now` and the virtual clock is the real one; otherwise they end shortly before `now`."""

    @property
    def prefix(self) -> str:
        """How every provider call id of the run begins."""
        return f"call_s{self.seed}r{self.run}"


@dataclass(frozen=True, slots=True)
class Busy:
    """Time of a staff member that is taken, in Unix minutes."""

    business: str
    staff: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Ground:
    """What is in the database of the companies before a run; its plan keeps clear of all of it."""

    phones: frozenset[str] = frozenset()
    busy: tuple[Busy, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    spec: RunSpec
    companies: tuple[Business, ...]
    calls: tuple[PlannedCall, ...]
    """By number."""
    contests: tuple[Contest, ...]
    waves: tuple[tuple[Delivery, ...], ...] = field(repr=False)
    """Deliveries in the order of sending. The second wave starts when the first one is in the database."""
    talks: tuple[PlannedCall, ...] = ()
    """Calls of the first wave in which the agent calls functions, by start."""
    ground: Ground = field(default=Ground(), repr=False)
    """What it keeps clear of."""

    @property
    def deliveries(self) -> Iterator[Delivery]:
        """All deliveries, wave by wave."""
        for wave in self.waves:
            yield from wave


def make_plan(spec: RunSpec, companies: Sequence[Business], ground: Ground) -> Plan:
    """Plan a run. Raises `CalendarFull` when the companies can't take so many bookings."""
    seed = f"{spec.seed}:{spec.run}"
    calendar = Calendar(datetime.fromtimestamp(spec.now, UTC).astimezone(ZONE).date())
    for busy in ground.busy:
        calendar.block(busy.business, busy.staff, busy.start, busy.end)
    callers = Callers(seed, spec.prefix, companies, calendar, avoid_phones=ground.phones, faults=spec.faults)
    calls = [callers.call(at) for at in _instants(spec, seed)]
    if len(calls) >= EVERY_FAULT_FROM:
        _complete(spec, calls)
    first = _first_wave(spec, seed, calls, callers.contests)
    follow_ups = _follow_ups(spec, seed, callers, calls)
    second = [
        delivery for call in follow_ups for delivery in deliveries_of(call, seeded(seed, call.number), faults=False)
    ]
    return Plan(
        spec=spec,
        companies=tuple(companies),
        calls=(*calls, *follow_ups),
        contests=callers.contests,
        waves=(_in_order(first), _in_order(second)),
        talks=tuple(sorted((call for call in calls if call.errand), key=lambda call: (call.started_ms, call.number))),
        ground=ground,
    )


def _complete(spec: RunSpec, calls: list[PlannedCall]) -> None:
    """See to it that the rare kinds of call are there, by changing one call each."""
    calm = [call for call in calls if call.connected and call.business and not call.odd]
    plain = [call for call in calm if not call.booking and not call.errand]
    if spec.faults and plain and not any(call.odd for call in calls):
        chosen = plain.pop()
        calls[chosen.number] = with_odd_word(chosen)
    if plain and all(call.business for call in calls):
        chosen = plain.pop()
        calls[chosen.number] = to_nobody(chosen)
    booking = [
        call for call in calls if call.errand and call.outcome is CallOutcome.BOOKED and not call.errand.obstacle
    ]
    if spec.faults:
        for call, fault in zip(booking, FunctionFault, strict=False):
            assert call.errand is not None
            calls[call.number] = replace(call, errand=replace(call.errand, faults=(fault,)))


def _instants(spec: RunSpec, seed: str) -> list[float]:
    arrivals = Arrivals(spec.pace, seed)
    if spec.live:
        return list(islice(arrivals.after(spec.now), spec.calls))
    return list(islice(arrivals.before(spec.now - SETTLE_S), spec.calls))[::-1]


def _in_order(deliveries: list[Delivery]) -> tuple[Delivery, ...]:
    return tuple(sorted(deliveries, key=lambda delivery: (delivery.at, delivery.call.number, delivery.event)))


def _first_wave(spec: RunSpec, seed: str, calls: Sequence[PlannedCall], contests: Sequence[Contest]) -> list[Delivery]:
    """Deliveries of all calls; those that decide a contest arrive within a breath of each other."""
    dice = seeded(seed, "wave")
    decided: dict[int, float] = {}
    for contest in contests:
        if len(contest.calls) > 1:
            moment = max(calls[number].ended_ms for number in contest.calls) / 1000 + dice.uniform(*ANALYSIS_LATE_S)
            decided |= {number: moment + dice.uniform(0.0, 0.3) for number in contest.calls}
    forced = _forced(dice, calls) if spec.faults and len(calls) >= EVERY_FAULT_FROM else {}
    return [
        delivery
        for call in calls
        for delivery in deliveries_of(
            call,
            seeded(seed, call.number),
            faults=spec.faults,
            forced=forced.get(call.number, ()),
            analysis_at=decided.get(call.number),
        )
    ]


def _forced(dice: random.Random, calls: Sequence[PlannedCall]) -> dict[int, list[Fault]]:
    """One call for each fault, so that no run misses one by luck."""
    connected = [call.number for call in calls if call.connected and call.business]
    faults = [fault for fault in (*PER_CALL, *PER_DELIVERY) if fault is not Fault.UNKNOWN_ENUM]
    return {number: [fault] for number, fault in zip(dice.sample(connected, len(faults)), faults, strict=True)}


def _follow_ups(spec: RunSpec, seed: str, callers: Callers, calls: Sequence[PlannedCall]) -> list[PlannedCall]:
    """Calls whose customer only follows from what the first wave left behind.

    Without a name: lines with one customer, with several, with none. Without a number: name and e-mail of a customer.
    """
    dice = seeded(seed, "follow-ups")
    named = [call for call in calls if call.person and call.spoken_name and call.business]
    count = min(len(named), max(3, spec.calls // 50)) if named else 0
    found: list[PlannedCall] = []
    at = max((call.ended_ms / 1000 for call in calls), default=spec.now) + 60.0
    for call in dice.sample(named, count):
        if call.business is None:
            continue
        kind = dice.randrange(3)
        at += 1.0
        if kind == 0:
            found.append(callers.follow_up(at, call.business, None, None))
        elif kind == 1 and call.person and call.person.email:
            found.append(callers.follow_up(at, call.business, call.person, call.spoken_name))
        else:
            found.append(callers.follow_up(at, call.business, call.person, None))
    return found


def outcomes(plan: Plan) -> dict[CallOutcome, int]:
    """How many calls lead to what."""
    found: dict[CallOutcome, int] = {}
    for call in plan.calls:
        found[call.outcome] = found.get(call.outcome, 0) + 1
    return found
