"""The job that writes an appointment behind to Cal.com."""

from __future__ import annotations

from uuid import UUID

import msgspec

from backend.queue.context import JobContext
from backend.queue.failures import Later
from backend.services.calendars.sync import CalendarWaits, sync_appointment

CALENDAR_SYNC = "default.calendar_sync"


class ToSync(msgspec.Struct, frozen=True):
    """Payload of the job."""

    appointment_id: UUID


async def sync_calendar(context: JobContext) -> None:
    """Make the calendar show the appointment as it is now; waits for the provider any number of times."""
    wanted = context.read(ToSync)
    providers = context.providers
    try:
        pushed = await sync_appointment(context.tenant, providers, context.company_id, wanted.appointment_id)
    except CalendarWaits as waits:
        raise Later(waits.seconds / providers.clock.speed, str(waits)) from waits
    if pushed is not None:
        context.changed("appointments")
