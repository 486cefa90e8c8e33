"""Which appointments a caller may hear of, move or cancel (docs/functions.md, "Who may touch what").

Those of the customers on the caller's own line, those made in this very call, and one that the caller names exactly:
by full name and start. A number that is merely spoken opens nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from backend.domain.names import name_key
from backend.domain.vocabulary import AppointmentStatus
from backend.domain.zones import instant, zone
from backend.services.functions import wording
from backend.services.functions.refusals import Declined, FunctionRefusal
from backend.services.functions.scene import Answer, Person, Scene
from backend.services.functions.spoken import spoken_list

LISTED = 10
"""At most so many appointments are told."""

SINCE = timedelta(hours=12)
"""What began earlier is not spoken of any more."""

_FIELDS = """
    select a.id, a.service_id, a.staff_id, a.starts_at, a.ends_at, a.status, a.version, a.time_zone, a.hold_expires_at,
           a.call_id, a.customer_id, a.attendee_name, s.slug as service, s.name as service_name,
           p.slug as staff, p.name as staff_name, coalesce(c.name_key, '') as customer_key
    from appointments a
    join services s on s.company_id = a.company_id and s.id = a.service_id
    join staff p on p.company_id = a.company_id and p.id = a.staff_id
    left join customers c on c.company_id = a.company_id and c.id = a.customer_id
"""

_ACTIVE = """
    a.status in ('held', 'pending', 'confirmed') and (a.status <> 'held' or a.hold_expires_at > clock_timestamp())
"""

OF_CUSTOMERS = f"""{_FIELDS}
    where a.company_id = $1 and a.customer_id = any ($2) and a.starts_at >= $3 and {_ACTIVE}
    order by a.starts_at, a.id
"""

OF_CALL = f"""{_FIELDS}
    where a.company_id = $1 and a.call_id = $2
    order by a.starts_at, a.id
"""

BY_ID = f"{_FIELDS} where a.company_id = $1 and a.id = $2"

AT_TIME = f"""{_FIELDS}
    where a.company_id = $1 and a.starts_at = any ($2) and {_ACTIVE}
