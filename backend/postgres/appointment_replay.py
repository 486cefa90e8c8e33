"""Appointments as they were at an instant: the sum of their events up to then. Reads only; writes nothing anywhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from backend.domain.appointments import PROJECTED, AppointmentHappening, HistoryBroken, project
from backend.domain.vocabulary import ACTIVE_APPOINTMENT, AppointmentEvent, AppointmentStatus
from backend.postgres.pools import Connection

BATCH = 2_000
"""Appointments read in one round trip."""

_PAGE = f"""
    select {", ".join(f"a.{name}" for name in PROJECTED)}, a.id, a.version, c.slug as company,
           array_agg(e.version order by e.version) filter (where e.occurred_at <= $3) as versions,
           array_agg(e.kind order by e.version) filter (where e.occurred_at <= $3) as kinds,
           array_agg(e.data order by e.version) filter (where e.occurred_at <= $3) as data
    from (
        select * from appointments
        where id > $1 and ($4::uuid is null or company_id = $4) and ($5::uuid is null or id = $5)
        order by id
        limit $2
    ) a
    join companies c on c.id = a.company_id
    left join appointment_events e on e.appointment_id = a.id
    group by {", ".join(f"a.{name}" for name in PROJECTED)}, a.id, a.version, c.slug
    order by a.id
"""  # noqa: S608 (column names of our own)


@dataclass(frozen=True, slots=True)
class Replayed:
    """One appointment at an instant and as its row is now."""

    id: UUID
    company: str
    """Slug."""
    then: Mapping[str, object] | None
    """Every field of `PROJECTED`, and `version`; None: it was not there yet."""
    now: Mapping[str, object]
    broken: str = ""
    """Why its events up to then add up to nothing."""

    @property
    def differing(self) -> tuple[str, ...]:
        """Names of the fields that have changed since; none for one that was not there."""
        return () if self.then is None else tuple(name for name, value in self.then.items() if self.now[name] != value)


@dataclass(slots=True)
class Totals:
    """What a replay adds up to."""

    then: Counter[str]
    """Appointments by status."""
    now: Counter[str]
    later: int = 0
    """Made after the instant."""
    changed: int = 0
    broken: int = 0


async def replayed(
    connection: Connection, until: datetime, *, company_id: UUID | None = None, appointment_id: UUID | None = None
) -> AsyncIterator[Replayed]:
    """Each appointment that the connection may see, as of `until` (aware), by id; batch by batch.

    An event belongs to the instant at which it was recorded, so a hold that had run out and was not let go of yet is
    still held. Raises asyncpg errors.
    """
    after = UUID(int=0)
    while rows := await connection.fetch(_PAGE, after, BATCH, until, company_id, appointment_id):
        for row in rows:
            yield _replayed(row)
        after = rows[-1]["id"]


def _replayed(row: asyncpg.Record) -> Replayed:
    now = {name: _value(name, row[name]) for name in PROJECTED} | {"version": row["version"]}
    if not row["versions"]:
        return Replayed(row["id"], row["company"], None, now)
    history = [
        AppointmentHappening(version, AppointmentEvent(kind), msgspec.json.decode(data, type=dict[str, object]))
        for version, kind, data in zip(row["versions"], row["kinds"], row["data"], strict=True)
    ]
    try:
        found = project(history)
    except HistoryBroken as error:
        return Replayed(row["id"], row["company"], None, now, str(error))
    return Replayed(row["id"], row["company"], {**found.fields, "version": found.version}, now)


def _value(name: str, value: object) -> object:
    return msgspec.json.decode(value) if name in {"offered", "parts"} and isinstance(value, str) else value


def add(totals: Totals, one: Replayed) -> None:
    """Count one."""
    totals.now[str(one.now["status"])] += 1
    if one.broken:
        totals.broken += 1
    elif one.then is None:
        totals.later += 1
    else:
        totals.then[str(one.then["status"])] += 1
        totals.changed += bool(one.differing)


class Calendars:
    """Who was busy when, of many appointments at one instant; tells who was in two places."""

    def __init__(self) -> None:
        self._busy: dict[UUID, list[tuple[datetime, datetime, int, UUID, UUID]]] = defaultdict(list)

    def take(self, one: Replayed) -> None:
        """Enter an appointment as of then; one that was not active takes no time."""
        then = one.then
        if then is None or AppointmentStatus(str(then["status"])) not in ACTIVE_APPOINTMENT:
            return
        seat = 0 if then["capacity"] == 1 else _number(then["seat"])
        for staff, starts, ends in _stretches(then):
            self._busy[staff].append((starts, ends, seat, _identity(then["service_id"]), one.id))

    def overlaps(self) -> list[tuple[UUID, UUID]]:
        """Pairs of appointments that somebody could not both keep."""
        found: list[tuple[UUID, UUID]] = []
        for busy in self._busy.values():
            present: list[tuple[datetime, datetime, int, UUID, UUID]] = []
            for item in sorted(busy):
                present = [other for other in present if other[1] > item[0]]
                # Seat 0 is all of them; seats are shared within a service alone.
                found += [
                    (other[4], item[4])
                    for other in present
                    if 0 in {other[2], item[2]} or other[2] == item[2] or other[3] != item[3]
                ]
                present.append(item)
        return found


def _stretches(fields: Mapping[str, object]) -> Iterable[tuple[UUID, datetime, datetime]]:
    """Whom an appointment keeps busy from when until when, buffers included."""
    starts, ends = fields["starts_at"], fields["ends_at"]
    assert isinstance(starts, datetime)
    assert isinstance(ends, datetime)
    before, after = (timedelta(minutes=_number(fields[f"buffer_{side}_min"])) for side in ("before", "after"))
    parts = fields["parts"]
    if not isinstance(parts, list):
        yield _identity(fields["staff_id"]), starts - before, ends + after
        return
    for number, part in enumerate(parts, 1):
        first = starts + timedelta(minutes=part["from_min"])
        yield (
            _identity(part["staff_id"]),
            first - (before if number == 1 else timedelta()),
            first + timedelta(minutes=part["minutes"]) + (after if number == len(parts) else timedelta()),
        )


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _identity(value: object) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))
