"""`/api/appointments`: found, booked or held, and what happens to them afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol
from uuid import UUID, uuid4

from fastapi import APIRouter, Query
from starlette.responses import Response

from backend.api.partners.answers import (
    Alternative,
    Visit,
    Visiting,
    answered,
    not_modified,
    page_answer,
    problems,
    requires,
)
from backend.api.partners.appointment_shapes import (
    AppointmentQuery,
    AppointmentShape,
    Cancellation,
    EventQuery,
    EventShape,
    Move,
    NewAppointment,
    appointment_shape,
    event_shape,
)
from backend.api.partners.conditions import IfMatch, IfNoneMatch, expected_version, is_unchanged, stale
from backend.api.partners.idempotency import IdempotencyKey, once
from backend.api.partners.pages import Page
from backend.api.problems import Problem
from backend.domain.availability import Slot
from backend.domain.vocabulary import AppointmentSource, TokenScope
from backend.postgres.pools import Connection
from backend.services import booking
from backend.services.booking.listing import (
    AppointmentFilter,
    AppointmentRecord,
    list_appointments,
    list_events,
    read_appointment,
)
from backend.services.companies.facts import read_staff_slugs
from backend.services.customers.finding import caller as caller_of
from backend.services.customers.finding import find_or_create
from backend.services.customers.listing import read_customer

router = APIRouter(tags=["appointments"])

REFUSED = {
    "slot_taken": "the time is not free",
    "service_unknown": "there is no such service, or it is inactive",
    "branch_unknown": "there is no such branch, or there are several and none was named",
    "staff_unknown": "there is no such staff member",
    "not_offered": "nobody who could be booked offers this there",
    "time_unreadable": "the time does not exist",
    "in_past": "the time is in the past",
    "too_far": "the service cannot be booked so far ahead",
    "too_soon": "the service must be booked longer beforehand",
    "outside_hours": "the service is not offered at that time",
    "company_inactive": "the company takes no bookings",
}

FIELD_MEANT = {"service_unknown": "service", "branch_unknown": "branch", "staff_unknown": "staff"}

FREE_OF_CHARGE = Cancellation()
"""What a cancellation without a body means."""

Change = Callable[[Connection, int | None], Awaitable[object]]
"""What is to happen to an appointment, and the version that it must have."""


@router.get(
    "/api/appointments",
    summary="List appointments",
    description="By start.",
    response_model=Page[AppointmentShape],
    responses=problems(),
    dependencies=requires(TokenScope.APPOINTMENTS_READ),
)
async def get_appointments(visiting: Visiting, query: Annotated[AppointmentQuery, Query()]) -> Response:
    """A page of appointments."""
    listing = visiting.listing(query)
    position = listing.position(query.cursor)
    wanted = AppointmentFilter(
        starts_from=query.from_,
        starts_until=query.until,
        statuses=query.status,
        branch=query.branch,
        service=query.service,
        staff=query.staff,
        customer_id=query.customer_id,
        call_id=query.call_id,
    )
    after = None if position is None else (datetime.fromisoformat(str(position[0])), UUID(str(position[1])))
    async with visiting.company() as connection:
        rows = await list_appointments(
            connection, visiting.caller.company_id, wanted, after=after, limit=listing.limit + 1
        )
    shown, following = listing.page(rows, lambda row: [row.starts_at.isoformat(), row.id])
    return page_answer(Page(items=[appointment_shape(row) for row in shown], next=following), following)


@router.post(
    "/api/appointments",
    summary="Book or hold an appointment",
    description="What cannot be booked is answered 409 with `reason`, and `alternatives` when another time would do.",
    status_code=201,
    response_model=AppointmentShape,
    responses=problems(409, 413, 415),
    dependencies=requires(TokenScope.APPOINTMENTS_WRITE),
)
async def post_appointment(
    visiting: Visiting, body: NewAppointment, idempotency_key: IdempotencyKey = None
) -> Response:
    """A new appointment."""

    async def make(connection: Connection) -> Response:
        company_id = visiting.caller.company_id
        request = booking.BookingRequest(
            key=f"api:{uuid4()}",
            company_id=company_id,
            service=body.service,
            starts_at=body.starts_at,
            asked_at=datetime.now(UTC),
            staff=body.staff,
            branch=body.branch,
            customer_id=await _customer(connection, visiting, body),
            attendee_name=body.attendee.name,
            attendee_email=body.attendee.email,
            attendee_phone=body.attendee.phone,
            source=AppointmentSource.API,
            actor=visiting.caller.actor,
            hold_for=None if body.hold_min is None else timedelta(minutes=body.hold_min),
        )
        try:
            result = await booking.book(connection, request)
        except booking.CalendarUnsettled:
            raise _unsettled() from None
        if isinstance(result, booking.Refused):
            reason = result.reason.value
            raise await _refusal(connection, visiting, reason, result.alternatives, detail=result.detail)
        record = await read_appointment(connection, company_id, result.appointment_id)
        assert record is not None
        return _answer(record, status=201, headers={"location": f"/api/appointments/{record.id}"})

    return await once(visiting, idempotency_key, make)


@router.get(
    "/api/appointments/{appointment_id}",
    summary="Read an appointment",
    response_model=AppointmentShape,
    responses=problems(304, 404),
    dependencies=requires(TokenScope.APPOINTMENTS_READ),
)
async def get_appointment(visiting: Visiting, appointment_id: UUID, if_none_match: IfNoneMatch = None) -> Response:
    """One appointment."""
    async with visiting.company() as connection:
        record = await read_appointment(connection, visiting.caller.company_id, appointment_id)
    if record is None:
        raise Problem(404)
    if is_unchanged(if_none_match, record.version):
        return not_modified(record.version)
    return _answer(record)


@router.get(
    "/api/appointments/{appointment_id}/events",
    summary="List what happened to an appointment",
    description="In its order. The appointment is what its events made of it.",
    response_model=Page[EventShape],
    responses=problems(404),
    dependencies=requires(TokenScope.APPOINTMENTS_READ),
)
async def get_events(visiting: Visiting, appointment_id: UUID, query: Annotated[EventQuery, Query()]) -> Response:
    """A page of events."""
    listing = visiting.listing(query)
    position = listing.position(query.cursor)
    after = 0 if position is None else int(str(position[0]))
    async with visiting.company() as connection:
        rows = await list_events(
            connection, visiting.caller.company_id, appointment_id, after=after, limit=listing.limit + 1
        )
    if rows is None:
        raise Problem(404)
    shown, following = listing.page(rows, lambda row: [row.version])
    return page_answer(Page(items=[event_shape(row) for row in shown], next=following), following)


@router.post(
    "/api/appointments/{appointment_id}/confirm",
    summary="Confirm an appointment that is held or pending",
    response_model=AppointmentShape,
    responses=problems(404, 409, 412),
    dependencies=requires(TokenScope.APPOINTMENTS_WRITE),
)
async def confirm(
    visiting: Visiting, appointment_id: UUID, if_match: IfMatch = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """It will take place."""
    return await _simply(visiting, booking.confirm, appointment_id, if_match, idempotency_key)


@router.post(
    "/api/appointments/{appointment_id}/complete",
    summary="Say that an appointment took place",
    response_model=AppointmentShape,
    responses=problems(404, 409, 412),
    dependencies=requires(TokenScope.APPOINTMENTS_WRITE),
)
async def complete(
    visiting: Visiting, appointment_id: UUID, if_match: IfMatch = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """It took place."""
    return await _simply(visiting, booking.complete, appointment_id, if_match, idempotency_key)


@router.post(
    "/api/appointments/{appointment_id}/no-show",
    summary="Say that nobody came",
    description="Raises the customer's `no_show_count`.",
    response_model=AppointmentShape,
    responses=problems(404, 409, 412),
    dependencies=requires(TokenScope.APPOINTMENTS_WRITE),
)
async def no_show(
    visiting: Visiting, appointment_id: UUID, if_match: IfMatch = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Nobody came."""
    return await _simply(visiting, booking.no_show, appointment_id, if_match, idempotency_key)


