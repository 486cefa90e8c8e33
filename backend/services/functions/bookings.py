"""Appointments made, kept for a while, moved and cancelled while the caller is on the line."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.domain.names import name_key
from backend.domain.vocabulary import AppointmentStatus, CallOutcome, RefusalReason
from backend.services import booking
from backend.services.booking import BookingRequest, Refused, book
from backend.services.companies.catalogue import Service
from backend.services.customers.finding import caller, find_or_create
from backend.services.functions import wording
from backend.services.functions.appointments import Found, by_id, meant, of_call, of_id
from backend.services.functions.offers import declined, wanted_at
from backend.services.functions.refusals import Declined, FunctionRefusal
from backend.services.functions.scene import Answer, Scene, did
from backend.services.functions.spoken import spoken_hours, spoken_money

HOLD = timedelta(minutes=5)
"""A slot is kept for so long while the caller makes up their mind."""

ACTOR = "call"

_KNOWN = """
    select id, first_name, last_name, name_key, email from customers
    where company_id = $1 and phone = any ($2) and name_key = $3 and erased_at is null
    order by phone = $4 desc nulls last, id
    limit 1
"""


@dataclass(frozen=True, slots=True)
class Attendee:
    """Who comes."""

    customer_id: UUID | None
    """None when nothing but a name is known."""
    name: str
    phone: str | None
    email: str | None


async def book_appointment(scene: Scene) -> Answer:
    """Book a slot, or keep it for five minutes, or book what was kept. Raises Declined."""
    held = scene.arguments.text("appointment")
    if held is not None:
        return await _confirm(scene, await _held(scene, held))
    service, branch, staff = await scene.service(), await scene.branch(), await scene.staff()
    starts_at = wanted_at(scene, branch.time_zone)
    # A refused wish leaves a customer and a request to call back, for callers who have hung up. This one is told.
    await scene.connection.execute("savepoint wish")
    attendee = await _attendee(scene)
    same = await _made_before(scene, service, starts_at, attendee)
    hold = scene.arguments.flag("hold")
    if same is not None:
        if same.status == AppointmentStatus.HELD and not hold:
            return await _confirm(scene, same)
        return _made(scene, same)
    request = BookingRequest(
        key=f"call:{scene.call.provider_call_id}:{scene.entered.tool_key}",
        company_id=scene.company_id,
        service=service.slug,
        starts_at=starts_at,
        asked_at=scene.now,
        staff=staff.slug if staff else None,
        branch=branch.slug,
        called_branch_id=scene.entered.branch_id,
        customer_id=attendee.customer_id,
        call_id=scene.entered.call_id,
        attendee_name=attendee.name,
        attendee_email=attendee.email,
        attendee_phone=attendee.phone,
        actor=ACTOR,
        hold_for=HOLD if hold else None,
    )
    result = await book(scene.connection, request)
    if isinstance(result, Refused):
        await scene.connection.execute("rollback to savepoint wish")
        raise await declined(scene, result.reason, service, branch, result.alternatives)
    made = await by_id(scene, result.appointment_id)
    scene.customer_id = scene.customer_id or attendee.customer_id
    scene.caller_name = attendee.name
    if made.status != AppointmentStatus.HELD:
        did(scene, CallOutcome.BOOKED)
    return _made(scene, made)


async def reschedule_appointment(scene: Scene) -> Answer:
    """Move an appointment of the caller's. Raises Declined."""
    present = await meant(scene, "current_starts_at")
    if present.status not in {AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED}:
        raise Declined(FunctionRefusal.NOT_CHANGEABLE)
    staff = await scene.staff()
    starts_at = wanted_at(scene, present.time_zone)
    if starts_at != present.starts_at or (staff is not None and staff.id != present.staff_id):
        await _changed(
            scene,
            booking.reschedule(
                scene.connection,
                scene.company_id,
                present.id,
                starts_at=starts_at,
                staff_id=staff.id if staff else None,
                actor=ACTOR,
                asked_at=scene.now,
                accept_fee=scene.arguments.flag("accept_fee"),
            ),
        )
        did(scene, CallOutcome.RESCHEDULED)
    moved = await by_id(scene, present.id)
    answer = moved.told(scene)
    return {"ok": True, **answer, "message": wording.MOVED.say(scene.language, moved.words(scene))}


async def cancel_appointment(scene: Scene) -> Answer:
    """Cancel an appointment of the caller's. Raises Declined."""
    present = await meant(scene, "starts_at")
    if present.status != AppointmentStatus.CANCELLED:
        accept_fee = scene.arguments.flag("accept_fee")
        change = booking.cancel(
            scene.connection, scene.company_id, present.id, actor=ACTOR, asked_at=scene.now, accept_fee=accept_fee
        )
        await _changed(scene, change)
        _did_cancel(scene, present, await of_call(scene))
    answer = {**present.told(scene), "status": AppointmentStatus.CANCELLED.value}
    answer.pop("hold_expires_at", None)
    return {"ok": True, **answer, "message": wording.CANCELLED.say(scene.language, present.words(scene))}


