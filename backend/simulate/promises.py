"""What answers to functions promise, worked out from the answers alone; and what is wrong with the answers themselves.

An answer that something is done is a promise: exactly that must be in the database. A refusal promises that nothing
changed. Both must have been possible: nothing is offered that was certainly taken while it was asked for, and nothing
is refused as taken that nobody can have had.

Requests and answers are numbered in the order in which they were sent and came. What happened between two numbers may
have happened at any moment between them; only what follows whatever that moment was is judged.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from uuid import UUID

from backend.domain.vocabulary import AppointmentStatus, CallOutcome, RefusalReason
from backend.simulate.businesses import Business, Service
from backend.simulate.calls import PlannedCall
from backend.simulate.front_desk import Visit
from backend.simulate.plan import Ground
from backend.simulate.switchboard import Exchange, Talking
from backend.simulate.talk import (
    APPOINTMENTS,
    AVAILABILITY,
    BOOK,
    CALL_BACK,
    CANCEL,
    CHANGING,
    RESCHEDULE,
    Json,
    slots_of,
)

MOST_ALTERNATIVES = 3
DAY_MIN = 1_440

DONE_FIRST = (CallOutcome.BOOKED, CallOutcome.RESCHEDULED, CallOutcome.CANCELLED, CallOutcome.CALLBACK)
"""A call that led to several of these has the first of them as its outcome."""

ACTIVE = frozenset({AppointmentStatus.HELD, AppointmentStatus.CONFIRMED})


@dataclass(frozen=True, slots=True)
class PromisedAppointment:
    """One row of appointments, as the answers say it is."""

    id: UUID
    call: PlannedCall
    """In which it was made."""
    key: str | None
    """Its idempotency key; None when the tool call had no id."""
    branch: str
    service: Service
    staff: str
    starts_at: datetime
    status: AppointmentStatus
    events: tuple[str, ...]
    customer: int | None
    """Number of a person of the plan."""
    is_open: bool = False
    """Something was asked of it that was not answered."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """One row of function_calls."""

    call_id: str
    tool_key: str
    function: str
    answer: Json | None
    """None: not known, and the row may be missing."""


@dataclass(frozen=True, slots=True)
class Promises:
    """Everything that the functions of a run promised."""

    appointments: tuple[PromisedAppointment, ...] = ()
    callbacks: Mapping[str, str] = field(default_factory=dict)
    """Reason by call id."""
    outcomes: Mapping[str, CallOutcome] = field(default_factory=dict)
    """What was done in calls in which something was done, by call id."""
    analysed: Mapping[str, CallOutcome] = field(default_factory=dict)
    """What the agent says its call led to, by call id."""
    named: Mapping[str, bool] = field(default_factory=dict)
    """Calls in which somebody's name was given to make them a customer, by call id; true when that surely happened."""
    answers: tuple[KeptAnswer, ...] = ()
    open_calls: frozenset[str] = frozenset()
    """Calls of which not every answer is known."""
    broken: tuple[str, ...] = ()
    """Answers that cannot be right, in words."""
    refusals: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Taken:
    """Time of a person, in Unix minutes with buffers; when it became so and ceased to be, in the order of things."""

    begin: int
    end: int
    asked: float = 0
    answered: float = 0
    gone_asked: float = math.inf
    gone_answered: float = math.inf

    def certainly(self, during: Exchange) -> bool:
        """It was taken all the time from the request to the answer."""
        return self.answered < during.asked and self.gone_asked > during.answered

    def possibly(self, during: Exchange) -> bool:
        """It may have been taken at some moment from the request to the answer."""
        return self.asked < during.answered and self.gone_answered > during.asked


