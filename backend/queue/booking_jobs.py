"""Jobs about bookings in the provider's calendar: following what was delivered about them."""

from __future__ import annotations

from backend.providers.delivery import Malformed
from backend.queue.context import JobContext
from backend.queue.delivered import Delivered
from backend.queue.failures import Later, Permanent
from backend.queue.turns import Turns
from backend.services.calendars.bookings import fold_booking_event

turns = Turns()


async def fold_calcom_booking(context: JobContext) -> None:
    """Follow a booking in the provider's calendar; one company's bookings one after the other."""
    delivered = context.read(Delivered)
    async with turns.turn(str(context.company_id)), context.tenant() as connection:
        try:
            folded = await fold_booking_event(connection, context.company_id, delivered.inbox_id)
        except Malformed as error:
            raise Permanent(f"the delivery can't be read: {error}") from error
    if folded is None:
        return
    if folded.has_changed:
        context.changed("appointments")
    if folded.wait_s:
        raise Later(folded.wait_s, "the beginning of the booking may be on its way")
