"""Are the appointments what their events add up to? Behind `askpro db verify` and the simulator's own check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import msgspec

from backend.domain.appointments import PROJECTED, AppointmentHappening, HistoryBroken, project
from backend.domain.vocabulary import AppointmentEvent
from backend.postgres.pools import Connection

BATCH = 2_000
"""Appointments compared in one round trip."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it must be."""

    appointment_id: UUID
    what: str
    """In words: which field differs, or where the history breaks."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify_appointments` found."""

    appointments: int
    events: int
    differences: tuple[Difference, ...]


_PAGE = f"""
    select {", ".join(f"a.{name}" for name in PROJECTED)}, a.id, a.version,
           array_agg(e.version order by e.version) filter (where e.version is not null) as versions,
           array_agg(e.kind order by e.version) filter (where e.version is not null) as kinds,
           array_agg(e.data order by e.version) filter (where e.version is not null) as data
    from (select * from appointments where id > $1 order by id limit $2) a
    left join appointment_events e on e.appointment_id = a.id
    group by {", ".join(f"a.{name}" for name in PROJECTED)}, a.id, a.version
    order by a.id
"""  # noqa: S608 (column names of our own)

_FIRST = UUID(int=0)


async def verify_appointments(connection: Connection) -> Verified:
    """Replay every appointment's events and compare the result with its row.

    Reads all that the connection may see (a role that reads across companies sees all of them), batch by batch; each
    batch is one statement, so that a row and its events are of one moment, also beside live traffic.
    """
    appointments = events = 0
    differences: list[Difference] = []
    after = _FIRST
    while rows := await connection.fetch(_PAGE, after, BATCH):
        for row in rows:
            appointments += 1
            events += len(row["versions"] or ())
            differences.extend(_compare(row))
        after = rows[-1]["id"]
    return Verified(appointments, events, tuple(differences))


def _compare(row: asyncpg.Record) -> Sequence[Difference]:
    history = [
        AppointmentHappening(version, AppointmentEvent(kind), msgspec.json.decode(data, type=dict[str, object]))
        for version, kind, data in zip(row["versions"] or (), row["kinds"] or (), row["data"] or (), strict=True)
    ]
    try:
        expected = project(history)
    except HistoryBroken as error:
        return [Difference(row["id"], f"its history is broken: {error}")]
    found = [
        Difference(row["id"], f"{name} is {value}, its events say {expected.fields[name]}")
        for name in PROJECTED
        if (value := _field(row, name)) != expected.fields[name]
    ]
    if row["version"] != expected.version:
        found.append(Difference(row["id"], f"version is {row['version']}, its events say {expected.version}"))
    return found


def _field(row: asyncpg.Record, name: str) -> object:
    value: object = row[name]
    return msgspec.json.decode(value) if name in {"offered", "parts"} and isinstance(value, str) else value
