"""What can be booked and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time, timedelta

from backend.domain.availability import Slot
from backend.domain.vocabulary import RefusalReason
from backend.domain.zones import instant, zone
from backend.services.booking.availability import (
    MOST_DAYS,
    AvailabilityRequest,
    NotOffered,
    alternatives,
    read_calendar,
    slots_in,
)
from backend.services.companies.catalogue import NEAREST, Branch, Service, StaffMember
from backend.services.functions import wording
from backend.services.functions.refusals import Declined
from backend.services.functions.scene import Answer, Scene, suggested
from backend.services.functions.spoken import spoken_list, spoken_minutes, spoken_money

SLOTS = 6
"""So many slots are told unless another number is asked for."""

MOST_SLOTS = 50
DAYS = 14
"""Looked through when no day is named."""

SPOKEN = 3
"""More than that nobody keeps in mind."""

SERVICES_SPOKEN = 8

ANY_PAST = timedelta(days=400)
ANY_FUTURE = timedelta(days=1200)
"""No appointment is asked for beyond these; further away there is no arithmetic to be trusted."""


async def get_services(scene: Scene) -> Answer:
    """What is offered at the branch: the one asked for, else the called one, else anywhere."""
    catalogue = await scene.catalogue()
    branch: Branch | None = None
    if scene.arguments.text("branch") is not None or len(catalogue.branches) == 1:
        branch = await scene.branch()
    else:
        branch = next((one for one in catalogue.branches if one.id == scene.entered.branch_id), None)
    offered = [one for one in catalogue.services if (branch.id in one.branches if branch else one.branches)]
    spoken = [
        wording.SERVICE.say(
            scene.language, {"service": one.name, "minutes": spoken_minutes(one.duration_min, scene.language)}
        )
        for one in offered[:SERVICES_SPOKEN]
    ]
    message = (
        wording.SERVICES.say(scene.language, {"services": spoken_list(spoken, scene.language)})
        if spoken
        else wording.NO_SERVICES.text(scene.language)
    )
    return {
        "ok": True,
        "branch": branch.slug if branch else None,
        "services": [
            {
                "service": one.slug,
                "name": one.name,
                "duration_min": one.duration_min,
                "price_cents": one.price_cents,
                "price": spoken_money(one.price_cents, scene.language),
                "staff": [
                    {"staff": person.slug, "name": person.name}
                    for person in catalogue.staff
                    if one.id in person.services and (branch is None or branch.id in person.branches)
                ],
            }
            for one in offered
        ],
        "message": message,
    }


async def check_availability(scene: Scene) -> Answer:
    """Free slots: from the day that is named on, near the time that is named."""
    service, branch, staff = await scene.service(), await scene.branch(), await scene.staff()
    arguments = scene.arguments
    day, clock = arguments.day(), arguments.clock()
    if day is None and arguments.text("date") is not None:
        raise Declined(RefusalReason.TIME_UNREADABLE)
    if (moment := arguments.moment("date")) is not None:
        local = _wall_time(moment, branch)
        day, clock = local.date(), clock if arguments.text("time") is not None else local.time()
    days = arguments.number("days", least=1, most=MOST_DAYS) or (1 if day else DAYS)
    limit = arguments.number("limit", least=1, most=MOST_SLOTS) or SLOTS
    today = scene.now.astimezone(zone(branch.time_zone)).date()
    if day is not None and day < today - timedelta(days=days - 1):
        raise Declined(RefusalReason.IN_PAST)
    if day is not None and day > today + ANY_FUTURE:
        raise Declined(RefusalReason.TOO_FAR)
    request = _request(scene, service, branch, staff)
    wide = replace(request, first_day=day, days=days, limit=limit if clock is None else None)
    try:
        read = await read_calendar(scene.connection, wide)
    except NotOffered as refused:
        raise await declined(scene, refused.reason, service, branch) from None
    slots = _nearest(slots_in(read, wide), clock, limit)
    answer: Answer = {"ok": True, "service": service.slug, "branch": branch.slug, "slots": await scene.slots(slots)}
    if slots:
        spoken = spoken_list([scene.spoken(slot.local) for slot in slots[:SPOKEN]], scene.language, choice=True)
        sentence = wording.FREE_WITH if staff else wording.FREE
        answer["message"] = sentence.say(scene.language, {"slots": spoken, "staff": staff.name if staff else ""})
        return answer
    answer["message"] = wording.NOTHING_FREE.text(scene.language)
    if day is not None:
        wanted = instant(datetime.combine(max(day, today), clock or time(12)), branch.time_zone)
        near = await alternatives(scene.connection, request, wanted)
        if day > today + timedelta(days=read.rules.offer.horizon_days):
            raise Declined(RefusalReason.TOO_FAR, alternatives=near)
        answer["alternatives"] = told = await scene.slots(near)
        if near:
            words = {"slots": spoken_list([str(one["spoken"]) for one in told], scene.language, choice=True)}
            answer["message"] = f"{answer['message']} {wording.ALTERNATIVES.say(scene.language, words)}"
    return answer


async def get_alternatives(scene: Scene) -> Answer:
    """At most three slots near a wished one."""
    service, branch, staff = await scene.service(), await scene.branch(), await scene.staff()
    wanted = wanted_at(scene, branch.time_zone)
    try:
        near = await alternatives(scene.connection, _request(scene, service, branch, staff), wanted)
    except NotOffered as refused:
        raise await declined(scene, refused.reason, service, branch) from None
    told = await scene.slots(near)
    if near:
        words = {"slots": spoken_list([str(one["spoken"]) for one in told], scene.language, choice=True)}
        message = wording.ALTERNATIVES.say(scene.language, words)
    else:
        message = wording.NOTHING_FREE.text(scene.language)
    return {"ok": True, "service": service.slug, "branch": branch.slug, "alternatives": told, "message": message}


def wanted_at(scene: Scene, zone_name: str, argument: str = "starts_at") -> datetime:
    """The instant that is asked for, UTC. Raises Declined when there is none or it can't be read."""
    moment = scene.arguments.moment(argument)
    if moment is None:
        if scene.arguments.text(argument) is None and scene.arguments.text("date") is None:
            raise scene.missing(argument)
        raise Declined(RefusalReason.TIME_UNREADABLE)
    try:
        wanted = instant(moment, zone_name)
    except OverflowError:
        raise Declined(RefusalReason.TIME_UNREADABLE) from None
    if not scene.now - ANY_PAST < wanted < scene.now + ANY_FUTURE:
        raise Declined(RefusalReason.IN_PAST if wanted < scene.now else RefusalReason.TOO_FAR)
    return wanted