class _Book:
    """When one person was taken, by the day on which it begins."""

    def __init__(self) -> None:
        self._by_day: dict[int, list[_Taken]] = defaultdict(list)
        self._long: list[_Taken] = []

    def add(self, taken: _Taken) -> None:
        """One more stretch of time."""
        is_long = taken.end - taken.begin > DAY_MIN
        (self._long if is_long else self._by_day[taken.begin // DAY_MIN]).append(taken)

    def overlapping(self, begin: int, end: int) -> Iterator[_Taken]:
        """Everything that meets [begin, end)."""
        some = [self._by_day.get(day, ()) for day in range(begin // DAY_MIN - 1, end // DAY_MIN + 1)]
        return (one for one in chain(self._long, *some) if one.begin < end and begin < one.end)


def promised(talks: Sequence[Talking], ground: Ground, companies: Sequence[Business]) -> Promises:
    """What follows from all conversations of a run on its ground."""
    reader = _Reader(ground, companies)
    said = [(talk.call, exchange) for talk in talks for exchange in talk.exchanges if exchange.asked]
    for call, exchange in sorted(said, key=lambda pair: pair[1].answered or pair[1].asked):
        reader.read(call, exchange)
    # Only now is known what was taken when.
    for call, exchange in said:
        reader.judge(call, exchange)
    return reader.promises(talks)


def after_visits(promises: Promises, visits: Sequence[Visit]) -> Promises:
    """The same when the front desks have said what became of some of the appointments."""
    by_id = {visit.appointment_id: visit for visit in visits}
    broken = [
        f"{visit.fate} of {visit.appointment_id}: answered {visit.status}, is a good request"
        for visit in visits
        if visit.status is not None and not visit.is_done and 400 <= visit.status < 500
    ]
    return replace(
        promises,
        appointments=tuple(_after_visit(one, by_id.get(one.id)) for one in promises.appointments),
        broken=(*promises.broken, *broken),
    )


def _after_visit(one: PromisedAppointment, visit: Visit | None) -> PromisedAppointment:
    if visit is None:
        return one
    if not visit.is_done:
        return replace(one, is_open=True)
    return replace(one, status=visit.fate.status, events=(*one.events, visit.fate.status.value))


class _Reader:
    """Reads answers in their order."""

    def __init__(self, ground: Ground, companies: Sequence[Business]) -> None:
        self._services = {(company.slug, one.slug): one for company in companies for one in company.services}
        self._taken: dict[tuple[str, str], _Book] = defaultdict(_Book)
        for busy in ground.busy:
            self._taken[busy.business, busy.staff].add(_Taken(busy.start, busy.end))
        self._appointments: dict[UUID, PromisedAppointment] = {}
        self._times: dict[UUID, _Taken] = {}
        self._callbacks: dict[str, str] = {}
        self._done: dict[str, set[CallOutcome]] = defaultdict(set)
        self._named: dict[str, bool] = {}
        self._kept: list[KeptAnswer] = []
        self._open_calls: set[str] = set()
        self._broken: list[str] = []
        self._refusals: Counter[str] = Counter()
        self._doubtful: set[int] = set()

    def promises(self, talks: Sequence[Talking]) -> Promises:
        """All of them."""
        return Promises(
            appointments=tuple(self._appointments.values()),
            callbacks=self._callbacks,
            outcomes={
                call_id: next(outcome for outcome in DONE_FIRST if outcome in done)
                for call_id, done in self._done.items()
                if done
            },
            analysed={talk.call.call_id: talk.told.outcome for talk in talks},
            named=self._named,
            answers=tuple(self._kept),
            open_calls=frozenset(self._open_calls),
            broken=tuple(self._broken),
            refusals=self._refusals,
        )

    def read(self, call: PlannedCall, exchange: Exchange) -> None:
        """Take one answer as it is."""
        function, answer = exchange.ask.function, exchange.answer
        if function in CHANGING and exchange.tool_call_id:
            self._kept.append(KeptAnswer(call.call_id, f"id:{exchange.tool_call_id}", function, answer))
        self._read_name(call, exchange)
        if answer is None:
            self._doubt(call, exchange)
            return
        self._same(call, exchange, answer)
        if exchange.ask.must and answer.get("reason") != exchange.ask.must:
            self._wrong(call, exchange, f"should be refused as {exchange.ask.must}")
        if answer.get("ok") is not True:
            reason = answer.get("reason")
            self._refusals[str(reason)] += 1
            if not isinstance(reason, str) or not isinstance(answer.get("message"), str) or not answer["message"]:
                self._wrong(call, exchange, "a refusal needs a reason and a message")
            return
        try:
            if function == BOOK:
                self._booked(call, exchange, answer)
            elif function == RESCHEDULE:
                self._moved(call, exchange, answer)
            elif function == CANCEL:
                self._cancelled(call, exchange, answer)
            elif function == CALL_BACK:
                self._callbacks[call.call_id] = str(exchange.ask.arguments["reason"])
                self._done[call.call_id].add(CallOutcome.CALLBACK)
            elif function == APPOINTMENTS:
                self._listed(call, exchange, answer)
        except (KeyError, ValueError) as missing:
            self._wrong(call, exchange, f"cannot be read: {missing!r}")

    def judge(self, call: PlannedCall, exchange: Exchange) -> None:
        """Whether what was offered or refused can have been so."""
        for reason, status in exchange.rejected:
            if status is not None and 200 <= status < 300:
                self._wrong(call, exchange, f"a request was answered {status}, should be refused as {reason}")
        if exchange.answer is None:
            return
        try:
            self._offered(call, exchange, exchange.answer)
            if exchange.answer.get("reason") == RefusalReason.SLOT_TAKEN:
                self._was_taken(call, exchange)
        except (KeyError, ValueError) as missing:
            self._wrong(call, exchange, f"cannot be read: {missing!r}")

    # What was done.

    def _booked(self, call: PlannedCall, exchange: Exchange, answer: Json) -> None:
        asked = exchange.ask.arguments
        appointment_id = UUID(str(answer["appointment"]))
        present = self._appointments.get(appointment_id)
        if "appointment" in asked:
            if present is None or str(asked["appointment"]) != str(appointment_id):
                self._wrong(call, exchange, "confirms an appointment that was not kept")
                return
            self._become(present, AppointmentStatus.CONFIRMED, "confirmed")
        else:
            if present is not None:
                self._wrong(call, exchange, f"is an appointment that was made before, in {present.call.call_id}")
                return
            status = AppointmentStatus.HELD if asked.get("hold") else AppointmentStatus.CONFIRMED
            self._make(call, exchange, answer, appointment_id, status)
        if answer.get("status") != self._appointments[appointment_id].status:
            self._wrong(call, exchange, f"is {answer.get('status')}")
        if self._appointments[appointment_id].status is AppointmentStatus.CONFIRMED:
            self._done[call.call_id].add(CallOutcome.BOOKED)

    def _make(
        self, call: PlannedCall, exchange: Exchange, answer: Json, appointment_id: UUID, status: AppointmentStatus
    ) -> None:
        assert call.business is not None
        asked = exchange.ask.arguments
        starts_at, staff = _moment(answer["starts_at"]), str(answer["staff"])
        if starts_at != _moment(asked["starts_at"]):
            self._wrong(call, exchange, f"is at {answer['starts_at']}, was asked for {asked['starts_at']}")
        if asked.get("staff") and asked["staff"] != staff:
            self._wrong(call, exchange, f"is with {staff}, was asked for {asked['staff']}")
        service = self._services[call.business.slug, str(asked["service"])]
        branch = str(asked["branch"]) if "branch" in asked else (call.branch.slug if call.branch else "")
        self._appointments[appointment_id] = PromisedAppointment(
            id=appointment_id,
            call=call,
            key=f"call:{call.call_id}:id:{exchange.tool_call_id}" if exchange.tool_call_id else None,
            branch=branch,
            service=service,
            staff=staff,
            starts_at=starts_at,
            status=status,
            events=("held",) if status is AppointmentStatus.HELD else ("booked",),
            customer=call.person.number if call.person and call.spoken_name else None,
        )
        self._take(appointment_id, exchange, exchange.answered)

    def _moved(self, call: PlannedCall, exchange: Exchange, answer: Json) -> None:
        present = self._known(call, exchange, answer)
        if present is None:
            return
        asked = exchange.ask.arguments
        starts_at, staff = _moment(answer["starts_at"]), str(answer["staff"])
        if starts_at != _moment(asked["starts_at"]):
            self._wrong(call, exchange, f"is at {answer['starts_at']}, was asked for {asked['starts_at']}")
        if staff != (asked.get("staff") or present.staff):
            self._wrong(call, exchange, f"is with {staff}, was asked for {asked.get('staff') or present.staff}")
        if (starts_at, staff) == (present.starts_at, present.staff):
            return
        self._let_go(present.id, exchange, exchange.answered)
        self._appointments[present.id] = replace(
            present, starts_at=starts_at, staff=staff, events=(*present.events, "rescheduled")
        )
        self._take(present.id, exchange, exchange.answered)
        self._done[call.call_id].add(CallOutcome.RESCHEDULED)

    def _cancelled(self, call: PlannedCall, exchange: Exchange, answer: Json) -> None:
        present = self._known(call, exchange, answer)
        if present is None or present.status is AppointmentStatus.CANCELLED:
            return
        self._let_go(present.id, exchange, exchange.answered)
        self._become(present, AppointmentStatus.CANCELLED, "cancelled")
        if present.status is AppointmentStatus.HELD:
            return
        done = self._done[call.call_id]
        done.add(CallOutcome.CANCELLED)
        mine = [one for one in self._appointments.values() if one.call is call]
        if present.call is call and not any(one.status is AppointmentStatus.CONFIRMED for one in mine):
            done.discard(CallOutcome.BOOKED)

    def _known(self, call: PlannedCall, exchange: Exchange, answer: Json) -> PromisedAppointment | None:
        """The appointment that an answer tells of, which must be the caller's."""
        present = self._appointments.get(UUID(str(answer["appointment"])))
        if present is None:
            self._wrong(call, exchange, "is an appointment that nobody made")
            return None
        person = call.person.number if call.person else None
        if present.call is not call and (person is None or present.customer != person):
            self._wrong(call, exchange, f"is an appointment of somebody else, made in {present.call.call_id}")
        return present

    def _become(self, present: PromisedAppointment, status: AppointmentStatus, event: str) -> None:
        self._appointments[present.id] = replace(present, status=status, events=(*present.events, event))

    def _listed(self, call: PlannedCall, exchange: Exchange, answer: Json) -> None:
        """A caller is told of all appointments that were promised and not cancelled, and of no others."""
        if call.person is None or not call.spoken_name:
            return
        mine = [one for one in self._appointments.values() if one.customer == call.person.number]
        if any(one.is_open for one in mine) or call.person.number in self._doubtful:
            return
        wanted = sorted((one for one in mine if one.status in ACTIVE), key=lambda one: (one.starts_at, one.id))
        told = [(UUID(str(one["appointment"])), _moment(one["starts_at"])) for one in slots_of(answer, "appointments")]
        if told != [(one.id, one.starts_at) for one in wanted[:10]]:
            names = ", ".join(str(one.id) for one in wanted) or "none"
            self._wrong(call, exchange, f"tells of {len(told)} appointments, should be {names}")

    # What is not known.

    def _doubt(self, call: PlannedCall, exchange: Exchange) -> None:
        """The caller's appointments may have become something else, and there may be another one."""
        asked = exchange.ask.arguments
        if exchange.ask.function not in CHANGING or exchange.ask.must or call.business is None:
            return
        self._open_calls.add(call.call_id)
        person = call.person.number if call.person else None
        if person is not None:
            self._doubtful.add(person)
        for one in list(self._appointments.values()):
            if one.call is call or (person is not None and one.customer == person):
                self._appointments[one.id] = replace(one, is_open=True)
                taken = self._times[one.id]
                taken.gone_asked = min(taken.gone_asked, exchange.asked)
        if "starts_at" not in asked or exchange.ask.function == CANCEL:
            return
        slug = call.business.slug
        longest = max(call.business.services, key=lambda one: one.minutes + one.before + one.after)
        service = self._services.get((slug, str(asked.get("service"))), longest)
        begin, end = _busy(_moment(asked["starts_at"]), service)
        for one_of_them in call.business.staff:
            self._taken[slug, one_of_them.slug].add(_Taken(begin, end, exchange.asked, math.inf))

    def _read_name(self, call: PlannedCall, exchange: Exchange) -> None:
        if exchange.ask.function == BOOK and exchange.ask.arguments.get("name"):
            self._named[call.call_id] = self._named.get(call.call_id, False) or exchange.is_done

    # Time.

    def _take(self, appointment_id: UUID, exchange: Exchange, answered: float) -> None:
        one = self._appointments[appointment_id]
        assert one.call.business is not None
        taken = _Taken(*_busy(one.starts_at, one.service), exchange.asked, answered)
        self._times[appointment_id] = taken
        self._taken[one.call.business.slug, one.staff].add(taken)

    def _let_go(self, appointment_id: UUID, exchange: Exchange, answered: float) -> None:
        taken = self._times[appointment_id]
        taken.gone_asked, taken.gone_answered = exchange.asked, answered

    def _overlapping(self, business: str, staff: str, starts_at: datetime, service: Service) -> Iterator[_Taken]:
        return self._taken[business, staff].overlapping(*_busy(starts_at, service))

    def _offered(self, call: PlannedCall, exchange: Exchange, answer: Json) -> None:
        """No slot is offered that was certainly taken, and never more than three instead of another."""
        assert call.business is not None
        asked = exchange.ask
        others = slots_of(answer, "alternatives")
        if len(others) > MOST_ALTERNATIVES:
            self._wrong(call, exchange, f"names {len(others)} alternatives")
        slots = [*others, *(slots_of(answer, "slots") if asked.function == AVAILABILITY else ())]
        name = asked.arguments.get("service") if asked.function != RESCHEDULE else None
        service = self._services.get((call.business.slug, str(name)))
        for slot in slots:
            starts_at, staff = _moment(slot["starts_at"]), str(slot["staff"])
            if starts_at.timestamp() < exchange.asked_at:
                self._wrong(call, exchange, f"offers {slot['starts_at']}, which is over")
            near = self._overlapping(call.business.slug, staff, starts_at, service) if service else ()
            if any(one.certainly(exchange) for one in near):
                self._wrong(call, exchange, f"offers {slot['starts_at']} with {staff}, which was taken")

    def _was_taken(self, call: PlannedCall, exchange: Exchange) -> None:
        """A slot that is refused as taken must have been, for everybody who could be meant."""
        assert call.business is not None
        asked = exchange.ask.arguments
        if exchange.ask.function != BOOK:
            return
        service = self._services[call.business.slug, str(asked["service"])]
        branch = asked.get("branch") or (call.branch.slug if call.branch else None)
        for person in call.business.staff:
            able = service.slug in person.services and branch in person.branches
            if not able or asked.get("staff") not in {None, person.slug}:
                continue
            taken = self._overlapping(call.business.slug, person.slug, _moment(asked["starts_at"]), service)
            if not any(one.possibly(exchange) for one in taken):
                self._wrong(call, exchange, f"nobody can have had {person.slug} at {asked['starts_at']}")
                return

    # Answers themselves.

    def _same(self, call: PlannedCall, exchange: Exchange, answer: Json) -> None:
        """The same tool call has one effect, so it has one answer."""
        if exchange.ask.function in CHANGING and any(other != answer for other in exchange.others):
            self._wrong(call, exchange, "the same tool call was answered in two ways")

    def _wrong(self, call: PlannedCall, exchange: Exchange, what: str) -> None:
        tool = exchange.tool_call_id or "no id"
        self._broken.append(f"{exchange.ask.function} of {call.call_id} ({tool}): {what}")


def _busy(starts_at: datetime, service: Service) -> tuple[int, int]:
    start = int(starts_at.timestamp()) // 60
    return start - service.before, start + service.minutes + service.after


def _moment(value: object) -> datetime:
    """An instant. Raises ValueError for text without an offset."""
    found = datetime.fromisoformat(str(value))
    if found.tzinfo is None:
        raise ValueError(f"{value} has no offset")
    return found.astimezone(UTC)
