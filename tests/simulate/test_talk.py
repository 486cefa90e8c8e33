"""Conversations and what they promise: a small system that plays fair is believed, one that does not is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest

from backend.domain.vocabulary import AppointmentStatus, CallOutcome, RefusalReason
from backend.simulate.businesses import TRIAL, businesses
from backend.simulate.calls import PlannedCall
from backend.simulate.plan import Busy, Ground, Plan, RunSpec, make_plan
from backend.simulate.presets import PACES, FunctionFault
from backend.simulate.promises import Promises, promised
from backend.simulate.switchboard import Exchange, Talking
from backend.simulate.talk import APPOINTMENTS, BOOK, CANCEL, FUNCTIONS, Ask, Json, conversation

NOW = datetime(2026, 3, 11, 15, 30, tzinfo=UTC).timestamp()
COMPANIES = businesses(TRIAL)
FREE_FROM = datetime(2030, 3, 4, 9, 0, tzinfo=UTC)


def plan_of(calls: int, seed: int, *, ground: Ground | None = None) -> Plan:
    spec = RunSpec(calls=calls, seed=seed, run="a", pace=PACES["now"], now=NOW)
    return make_plan(spec, COMPANIES, ground or Ground())


@dataclass
class Desk:
    """A system that keeps one book for everybody: each slot an hour after the one before, none given twice."""

    appointments: dict[str, Json] = field(default_factory=dict)
    owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    asked: list[Ask] = field(default_factory=list)
    given: int = 0

    def slots(self, call: PlannedCall, ask: Ask, many: int) -> list[Json]:
        assert call.business is not None
        service = ask.arguments.get("service")
        person = next(one for one in call.business.staff if service in one.services)
        staff = ask.arguments.get("staff") or person.slug
        starts = [FREE_FROM + timedelta(hours=2 * (self.given + ahead)) for ahead in range(many)]
        return [{"starts_at": start.isoformat(), "staff": staff, "staff_name": "", "spoken": ""} for start in starts]

    def answer(self, call: PlannedCall, ask: Ask) -> Json:
        self.asked.append(ask)
        if ask.must:
            return {"ok": False, "reason": ask.must, "message": "Nein.", "alternatives": []}
        who = (call.business.slug if call.business else "", str(call.person.number if call.person else call.call_id))
        arguments = ask.arguments
        match ask.function:
            case "check_availability":
                return {"ok": True, "slots": self.slots(call, ask, 3), "message": "Frei."}
            case "book_appointment" if "appointment" in arguments:
                held = self.appointments[str(arguments["appointment"])]
                held["status"] = "confirmed"
                return {"ok": True, **held, "message": "Gebucht."}
            case "book_appointment":
                self.given += 3
                made: Json = {
                    "appointment": str(UUID(int=self.given)),
                    "service": arguments["service"],
                    "starts_at": arguments["starts_at"],
                    "staff": arguments.get("staff") or self.slots(call, ask, 1)[0]["staff"],
                    "status": "held" if arguments.get("hold") else "confirmed",
                }
                self.appointments[str(made["appointment"])] = made
                self.owners[str(made["appointment"])] = who
                return {"ok": True, **made, "message": "Gebucht."}
            case "get_customer_appointments":
                return {"ok": True, "appointments": self.of(who), "message": "Sie haben …"}
            case "reschedule_appointment" | "cancel_appointment":
                return self.changed(call, ask, who)
            case _:
                return {"ok": True, "message": "Gern.", "callback": str(UUID(int=1))}

    def of(self, who: tuple[str, str]) -> list[Json]:
        mine = [dict(one) for key, one in self.appointments.items() if self.owners[key] == who]
        return sorted((one for one in mine if one["status"] != "cancelled"), key=lambda one: str(one["starts_at"]))

    def changed(self, call: PlannedCall, ask: Ask, who: tuple[str, str]) -> Json:
        start = ask.arguments.get("current_starts_at") or ask.arguments.get("starts_at")
        present = next(
            one
            for one in self.appointments.values()
            if one["appointment"] == ask.arguments.get("appointment")
            or ("appointment" not in ask.arguments and one in self.of(who) and one["starts_at"] == start)
        )
        if ask.function == CANCEL:
            present["status"] = "cancelled"
        else:
            self.given += 3
            present["starts_at"] = ask.arguments["starts_at"]
            present["staff"] = ask.arguments.get("staff") or present["staff"]
        return {"ok": True, **present, "message": "Erledigt."}


Liar = Callable[[PlannedCall, Exchange], None]


def have(plan: Plan, desk: Desk, lie: Liar = lambda _call, _exchange: None) -> list[Talking]:
    """Every conversation of a plan, one after the other; `lie` changes answers before the check reads them."""
    order = count(1)
    talks: list[Talking] = []
    for call in plan.talks:
        talk = Talking(call, at=0.0, order=order, faults=False)
        going = conversation(call)
        ask = next(going)
        while True:
            exchange = Exchange(ask, f"tool_{len(talk.exchanges)}_{call.number}", frozenset(), asked=next(order))
            exchange.attempts = 1
            answer = desk.answer(call, ask)
            exchange.answer, exchange.answered = dict(answer), next(order)
            talk.exchanges.append(exchange)
            lie(call, exchange)
            try:
                ask = going.send(answer)
            except StopIteration:
                break
        talks.append(talk)
    return talks


def judged(plan: Plan, talks: Sequence[Talking]) -> Promises:
    return promised(talks, plan.ground, plan.companies)


def test_a_fair_system_has_kept_every_promise_and_all_functions_are_used() -> None:
    plan, desk = plan_of(700, 1), Desk()
    found = judged(plan, have(plan, desk))
    assert found.broken == ()
    assert {ask.function for ask in desk.asked} >= set(FUNCTIONS) - {"get_alternatives"}
    assert {str(one.id): one.status for one in found.appointments} == {
        key: AppointmentStatus(str(one["status"])) for key, one in desk.appointments.items()
    }
    kinds = {one.events for one in found.appointments}
    assert {("booked",), ("held", "confirmed"), ("held", "cancelled"), ("booked", "rescheduled")} <= kinds
    assert set(found.outcomes.values()) == {
        CallOutcome.BOOKED,
        CallOutcome.RESCHEDULED,
        CallOutcome.CANCELLED,
        CallOutcome.CALLBACK,
    }


def test_everything_that_must_be_refused_is_asked_for_in_a_long_run() -> None:
    plan, desk = plan_of(3_000, 2), Desk()
    found = judged(plan, have(plan, desk))
    assert found.refusals.keys() >= {
        RefusalReason.SERVICE_UNKNOWN, RefusalReason.STAFF_UNKNOWN, RefusalReason.BRANCH_UNKNOWN,
        RefusalReason.TIME_UNREADABLE, RefusalReason.IN_PAST, RefusalReason.TOO_FAR, RefusalReason.OUTSIDE_HOURS,
        RefusalReason.TOO_SOON, RefusalReason.NOT_OFFERED,
    }  # fmt: skip
    faults = {fault for call in plan.talks if call.errand for fault in call.errand.faults}
    assert faults == set(FunctionFault)
    assert any(call.errand.rivalry for call in plan.talks if call.errand)


def first(function: str, change: Callable[[Exchange], None], *, ok: bool = True) -> Liar:
    """Change the first answer of a function."""
    done: list[Exchange] = []

    def lie(_call: PlannedCall, exchange: Exchange) -> None:
        right = exchange.ask.function == function and (exchange.answer or {}).get("ok") is ok
        if right and not done and (function != BOOK or "appointment" not in exchange.ask.arguments):
            done.append(exchange)
            change(exchange)

    return lie


def told(**fields: object) -> Callable[[Exchange], None]:
    """Say something else."""

    def change(exchange: Exchange) -> None:
        assert exchange.answer is not None
        exchange.answer |= fields

    return change


def taken_slot(exchange: Exchange) -> None:
    exchange.answer = {"ok": False, "reason": "slot_taken", "message": "Vergeben.", "alternatives": []}


def forgotten(_call: PlannedCall, exchange: Exchange) -> None:
    if exchange.ask.function == APPOINTMENTS:
        exchange.answer = {"ok": True, "appointments": [], "message": "Keine."}


def second_answer(exchange: Exchange) -> None:
    exchange.others.append({**(exchange.answer or {}), "appointment": str(UUID(int=99))})


LIES: dict[str, tuple[Liar, str]] = {
    "another time": (first(BOOK, told(starts_at="2031-01-01T10:00:00+01:00")), "is at 2031"),
    "somebody else": (first("reschedule_appointment", told(staff="niemand")), "is with niemand"),
    "kept instead of booked": (first(BOOK, told(status="pending")), "is pending"),
    "an appointment of another caller": (first(CANCEL, told(appointment=str(UUID(int=3)))), "somebody else"),
    "an appointment of nobody": (first(CANCEL, told(appointment=str(UUID(int=77)))), "nobody made"),
    "a list without it": (forgotten, "tells of 0"),
    "two answers to one tool call": (first(BOOK, second_answer), "in two ways"),
    "taken without a taker": (first(BOOK, taken_slot), "nobody can have had"),
    "what cannot be had": (first(BOOK, told(reason="slot_gone"), ok=False), "should be refused as"),
    "a refusal without words": (first(BOOK, told(message=""), ok=False), "needs a reason and a message"),
}


@pytest.mark.parametrize("name", LIES)
def test_an_answer_that_cannot_be_right_is_found(name: str) -> None:
    lie, words = LIES[name]
    plan = plan_of(120, 4)
    found = judged(plan, have(plan, Desk(), lie))
    assert any(words in text for text in found.broken), found.broken


def test_a_slot_that_is_offered_though_it_is_taken_is_found() -> None:
    busy = tuple(
        Busy(company.slug, person.slug, int(FREE_FROM.timestamp()) // 60, int(FREE_FROM.timestamp()) // 60 + 600_000)
        for company in COMPANIES
        for person in company.staff
    )
    plan = plan_of(40, 5, ground=Ground(busy=busy))
    assert any("which was taken" in text for text in judged(plan, have(plan, Desk())).broken)


def test_what_was_never_answered_leaves_it_open_what_is_there() -> None:
    def forget(_call: PlannedCall, exchange: Exchange) -> None:
        if exchange.ask.function == CANCEL:
            exchange.answer, exchange.answered = None, 0

    plan = plan_of(120, 4)
    found = judged(plan, have(plan, Desk(), forget))
    assert found.open_calls
    assert any(one.is_open for one in found.appointments)
    assert not any(one.status is AppointmentStatus.CANCELLED for one in found.appointments)


def test_the_same_answers_lead_to_the_same_conversation() -> None:
    one, other = Desk(), Desk()
    for desk in (one, other):
        have(plan_of(60, 6), desk)
    assert one.asked == other.asked