"""


@dataclass(frozen=True, slots=True)
class Found:
    """An appointment."""

    id: UUID
    service_id: UUID
    staff_id: UUID
    starts_at: datetime
    ends_at: datetime
    status: str
    version: int
    time_zone: str
    hold_expires_at: datetime | None
    call_id: UUID | None
    customer_id: UUID | None
    attendee_name: str
    service: str
    service_name: str
    staff: str
    staff_name: str
    customer_key: str

    @property
    def is_active(self) -> bool:
        """Whether it is still to take place."""
        if self.status == AppointmentStatus.HELD:
            return self.hold_expires_at is not None and self.hold_expires_at > datetime.now(UTC)
        return self.status in {AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED}

    def is_of(self, key: str) -> bool:
        """Whether the person of this folded name has it."""
        return key in {name_key(self.attendee_name), self.customer_key}

    def told(self, scene: Scene) -> Answer:
        """As the agent is told it."""
        answer: Answer = {
            "appointment": str(self.id),
            "service": self.service,
            "service_name": self.service_name,
            "starts_at": self.starts_at.astimezone(zone(self.time_zone)).isoformat(),
            "ends_at": self.ends_at.astimezone(zone(self.time_zone)).isoformat(),
            "staff": self.staff,
            "staff_name": self.staff_name,
            "status": self.status,
            "spoken": self.when(scene),
        }
        if self.hold_expires_at is not None:
            answer["hold_expires_at"] = self.hold_expires_at.astimezone(zone(self.time_zone)).isoformat()
        return answer

    def when(self, scene: Scene) -> str:
        """Its start as it is said."""
        return scene.spoken(self.starts_at.astimezone(zone(self.time_zone)))

    def words(self, scene: Scene) -> dict[str, str]:
        """What a sentence about it names."""
        return {"service": self.service_name, "when": self.when(scene), "staff": self.staff_name}


async def of_call(scene: Scene) -> list[Found]:
    """All that were made in this call, whatever became of them."""
    return [Found(*row) for row in await scene.connection.fetch(OF_CALL, scene.company_id, scene.entered.call_id)]


async def by_id(scene: Scene, appointment_id: UUID) -> Found:
    """One that is known to be there, as it is now."""
    row = await scene.connection.fetchrow(BY_ID, scene.company_id, appointment_id)
    assert row is not None
    return Found(*row)


async def of_id(scene: Scene, given: str) -> Found | None:
    """The one of this id, whatever became of it, if the caller may hear of it: it is the line's, or this call's."""
    try:
        row = await scene.connection.fetchrow(BY_ID, scene.company_id, UUID(given))
    except ValueError:
        return None
    found = None if row is None else Found(*row)
    if found is None or found.call_id == scene.entered.call_id:
        return found
    return found if found.customer_id in {person.id for person in await scene.line()} else None


async def of_people(scene: Scene, people: Sequence[Person]) -> list[Found]:
    """The coming ones of these customers."""
    if not people:
        return []
    ids = [person.id for person in people]
    rows = await scene.connection.fetch(OF_CUSTOMERS, scene.company_id, ids, scene.now - SINCE)
    return [Found(*row) for row in rows]


async def visible(scene: Scene, name: str | None) -> list[Found]:
    """The coming appointments of the caller: of those on the line whose name is `name` (None: of all), and this call's.

    By start.
    """
    people = await scene.line()
    if name is not None:
        people = [person for person in people if person.name_key == name_key(name)]
    found = {one.id: one for one in await of_people(scene, people)}
    found |= {one.id: one for one in await of_call(scene) if one.is_active}
    return sorted(found.values(), key=lambda one: (one.starts_at, one.id))


async def meant(scene: Scene, start_argument: str) -> Found:
    """The one appointment that the caller means. Raises Declined.

    By the id that an earlier answer gave, else by its start, else the only one.
    """
    name = scene.arguments.name()
    given_id = scene.arguments.text("appointment")
    when = scene.arguments.moment(start_argument)
    found: list[Found] = []
    if given_id is not None:
        own = await of_id(scene, given_id)
        found = [] if own is None else [own]
    if not found and when is not None:
        found = [one for one in await visible(scene, name) if one.starts_at == _at(when, one.time_zone)]
        if not found and name is not None:
            found = await named_exactly(scene, name, when)
    if given_id is None and when is None:
        found = await visible(scene, name)
        await _told_apart(scene, name)
    if len(found) == 1:
        return found[0]
    if found:
        told = found[:LISTED]
        spoken = [wording.APPOINTMENT.say(scene.language, one.words(scene)) for one in told]
        raise Declined(
            FunctionRefusal.APPOINTMENT_AMBIGUOUS,
            {"appointments": [one.told(scene) for one in told]},
            {"appointments": spoken_list(spoken, scene.language, choice=True)},
        )
    if given_id is None and not await scene.line():
        if name is None:
            raise Declined(FunctionRefusal.NAME_NEEDED)
        if when is None:
            raise Declined(FunctionRefusal.IDENTITY_UNPROVEN)
    raise Declined(FunctionRefusal.APPOINTMENT_UNKNOWN)


async def _told_apart(scene: Scene, name: str | None) -> None:
    """On a line that several share, appointments are told to who says whose. Raises Declined."""
    if name is None and len(await scene.line()) > 1:
        raise Declined(FunctionRefusal.NAME_NEEDED)


async def named_exactly(scene: Scene, name: str, when: datetime) -> list[Found]:
    """The one appointment at this very start of somebody with this full name; nothing when there are two."""
    key = name_key(name)
    if len(key.split()) < 2:
        return []
    zones = {branch.time_zone for branch in (await scene.catalogue()).branches} | {scene.entered.time_zone}
    starts = [start for start in (_at(when, name_) for name_ in sorted(zones)) if start is not None]
    rows = await scene.connection.fetch(AT_TIME, scene.company_id, starts)
    found = [one for one in (Found(*row) for row in rows) if one.is_of(key)]
    return found if len(found) == 1 else []


def _at(when: datetime, zone_name: str) -> datetime | None:
    try:
        return instant(when, zone_name)
    except OverflowError:
        return None
