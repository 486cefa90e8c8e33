"""Who is calling, and what appointments the caller has."""

from __future__ import annotations

from backend.domain.names import name_key
from backend.domain.zones import zone
from backend.services.functions import wording
from backend.services.functions.appointments import LISTED, of_call, visible
from backend.services.functions.refusals import Declined, FunctionRefusal
from backend.services.functions.scene import Answer, Scene
from backend.services.functions.spoken import spoken_day, spoken_list, spoken_time, weekday


async def initialize_call(scene: Scene) -> Answer:
    """What the agent should know first: today's date, whose phone it answers, and who is probably calling."""
    catalogue = await scene.catalogue()
    branch = next((one for one in catalogue.branches if one.id == scene.entered.branch_id), None)
    zone_name = branch.time_zone if branch else scene.entered.time_zone
    local = scene.now.astimezone(zone(zone_name))
    person = await scene.person(None)
    message = wording.TODAY.say(
        scene.language,
        {"day": spoken_day(local.date(), scene.language), "time": spoken_time(local, scene.language)},
    )
    if person is not None:
        message += " " + wording.KNOWN.say(scene.language, {"name": person.name})
    return {
        "ok": True,
        "company": scene.entered.company_name,
        "branch": branch.slug if branch else None,
        "branch_name": branch.name if branch else "",
        "branches": [{"branch": one.slug, "name": one.name} for one in catalogue.branches],
        "language": scene.language.value,
        "now": local.isoformat(timespec="minutes"),
        "today": local.date().isoformat(),
        "weekday": weekday(local.date(), scene.language),
        "time_zone": zone_name,
        "known_caller": person is not None,
        "shared_line": len(await scene.line()) > 1,
        "customer_name": person.name if person else "",
        "message": message,
    }


async def check_customer(scene: Scene) -> Answer:
    """Whether the caller is a customer. Somebody on another line is not told of, whatever name or number is given."""
    person = await scene.person(scene.arguments.name())
    if person is None:
        return {
            "ok": True,
            "known": False,
            "name_needed": len(await scene.line()) > 1 and scene.arguments.name() is None,
            "message": wording.NOT_RECOGNISED.text(scene.language),
        }
    return {
        "ok": True,
        "known": True,
        "name_needed": False,
        "name": person.name,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "has_email": person.email is not None,
        "message": wording.RECOGNISED.say(scene.language, {"name": person.name}),
    }


async def get_customer_appointments(scene: Scene) -> Answer:
    """The caller's coming appointments, at most ten. Raises Declined when it is not sure whose they would be."""
    name = scene.arguments.name()
    people = await scene.line()
    on_line = [person for person in people if name is None or person.name_key == name_key(name)]
    made_here = any(one.is_active for one in await of_call(scene))
    if not made_here:
        if not on_line and (name is not None or scene.arguments.text("phone") is not None):
            raise Declined(FunctionRefusal.IDENTITY_UNPROVEN)
        if not people and scene.phone is None:
            raise Declined(FunctionRefusal.IDENTITY_UNPROVEN)
    if name is None and len(people) > 1:
        raise Declined(FunctionRefusal.NAME_NEEDED)
    found = (await visible(scene, name))[:LISTED]
    if not found:
        message = wording.NO_APPOINTMENTS.text(scene.language)
    else:
        spoken = [wording.APPOINTMENT.say(scene.language, one.words(scene)) for one in found]
        message = wording.APPOINTMENTS.say(scene.language, {"appointments": spoken_list(spoken, scene.language)})
    return {"ok": True, "appointments": [one.told(scene) for one in found], "message": message}