@router.post(
    "/api/appointments/{appointment_id}/restore",
    summary="Take back a cancellation or a no-show",
    description="If the time is still free.",
    response_model=AppointmentShape,
    responses=problems(404, 409, 412),
    dependencies=requires(TokenScope.APPOINTMENTS_WRITE),
)
async def restore(
    visiting: Visiting, appointment_id: UUID, if_match: IfMatch = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """It takes place after all."""
    return await _simply(visiting, booking.restore, appointment_id, if_match, idempotency_key)


@router.post(
    "/api/appointments/{appointment_id}/cancel",
    summary="Cancel an appointment, or let go of a hold",
    description="When it is too late for that free of charge: 409 `policy_forbids` with the figures.",
    response_model=AppointmentShape,
    responses=problems(404, 409, 412, 413, 415),
    dependencies=requires(TokenScope.APPOINTMENTS_WRITE),
)
async def cancel(
    visiting: Visiting,
    appointment_id: UUID,
    body: Cancellation = FREE_OF_CHARGE,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """It does not take place."""

    async def change(connection: Connection, version: int | None) -> object:
        return await booking.cancel(
            connection,
            visiting.caller.company_id,
            appointment_id,
            actor=visiting.caller.actor,
            version=version,
            accept_fee=body.accept_fee,
        )

    return await _changed(visiting, change, appointment_id, if_match, idempotency_key)


@router.post(
    "/api/appointments/{appointment_id}/reschedule",
    summary="Move an appointment",
    description="To another time, and to another staff member when one is named. It keeps its length.",
    response_model=AppointmentShape,
    responses=problems(404, 409, 412, 413, 415),
    dependencies=requires(TokenScope.APPOINTMENTS_WRITE),
)
async def reschedule(
    visiting: Visiting,
    appointment_id: UUID,
    body: Move,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """It takes place at another time."""

    async def change(connection: Connection, version: int | None) -> object:
        staff_id: UUID | None = None
        if body.staff is not None:
            slugs = await read_staff_slugs(connection, visiting.caller.company_id)
            staff_id = next((one for one, slug in slugs.items() if slug == body.staff), None)
            if staff_id is None:
                raise Problem(409, REFUSED["staff_unknown"], field="staff", reason="staff_unknown")
        return await booking.reschedule(
            connection,
            visiting.caller.company_id,
            appointment_id,
            starts_at=body.starts_at,
            staff_id=staff_id,
            actor=visiting.caller.actor,
            version=version,
            accept_fee=body.accept_fee,
        )

    return await _changed(visiting, change, appointment_id, if_match, idempotency_key)


class _Simple(Protocol):
    """A change that needs nothing but who makes it."""

    async def __call__(
        self, connection: Connection, company_id: UUID, appointment_id: UUID, *, actor: str, version: int | None
    ) -> object: ...


async def _simply(
    visiting: Visit, service: _Simple, appointment_id: UUID, if_match: str | None, idempotency_key: str | None
) -> Response:
    async def change(connection: Connection, version: int | None) -> object:
        return await service(
            connection, visiting.caller.company_id, appointment_id, actor=visiting.caller.actor, version=version
        )

    return await _changed(visiting, change, appointment_id, if_match, idempotency_key)


async def _changed(
    visiting: Visit, change: Change, appointment_id: UUID, if_match: str | None, idempotency_key: str | None
) -> Response:
    """The appointment after the change. Raises the `Problem` that a refusal is."""
    company_id = visiting.caller.company_id

    async def work(connection: Connection) -> Response:
        version: int | None = None
        if if_match is not None:
            present = await read_appointment(connection, company_id, appointment_id)
            if present is None:
                raise Problem(404)
            version = expected_version(if_match, present.version)
        try:
            await change(connection, version)
        except booking.ChangeRefused as refused:
            raise await _change_refusal(connection, visiting, refused) from None
        except booking.CalendarUnsettled:
            raise _unsettled() from None
        record = await read_appointment(connection, company_id, appointment_id)
        assert record is not None
        return _answer(record)

    return await once(visiting, idempotency_key, work)


async def _customer(connection: Connection, visiting: Visit, body: NewAppointment) -> UUID | None:
    """Whose appointment it is: the customer named, else the one whom the attendee's name and phone make."""
    company_id = visiting.caller.company_id
    if body.customer_id is not None:
        if await read_customer(connection, company_id, body.customer_id) is None:
            raise Problem(409, "there is no such customer", field="customer_id", reason="customer_unknown")
        return body.customer_id
    if body.attendee.phone is None:
        return None
    who = caller_of(number=body.attendee.phone, name=body.attendee.name, email=body.attendee.email)
    found = await find_or_create(connection, company_id, who)
    return None if found is None else found.customer_id


async def _change_refusal(connection: Connection, visiting: Visit, refused: booking.ChangeRefused) -> Problem:
    match refused:
        case booking.AppointmentMissing():
            return Problem(404)
        case booking.AppointmentStale():
            return stale()
        case booking.SlotTaken():
            return await _refusal(connection, visiting, "slot_taken", refused.alternatives)
        case booking.OutsideHours():
            return await _refusal(connection, visiting, refused.reason.value, refused.alternatives)
        case booking.PolicyForbids():
            figures: dict[str, object] = {"hours_before": refused.hours_before, "fee_cents": refused.fee_cents}
            return Problem(409, "it is too late for that free of charge", reason="policy_forbids", more=figures)
        case booking.StaffNotOffering():
            return Problem(409, REFUSED["not_offered"], reason="not_offered")
        case booking.HoldExpired():
            return Problem(409, "it was held, and for too long: book again", reason="hold_expired")
        case _:
            return Problem(409, "its status does not allow this", reason="not_allowed")


def _unsettled() -> Problem:
    return Problem(503, "the company's calendar is being changed", reason="calendar_changing", retry_after_s=1)


async def _refusal(
    connection: Connection, visiting: Visit, reason: str, alternatives: Sequence[Slot], *, detail: str = ""
) -> Problem:
    """409 with the reason, and up to three slots when another time would do."""
    more: dict[str, object] = {}
    if alternatives:
        slugs = await read_staff_slugs(connection, visiting.caller.company_id)
        more["alternatives"] = [_alternative(slot, slugs) for slot in alternatives]
    told = REFUSED.get(reason, "it cannot be booked")
    return Problem(
        409, f"{told} ({detail})" if detail else told, field=FIELD_MEANT.get(reason, ""), reason=reason, more=more
    )


def _alternative(slot: Slot, slugs: dict[UUID, str]) -> dict[str, object]:
    return Alternative(
        starts_at=slot.local,
        ends_at=slot.ends_at.astimezone(slot.local.tzinfo),
        staff=[slugs[one] for one in slot.staff if one in slugs],
    ).model_dump(mode="json")


def _answer(record: AppointmentRecord, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return answered(appointment_shape(record), status=status, version=record.version, headers=headers)
