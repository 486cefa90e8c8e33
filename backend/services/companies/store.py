"""The statements that read and write a company's rows: a fixed number of round trips, however many rows.

They are put together from the tables of `backend.services.companies.rows`; no name in them comes from outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from uuid import UUID

import asyncpg
import msgspec

from backend.postgres.pools import Connection
from backend.services.companies.declarations import CompanySettings
from backend.services.companies.rows import INACTIVE, NAMED, TABLES, Column, Row, Rows, Table


@dataclass(frozen=True, slots=True)
class StoredCompany:
    """A company as the database has it, at one instant."""

    company_id: UUID
    fields: Mapping[str, str]
    """slug, name, time_zone, locale."""
    settings: CompanySettings
    rows: Rows


async def read_company(connection: Connection, slug: str) -> StoredCompany | None:
    """Everything that is declared of a company, in one round trip; None when there is none of this name."""
    found = await connection.fetchrow(_read(), slug)
    if found is None:
        return None
    return StoredCompany(
        found["id"],
        {name: found[name] for name in ("slug", "name", "time_zone", "locale")},
        msgspec.json.decode(found["settings"], type=CompanySettings),
        {table.name: msgspec.json.decode(found[f"{table.name}_rows"], type=list[Row]) for table in TABLES},
    )


@cache
def _read() -> str:
    parts = []
    for table in TABLES:
        cells = ", ".join(f"'{column.name}', {_slug(column)}" for column in table.columns)
        order = "t.id" if table in NAMED else ", ".join(f"t.{column.stored}" for column in table.key)
        joins = " ".join(
            f"left join {column.refers} {column.name} "
            f"on {column.name}.company_id = t.company_id and {column.name}.id = t.{column.stored}"
            for column in table.columns
            if column.refers
        )
        parts.append(
            f"(select coalesce(jsonb_agg(jsonb_build_object({cells}) order by {order}), '[]') "  # noqa: S608
            f"from {table.name} t {joins} where t.company_id = c.id) as {table.name}_rows"
        )
    columns = ", ".join(("id", "slug", "name", "time_zone", "locale", "settings", *parts))
    return f"select {columns} from companies c where c.slug = $1"  # noqa: S608


def _slug(column: Column) -> str:
    return f"{column.name}.slug" if column.refers else f"t.{column.name}"


async def insert_rows(connection: Connection, company_id: UUID, table: Table, rows: Sequence[Row]) -> None:
    """Add rows, so that their ids are in the order of the rows."""
    names = ", ".join(column.stored for column in table.columns)
    await _with_rows(
        connection,
        f"insert into {table.name} (company_id, {names}) select $1, {names} "  # noqa: S608
        f"from ({_given(table)}) given order by place",
        company_id,
        rows,
    )


async def update_rows(connection: Connection, company_id: UUID, table: Table, rows: Sequence[Row]) -> None:
    """Bring the values of the rows with these keys up to date."""
    values = ", ".join(f"{column.stored} = given.{column.stored}" for column in table.values)
    await _with_rows(
        connection,
        f"update {table.name} t set {values} from ({_given(table)}) given where t.company_id = $1 and {_same(table)}",  # noqa: S608
        company_id,
        rows,
    )


async def delete_rows(connection: Connection, company_id: UUID, table: Table, rows: Sequence[Row]) -> None:
    """Delete the rows with these keys."""
    await _with_rows(
        connection,
        f"delete from {table.name} t using ({_given(table)}) given where t.company_id = $1 and {_same(table)}",  # noqa: S608
        company_id,
        rows,
    )


async def _with_rows(connection: Connection, statement: str, company_id: UUID, rows: Sequence[Row]) -> None:
    if rows:
        await connection.execute(statement, company_id, msgspec.json.encode(rows).decode())


def _given(table: Table) -> str:
    """The rows of parameter 2 with ids in place of slugs, and their place."""
    kinds = ", ".join(f"{column.name} {column.kind}" for column in table.columns)
    cells = ", ".join(
        f"{column.name}_row.id as {column.stored}" if column.refers else f"r.{column.name}" for column in table.columns
    )
    joins = " ".join(
        f"{'left ' if column.nullable else ''}join {column.refers} {column.name}_row "
        f"on {column.name}_row.company_id = $1 and {column.name}_row.slug = r.{column.name}"
        for column in table.columns
        if column.refers
    )
    names = ", ".join(column.name for column in table.columns)
    return (
        f"select r.place, {cells} from rows from (jsonb_to_recordset($2::jsonb) as ({kinds})) "  # noqa: S608
        f"with ordinality as r ({names}, place) {joins}"
    )


def _same(table: Table) -> str:
    return " and ".join(
        f"t.{column.stored} {'is not distinct from' if column.nullable else '='} given.{column.stored}"
        for column in table.key
    )


async def retire(connection: Connection, company_id: UUID, table: str, slugs: Sequence[str]) -> frozenset[str]:
    """Delete what has these slugs; what others refer to becomes inactive instead, and is returned."""
    ids = {
        row["id"]: row["slug"]
        for row in await connection.fetch(
            f"select id, slug from {table} where company_id = $1 and slug = any ($2)",  # noqa: S608
            company_id,
            list(slugs),
        )
    }
    kept = await connection.fetch("select id from delete_unreferenced($1, $2, $3) id", table, company_id, list(ids))
    if kept:
        column = INACTIVE[table]
        await connection.execute(
            f"update {table} set {column} = false where company_id = $1 and id = any ($2) and {column}",  # noqa: S608
            company_id,
            [row["id"] for row in kept],
        )
    return frozenset(ids[row["id"]] for row in kept)


async def taken_by_others(
    connection: Connection, company_id: UUID, numbers: Sequence[str], agents: Sequence[str]
) -> dict[str, str]:
    """Numbers and agents that belong to another company, and its slug."""
    rows = await connection.fetch(
        """
        select number as item, c.slug from phone_numbers t join companies c on c.id = t.company_id
        where number = any ($2) and t.company_id <> $1
        union all
        select agent_id, c.slug from agents t join companies c on c.id = t.company_id
        where agent_id = any ($3) and t.company_id <> $1
        """,
        company_id,
        list(numbers),
        list(agents),
    )
    return {row["item"]: row["slug"] for row in rows}


async def unknown_zone(connection: Connection, names: Sequence[str]) -> str | None:
    """The first of these time zones that the database does not know; its zone data may differ from this program's.

    The transaction has failed then.
    """
    try:
        await connection.execute("select max(now() at time zone name) from unnest($1::text[]) name", list(names))
    except asyncpg.InvalidParameterValueError as error:
        return next((name for name in names if f'"{name}"' in str(error)), names[0])
    return None
