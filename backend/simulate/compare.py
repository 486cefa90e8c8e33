"""What should be in the database against what is: every difference, in words a person can act on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from backend.domain.vocabulary import AppointmentSource, AppointmentStatus, CallOutcome, RefusalReason, RejectReason
from backend.simulate.found import Broken, Found, Row, Totals
from backend.simulate.oracle import (
    QUIET_EVENTS,
    CustomerNumber,
    Expectation,
    ExpectedAppointment,
    ExpectedContest,
)
from backend.simulate.people import plain_name
from backend.simulate.promises import PromisedAppointment

SHOWN = 120
"""Longest value in a difference, in characters."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be."""

    where: str
    """Table, or invariant."""
    what: str
    """Which row, and what is wrong with it."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def differences(expected: Expectation, found: Found, before: Totals) -> list[Difference]:
    """Everything in which a run's rows are not what they should be; `before` was counted when the run began."""
    people = _people(expected, found)
    return [
        *(Difference("answers", text) for text in expected.wrong_answers),
        *_inbox(expected, found),
        *_calls(expected, found, people),
        *_customers(expected, found),
        *_appointments(expected, found, people),
        *_kept_answers(expected, found),
        *_callbacks(expected, found),
        *_totals(expected, found, before),
    ]


def reject_differences(expected: Expectation, found: Counter[RejectReason]) -> list[Difference]:
    """Refused deliveries that were not counted; there may be more than the run's, from somebody else."""
    return [
        Difference("webhook_rejects", f"{reason}: {found[reason]} counted, {count} were refused")
        for reason, count in expected.rejects.items()
        if found[reason] < count
    ]


def broken_differences(broken: Broken) -> list[Difference]:
    """Broken invariants as differences."""
    return [
        *(Difference("I2 double booking", f"appointment {row}") for row in broken.overlaps),
        *(Difference("I1 accepted without job", f"inbox row {row}") for row in broken.without_job),
        *(Difference("I3 job in two places", f"job {row}") for row in broken.jobs_in_two_places),
        *(Difference("I5 across companies", f"call {row}") for row in broken.across_companies),
    ]


class _People:
    """Which customer rows are which people of the plan."""

    def __init__(self) -> None:
        self.rows: dict[int, list[UUID]] = defaultdict(list)
        self.numbers: dict[UUID, int] = {}
        self.strangers: list[Row] = []

    def who(self, customer_id: UUID | None) -> CustomerNumber:
        """The person's number; -1 for a customer that is nobody of the plan."""
        return None if customer_id is None else self.numbers.get(customer_id, -1)


def _people(expected: Expectation, found: Found) -> _People:
    people = _People()
    by_key = {
        (customer.person.business, customer.person.phone, plain_name(customer.person.name)): customer.person.number
        for customer in expected.customers
    }
    for row in found.customers:
        plain = plain_name(f"{row['first_name']} {row['last_name']}")
        number = by_key.get((row["company"], row["phone"], plain))
        if number is None:
            people.strangers.append(row)
        else:
            people.rows[number].append(row["id"])
            people.numbers[row["id"]] = number
    return people


def _inbox(expected: Expectation, found: Found) -> Iterator[Difference]:
    rows: dict[tuple[str, str, bytes], list[Row]] = defaultdict(list)
    for row in found.inbox:
        rows[row["subject"], row["event"], row["digest"]].append(row)
    for item in expected.inbox:
        name = f"{item.event} of {item.subject}"
        present = rows.pop((item.subject, item.event, item.digest), [])
        if len(present) != 1 and not (item.is_open and not present):
            yield Difference("webhook_inbox", f"{name}: {len(present)} rows, should be 1")
        for row in present[:1]:
            if row["company"] != item.company:
                yield _differs("webhook_inbox", name, "company", row["company"], item.company)
            if row["state"] not in item.states:
                error = f" ({row['error']})" if row["error"] else ""
                yield _differs("webhook_inbox", name, "state", f"{row['state']}{error}", _words(item.states))
    for (subject, event, _), extra in rows.items():
        yield Difference("webhook_inbox", f"{event} of {subject}: {len(extra)} rows with a body that was not sent")


def _calls(expected: Expectation, found: Found, people: _People) -> Iterator[Difference]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in found.calls:
        rows[row["provider_call_id"]].append(row)
    for item in expected.calls:
        name = item.call.call_id
        present = rows.pop(name, [])
        if len(present) != 1 and not (item.is_open and not present):
            yield Difference("calls", f"{name}: {len(present)} rows, should be 1")
        for row in present[:1]:
            if row["company"] != item.company:
                yield _differs("calls", name, "company", row["company"], item.company)
            if item.is_open:
                continue
            for column, value in item.columns.items():
                actual = frozenset(row["events"]) - QUIET_EVENTS if column == "events" else row[column]
                if actual != value:
                    yield _differs("calls", name, column, actual, value)
            if people.who(row["customer_id"]) not in item.customers:
                yield _differs(
                    "calls", name, "customer", people.who(row["customer_id"]), _words(item.customers, "person ")
                )
    for name in rows:
        yield Difference("calls", f"{name}: is there, should not be")


