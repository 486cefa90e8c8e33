"""What a voice agent does while its caller is on the line: one function after another, each follows from the answers.

`conversation` is a generator: it yields what to ask, is sent the answer, and returns what was achieved. It knows
nothing of how requests travel. The same call with the same answers asks the same.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from backend.domain.vocabulary import CallOutcome, RefusalReason
from backend.simulate.businesses import ZONE, Business
from backend.simulate.calls import PlannedCall
from backend.simulate.dice import seeded
from backend.simulate.errands import Errand, others_than

Json = dict[str, object]

INITIALIZE = "initialize_call"
CHECK_CUSTOMER = "check_customer"
SERVICES = "get_services"
AVAILABILITY = "check_availability"
ALTERNATIVES = "get_alternatives"
BOOK = "book_appointment"
RESCHEDULE = "reschedule_appointment"
CANCEL = "cancel_appointment"
APPOINTMENTS = "get_customer_appointments"
CALL_BACK = "request_callback"

FUNCTIONS = (
    INITIALIZE,
    CHECK_CUSTOMER,
    SERVICES,
    AVAILABILITY,
    ALTERNATIVES,
    BOOK,
    RESCHEDULE,
    CANCEL,
    APPOINTMENTS,
    CALL_BACK,
)
CHANGING = frozenset({BOOK, RESCHEDULE, CANCEL, CALL_BACK})
"""Functions that change something."""

LOOKS = 6
"""So often a caller hears that nothing is free before giving up, two weeks further on each time."""
LOOK_DAYS = 14
TRIES = 5
"""So many slots a caller tries to get."""
GIVES_UP = 0.2
"""Of callers who were refused: do not want another time."""
ASKS_BACK = 0.5
"""Of callers who did not get what they wanted: ask to be called back."""

_TROUBLE = ("Kein passender Termin gefunden", "Möchte einen Termin und bittet um Vorschläge")


@dataclass(frozen=True, slots=True)
class Ask:
    """One function that is called."""

    function: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    must: str | None = None
    """The reason with which it must be refused, whatever else is going on; None: that depends."""


@dataclass(frozen=True, slots=True)
class Achieved:
    """What a conversation led to, as the agent's analysis will tell it."""

    outcome: CallOutcome
    booking: Json | None = None
    """Of what was booked: service, staff, starts_at, branch."""
    callback: str | None = None


Conversation = Generator[Ask, Json, Achieved]
_Answered = Generator[Ask, Json, Json]


def conversation(call: PlannedCall) -> Conversation:
    """The functions of one call that has an errand."""
    assert call.errand is not None
    assert call.business is not None
    return _Agent(call, call.business, call.errand).talk()


