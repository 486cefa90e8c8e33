"""What happened before anybody looked: weeks of calls, customers and appointments of the demo's companies, as rows.

Pure: times in, rows out, each a JSON object with the columns of its table by name. The rows are what the system itself
would have written had it taken those calls; `backend.simulate.seed` puts them in.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import takewhile
from uuid import UUID

from backend.domain.names import name_key
from backend.domain.vocabulary import (
    AppointmentEvent,
    AppointmentSource,
    AppointmentStatus,
    CallbackState,
    CallOutcome,
    InboxState,
    Provider,
    RefusalReason,
)
from backend.domain.zones import tz_version
from backend.simulate import payloads
from backend.simulate.arrivals import Arrivals
from backend.simulate.businesses import ZONE, Business
from backend.simulate.calendar import Calendar
from backend.simulate.callers import Callers
from backend.simulate.calls import Booking, PlannedCall
from backend.simulate.conversation import summary
from backend.simulate.dice import seeded
from backend.simulate.people import Person
from backend.simulate.presets import CANCELLED_LATER, COMPLETED, DAY_S, NO_SHOW, Pace

JsonRow = dict[str, object]
_Happening = tuple[AppointmentEvent, float, str, JsonRow]

QUIET_CALLS_PER_DAY = 80.0
"""Calls a day of all companies together, in the weeks before."""
RECENT_S = 5_400.0
"""For so long before now calls come as fast as they will from now on."""
WEEK_S = 7 * DAY_S
MOST_PER_MINUTE = 15.0
"""However fast the live traffic is, its past is no denser, so that a start stays short."""
THEN_S = (-3_600.0, 9_000.0)
"""So also around this time last week, so that a comparison with it means something."""
INBOX_S = 3_600.0
"""Deliveries of calls that began so long ago are kept in the inbox."""
AFTER_CALL_S = 8.0
"""From the end of a call until everything that follows from it is in the database."""
CALLBACK_DUE_S = 4 * 3_600.0


@dataclass(frozen=True, slots=True)
class Ids:
    """Keys of what the companies consist of, each by the company's slug and its own."""

    companies: Mapping[str, UUID]
    branches: Mapping[tuple[str, str], UUID]
    services: Mapping[tuple[str, str], UUID]
    staff: Mapping[tuple[str, str], UUID]


@dataclass(slots=True)
class History:
    """Rows by table, in an order in which references are good."""

    customers: list[JsonRow] = field(default_factory=list)
    calls: list[JsonRow] = field(default_factory=list)
    appointments: list[JsonRow] = field(default_factory=list)
    appointment_events: list[JsonRow] = field(default_factory=list)
    callback_requests: list[JsonRow] = field(default_factory=list)
    webhook_inbox: list[JsonRow] = field(default_factory=list)


def instants(now: float, days: float, calls_per_minute: float, seed: str) -> list[float]:
    """When calls began before `now` (Unix seconds), ascending: thin for weeks, dense lately and a week ago."""
    usual = Arrivals(Pace(QUIET_CALLS_PER_DAY), f"{seed}:usual").before(now)
    found = list(takewhile(lambda at: at > now - days * DAY_S, usual))
    busy = Pace(min(calls_per_minute, MOST_PER_MINUTE) * 1_440.0, shaped=False)
    found += takewhile(lambda at: at > now - min(RECENT_S, days * DAY_S), Arrivals(busy, f"{seed}:recent").before(now))
    if days * DAY_S > WEEK_S - THEN_S[0]:
        then = Arrivals(busy, f"{seed}:then").after(now - WEEK_S + THEN_S[0])
        found += takewhile(lambda at: at < now - WEEK_S + THEN_S[1], then)
    return sorted(found)


def write_history(
    companies: Sequence[Business], ids: Ids, *, now: float, days: float, calls_per_minute: float, seed: int, prefix: str
) -> History:
    """All rows of `days` days before `now`. Ids of calls begin with `prefix`."""
    name = f"history:{seed}"
    calendar = Calendar(datetime.fromtimestamp(now, UTC).date())
    callers = Callers(name, prefix, companies, calendar, faults=False, tempo=0.6, day_by_day=True, functions=False)
    calls = [callers.call(at) for at in instants(now, days, calls_per_minute, name)]
    known = [call for call in calls if call.business and call.ended_ms < (now - AFTER_CALL_S) * 1000]
    historian = _Historian(ids, now, seeded(name, "fates"))
    lost = _lost_bookings(callers, calls)
    for call in known:
        historian.write(call, turned_down=call.number in lost)
    return historian.finish()


def _lost_bookings(callers: Callers, calls: Sequence[PlannedCall]) -> set[int]:
    """Calls that came too late for their slot."""
    lost: set[int] = set()
    for contest in callers.contests:
        in_time = sorted(contest.calls, key=lambda number: calls[number].ended_ms if number < len(calls) else 0)
        lost.update(in_time[contest.winners :])
    return lost


