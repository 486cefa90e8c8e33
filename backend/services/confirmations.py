"""Confirmations of appointments, put as files into an outbox: the channel that needs no provider.

One file for each version of an appointment, `<day>/<appointment>-<version>.json`, complete or not there at all. The
day is the one on which that version came about, so that a repeated job finds what it wrote before.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec

from backend.postgres.pools import Connection

KEPT = timedelta(days=30)
"""Life of a confirmation in the outbox."""

_CONFIRMATION = """
    select a.id as appointment, e.version, e.occurred_at, a.attendee_name, a.attendee_email, a.attendee_phone,
           a.starts_at, a.ends_at, a.time_zone, c.name as company, b.name as branch, b.address,
           s.name as service, p.name as staff
    from appointments a
    join appointment_events e on e.company_id = a.company_id and e.appointment_id = a.id and e.version = $3
    join companies c on c.id = a.company_id
    join branches b on b.company_id = a.company_id and b.id = a.branch_id
    join services s on s.company_id = a.company_id and s.id = a.service_id
    join staff p on p.company_id = a.company_id and p.id = a.staff_id
    where a.company_id = $1 and a.id = $2
"""


class Recipient(msgspec.Struct, frozen=True):
    """Who is told."""

    name: str
    email: str | None
    phone: str | None


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """What is told."""

    kind: str = "booking_confirmed"
    appointment: UUID
    version: int
    occurred_at: datetime
    to: Recipient
    company: str
    branch: str
    address: str
    service: str
    staff: str
    starts_at: datetime
    ends_at: datetime
    time_zone: str


@dataclass(frozen=True, slots=True)
class Outbox:
    """A directory of confirmations."""

    directory: Path

    def put(self, confirmation: Confirmation) -> bool:
        """Write it unless it is there; False when it is. Raises OSError."""
        day = self.directory / confirmation.occurred_at.date().isoformat()
        day.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = day / f"{confirmation.appointment}-{confirmation.version}.json"
        if target.exists():
            return False
        temporary = day / f".{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(confirmation)))
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def prune(self, today: date) -> int:
        """Delete the days that are over 30 days old; how many. Raises OSError."""
        if not self.directory.is_dir():
            return 0
        removed = 0
        for entry in list(self.directory.iterdir()):
            with suppress(ValueError):
                if date.fromisoformat(entry.name) < today - KEPT:
                    shutil.rmtree(entry, ignore_errors=True)
                    removed += 1
        return removed


async def read_confirmation(
    connection: Connection, company_id: UUID, appointment_id: UUID, version: int
) -> Confirmation | None:
    """The confirmation of one version of an appointment, in the company's transaction.

    None when there is none, or when the attendee left neither an e-mail address nor a number.
    """
    row = await connection.fetchrow(_CONFIRMATION, company_id, appointment_id, version)
    if row is None or not (row["attendee_email"] or row["attendee_phone"]):
        return None
    fields = dict(row)
    name, email, phone = (fields.pop(f"attendee_{part}") for part in ("name", "email", "phone"))
    return Confirmation(to=Recipient(name, email, phone), **fields)
