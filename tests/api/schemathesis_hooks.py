"""What schemathesis must know about the API beyond its description: phone numbers, unique keys, cursors, free slots."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st

_numbers = itertools.count(1)

schemathesis.openapi.format(
    "phone", st.sampled_from(["+4915112345678", "0151 / 2345678", "+49 (30) 1234567", "030-1234567", "+43 1 5880000"])
)


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: object) -> None:
    """Make valid requests sensible, so that they get further than to the first refusal.

    Each idempotency key comes once, no cursor is invented, and every second booking or move is to a slot that is free.
    """
    if case.meta is None or case.meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        return
    number = next(_numbers)
    case.query.pop("cursor", None)
    if key := case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = f"{str(key)[:200]}-{number}"
    if isinstance(case.body, dict) and number % 2:
        if case.path == "/api/appointments":
            name = case.body.get("attendee", {"name": "Kim"})
            case.body = {"service": "schnitt", "starts_at": free_start(number), "attendee": name}
        elif case.path.endswith("/reschedule"):
            case.body = {"starts_at": free_start(number)}


def free_start(number: int) -> str:
    """The start of a slot of the salon (tests/api/partner.py), another one for each number up to about a thousand."""
    day, slot = divmod(number % 1_000, 16)
    moment = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=day + 1)
    return (moment + timedelta(minutes=30 * slot)).isoformat()
