"""Invents calls: who rings whom, why, for how long, and what they agree on. Pure and seeded."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from backend.domain.vocabulary import CallOutcome, CallStatus, RefusalReason
from backend.simulate.businesses import ZONE, Branch, Business
from backend.simulate.calendar import Calendar, CalendarFull
from backend.simulate.calls import Booking, Contest, Odd, PlannedCall, Written
from backend.simulate.dice import seeded
from backend.simulate.errands import DONE_ON_THE_LINE, Errand, Rivalry, errand, is_rivalry
from backend.simulate.people import People, Person
from backend.simulate.presets import (
    ANONYMOUS,
    ANY_STAFF,
    CALL_SIGMA,
    CONTEST,
    FLAWED,
    HANGUP_S,
    LONGEST_CALL_S,
    MEDIAN_CALL_S,
    NOT_CONNECTED,
    OUTCOMES,
    PER_CALL,
    PORTED_NUMBER,
    RETURNING,
    SHARED_PHONE,
    UNKNOWN_NUMBER,
    WEB_CALL,
    WITH_EMAIL,
    Fault,
)

HIDDEN_NUMBERS = ("anonymous", "+266696687", "Restricted", "", "sip:caller@example.org")
"""How providers write that a caller hides the number."""

UNKNOWN_LINE, UNKNOWN_AGENT = "+493023125999", "agent_nobody"
"""A number and an agent that belong to no company."""

_REASONS = {
    CallOutcome.TRANSFER: "call_transfer",
    CallOutcome.HANGUP: "user_hangup",
    CallOutcome.ERROR: "error_asr",
}
_CALLBACK_REASONS = (
    "Rückfrage zur Rechnung",
    "Frage zu einem Befund",
    "Kostenvoranschlag gewünscht",
    "Beschwerde über die Wartezeit",
    "Gutschein einlösen",
    "Unterlagen werden benötigt",
)
_NAMED: dict[CallOutcome, float] = {
    CallOutcome.BOOKED: 1.0,
    CallOutcome.RESCHEDULED: 1.0,
    CallOutcome.CANCELLED: 1.0,
    CallOutcome.CALLBACK: 1.0,
    CallOutcome.ENQUIRY: 0.7,
    CallOutcome.TRANSFER: 0.5,
}
"""Share of calls in which the caller's name is understood."""
SHORTEST_CALL_S = 1.0
_CLUMP_S = 20.0
"""Contenders for one slot call within so many seconds."""
_CHANGING = frozenset({CallOutcome.RESCHEDULED, CallOutcome.CANCELLED})
"""Outcomes of calls by people who are customers already."""
_CHANGING_SHARE = sum(OUTCOMES[outcome] for outcome in _CHANGING)
_DAYS_AHEAD = 45
"""Callers whose wish is met on the line want to come within so many days."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """What a call shows of the person behind it."""

    from_number: str | None
    person: Person | None
    spoken_name: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class _Line:
    """How a call reaches the company."""

    call_type: str
    to_number: str | None
    branch: Branch | None


class Callers:
    """Invents the calls of one run. Instants are Unix seconds."""

    def __init__(
        self,
        seed: str,
        prefix: str,
        companies: Sequence[Business],
        calendar: Calendar,
        *,
        avoid_phones: Collection[str] = (),
        faults: bool = True,
        tempo: float = 1.0,
        longest_s: float = LONGEST_CALL_S,
        day_by_day: bool = False,
        functions: bool = True,
    ) -> None:
        """Calls last `tempo` times as long as usual. Without `functions` no agent has any.

        `day_by_day`: callers book from the day of their call on, and ask for something else when nothing is free;
        otherwise they book from the calendar's day on, and a full calendar raises `CalendarFull`.
        """
        self._rng = seeded(seed, "callers")
        self._prefix = prefix
        self._companies = companies
        self._calendar = calendar
        self._faults = faults
        self._people = People(seeded(seed, "people"), avoid_phones)
        self._known: dict[str, list[Person]] = {company.slug: [] for company in companies}
        self._contests: dict[int, list[int]] = {}
        self._capacities: dict[int, int] = {}
        self._open_contest: list[tuple[Booking | Errand, Business, float, float]] = []
        self._functions = functions
        self._bookers: dict[str, list[Person]] = {company.slug: [] for company in companies}
        self._rivalries = 0
        self._tempo, self._longest_s = tempo, longest_s
        self._day_by_day = day_by_day
        self._count = 0

    @property
    def contests(self) -> tuple[Contest, ...]:
        """Every booking belongs to exactly one; most are alone in theirs."""
        return tuple(
            Contest(number, self._capacities[number], tuple(calls)) for number, calls in self._contests.items()
        )

    def known(self, business: Business) -> tuple[Person, ...]:
        """People who have called the company with a usable phone so far."""
        return tuple(self._known[business.slug])

    def remember(self, person: Person) -> None:
        """Make a customer of former days one who may call again."""
        self._known[person.business].append(person)

    def call(self, at: float) -> PlannedCall:
        """The next call; contenders for a slot begin close to the first of them rather than at `at`."""
        if self._open_contest:
            rival, company, begun, length = self._open_contest.pop()
            near = begun + self._rng.uniform(0.0, _CLUMP_S)
            length = max(length + begun - near, SHORTEST_CALL_S)
            return self._compose(near, company, CallOutcome.BOOKED, rival, length)
        rng = self._rng
        outcome = rng.choices(list(OUTCOMES), weights=list(OUTCOMES.values()))[0]
        if rng.random() < UNKNOWN_NUMBER:
            return self._compose(at, None, CallOutcome.ENQUIRY, None, self._duration(CallOutcome.ENQUIRY))
        business = rng.choice(self._companies)
        duration = self._duration(outcome)
        booking: Booking | Errand | None = None
        if self._functions and business.has_functions:
            if outcome in DONE_ON_THE_LINE:
                booking = self._errand(business, outcome, at, duration)
        elif outcome is CallOutcome.BOOKED:
            try:
                booking = self._booking(business, at, duration)
            except CalendarFull:
                if not self._day_by_day:
                    raise
                outcome = CallOutcome.ENQUIRY
        return self._compose(at, business, outcome, booking, duration)

    def follow_up(self, at: float, business: Business, person: Person | None, spoken: str | None) -> PlannedCall:
        """A call of the second wave: no name from a known or unknown line, or a hidden number with name and e-mail."""
        if spoken is not None and person is not None:
            caller = _Caller("anonymous", None, spoken, person.email)
        else:
            caller = _Caller(person.phone if person else self._people.fresh_phone(), person, None, None)
        return self._finish(
            at,
            business,
            CallOutcome.ENQUIRY,
            wish=None,
            duration_s=self._duration(CallOutcome.ENQUIRY),
            caller=caller,
            wave=1,
        )

    def _compose(
        self,
        at: float,
        business: Business | None,
        outcome: CallOutcome,
        wish: Booking | Errand | None,
        duration_s: float,
    ) -> PlannedCall:
        named = self._rng.random() < _NAMED.get(outcome, 0.0)
        caller = self._caller(business, outcome, named=named)
        call = self._finish(at, business, outcome, wish=wish, duration_s=duration_s, caller=caller)
        if call.booking:
            self._contests[call.booking.contest].append(call.number)
        if call.errand and call.person and call.business and outcome is CallOutcome.BOOKED:
            self._bookers[call.business.slug].append(call.person)
        return call

    def _finish(
        self,
        at: float,
        business: Business | None,
        outcome: CallOutcome,
        *,
        wish: Booking | Errand | None,
        duration_s: float,
        caller: _Caller,
        wave: int = 0,
    ) -> PlannedCall:
        rng = self._rng
        number, self._count = self._count, self._count + 1
        caller, line = self._line(business, wish, caller)
        status, reason = CallStatus.ENDED, _REASONS.get(outcome, rng.choice(("user_hangup", "agent_hangup")))
        if outcome is CallOutcome.ERROR:
            status = CallStatus.ERROR
            if rng.random() < NOT_CONNECTED:
                status, reason, duration_s = CallStatus.NOT_CONNECTED, "concurrency_limit_reached", 0.0
        duration_ms = round(duration_s * 1000)
        return PlannedCall(
            number=number,
            call_id=f"{self._prefix}n{number:06d}",
            business=business,
            branch=line.branch,
            agent_id=business.agent if business else UNKNOWN_AGENT,
            call_type=line.call_type,
            from_number=caller.from_number,
            to_number=line.to_number,
            person=caller.person,
            spoken_name=caller.spoken_name,
            email=caller.email,
            started_ms=round(at * 1000),
            duration_ms=duration_ms,
            outcome=outcome,
            status=status,
            disconnection_reason=reason,
            sentiment=rng.choices(("Positive", "Neutral", "Negative", "Unknown"), weights=(45, 40, 10, 5))[0],
            cost_cents=_cost_cents(rng, duration_ms),
            booking=wish if isinstance(wish, Booking) else None,
            errand=wish if isinstance(wish, Errand) else None,
            callback_reason=rng.choice(_CALLBACK_REASONS) if outcome is CallOutcome.CALLBACK else None,
            odd=self._odd(outcome, status),
            with_words=rng.random() < 0.4,
            wave=wave,
        )

    def _line(self, business: Business | None, wish: Booking | Errand | None, caller: _Caller) -> tuple[_Caller, _Line]:
        """Which number is dialled: the branch's own, one that nobody knows, or none at all (from the web)."""
        rng = self._rng
        if business is None:
            return caller, _Line("phone_call", UNKNOWN_LINE, None)
        fate = rng.random()
        # Without a dialled number nothing tells the branch, so a booking must name it.
        if wish is None or wish.names_branch:
            if fate < PORTED_NUMBER:
                return caller, _Line("phone_call", UNKNOWN_LINE, None)
            if fate < PORTED_NUMBER + WEB_CALL:
                return _Caller(None, None, caller.spoken_name, None), _Line("web_call", None, None)
        branch = rng.choice(business.branches) if wish is None or wish.names_branch else wish.branch
        return caller, _Line("phone_call", rng.choice(branch.numbers), branch)

    def _caller(self, business: Business | None, outcome: CallOutcome, *, named: bool) -> _Caller:
        rng = self._rng
        if business is None or rng.random() < ANONYMOUS:
            name = self._people.stranger("", with_email=False).name if named else None
            return _Caller(rng.choice(HIDDEN_NUMBERS), None, name, None)
        person = self._person(business, outcome)
        if not named:
            return _Caller(person.phone, person, None, None)
        return _Caller(person.phone, person, rng.choice(person.spellings), person.email)

    def _person(self, business: Business, outcome: CallOutcome) -> Person:
        rng, known = self._rng, self._known[business.slug]
        if outcome in _CHANGING and known:
            bookers = self._bookers[business.slug]
            if not bookers:
                return rng.choice(known)
            person = rng.choice(bookers)
            if outcome is CallOutcome.CANCELLED:
                bookers.remove(person)
            return person
        if known and rng.random() < (RETURNING - _CHANGING_SHARE) / (1.0 - _CHANGING_SHARE):
            return rng.choice(known)
        phone = rng.choice(known).phone if known and rng.random() < SHARED_PHONE else None
        person = self._people.stranger(business.slug, with_email=rng.random() < WITH_EMAIL, phone=phone)
        known.append(person)
        return person

    def _duration(self, outcome: CallOutcome) -> float:
        median = MEDIAN_CALL_S.get(outcome)
        rng = self._rng
        seconds = self._tempo * median * rng.lognormvariate(0.0, CALL_SIGMA) if median else rng.uniform(*HANGUP_S)
        return min(max(seconds, SHORTEST_CALL_S), self._longest_s)

    def _odd(self, outcome: CallOutcome, status: CallStatus) -> Odd | None:
        if not self._faults or self._rng.random() >= PER_CALL[Fault.UNKNOWN_ENUM]:
            return None
        words = [Odd.REASON, Odd.SENTIMENT]
        if outcome is CallOutcome.ENQUIRY and status is CallStatus.ENDED:
            words.append(Odd.OUTCOME)
        return self._rng.choice(words)

    def _errand(self, business: Business, outcome: CallOutcome, at: float, duration_s: float) -> Errand:
        """What the agent does during the call, and now and then others who want the same slot."""
        rng = self._rng
        found = errand(
            rng,
            business,
            outcome,
            fresh_phone=self._people.fresh_phone,
            faults=self._faults,
            most_days_ahead=_DAYS_AHEAD,
        )
        if outcome is not CallOutcome.BOOKED or found.obstacle:
            return found
        is_first = self._faults and not self._rivalries and not self._day_by_day  # so that each run has one
        if not (is_rivalry(rng) or is_first):
            return found
        wanted = (found.staff,) if found.staff else business.offering(found.branch, found.service)
        today = datetime.fromtimestamp(at, UTC).astimezone(ZONE).date() if self._day_by_day else None
        try:
            start = self._calendar.take(rng, business, found.service, wanted, today=today)
        except CalendarFull:
            return found
        self._rivalries += 1
        found = replace(found, rivalry=Rivalry(self._rivalries, start), is_held_first=False, second_thought=None)
        rivals = len(wanted) - 1 + rng.choice((1, 1, 2, 3))
        self._open_contest += [(found, business, at, duration_s)] * rivals
        return found

    def _booking(self, business: Business, at: float, duration_s: float) -> Booking:
        """A slot that nobody outside its contest wants, and now and then others who want it too."""
        rng = self._rng
        branch = rng.choice(business.branches)
        service = rng.choice(business.offered(branch))
        offering = business.offering(branch, service)
        today = datetime.fromtimestamp(at, UTC).astimezone(ZONE).date() if self._day_by_day else None
        number = len(self._contests)
        is_first = self._faults and number == 0  # is always a contest, so that each run has one
        rivals = rng.choice((1, 1, 2, 3)) if rng.random() < CONTEST or is_first else 0
        names_branch = len(business.branches) > 1 and rng.random() < 0.3
        if rng.random() < ANY_STAFF and not is_first:
            start = self._calendar.take(rng, business, service, offering, today=today)
            person = None
            self._capacities[number] = len(offering)
            shift = 0
            if rivals:
                rivals = len(offering) - 1 + rng.randrange(3)
        else:
            person = rng.choice(offering)
            shift = 15 if rivals and service.minutes > 15 and rng.random() < 0.5 else 0
            start = self._calendar.take(rng, business, service, [person], extra=shift, today=today)
            self._capacities[number] = 1
        booking = Booking(
            branch=branch,
            service=service,
            staff=person,
            start=start,
            names_branch=names_branch,
            written=rng.choices(tuple(Written), weights=(80, 10, 10))[0],
            flaw=None,
            contest=number,
        )
        if not rivals and self._faults and rng.random() < FLAWED:
            self._capacities[number] = 0
            booking = _flawed(rng, business, booking)
        self._contests[number] = []
        for _ in range(rivals):
            moved = booking.start + shift * rng.randrange(2)
            self._open_contest.append((replace(booking, start=moved), business, at, duration_s))
        return booking