class _Historian:
    """Writes one call after another, with everything that followed from it."""

    def __init__(self, ids: Ids, now: float, dice: random.Random) -> None:
        self._ids = ids
        self._now = now
        self._dice = dice
        self._history = History()
        self._customers: dict[int, UUID] = {}
        self._rows: dict[UUID, JsonRow] = {}
        self._staff_of: dict[tuple[int, int], set[str]] = {}

    def write(self, call: PlannedCall, *, turned_down: bool) -> None:
        """The rows of one call."""
        assert call.business is not None
        company = self._ids.companies[call.business.slug]
        customer = self._customer(company, call)
        call_id = self._id(call.started_ms)
        branch = self._branch(call)
        row = _call_row(call, call_id, company=company, branch=branch, customer=customer, turned_down=turned_down)
        self._history.calls.append(row)
        if call.booking and not turned_down:
            self._appointment(call, call.booking, call_id, customer)
        reason = RefusalReason.SLOT_TAKEN.value if turned_down else call.callback_reason
        if reason:
            self._callback(call, call_id, customer, reason)
        if call.started_ms / 1000 > self._now - INBOX_S:
            self._history.webhook_inbox.extend(self._deliveries(call, company))

    def finish(self) -> History:
        """Everything written."""
        return self._history

    def _customer(self, company: UUID, call: PlannedCall) -> UUID | None:
        if call.person is None or call.spoken_name is None:
            return None
        known = self._customers.get(call.person.number)
        if known is None:
            known = self._customers[call.person.number] = self._id(call.started_ms)
            row = _customer_row(call.person, known, company, call.started_ms)
            self._history.customers.append(row)
            self._rows[known] = row
        return known

    def _branch(self, call: PlannedCall) -> UUID | None:
        assert call.business is not None
        return self._ids.branches[call.business.slug, call.branch.slug] if call.branch else None

    def _appointment(self, call: PlannedCall, booking: Booking, call_id: UUID, customer: UUID | None) -> None:
        assert call.business is not None
        slug = call.business.slug
        offering = [booking.staff] if booking.staff else list(call.business.offering(booking.branch, booking.service))
        taken = self._staff_of.setdefault((booking.contest, booking.start), set())
        person = next(one for one in offering if one.slug not in taken)
        taken.add(person.slug)
        appointment = self._id(call.ended_ms)
        starts, ends = booking.start * 60, (booking.start + booking.service.minutes) * 60
        facts: JsonRow = {
            "branch_id": self._ids.branches[slug, booking.branch.slug],
            "staff_id": self._ids.staff[slug, person.slug],
            "service_id": self._ids.services[slug, booking.service.slug],
            "customer_id": customer,
            "call_id": call_id,
            "starts_at": _iso(starts),
            "ends_at": _iso(ends),
            "time_zone": "Europe/Berlin",
            "buffer_before_min": booking.service.before,
            "buffer_after_min": booking.service.after,
            "seat": 1,
            "status": AppointmentStatus.CONFIRMED.value,
            "source": AppointmentSource.CALL.value,
            "price_cents": booking.service.price_cents,
            "offered": _offered(starts),
            "hold_expires_at": None,
        }
        booked_at = call.ended_ms / 1000 + AFTER_CALL_S
        events: list[_Happening] = [(AppointmentEvent.BOOKED, booked_at, "call", facts)]
        if fate := self._fate(booked_at, starts, ends):
            event, at, actor = fate
            events.append((event, at, actor, {"status": event.value}))
            if event is AppointmentEvent.NO_SHOW and customer in self._rows:
                row = self._rows[customer]
                row["no_show_count"] = int(str(row["no_show_count"])) + 1
        company = self._ids.companies[slug]
        self._history.appointments.append(
            facts
            | events[-1][3]
            | {
                "id": appointment,
                "company_id": company,
                "attendee_name": call.spoken_name or "",
                "attendee_email": call.email,
                "attendee_phone": call.from_number or None,
                "idempotency_key": f"call:{call.call_id}",
                "version": len(events),
                "created_at": _iso(booked_at),
                "updated_at": _iso(events[-1][1]),
            }
        )
        self._history.appointment_events.extend(
            {
                "id": self._id(round(at * 1000)),
                "company_id": company,
                "appointment_id": appointment,
                "version": version,
                "kind": event.value,
                "actor": actor,
                "data": data,
                "occurred_at": _iso(at),
            }
            for version, (event, at, actor, data) in enumerate(events, 1)
        )

    def _fate(self, booked_at: float, starts: float, ends: float) -> tuple[AppointmentEvent, float, str] | None:
        """What became of an appointment by now; None while it is as booked."""
        chance = self._dice.random()
        if chance < CANCELLED_LATER:
            at = booked_at + self._dice.uniform(0.1, 0.95) * (starts - booked_at)
            return (AppointmentEvent.CANCELLED, at, "customer") if at < self._now else None
        if chance < CANCELLED_LATER + NO_SHOW:
            return (AppointmentEvent.NO_SHOW, starts + 900.0, "front desk") if starts + 900.0 < self._now else None
        if chance < CANCELLED_LATER + NO_SHOW + COMPLETED:
            return (AppointmentEvent.COMPLETED, ends, "front desk") if ends < self._now else None
        return None

    def _callback(self, call: PlannedCall, call_id: UUID, customer: UUID | None, reason: str) -> None:
        assert call.business is not None
        asked_at = call.ended_ms / 1000 + AFTER_CALL_S
        is_old = asked_at + CALLBACK_DUE_S < self._now
        done = self._dice.random() < (0.99 if is_old else 0.3)
        self._history.callback_requests.append(
            {
                "id": self._id(call.ended_ms),
                "company_id": self._ids.companies[call.business.slug],
                "call_id": call_id,
                "customer_id": customer,
                "phone": call.from_number or None,
                "name": call.spoken_name or "",
                "reason": reason,
                "due_at": _iso(asked_at + CALLBACK_DUE_S),
                "state": (CallbackState.DONE if done else CallbackState.OPEN).value,
                "created_at": _iso(asked_at),
            }
        )

    def _deliveries(self, call: PlannedCall, company: UUID) -> Iterator[JsonRow]:
        call = replace(call, with_words=False)
        times = {
            payloads.STARTED: call.started_ms / 1000 + 0.4,
            payloads.ENDED: call.ended_ms / 1000 + 0.7,
            payloads.ANALYZED: call.ended_ms / 1000 + 7.0,
        }
        for event, at in times.items():
            if at > self._now or (event == payloads.STARTED and not call.connected):
                continue
            yield {
                "id": self._id(round(at * 1000)),
                "provider": Provider.RETELL.value,
                "dedup_key": f"{event}:{call.call_id}",
                "event": event,
                "subject": call.call_id,
                "company_id": company,
                "branch_id": self._branch(call),
                "body": "\\x" + payloads.call_event(call, event).hex(),
                "headers": {"content-type": "application/json", "user-agent": "askpro-simulator"},
                "received_at": _iso(at),
                "state": InboxState.PROCESSED.value,
                "processed_at": _iso(min(self._now, at + self._dice.lognormvariate(-2.5, 0.8))),
            }

    def _id(self, at_ms: int) -> UUID:
        """A key that sorts by its moment, as the database makes them (UUIDv7)."""
        low = self._dice.getrandbits(74)
        return UUID(int=at_ms << 80 | 0x7 << 76 | (low >> 62) << 64 | 0b10 << 62 | low & (1 << 62) - 1)


