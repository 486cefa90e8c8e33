"""From a call to the requests that tell of it, with what goes wrong on their way. Pure and seeded.

`at` is Unix seconds on the run's virtual clock.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from backend.domain.vocabulary import CallOutcome, RejectReason
from backend.simulate import payloads
from backend.simulate.calls import Odd, PlannedCall
from backend.simulate.presets import (
    ANALYSIS_LATE_S,
    ANALYSIS_SOON_S,
    PER_CALL,
    PER_DELIVERY,
    TRANSCRIPT_UPDATES,
    Fault,
)

DUPLICATE_AFTER_S = (2.0, 600.0)
TWIN_AFTER_S = (0.02, 1.0)
COPY_AFTER_S = (0.1, 5.0)


class Seal(StrEnum):
    """How a request is signed."""

    GOOD = "good"
    WRONG = "wrong"
    ABSENT = "absent"
    OLD = "old"
    """Rightly signed, ten minutes ago."""


class Damage(StrEnum):
    """How a well-signed body is broken."""

    CUT = "cut"
    """Ends in the middle."""
    ARRAY = "array"
    """JSON, but not an object."""
    NAMELESS = "nameless"
    """An event without a call id."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request that the simulated provider makes."""

    at: float
    call: PlannedCall
    event: str
    """`call_inbound` for the question before a call; otherwise the event."""
    sequence: int = 0
    seal: Seal = Seal.GOOD
    damage: Damage | None = None
    fault: Fault | None = None
    """The fault that made this delivery what it is; for copies, why there is one."""

    @property
    def is_question(self) -> bool:
        """Asks how to answer a call; nothing is stored."""
        return self.event == INBOUND

    @property
    def reject(self) -> RejectReason | None:
        """Why the system must refuse it; None when it must accept."""
        if self.damage:
            return RejectReason.MALFORMED
        return {
            Seal.WRONG: RejectReason.SIGNATURE_WRONG,
            Seal.ABSENT: RejectReason.SIGNATURE_MISSING,
            Seal.OLD: RejectReason.STALE,
        }.get(self.seal)

    @property
    def is_after_functions(self) -> bool:
        """Tells of what the agent's functions led to, so they have to be over."""
        return self.call.errand is not None and self.event in _AFTER

    def body(self, told: payloads.Told | None = None) -> bytes:
        """The bytes to send; the same for every copy of a delivery."""
        if self.is_question:
            return payloads.inbound(self.call)
        return damaged(payloads.call_event(self.call, self.event, self.sequence, told), self.damage)