def _flawed(rng: random.Random, business: Business, booking: Booking) -> Booking:
    """The same wish with something in it that does not exist, cannot be read, or does not go together."""
    flaws = [
        RefusalReason.SERVICE_UNKNOWN,
        RefusalReason.STAFF_UNKNOWN,
        RefusalReason.BRANCH_UNKNOWN,
        RefusalReason.TIME_UNREADABLE,
        RefusalReason.IN_PAST,
        RefusalReason.TOO_FAR,
    ]
    offering = business.offering(booking.branch, booking.service)
    others = [person for person in business.staff if person not in offering]
    if others:
        flaws.append(RefusalReason.NOT_OFFERED)
    flaw = rng.choice(flaws)
    if flaw is RefusalReason.NOT_OFFERED:
        booking = replace(booking, staff=rng.choice(others))
    return replace(booking, flaw=flaw)


def to_nobody(call: PlannedCall) -> PlannedCall:
    """The same call to a number that belongs to nobody."""
    return replace(
        call,
        business=None,
        branch=None,
        agent_id=UNKNOWN_AGENT,
        call_type="phone_call",
        from_number=call.from_number or "anonymous",
        to_number=UNKNOWN_LINE,
        person=None,
        errand=None,
    )


def _cost_cents(rng: random.Random, duration_ms: int) -> float:
    """Cents with a fraction that rounds without doubt (never one half)."""
    whole = round(duration_ms / 60_000 * 11.7)
    return whole + rng.choice((0.0, 0.25, -0.25)) if whole else 0.0