def _customer_row(person: Person, customer: UUID, company: UUID, first_call_ms: int) -> JsonRow:
    is_vip = hashlib.sha256(person.phone.encode()).digest()[0] < 6
    return {
        "id": customer,
        "company_id": company,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "name_key": name_key(person.name),
        "email": person.email,
        "phone": person.phone,
        "phone_raw": person.phone,
        "tags": [],
        "notes": "",
        "is_vip": is_vip,
        "no_show_count": 0,
        "version": 1,
        "created_at": _iso(first_call_ms / 1000),
        "updated_at": _iso(first_call_ms / 1000),
    }


def _call_row(
    call: PlannedCall,
    call_id: UUID,
    *,
    company: UUID,
    branch: UUID | None,
    customer: UUID | None,
    turned_down: bool,
) -> JsonRow:
    events = [payloads.ANALYZED, payloads.ENDED, *([payloads.STARTED] if call.connected else [])]
    return {
        "id": call_id,
        "company_id": company,
        "branch_id": branch,
        "provider": Provider.RETELL.value,
        "provider_call_id": call.call_id,
        "agent_id": call.agent_id,
        "call_type": call.call_type,
        "direction": "inbound" if call.call_type == "phone_call" else None,
        "from_number": call.from_number or None,
        "to_number": call.to_number,
        "status": call.status.value,
        "started_at": _iso(call.started_ms / 1000),
        "ended_at": _iso(call.ended_ms / 1000),
        "duration_ms": call.duration_ms,
        "disconnection_reason": call.disconnection_reason,
        "transcript": payloads.transcript(call) if call.connected else None,
        "summary": summary(call) or None,
        "sentiment": call.sentiment.lower(),
        "recording_url": payloads.recording_url(call) if call.connected else None,
        "cost_cents": round(call.cost_cents),
        "latency": payloads.latency(call) if call.connected else None,
        "outcome": (CallOutcome.CALLBACK if turned_down else call.outcome).value,
        "caller_name": call.spoken_name,
        "customer_id": customer,
        "events": sorted(events),
        "created_at": _iso(call.started_ms / 1000 + 0.5),
        "updated_at": _iso(call.ended_ms / 1000 + AFTER_CALL_S),
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _offered(starts: float) -> JsonRow:
    """The slot as it was offered: instant, wall time and offset, by which release of the zone data."""
    local = datetime.fromtimestamp(starts, UTC).astimezone(ZONE)
    offset = local.utcoffset()
    return {
        "utc": _iso(starts),
        "local": local.strftime("%Y-%m-%dT%H:%M:%S"),
        "offset_min": int(offset.total_seconds() // 60) if offset else 0,
        "tz_version": tz_version(),
    }
