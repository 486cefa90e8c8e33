"""Customers: who a caller is."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from backend.domain.names import name_key, split_name
from backend.domain.phones import normalise
from backend.postgres.pools import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What identifies a person at the other end of a line, ready for the database."""

    phone: str | None
    """E.164; None for a hidden or impossible number."""
    phone_raw: str | None
    """As the provider gave it."""
    name_key: str
    """Empty when no name was given."""
    first_name: str
    last_name: str
    email: str | None
    """Lower case."""


@dataclass(frozen=True, slots=True)
class FoundCustomer:
    """The customer a caller turned out to be."""

    customer_id: UUID
    is_new: bool


FIND_OR_CREATE = "select customer_id, is_new from find_or_create_customer($1, $2, $3, $4, $5, $6, $7)"


def caller(*, number: str | None, name: str | None, email: str | None = None, region: str = "DE") -> Caller:
    """A caller by raw number, spoken name and e-mail; `region` (ISO 3166) is the called branch's country."""
    first, last = split_name(name or "")
    mail = (email or "").strip().lower()
    return Caller(
        phone=normalise(number, region),
        phone_raw=number or None,
        name_key=name_key(name or ""),
        first_name=first,
        last_name=last,
        email=mail if "@" in mail[1:-1] else None,
    )


async def find_or_create(connection: Connection, company_id: UUID, who: Caller) -> FoundCustomer | None:
    """The customer that `who` is; made when a name on a usable phone is new; None when nobody can be told.

    One round trip, in the caller's transaction (which must be the company's). Rules: migration 0005.
    """
    row = await connection.fetchrow(FIND_OR_CREATE, company_id, *arguments(who))
    return None if row is None else FoundCustomer(row["customer_id"], row["is_new"])


def arguments(who: Caller) -> tuple[str | None, str | None, str, str, str, str | None]:
    """`who` in the order of the parameters of `find_or_create_customer`, after the company."""
    return who.phone, who.phone_raw, who.name_key, who.first_name, who.last_name, who.email