def _customers(expected: Expectation, found: Found) -> Iterator[Difference]:
    people = _people(expected, found)
    rows = {row["id"]: row for row in found.customers}
    no_shows = Counter(
        one.customer for one in expected.promises.appointments if one.status is AppointmentStatus.NO_SHOW
    )
    unsure = {one.customer for one in expected.promises.appointments if one.is_open}
    for item in expected.customers:
        person = item.person
        name = f"{person.name} ({person.phone}, {person.business})"
        ids = people.rows.get(person.number, [])
        if len(ids) != 1 and not (item.is_open and not ids):
            yield Difference("customers", f"{name}: {len(ids)} rows, should be 1")
        for customer_id in ids[:1]:
            row = rows[customer_id]
            if row["email"] != person.email:
                yield _differs("customers", name, "email", row["email"], person.email)
            if row["no_show_count"] != no_shows[person.number] and person.number not in unsure:
                yield _differs("customers", name, "no_show_count", row["no_show_count"], no_shows[person.number])
    for row in people.strangers:
        who = f"{row['first_name']} {row['last_name']} ({row['phone']}, {row['company']})"
        yield Difference("customers", f"{who}: is there, should not be")


def _appointments(expected: Expectation, found: Found, people: _People) -> Iterator[Difference]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in found.appointments:
        rows[row["idempotency_key"]].append(row)
    yield from _promised(expected, rows, people)
    aftermath = _Aftermath(found)
    for contest in expected.contests:
        yield from _contest(contest, rows, aftermath, people)
    open_calls = {item.call.call_id for item in expected.calls if item.is_open}
    for key in rows:
        if key.split(":")[1] not in open_calls:
            yield Difference("appointments", f"{key}: is there, should not be")


def _promised(expected: Expectation, rows: dict[str, list[Row]], people: _People) -> Iterator[Difference]:
    """What functions said is done is there as they said it; takes it out of `rows`."""
    by_id = {row["id"]: row for some in rows.values() for row in some}
    for item in expected.promises.appointments:
        name = f"{item.id} of {item.call.call_id}"
        row = by_id.get(item.id)
        if row is None:
            yield Difference("promises", f"{name}: is not there, was promised as {item.status}")
            continue
        rows.pop(row["idempotency_key"], None)
        if not item.is_open:
            yield from _as_promised(name, item, row, people)


def _as_promised(name: str, item: PromisedAppointment, row: Row, people: _People) -> Iterator[Difference]:
    assert item.call.business is not None
    wanted: dict[str, object] = {
        "idempotency_key": item.key or row["idempotency_key"],
        "company": item.call.business.slug,
        "branch": item.branch,
        "staff": item.staff,
        "service": item.service.slug,
        "starts_at": item.starts_at,
        "ends_at": item.starts_at + timedelta(minutes=item.service.minutes),
        "time_zone": "Europe/Berlin",
        "status": item.status,
        "source": AppointmentSource.CALL,
        "price_cents": item.service.price_cents,
        "buffer_before_min": item.service.before,
        "buffer_after_min": item.service.after,
        "attendee_name": item.call.spoken_name or "",
        "call": item.call.call_id,
        "events": list(item.events),
    }
    for column, value in wanted.items():
        if row[column] != value:
            yield _differs("promises", name, column, row[column], value)
    if people.who(row["customer_id"]) != item.customer:
        yield _differs("promises", name, "customer", people.who(row["customer_id"]), item.customer)


def _kept_answers(expected: Expectation, found: Found) -> Iterator[Difference]:
    """Each tool call had one effect, and its answer is kept as it was told."""
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in found.answers:
        rows[row["call"], row["tool_key"]].append(row)
    for item in expected.promises.answers:
        name = f"{item.function} of {item.call_id} ({item.tool_key})"
        present = rows.pop((item.call_id, item.tool_key), [])
        if len(present) != 1 and not (item.answer is None and not present):
            yield Difference("function_calls", f"{name}: {len(present)} rows, should be 1")
        for row in present[:1]:
            kept = msgspec.json.decode(row["answer"])
            if row["name"] != item.function:
                yield _differs("function_calls", name, "name", row["name"], item.function)
            if item.answer is not None and kept != item.answer:
                yield _differs("function_calls", name, "answer", kept, item.answer)
    for call_id, tool_key in rows:
        if tool_key.startswith("id:"):
            yield Difference("function_calls", f"{call_id}: {tool_key} is there, was not asked")


class _Aftermath:
    """What bookings did to their calls, by call id."""

    def __init__(self, found: Found) -> None:
        self.outcomes = {row["provider_call_id"]: row["outcome"] for row in found.calls}
        self.reasons: dict[str, list[str]] = defaultdict(list)
        for row in found.callbacks:
            self.reasons[row["call"]].append(row["reason"])