class _Agent:
    """The voice agent in one call."""

    def __init__(self, call: PlannedCall, business: Business, errand: Errand) -> None:
        self._call = call
        self._business = business
        self._errand = errand
        self._dice: random.Random = seeded(call.call_id, "agent")
        self._today = datetime.now(UTC).astimezone(ZONE).date()

    def talk(self) -> Conversation:
        if self._dice.random() < 0.9 or self._call.outcome is CallOutcome.ENQUIRY:
            greeting = yield Ask(INITIALIZE)
            if isinstance(told := greeting.get("today"), str):
                self._today = date.fromisoformat(told)
        if self._call.spoken_name and self._dice.random() < 0.8:
            yield Ask(CHECK_CUSTOMER, self._name())
        match self._call.outcome:
            case CallOutcome.BOOKED:
                return (yield from self._book())
            case CallOutcome.RESCHEDULED:
                return (yield from self._move())
            case CallOutcome.CANCELLED:
                return (yield from self._cancel())
            case CallOutcome.CALLBACK:
                return (yield from self._call_back(self._call.callback_reason or _TROUBLE[0]))
            case _:
                return (yield from self._tell())

    def _name(self) -> Json:
        return {"name": self._call.spoken_name} if self._call.spoken_name else {}

    def _wish(self) -> Json:
        """What is wanted and where, without a time."""
        wish: Json = {"service": self._errand.service.slug}
        if self._errand.names_branch:
            wish["branch"] = self._errand.branch.slug
        if self._errand.staff:
            wish["staff"] = self._errand.staff.slug
        return wish

    def _attendee(self) -> Json:
        who = self._name()
        if self._call.email:
            who["email"] = self._call.email
        return who

    def _tell(self) -> Conversation:
        """An enquiry."""
        if self._dice.random() < 0.7:
            yield Ask(SERVICES)
        if self._dice.random() < 0.5:
            yield Ask(AVAILABILITY, {**self._wish(), "days": self._dice.randrange(1, 15)})
        return Achieved(CallOutcome.ENQUIRY)

    # Booking.

    def _book(self) -> Conversation:
        errand = self._errand
        if not errand.rivalry and self._dice.random() < 0.3:
            yield Ask(SERVICES)
        offered: Json | None = None
        if errand.obstacle:
            refusal = yield Ask(BOOK, self._obstructed(errand.obstacle), must=errand.obstacle.value)
            if refusal.get("ok") is True:
                return Achieved(CallOutcome.BOOKED)
            if self._dice.random() < GIVES_UP:
                return (yield from self._disappointed())
            alternatives = slots_of(refusal, "alternatives")
            if alternatives and self._dice.random() < 0.7:
                offered = alternatives[0]
        if errand.rivalry:
            start = datetime.fromtimestamp(errand.rivalry.start * 60, UTC).astimezone(ZONE)
            offered = {"starts_at": start.isoformat(), "staff": errand.staff.slug if errand.staff else None}
        booked = yield from self._get(offered)
        if booked is None:
            return (yield from self._disappointed())
        if errand.second_thought is CallOutcome.RESCHEDULED:
            yield from self._to_another_time(booked, errand.service.slug, errand.branch.slug)
        elif errand.second_thought is CallOutcome.CANCELLED:
            gone = yield Ask(CANCEL, {"appointment": booked["appointment"]})
            if gone.get("ok") is True:
                return Achieved(CallOutcome.CANCELLED)
        return Achieved(CallOutcome.BOOKED, self._written_down(booked))

    def _get(self, offered: Json | None) -> Generator[Ask, Json, Json | None]:
        """Book the slot that is offered, or else look for one; the answer that it is booked, None for nothing."""
        for _ in range(TRIES):
            if offered is None:
                offered = yield from self._look(self._wish())
            if offered is None:
                return None
            arguments = {**self._wish(), **self._attendee(), "starts_at": offered["starts_at"]}
            if self._errand.staff is None and offered.get("staff") and self._dice.random() < 0.5:
                arguments["staff"] = offered["staff"]
            if self._errand.is_held_first:
                arguments["hold"] = True
            answer = yield Ask(BOOK, arguments)
            if answer.get("ok") is True:
                return (yield from self._decided(answer))
            offered = yield from self._way_out(answer, arguments)
        return None

    def _decided(self, held: Json) -> Generator[Ask, Json, Json | None]:
        """Of a slot that is kept: book it, or now and then let go of it."""
        if not self._errand.is_held_first:
            return held
        if self._dice.random() < 0.1:
            yield Ask(CANCEL, {"appointment": held["appointment"]})
            return None
        confirmed = yield Ask(BOOK, {"appointment": held["appointment"]})
        return confirmed if confirmed.get("ok") is True else None

    def _look(self, wish: Json) -> Generator[Ask, Json, Json | None]:
        """A slot that is free, as far as the answer says."""
        for ahead in range(LOOKS):
            day = self._today + timedelta(days=self._errand.days_ahead + ahead * LOOK_DAYS)
            near: Json = {"time": self._dice.choice(("09:00", "14 Uhr", "16:30"))} if self._dice.random() < 0.3 else {}
            answer = yield Ask(AVAILABILITY, {**wish, "date": day.isoformat(), "days": LOOK_DAYS, "limit": 6, **near})
            slots = slots_of(answer, "slots")
            if slots:
                return self._dice.choice(slots)
            if answer.get("ok") is not True:
                return None
        return None

    def _way_out(self, refusal: Json, arguments: Json) -> Generator[Ask, Json, Json | None]:
        """The next slot to try after a refusal; None to look anew."""
        alternatives = slots_of(refusal, "alternatives")
        if alternatives and self._dice.random() < 0.8:
            return alternatives[0]
        if refusal.get("reason") == RefusalReason.SLOT_TAKEN and self._dice.random() < 0.5:
            wish: Json = {
                name: arguments[name] for name in ("service", "branch", "staff", "starts_at") if name in arguments
            }
            answer = yield Ask(ALTERNATIVES, wish)
            return next(iter(slots_of(answer, "alternatives")), None)
        return None

    def _obstructed(self, why: RefusalReason) -> Json:
        """Something that cannot be booked for this reason."""
        now = datetime.now(ZONE).replace(microsecond=0)
        day = self._today + timedelta(days=2 + self._errand.days_ahead)
        asked: Json = {**self._wish(), **self._attendee(), "starts_at": f"{day}T10:00"}
        match why:
            case RefusalReason.SERVICE_UNKNOWN:
                asked["service"] = "zeitreise"
            case RefusalReason.STAFF_UNKNOWN:
                asked["staff"] = "niemand"
            case RefusalReason.BRANCH_UNKNOWN:
                asked["branch"] = "mond"
            case RefusalReason.TIME_UNREADABLE:
                asked["starts_at"] = "übermorgen gegen drei"
            case RefusalReason.IN_PAST:
                asked["starts_at"] = (now - timedelta(days=9)).isoformat()
            case RefusalReason.TOO_FAR:
                asked["starts_at"] = "2199-05-06T10:00:00+02:00"
            case RefusalReason.OUTSIDE_HOURS:
                asked["starts_at"] = f"{day}T{self._dice.choice(('03:15', '22:30', '10:07'))}"
            case RefusalReason.TOO_SOON:
                asked["starts_at"] = (now + timedelta(minutes=self._errand.service.notice // 2)).isoformat()
            case RefusalReason.NOT_OFFERED:
                others = others_than(self._business, self._errand.branch, self._errand.service)
                asked["staff"] = self._dice.choice(others).slug
            case _:
                raise ValueError(f"no obstacle: {why}")
        return asked

    def _written_down(self, booked: Json) -> Json | None:
        """Some agents also write down what they have booked."""
        if self._dice.random() < 0.4:
            return None
        return {
            "service": self._errand.service.slug,
            "staff": booked.get("staff"),
            "starts_at": booked.get("starts_at"),
            "branch": self._errand.branch.slug,
        }

    # Moving and cancelling.

    def _find(self) -> Generator[Ask, Json, Json | None]:
        """One of the caller's appointments."""
        answer = yield Ask(APPOINTMENTS, self._name())
        found = slots_of(answer, "appointments")
        return self._dice.choice(found) if found else None

    def _move(self) -> Conversation:
        present = yield from self._find()
        if present is None:
            return (yield from self._disappointed())
        branch = self._branch_of(str(present.get("staff")))
        if (yield from self._to_another_time(present, str(present.get("service")), branch)):
            return Achieved(CallOutcome.RESCHEDULED)
        return (yield from self._disappointed())

    def _to_another_time(self, present: Json, service: str, branch: str) -> Generator[Ask, Json, bool]:
        """Move an appointment; whether that was possible."""
        same = self._dice.random() < 0.6
        wish: Json = {"service": service, "branch": branch}
        if same:
            wish["staff"] = present.get("staff")
        offered: Json | None = None
        for _ in range(TRIES):
            if offered is None:
                offered = yield from self._look(wish)
            if offered is None:
                return False
            arguments: Json = {**self._meaning(present, "current_starts_at"), "starts_at": offered["starts_at"]}
            if not same and offered.get("staff"):
                arguments["staff"] = offered["staff"]
            answer = yield Ask(RESCHEDULE, arguments)
            if answer.get("ok") is True:
                return True
            if self._dice.random() < GIVES_UP:
                return False
            offered = next(iter(slots_of(answer, "alternatives")), None)
        return False

    def _cancel(self) -> Conversation:
        present = yield from self._find()
        if present is None:
            return (yield from self._disappointed())
        answer = yield Ask(CANCEL, {**self._meaning(present, "starts_at"), "reason": "Keine Zeit"})
        if answer.get("ok") is True:
            return Achieved(CallOutcome.CANCELLED)
        return (yield from self._disappointed())

    def _meaning(self, present: Json, start_argument: str) -> Json:
        """Says which appointment is meant: by its id or by its start."""
        if self._dice.random() < 0.7:
            return {**self._name(), "appointment": present["appointment"]}
        return {**self._name(), start_argument: present["starts_at"]}

    def _branch_of(self, staff: str) -> str:
        """Where somebody works."""
        return next((one.branches[0] for one in self._business.staff if one.slug == staff), self._errand.branch.slug)

    # Being called back.

    def _disappointed(self) -> Conversation:
        """The caller did not get what they wanted."""
        if self._dice.random() < ASKS_BACK:
            return (yield from self._call_back(self._dice.choice(_TROUBLE)))
        return Achieved(CallOutcome.ENQUIRY)

    def _call_back(self, reason: str) -> Conversation:
        asked: Json = {**self._name(), "reason": reason}
        if self._dice.random() < 0.3:
            asked["when"] = f"{self._today + timedelta(days=1)}T11:00"
        answer = yield Ask(CALL_BACK, asked)
        if answer.get("ok") is not True and self._errand.phone:
            answer = yield Ask(CALL_BACK, {**asked, "phone": self._errand.phone})
        if answer.get("ok") is not True:
            return Achieved(CallOutcome.ENQUIRY)
        return Achieved(CallOutcome.CALLBACK, callback=reason if self._dice.random() < 0.5 else None)


def slots_of(answer: Mapping[str, object], name: str) -> Sequence[Json]:
    """The objects in a list of an answer; empty when there is no such list."""
    found = answer.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
