"""Booking: what is free, and appointments held, booked, confirmed, moved, cancelled and ended.

Everything happens in the caller's transaction; `book` and the changes are here, the rest is in the modules.
"""

from backend.services.booking.changes import cancel, complete, confirm, no_show, reschedule, restore
from backend.services.booking.making import CALLBACK_DUE, book
from backend.services.booking.records import (
    AppointmentMissing,
    AppointmentStale,
    Booked,
    BookedPart,
    BookingRequest,
    CalendarUnsettled,
    Changed,
    ChangeNotAllowed,
    ChangeRefused,
    HoldExpired,
    OutsideHours,
    PolicyForbids,
    Refused,
    SlotTaken,
    StaffNotOffering,
)

__all__ = [
    "CALLBACK_DUE",
    "AppointmentMissing",
    "AppointmentStale",
    "Booked",
    "BookedPart",
    "BookingRequest",
    "CalendarUnsettled",
    "ChangeNotAllowed",
    "ChangeRefused",
    "Changed",
    "HoldExpired",
    "OutsideHours",
    "PolicyForbids",
    "Refused",
    "SlotTaken",
    "StaffNotOffering",
    "book",
    "cancel",
    "complete",
    "confirm",
    "no_show",
    "reschedule",
    "restore",
]