def _contest(
    contest: ExpectedContest, rows: dict[str, list[Row]], aftermath: _Aftermath, people: _People
) -> Iterator[Difference]:
    """Judge the bookings that want the same time; takes their rows out of `rows`."""
    won = 0
    for item in contest.contenders:
        name = f"call:{item.call.call_id}"
        present = rows.pop(name, [])
        won += bool(present)
        if len(present) > 1:
            yield Difference("appointments", f"{name}: {len(present)} rows, should be at most 1")
        for row in present[:1]:
            yield from _appointment(name, item, row, people)
        reasons = aftermath.reasons[item.call.call_id]
        wanted = [] if present else [(item.booking.flaw or RefusalReason.SLOT_TAKEN).value]
        if reasons != wanted:
            what = "booked" if present else "turned down"
            yield _differs("callback_requests", f"{item.call.call_id} ({what})", "reasons", reasons, wanted)
        outcome = CallOutcome.BOOKED if present else CallOutcome.CALLBACK
        if aftermath.outcomes.get(item.call.call_id) != outcome:
            actual = aftermath.outcomes.get(item.call.call_id)
            yield _differs("calls", item.call.call_id, "outcome", actual, outcome)
    fewest = 0 if contest.is_open else contest.winners
    if not fewest <= won <= contest.winners:
        names = ", ".join(item.call.call_id for item in contest.contenders)
        yield Difference("appointments", f"{won} of {names} booked, should be {contest.winners}")


def _appointment(name: str, item: ExpectedAppointment, row: Row, people: _People) -> Iterator[Difference]:
    booking = item.booking
    starts_at = datetime.fromtimestamp(booking.start * 60, UTC)
    assert item.call.business is not None
    wanted: dict[str, object] = {
        "company": item.call.business.slug,
        "branch": booking.branch.slug,
        "service": booking.service.slug,
        "starts_at": starts_at,
        "ends_at": starts_at + timedelta(minutes=booking.service.minutes),
        "time_zone": "Europe/Berlin",
        "status": AppointmentStatus.CONFIRMED,
        "source": AppointmentSource.CALL,
        "price_cents": booking.service.price_cents,
        "buffer_before_min": booking.service.before,
        "buffer_after_min": booking.service.after,
        "attendee_name": item.call.spoken_name or "",
        "call": item.call.call_id,
    }
    for column, value in wanted.items():
        if row[column] != value:
            yield _differs("appointments", name, column, row[column], value)
    if row["staff"] not in item.staff:
        yield _differs("appointments", name, "staff", row["staff"], _words(item.staff))
    if people.who(row["customer_id"]) != item.customer:
        yield _differs("appointments", name, "customer", people.who(row["customer_id"]), item.customer)
    if row["events"] != ["booked"]:
        yield _differs("appointment_events", name, "kinds", row["events"], ["booked"])


def _callbacks(expected: Expectation, found: Found) -> Iterator[Difference]:
    """Callers who asked for it are called back once; bookings that failed are judged with their contest."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in found.callbacks:
        rows[row["call"]].append(row)
    contending = {item.call.call_id for contest in expected.contests for item in contest.contenders}
    open_calls = {item.call.call_id for item in expected.calls if item.is_open}
    for call_id, reason in expected.callbacks.items():
        present = rows.get(call_id, [])
        if len(present) != 1:
            yield Difference("callback_requests", f"{call_id}: {len(present)} rows, should be 1")
        for row in present[:1]:
            if row["reason"] != reason:
                yield _differs("callback_requests", call_id, "reason", row["reason"], reason)
            if row["state"] != "open":
                yield _differs("callback_requests", call_id, "state", row["state"], "open")
    for call_id in rows.keys() - expected.callbacks.keys() - contending - open_calls:
        yield Difference("callback_requests", f"{call_id}: is there, should not be")


def _totals(expected: Expectation, found: Found, before: Totals) -> Iterator[Difference]:
    """Rows that belong to no call of the run would show here."""
    if expected.is_open:
        return
    booked = sum(contest.winners for contest in expected.contests)
    turned_down = sum(len(contest.contenders) for contest in expected.contests) - booked
    booked += len(expected.promises.appointments)
    wanted = {
        "calls": before.calls + len(expected.calls),
        "customers": before.customers + len(expected.customers),
        "appointments": before.appointments + booked,
        "callbacks": before.callbacks + turned_down + len(expected.callbacks),
    }
    for table, number in wanted.items():
        actual: int = getattr(found.totals, table)
        if actual != number:
            yield Difference("totals", f"{table}: {actual} rows, should be {number}")


def _differs(where: str, name: str, column: str, actual: object, wanted: object) -> Difference:
    return Difference(where, f"{name}: {column} is {_shown(actual)}, should be {_shown(wanted)}")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _words(values: Iterable[object], label: str = "") -> str:
    return " or ".join(sorted(f"{label}{value}" if value is not None else "nobody" for value in values))