def _wall_time(moment: datetime, branch: Branch) -> datetime:
    """A moment as the clocks at the branch show it; one without offset is that already. Raises Declined."""
    if moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(zone(branch.time_zone))
    except OverflowError:
        raise Declined(RefusalReason.TIME_UNREADABLE) from None


def _request(scene: Scene, service: Service, branch: Branch, staff: StaffMember | None) -> AvailabilityRequest:
    return AvailabilityRequest(
        company_id=scene.company_id,
        service=service.slug,
        branch=branch.slug,
        staff=staff.slug if staff else None,
        now=scene.now,
    )


async def declined(
    scene: Scene, reason: RefusalReason, service: Service, branch: Branch, slots: tuple[Slot, ...] = ()
) -> Declined:
    """The refusal of a service at a branch; what is not offered names who offers it there, or where it is offered."""
    if reason is not RefusalReason.NOT_OFFERED:
        return Declined(reason, alternatives=slots)
    catalogue = await scene.catalogue()
    people = [one for one in catalogue.staff if service.id in one.services and branch.id in one.branches]
    if people:
        return Declined(reason, *suggested(people[:NEAREST], "staff", scene.language))
    places = [one for one in catalogue.branches if one.id in service.branches]
    return Declined(reason, *suggested(places[:NEAREST], "branch", scene.language))


def _nearest(slots: tuple[Slot, ...], clock: time | None, limit: int) -> tuple[Slot, ...]:
    """With a time: each day's slots nearest to it, earlier days before later ones; at most `limit`, by start."""
    if clock is None:
        return slots[:limit]
    wish = clock.hour * 60 + clock.minute

    def away(slot: Slot) -> tuple[object, int]:
        return slot.local.date(), abs(slot.local.hour * 60 + slot.local.minute - wish)

    return tuple(sorted(sorted(slots, key=away)[:limit], key=lambda slot: slot.starts_at))
