"""Every function by the name under which the voice agent calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from backend.services.functions import bookings, callbacks, caller, offers
from backend.services.functions.scene import Answer, Scene


@dataclass(frozen=True, slots=True)
class Function:
    """One function."""

    work: Callable[[Scene], Awaitable[Answer]]
    """Raises Declined for what the business refuses, asyncpg's errors for trouble."""
    has_effect: bool = False
    """Whether it changes something: its answer is then kept, and the same tool call has no second effect."""


FUNCTIONS: Mapping[str, Function] = {
    "initialize_call": Function(caller.initialize_call),
    "check_customer": Function(caller.check_customer),
    "get_services": Function(offers.get_services),
    "check_availability": Function(offers.check_availability),
    "get_alternatives": Function(offers.get_alternatives),
    "book_appointment": Function(bookings.book_appointment, has_effect=True),
    "reschedule_appointment": Function(bookings.reschedule_appointment, has_effect=True),
    "cancel_appointment": Function(bookings.cancel_appointment, has_effect=True),
    "get_customer_appointments": Function(caller.get_customer_appointments),
    "request_callback": Function(callbacks.request_callback, has_effect=True),
}