def damaged(body: bytes, damage: Damage | None) -> bytes:
    """A body as it arrives."""
    match damage:
        case Damage.CUT:
            return body[: len(body) // 2]
        case Damage.ARRAY:
            return b"[" + body + b"]"
        case Damage.NAMELESS:
            return body.replace(b'"call_id"', b'"call_ident"', 1)
        case None:
            return body


INBOUND = "call_inbound"
_AFTER = frozenset({payloads.ENDED, payloads.ANALYZED, payloads.UNKNOWN})
_MAIN = frozenset({payloads.STARTED, payloads.ENDED, payloads.ANALYZED})


def call_faults(rng: random.Random) -> set[Fault]:
    """Which of the faults that befall whole calls befall this one."""
    return {fault for fault, chance in PER_CALL.items() if fault is not Fault.UNKNOWN_ENUM and rng.random() < chance}


def delivery_faults(rng: random.Random) -> set[Fault]:
    """Which faults befall one delivery."""
    return {fault for fault, chance in PER_DELIVERY.items() if rng.random() < chance}


def deliveries_of(
    call: PlannedCall,
    rng: random.Random,
    *,
    faults: bool = True,
    forced: Collection[Fault] = (),
    analysis_at: float | None = None,
) -> list[Delivery]:
    """Every request about one call, in no particular order.

    `forced` faults happen whatever the dice say. `analysis_at` fixes when the analysis arrives.
    """
    late = ANALYSIS_LATE_S if faults else ANALYSIS_SOON_S
    events = _events(call, rng, late, analysis_at)
    hit = call_faults(rng) if faults else set()
    hit.update(fault for fault in forced if fault in PER_CALL)
    if Fault.OUT_OF_ORDER in hit:
        events = _swapped(events, rng)
    if Fault.STARTED_MISSING in hit:
        events = [event for event in events if event.event != payloads.STARTED]
    if Fault.ENDED_LOST in hit:
        events = [event for event in events if event.event != payloads.ENDED]
    sent = [Delivery(call.started_ms / 1000 - rng.uniform(0.3, 1.5), call, INBOUND)]
    copies = [fault for fault in forced if fault in PER_DELIVERY]
    for index, event in enumerate(events):
        sent.append(event)
        befallen = delivery_faults(rng) if faults else set()
        if index == 0:
            befallen.update(copies)
        sent += [_copy(event, fault, rng) for fault in sorted(befallen)]
    return sent


def _events(
    call: PlannedCall, rng: random.Random, late: tuple[float, float], analysis_at: float | None
) -> list[Delivery]:
    """What the provider means to send, in its order."""
    begin, end = call.started_ms / 1000, call.ended_ms / 1000
    events: list[Delivery] = []
    if call.connected:
        events.append(Delivery(begin + rng.uniform(0.2, 1.0), call, payloads.STARTED))
        if rng.random() < TRANSCRIPT_UPDATES:
            count = rng.randrange(6, 20)
            events += [
                Delivery(begin + (end - begin) * (index + 1) / (count + 1), call, payloads.TRANSCRIPT, index)
                for index in range(count)
            ]
        if call.outcome is CallOutcome.TRANSFER:
            events += [
                Delivery(max(begin, end - 8.0), call, payloads.TRANSFER_STARTED),
                Delivery(max(begin, end - 4.0), call, payloads.TRANSFER_BRIDGED),
                Delivery(end + 0.1, call, payloads.TRANSFER_ENDED),
            ]
    ended = end + rng.uniform(0.3, 1.5)
    events.append(Delivery(ended, call, payloads.ENDED))
    analysed = analysis_at if analysis_at is not None else ended + rng.uniform(*late)
    events.append(Delivery(analysed, call, payloads.ANALYZED, fault=Fault.UNKNOWN_ENUM if call.odd else None))
    return events


def _swapped(events: list[Delivery], rng: random.Random) -> list[Delivery]:
    """Two neighbours of the three main events change places in time."""
    main = [at for at, event in enumerate(events) if event.event in _MAIN]
    first = rng.randrange(len(main) - 1)
    early, later = main[first], main[first + 1]
    swapped = list(events)
    swapped[early] = replace(events[early], at=events[later].at, fault=Fault.OUT_OF_ORDER)
    swapped[later] = replace(events[later], at=events[early].at)
    return swapped


def _copy(event: Delivery, fault: Fault, rng: random.Random) -> Delivery:
    """What a fault adds to a delivery: a copy, a forgery, a wreck, or an event of an unheard-of kind."""
    soon = event.at + rng.uniform(*COPY_AFTER_S)
    match fault:
        case Fault.DUPLICATE:
            return replace(event, at=event.at + rng.uniform(*DUPLICATE_AFTER_S), fault=fault)
        case Fault.TWIN:
            return replace(event, at=event.at + rng.uniform(*TWIN_AFTER_S), fault=fault)
        case Fault.BAD_SIGNATURE:
            return replace(event, at=soon, fault=fault, seal=rng.choice((Seal.WRONG, Seal.WRONG, Seal.ABSENT)))
        case Fault.STALE:
            return replace(event, at=soon, fault=fault, seal=Seal.OLD)
        case Fault.MALFORMED:
            return replace(event, at=soon, fault=fault, damage=rng.choice(tuple(Damage)))
        case _:
            return Delivery(soon, event.call, payloads.UNKNOWN, fault=Fault.UNKNOWN_EVENT)


def with_odd_word(call: PlannedCall) -> PlannedCall:
    """The same call, ended for a reason that nobody has heard of."""
    return replace(call, odd=Odd.REASON)
