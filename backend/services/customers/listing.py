"""Customers as records: one, a page of them, made and changed on request. Each function is one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from backend.domain.names import name_key
from backend.postgres.pools import Connection
from backend.services.selection import Selection

LAST_CHARACTER = "\U0010ffff"
"""Sorts behind everything that can stand in a name."""

_COLUMNS = """
    c.id, c.version, c.first_name, c.last_name, c.name_key, c.email, c.phone, c.tags, c.notes, c.is_vip,
    c.no_show_count, b.slug as preferred_branch, p.slug as preferred_staff, c.consented_at, c.erased_at,
    c.created_at, c.updated_at
"""

_JOINED = """
    left join branches b on b.company_id = c.company_id and b.id = c.preferred_branch_id
    left join staff p on p.company_id = c.company_id and p.id = c.preferred_staff_id
"""

_ONE = f"select {_COLUMNS} from customers c {_JOINED} where c.company_id = $1 and c.id = $2"  # noqa: S608 -- ours

_PAGE = """
    select {columns}
    from (
        select c.* from customers c
        where c.company_id = $1 and c.erased_at is null{conditions}
        order by {order}
        limit {limit}
    ) c
    {joined}
    order by {order}
"""

_SAVED = f"""
    with changed as materialized (
        {{statement}}
        returning *
    )
    select {_COLUMNS} from changed c {_JOINED}
"""  # noqa: S608 -- no text but ours

_SAME = """
    select id from customers
    where company_id = $1 and phone = $2 and name_key = $3 and erased_at is null
"""


class CustomerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A customer. Times are UTC."""

    id: UUID
    version: int
    first_name: str
    last_name: str
    name_key: str
    email: str | None
    phone: str | None
    tags: list[str]
    notes: str
    is_vip: bool
    no_show_count: int
    preferred_branch: str | None
    preferred_staff: str | None
    consented_at: datetime | None
    erased_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerFilter:
    """Which customers; None: whichever. Those whose data was erased are in no list."""

    phone: str | None = None
    """E.164."""
    email: str | None = None
    """Lower case."""
    name: str | None = None
    """The beginning of the full name, first name first; compared folded (backend/domain/names.py)."""


class CustomerExists(Exception):
    """Another customer has this name on this phone."""

    def __init__(self, customer_id: UUID | None) -> None:
        self.customer_id = customer_id
        """Who; None when it is gone again by now."""
        super().__init__("another customer has this name on this phone")


class PlaceUnknown(Exception):
    """There is no such branch or staff member."""

    def __init__(self, field: str) -> None:
        self.field = field
        """preferred_branch or preferred_staff."""
        super().__init__(f"there is no such {field.removeprefix('preferred_')}")


async def read_customer(connection: Connection, company_id: UUID, customer_id: UUID) -> CustomerRecord | None:
    """One customer of the company; None when there is none of that id. Needs the company's transaction."""
    row = await connection.fetchrow(_ONE, company_id, customer_id)
    return None if row is None else msgspec.convert(dict(row), CustomerRecord)


async def list_customers(
    connection: Connection,
    company_id: UUID,
    wanted: CustomerFilter,
    *,
    after: tuple[str, UUID] | None,
    limit: int,
) -> list[CustomerRecord]:
    """Up to `limit` customers, those behind `after` (name key and id).

    In the order in which they became customers; with a name, by name. Needs the company's transaction.
    """
    selection = Selection(company_id)
    selection.where_given("c.phone = {}", wanted.phone)
    selection.where_given("c.email = {}", wanted.email)
    order = "c.id"
    if wanted.name is None:
        if after is not None:
            selection.where("c.id > {}", after[1])
    else:
        key = name_key(wanted.name)
        order = "c.name_key, c.id"
        selection.where("c.name_key >= {} and c.name_key < {}", key, key + LAST_CHARACTER)
        if after is not None:
            selection.where("(c.name_key, c.id) > ({}, {})", *after)
    place = selection.value(limit)
    statement = _PAGE.format(
        columns=_COLUMNS, joined=_JOINED, conditions=selection.conditions, order=order, limit=place
    )
    return [msgspec.convert(dict(row), CustomerRecord) for row in await connection.fetch(statement, *selection.values)]


async def create_customer(connection: Connection, company_id: UUID, fields: Mapping[str, object]) -> CustomerRecord:
    """Make a customer of these fields (`FIELDS`). Raises CustomerExists, PlaceUnknown; then nothing was changed."""
    columns, values = _columns(fields)
    places = ", ".join(value for _, value in columns)
    names = ", ".join(name for name, _ in columns)
    statement = f"insert into customers (company_id, {names}) values ($1, {places})"  # noqa: S608 -- names of ours
    record = await _save(connection, company_id, statement, values, fields)
    assert record is not None
    return record


async def change_customer(
    connection: Connection, company_id: UUID, customer_id: UUID, fields: Mapping[str, object], *, version: int
) -> CustomerRecord | None:
    """Set these fields (`FIELDS`), if the customer still has that version; None when it has not, or is erased.

    Raises CustomerExists, PlaceUnknown; then nothing was changed.
    """
    columns, values = _columns(fields)
    values += [customer_id, version]
    settings = ", ".join(
        [f"{name} = {value}" for name, value in columns] + ["version = version + 1", "updated_at = now()"]
    )
    statement = f"""
        update customers set {settings}
        where company_id = $1 and id = ${len(values)} and version = ${len(values) + 1} and erased_at is null
    """  # noqa: S608 -- names of ours
    return await _save(connection, company_id, statement, values, fields)


FIELDS: Mapping[str, str] = {
    "first_name": "first_name",
    "last_name": "last_name",
    "email": "email",
    "phone": "phone",
    "phone_raw": "phone_raw",
    "tags": "tags",
    "notes": "notes",
    "is_vip": "is_vip",
    "name_key": "name_key",
    "preferred_branch": "preferred_branch_id",
    "preferred_staff": "preferred_staff_id",
}
"""What can be set, and its column."""

_TABLES = {"preferred_branch": "branches", "preferred_staff": "staff"}


def _columns(fields: Mapping[str, object]) -> tuple[list[tuple[str, str]], list[object]]:
    """Columns with the expressions of their values, and the values; the first place is the company's."""
    columns: list[tuple[str, str]] = []
    values: list[object] = []
    for name, value in fields.items():
        values.append(value)
        place = f"${len(values) + 1}"
        if table := _TABLES.get(name):
            place = f"(select x.id from {table} x where x.company_id = $1 and x.slug = {place})"  # noqa: S608 -- ours
        columns.append((FIELDS[name], place))
    return columns, values


async def _save(
    connection: Connection, company_id: UUID, statement: str, values: Sequence[object], fields: Mapping[str, object]
) -> CustomerRecord | None:
    await connection.execute("savepoint customer")
    try:
        row = await connection.fetchrow(_SAVED.format(statement=statement), company_id, *values)
    except asyncpg.UniqueViolationError as error:
        await connection.execute("rollback to savepoint customer")
        taken = await connection.fetchval(_SAME, company_id, fields.get("phone"), fields.get("name_key"))
        raise CustomerExists(taken) from error
    if row is None:
        return None
    record = msgspec.convert(dict(row), CustomerRecord)
    for name in _TABLES:
        if fields.get(name) is not None and getattr(record, name) is None:
            await connection.execute("rollback to savepoint customer")
            raise PlaceUnknown(name)
    return record
