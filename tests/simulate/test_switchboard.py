"""Function calls on their way: signed, called again until answered, and over before anybody tells of the call's end."""

from __future__ import annotations

import asyncio
from itertools import count, pairwise

import msgspec
from retell.lib.webhook_auth import verify

from backend.domain.vocabulary import CallOutcome
from backend.simulate.businesses import TRIAL, businesses
from backend.simulate.plan import Ground, Plan, RunSpec, make_plan
from backend.simulate.presets import PACES, FunctionFault
from backend.simulate.sender import Ledger
from backend.simulate.switchboard import Talking
from tests.simulate.test_sender import KEY, NOW, Request, answered, foreign_server, sender

OK = msgspec.json.encode({"ok": True, "appointment": "one", "message": "Gut."})
TELLS_OF_THE_END = {"call_ended", "call_analyzed", "call_reviewed"}


def some_plan(calls: int = 60) -> Plan:
    spec = RunSpec(calls=calls, seed=3, run="a", pace=PACES["now"], now=NOW)
    return make_plan(spec, businesses(TRIAL), Ground())


def talks_of(plan: Plan, *, faults: bool = True) -> list[Talking]:
    order = count(1)
    return [Talking(call, at=call.started_ms / 1000 + 1.2, order=order, faults=faults) for call in plan.talks]


class Switch:
    """Answers everything at once, and remembers what came in which order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []
        self.requests: list[Request] = []
        self.going_on: set[str] = set()

    async def answer(self, request: Request) -> bytes:
        if request.path != "/api/retell/function":
            self.note(request)
            return answered(200, b"{}")
        if not verify(request.body.decode(), KEY, request.headers.get("x-retell-signature", "")):  # type: ignore[no-untyped-call] # untyped SDK
            return answered(401)
        try:
            body = msgspec.json.decode(request.body, type=dict[str, object])
        except msgspec.MsgspecError:
            return answered(422)
        if "call_id" not in call_of(body):
            return answered(422)
        self.note(request)
        self.requests.append(request)
        await asyncio.sleep(0)
        return answered(200, OK)

    def note(self, request: Request) -> None:
        try:
            body = msgspec.json.decode(request.body, type=dict[str, object])
        except msgspec.MsgspecError:
            return
        self.seen.append((str(body.get("event", "function")), call_of(body)))


def call_of(body: dict[str, object]) -> dict[str, object]:
    call = body.get("call")
    return call if isinstance(call, dict) else {}


async def test_functions_are_over_before_anything_tells_of_the_end_of_their_call() -> None:
    plan, switch = some_plan(), Switch()
    async with foreign_server(switch.answer) as url:
        ledger = await sender(url).send(plan.waves[0], talks_of(plan))
    assert all(talk.is_over for talk in ledger.talks)
    last_function: dict[object, int] = {}
    first_end: dict[object, int] = {}
    for place, (event, call) in enumerate(switch.seen):
        if event == "function":
            last_function[call.get("call_id")] = place
        elif event in TELLS_OF_THE_END:
            first_end.setdefault(call.get("call_id"), place)
    assert len(last_function) == len(plan.talks) > 20
    assert all(place < first_end[call_id] for call_id, place in last_function.items() if call_id in first_end)


async def test_one_line_is_in_one_call_at_a_time() -> None:
    plan, switch = some_plan(300), Switch()
    async with foreign_server(switch.answer) as url:
        ledger = await sender(url).send((), talks_of(plan, faults=False))
    by_line: dict[tuple[str, str], list[Talking]] = {}
    for talk in ledger.talks:
        by_line.setdefault(talk.line, []).append(talk)
    shared = [talks for talks in by_line.values() if len(talks) > 1]
    assert shared
    for talks in shared:
        for one, other in pairwise(talks):
            assert one.exchanges[-1].answered < other.exchanges[0].asked


async def test_a_tool_call_keeps_its_id_however_often_it_is_sent() -> None:
    plan, switch = some_plan(40), Switch()
    tries: dict[bytes, int] = {}

    async def shy(request: Request) -> bytes | None:
        attempt = tries[request.body] = tries.get(request.body, 0) + 1
        if request.path == "/api/retell/function" and attempt == 1:
            return None if len(tries) % 2 else answered(503)
        return await switch.answer(request)

    talks = [talk for talk in talks_of(plan, faults=False) if talk.call.errand and not talk.call.errand.faults][:4]
    async with foreign_server(shy) as url:
        ledger: Ledger = await sender(url).send((), talks)
    exchanges = [one for talk in ledger.talks for one in talk.exchanges]
    assert all(one.answer is not None and one.attempts >= 2 for one in exchanges)
    sent = [msgspec.json.decode(request.body, type=dict[str, object]) for request in switch.requests]
    ids = [body["tool_call_id"] for body in sent if "tool_call_id" in body]
    assert len(ids) == len(set(ids)) > 4


async def test_forged_and_broken_requests_are_refused_and_counted_apart_from_the_answer() -> None:
    plan, switch = some_plan(150), Switch()
    forged = {FunctionFault.BAD_SIGNATURE, FunctionFault.STALE, FunctionFault.MALFORMED}
    bad = [talk for talk in talks_of(plan) if talk.call.errand and forged & set(talk.call.errand.faults)]
    assert len(bad) == 3
    async with foreign_server(switch.answer) as url:
        ledger = await sender(url).send((), bad)
    for talk in ledger.talks:
        assert talk.told.outcome in {
            CallOutcome.BOOKED,
            CallOutcome.CANCELLED,
            CallOutcome.CALLBACK,
            CallOutcome.ENQUIRY,
        }
        assert any(status in {401, 422} for one in talk.exchanges for _, status in one.rejected)
