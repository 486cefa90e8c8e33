"""A wish to be called back."""

from __future__ import annotations

from backend.domain.vocabulary import CallOutcome, RefusalReason
from backend.domain.zones import instant, zone
from backend.services.callbacks.requests import LONGEST_REASON
from backend.services.callbacks.requests import request_callback as keep_request
from backend.services.functions import wording
from backend.services.functions.refusals import Declined, FunctionRefusal
from backend.services.functions.scene import Answer, Scene, did

BOOKING_REASONS = frozenset(reason.value for reason in RefusalReason)
"""Words that would end the call's wish for an appointment."""


async def request_callback(scene: Scene) -> Answer:
    """Keep a request to call the caller back, on the line that calls unless another number is given."""
    reason = scene.arguments.text("reason", LONGEST_REASON)
    if reason is None:
        raise scene.missing("reason")
    if reason in BOOKING_REASONS:
        reason = f"callback: {reason}"
    phone = scene.arguments.phone() or scene.phone
    if phone is None:
        raise Declined(FunctionRefusal.PHONE_NEEDED)
    name = scene.arguments.name()
    person = await scene.person(name)
    branch = next((one for one in (await scene.catalogue()).branches if one.id == scene.entered.branch_id), None)
    zone_name = branch.time_zone if branch else scene.entered.time_zone
    when = scene.arguments.moment("when")
    kept = await keep_request(
        scene.connection,
        scene.company_id,
        call_id=scene.entered.call_id,
        customer_id=person.id if person else None,
        phone=phone,
        name=name or (person.name if person else ""),
        reason=reason,
        wanted_at=instant(when, zone_name) if when is not None and 1970 < when.year < 2200 else None,
        now=scene.now,
    )
    scene.customer_id = scene.customer_id or (person.id if person else None)
    scene.caller_name = name
    did(scene, CallOutcome.CALLBACK)
    due = kept.due_at.astimezone(zone(zone_name))
    return {
        "ok": True,
        "callback": str(kept.id),
        "due_at": due.isoformat(timespec="minutes"),
        "message": wording.CALLBACK.say(scene.language, {"when": scene.spoken(due)}),
    }
