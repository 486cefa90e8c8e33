"""The things one can open: call, customer, appointment, job, delivery. Each makes its page from what is stored."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from backend.domain.phones import masked
from backend.domain.vocabulary import CallStatus
from screens.detail import TONES, DetailScreen, Entry, Page
from screens.moments import day_text, slot_text
from widgets.figures import DASH, age_text, length_text, money_text, size_text, with_unit
from widgets.pieces import Content, Piece, Tone

if TYPE_CHECKING:
    from textual.app import App

    from backend.watch.details import CalendarDetail, Callback, Delivery, Details, Moment, Notified
    from backend.watch.snapshots import AppointmentRow, CallRow


async def open_thing(app: App[Any], kind: str, thing_id: str, *, crumbs: tuple[str, ...]) -> bool:
    """Open a thing's screen over the present one, until it is there; False when things of this kind have none."""
    from screens.job import JobScreen

    screens: dict[str, type[DetailScreen]] = {
        "call": CallScreen,
        "customer": CustomerScreen,
        "appointment": AppointmentScreen,
        "job": JobScreen,
        "webhook": WebhookScreen,
    }
    screen_class = screens.get(kind)
    if screen_class is None or not thing_id:
        return False
    screen = screen_class(thing_id)
    screen.crumbs = crumbs
    await app.push_screen(screen)
    return True


_NUMBER = re.compile(r"\+[1-9][0-9]{7,14}")


def hide_numbers(text: str) -> str:
    """Text with the phone numbers in it masked."""
    return _NUMBER.sub(lambda found: masked(found[0]), text)


def state_piece(state: str) -> Piece:
    """A state in its tone."""
    return Piece(state.replace("_", " ") or DASH, TONES.get(state, Tone.TEXT if state else Tone.DIM))


def text_piece(value: str) -> Piece:
    """A value, or a dim dash for none."""
    return Piece(value or DASH, Tone.TEXT if value else Tone.DIM)


def _length_piece(row: CallRow, now: float) -> Piece:
    """How long a call lasted, or lasts."""
    if row.status == CallStatus.ONGOING:
        return Piece(length_text(now - row.started_at), Tone.ACCENT)
    return text_piece(length_text(row.duration_s))


def _call_entry(row: CallRow) -> Entry:
    return Entry(f"call {row.id}", row.started_at, "call", row.id, row.summary or row.outcome or row.status,
                 row.outcome or row.status, row.duration_s)  # fmt: skip


def _appointment_entry(row: AppointmentRow) -> Entry:
    what = f"{slot_text(row.starts_at, row.ends_at)}  {row.service}, {row.staff}"
    return Entry(f"appointment {row.id}", row.created_at, "appointment", row.id, what, row.status)


def _callback_entry(row: Callback) -> Entry:
    settled = f", {row.closed_by}: {row.note}".rstrip(": ") if row.closed_by else ""
    what = f"{row.reason.replace('_', ' ')}, due {day_text(row.due_at)}{settled}"
    return Entry(f"callback {row.id}", row.created_at, "callback", "", what, row.state)


def _told(row: Notified) -> str:
    kind = row.kind.replace("_", " ")
    return f"{kind}: {hide_numbers(row.detail)}" if row.detail else kind


def _moment_entry(index: int, moment: Moment) -> Entry:
    what = moment.what.removeprefix(f"{moment.kind} ")
    return Entry(f"{index}", moment.at, moment.kind, moment.id, what, moment.state, moment.took_s)


def _delivery_fact(row: Delivery) -> Content:
    return (Piece(row.event, Tone.BRIGHT), Piece(f"  {size_text(row.size_bytes)}", Tone.DIM))


class CallScreen(DetailScreen):
    """A call: who, how long, what came of it, and everything that happened for it."""

    TITLE = "Call"
    RENEWS: ClassVar[bool] = True

    async def read(self, details: Details) -> Page | None:
        """The call with its lineage."""
        call = await details.call(self.thing_id)
        if call is None:
            return None
        lineage = await details.lineage(self.thing_id)
        row = call.row
        entries = [_moment_entry(index, moment) for index, moment in enumerate(lineage.moments if lineage else ())]
        return Page(
            title=row.caller or masked(row.from_number) or "number withheld",
            facts=(
                ("Caller", Piece(row.caller or call.caller_name or DASH, Tone.BRIGHT)),
                ("Number", text_piece(masked(row.from_number))),
                ("Company", text_piece(row.company)),
                ("Branch", text_piece(row.branch)),
                ("Called", text_piece(masked(row.to_number))),
                ("Started", text_piece(day_text(row.started_at))),
                ("Length", _length_piece(row, time.time())),
                ("State", state_piece(row.status)),
                ("Outcome", state_piece(row.outcome)),
                ("Mood", text_piece(row.sentiment)),
                ("Cost", with_unit(money_text(row.cost_cents))),
                ("Ended by", text_piece(call.disconnection_reason.replace("_", " "))),
                ("", (Piece(f" {'Summary':<14}", Tone.DIM), text_piece(row.summary))),
                ("", (Piece(f" {'At provider':<14}", Tone.DIM), text_piece(row.provider_call_id))),
            ),
            entries=tuple(sorted(entries, key=lambda entry: entry.at)),
            text_title="Transcript",
            text=hide_numbers(call.transcript),
            spoken=True,
        )