async def _held(scene: Scene, given: str) -> Found:
    """The kept slot that is to be booked. Raises Declined."""
    found = await of_id(scene, given)
    if found is None:
        raise Declined(FunctionRefusal.APPOINTMENT_UNKNOWN)
    return found


async def _confirm(scene: Scene, held: Found) -> Answer:
    """Book what is kept; what is booked already stays so. Raises Declined."""
    if held.status == AppointmentStatus.HELD:
        if not held.is_active:
            raise Declined(FunctionRefusal.HOLD_EXPIRED)
        await _changed(scene, booking.confirm(scene.connection, scene.company_id, held.id, actor=ACTOR))
    elif held.status != AppointmentStatus.CONFIRMED:
        raise Declined(FunctionRefusal.HOLD_EXPIRED)
    scene.customer_id = scene.customer_id or held.customer_id
    scene.caller_name = held.attendee_name or None
    did(scene, CallOutcome.BOOKED)
    return _made(scene, await by_id(scene, held.id))


def _made(scene: Scene, made: Found) -> Answer:
    sentence = wording.HELD if made.status == AppointmentStatus.HELD else wording.BOOKED
    return {"ok": True, **made.told(scene), "message": sentence.say(scene.language, made.words(scene))}


async def _made_before(scene: Scene, service: Service, starts_at: datetime, attendee: Attendee) -> Found | None:
    """What this call has booked for this person at this time already: an agent may ask twice, under two ids."""
    key = name_key(attendee.name)
    for one in await of_call(scene):
        if one.is_active and one.service_id == service.id and one.starts_at == starts_at and one.is_of(key):
            return one
    return None


async def _attendee(scene: Scene) -> Attendee:
    """Who is to come: the person of the given name, else the only one on the line. Raises Declined.

    Equal numbers and different names are different people (`services.customers`).
    """
    name, email, spoken = scene.arguments.name(), scene.arguments.email(), scene.arguments.phone()
    phone = spoken or scene.phone
    if name is None:
        person = await scene.person(None)
        if person is None:
            raise Declined(FunctionRefusal.NAME_NEEDED)
        return Attendee(person.id, person.name, phone, email or person.email)
    key = name_key(name)
    if not key:
        raise Declined(FunctionRefusal.NAME_NEEDED)
    numbers = [number for number in (scene.phone, spoken) if number is not None]
    row = await scene.connection.fetchrow(_KNOWN, scene.company_id, numbers, key, scene.phone)
    if row is not None:
        return Attendee(row["id"], name, phone, email or row["email"])
    who = caller(number=spoken or scene.call.caller_number, name=name, email=email)
    found = await find_or_create(scene.connection, scene.company_id, who)
    return Attendee(found.customer_id if found else None, name, phone, email)


async def _changed(scene: Scene, change: Awaitable[object]) -> None:
    """Wait for a change, and say its refusals in the agent's words. Raises Declined."""
    try:
        await change
    except booking.SlotTaken as refused:
        raise Declined(RefusalReason.SLOT_TAKEN, alternatives=refused.alternatives) from None
    except booking.OutsideHours as refused:
        raise Declined(refused.reason, alternatives=refused.alternatives) from None
    except booking.PolicyForbids as refused:
        words = {"hours": spoken_hours(refused.hours_before, scene.language)}
        if refused.fee_cents:
            words["fee"] = spoken_money(refused.fee_cents, scene.language)
        fields = {"hours_before": refused.hours_before, "fee_cents": refused.fee_cents}
        raise Declined(FunctionRefusal.POLICY_FORBIDS, fields, words) from None
    except booking.StaffNotOffering:
        raise Declined(RefusalReason.NOT_OFFERED) from None
    except booking.HoldExpired:
        raise Declined(FunctionRefusal.HOLD_EXPIRED) from None
    except booking.AppointmentMissing:
        raise Declined(FunctionRefusal.APPOINTMENT_UNKNOWN) from None
    except booking.ChangeRefused:
        raise Declined(FunctionRefusal.NOT_CHANGEABLE) from None


def _did_cancel(scene: Scene, cancelled: Found, of_this_call: list[Found]) -> None:
    """What the call led to now. Letting go of a kept slot is not cancelling.

    A call that moved an appointment and then cancelled one is known by the last; one whose only booking is cancelled
    booked nothing.
    """
    if cancelled.status == AppointmentStatus.HELD:
        return
    did(scene, CallOutcome.CANCELLED)
    scene.outcomes.discard(CallOutcome.RESCHEDULED.value)
    booked = (AppointmentStatus.CONFIRMED, AppointmentStatus.PENDING)
    if cancelled.call_id == scene.entered.call_id and not any(one.status in booked for one in of_this_call):
        scene.outcomes.discard(CallOutcome.BOOKED.value)