class CustomerScreen(DetailScreen):
    """A customer: contact, and one timeline of calls, appointments and call-backs."""

    TITLE = "Customer"
    RENEWS: ClassVar[bool] = True

    async def read(self, details: Details) -> Page | None:
        """The customer with the latest of everything."""
        found = await details.customer(self.thing_id)
        if found is None:
            return None
        name = f"{found.first_name} {found.last_name}".strip()
        entries: Sequence[Entry] = [
            *map(_call_entry, found.calls),
            *map(_appointment_entry, found.appointments),
            *map(_callback_entry, found.callbacks),
        ]
        return Page(
            title=name or "Customer",
            facts=(
                ("Name", Piece(name or DASH, Tone.BRIGHT)),
                ("Company", text_piece(found.company)),
                ("Phone", text_piece(masked(found.phone))),
                ("E-mail", text_piece(_masked_mail(found.email))),
                ("Since", text_piece(day_text(found.created_at))),
                ("No-shows", Piece(f"{found.no_show_count}", Tone.WARN if found.no_show_count else Tone.TEXT)),
                ("Tags", text_piece(", ".join(found.tags))),
                ("VIP", text_piece("yes" if found.is_vip else "no")),
            ),
            entries=tuple(sorted(entries, key=lambda entry: -entry.at)),
            timeline="Timeline, newest first",
            text_title="Notes",
            text=found.notes,
            spoken=True,
        )


def _masked_mail(address: str) -> str:
    name, at, host = address.partition("@")
    return f"{name[:1]}•••@{host}" if at else ""


class AppointmentScreen(DetailScreen):
    """An appointment: when, with whom, and the events that made it what it is."""

    TITLE = "Appointment"
    RENEWS: ClassVar[bool] = True

    async def read(self, details: Details) -> Page | None:
        """The appointment with its events."""
        found = await details.appointment(self.thing_id)
        if found is None:
            return None
        row = found.row
        entries = [
            Entry(
                f"event {event.version}",
                event.occurred_at,
                "event",
                "",
                f"{event.kind} by {event.actor}: " + ", ".join(f"{key} {value}" for key, value in event.data.items()),
                event.kind,
            )
            for event in found.events
        ]
        entries += [
            Entry(f"told {index}", told.at, "message", "", _told(told), told.state)
            for index, told in enumerate(found.notified)
        ]
        if row.customer_id:
            entries.append(Entry("customer", row.created_at, "customer", row.customer_id, row.customer, ""))
        if row.call_id:
            entries.append(Entry("call", row.created_at, "call", row.call_id, "the call it was booked in", ""))
        return Page(
            title=f"{row.service}, {row.customer}".strip(", "),
            facts=(
                ("When", Piece(slot_text(row.starts_at, row.ends_at), Tone.BRIGHT)),
                ("State", state_piece(row.status)),
                ("Service", text_piece(row.service)),
                ("Staff", text_piece(row.staff)),
                ("Customer", text_piece(row.customer or found.attendee_name)),
                ("Company", text_piece(f"{row.company}  {row.branch}".strip())),
                ("Price", with_unit(money_text(row.price_cents))),
                ("Source", text_piece(row.source)),
                ("Buffers", text_piece(f"{found.buffer_before_min} min before, {found.buffer_after_min} min after")),
                ("Zone", text_piece(row.time_zone)),
                *calendar_facts(found.calendar),
            ),
            entries=tuple(sorted(entries, key=lambda entry: entry.at)),
            timeline="Events",
        )


def calendar_facts(calendar: CalendarDetail | None) -> tuple[tuple[str, Content], ...]:
    """How far it has got into the provider's calendar, and what the provider had to say."""
    if calendar is None:
        return ()
    at = calendar.pending_since if calendar.state == "pending" else calendar.last_at or calendar.pending_since
    failed = f", failed {calendar.attempts} times" if calendar.attempts else ""
    facts: list[tuple[str, Content]] = [
        ("Cal.com", (state_piece(calendar.state), Piece(f"  since {day_text(at)}{failed}", Tone.DIM))),
        ("Booking there", text_piece(calendar.uid)),
    ]
    if calendar.last_error:
        tone = Tone.CRIT if calendar.state == "failed" else Tone.WARN
        facts.append(("", (Piece(f" {'It said':<14}", Tone.DIM), Piece(hide_numbers(calendar.last_error), tone))))
    return tuple(facts)


class WebhookScreen(DetailScreen):
    """A delivery: what was sent, what became of it."""

    TITLE = "Webhook"
    RENEWS: ClassVar[bool] = True

    async def read(self, details: Details) -> Page | None:
        """The delivery with its jobs."""
        found = await details.webhook(self.thing_id)
        if found is None:
            return None
        row = found.row
        entries = [
            Entry(
                f"job {job.job_id}",
                job.enqueued_at or row.received_at,
                "job",
                f"{job.job_id}",
                job.entrypoint,
                job.held.state if job.held else job.state,
            )
            for job in found.jobs
        ]
        if found.call_id:
            entries.append(Entry("call", row.received_at, "call", found.call_id, "the call it is about", ""))
        took = None if row.processed_at is None else row.processed_at - row.received_at
        return Page(
            title=f"{row.provider} {row.event}",
            facts=(
                ("Event", _delivery_fact(row)),
                ("State", state_piece(row.state)),
                ("About", text_piece(row.subject)),
                ("Company", text_piece(f"{row.company}  {found.branch}".strip())),
                ("Received", text_piece(day_text(row.received_at))),
                ("Effect after", with_unit(age_text(took))),
                *((("Error", Piece(row.error, Tone.CRIT)),) if row.error else ()),
            ),
            entries=tuple(entries),
            timeline="Jobs",
            text_title="Body, as sent",
            text=hide_numbers(_pretty(found.body.decode("utf-8", "replace"))),
        )


def _pretty(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body
