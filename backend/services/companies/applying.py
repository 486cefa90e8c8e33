"""Companies, declared: applying a declaration makes the database agree with it, and exporting gives it back.

Applying is idempotent and says what it changes, before it does when asked for a dry run. What people's records refer
to is never deleted: it becomes inactive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from backend.domain.phones import normalise
from backend.domain.weeks import WEEKDAYS, Span, Week, Weekday
from backend.postgres.pools import Connection
from backend.services.companies.checks import mistakes_in
from backend.services.companies.declarations import (
    BranchDeclaration,
    BranchException,
    CalcomRules,
    CallbackRules,
    CompanyDeclaration,
    CompanySettings,
    DeclarationWrong,
    Mistake,
    NotificationRules,
    Path,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    StaffException,
)
from backend.services.companies.diff import KINDS, CompanyChange, FieldChange, differences, undeclared
from backend.services.companies.reading import read_declaration
from backend.services.companies.rows import INACTIVE, LINKS, NAMED, OWNED, Row, Rows, Table, declaration_of, rows_of
from backend.services.companies.store import (
    StoredCompany,
    delete_rows,
    insert_rows,
    read_company,
    retire,
    taken_by_others,
    unknown_zone,
    update_rows,
)

__all__ = [
    "WEEKDAYS",
    "AppliedCompany",
    "BranchDeclaration",
    "BranchException",
    "CalcomRules",
    "CallbackRules",
    "ChangedMeanwhile",
    "CompanyChange",
    "CompanyDeclaration",
    "CompanyLine",
    "DeclarationWrong",
    "FieldChange",
    "Mistake",
    "NotificationRules",
    "SegmentDeclaration",
    "ServiceDeclaration",
    "Span",
    "StaffDeclaration",
    "StaffException",
    "Week",
    "Weekday",
    "apply_company",
    "export_company",
    "list_companies",
    "read_declaration",
]


@dataclass(frozen=True, slots=True)
class AppliedCompany:
    """What applying a declaration did, or would do."""

    company_id: UUID
    changes: tuple[CompanyChange, ...]


class ChangedMeanwhile(Exception):
    """Applying would do something else than what was agreed to; nothing was done."""


async def apply_company(
    connection: Connection,
    declaration: CompanyDeclaration,
    *,
    dry_run: bool = False,
    agreed: Sequence[CompanyChange] | None = None,
) -> AppliedCompany:
    """Make the database agree with `declaration`, in one transaction of a connection that logs in as `askpro_setup`.

    A dry run does everything and then takes it back, so that what it says is what would happen. With `agreed`, exactly
    these changes are made or none.
    Raises DeclarationWrong, ChangedMeanwhile; asyncpg errors.
    """
    if mistakes := tuple(mistakes_in(declaration)):
        raise DeclarationWrong(mistakes, declaration.slug)
    transaction = connection.transaction()
    await transaction.start()
    try:
        applied = await _apply(connection, declaration)
        if agreed is not None and applied.changes != tuple(agreed):
            raise ChangedMeanwhile(f"{declaration.slug} was changed by somebody else in the meantime")
    except BaseException:
        await transaction.rollback()
        raise
    if dry_run:
        await transaction.rollback()
    else:
        await transaction.commit()
    return applied


async def _apply(connection: Connection, declaration: CompanyDeclaration) -> AppliedCompany:
    await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", f"company:{declaration.slug}")
    stored = await read_company(connection, declaration.slug)
    rows = rows_of(declaration)
    fields = {name: getattr(declaration, name) for name in ("slug", "name", "time_zone", "locale")}
    wanted = declaration_of(fields, rows, _settings(declaration))
    present = declaration_of(stored.fields, stored.rows, stored.settings) if stored else None
    changes = list(differences(present, wanted))
    await _refuse_zones(connection, declaration, stored)
    company_id = await _company(connection, declaration, stored)
    await _refuse_taken(connection, company_id, declaration)

    had: Rows = stored.rows if stored else {}
    plans = {table.name: _plan(table, had.get(table.name, []), rows[table.name]) for table in (*NAMED, *OWNED, *LINKS)}
    for table in (*OWNED, *LINKS):
        await delete_rows(connection, company_id, table, plans[table.name].gone)
    for table in (*NAMED, *OWNED, *LINKS):
        await update_rows(connection, company_id, table, plans[table.name].changed)
        await insert_rows(connection, company_id, table, plans[table.name].new)
    for kind in KINDS:
        if slugs := undeclared(present, wanted, kind):
            kept = await retire(connection, company_id, kind, slugs)
            was_active = {row["slug"] for row in had[kind] if row[INACTIVE[kind]]}
            for slug in slugs:
                if slug not in kept:
                    changes.append(CompanyChange("remove", kind, slug))
                elif slug in was_active:
                    changes.append(CompanyChange("deactivate", kind, slug))
    return AppliedCompany(company_id, tuple(changes))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What has to happen to the rows of a table."""

    new: list[Row]
    changed: list[Row]
    gone: list[Row]


def _plan(table: Table, present: Sequence[Row], wanted: Sequence[Row]) -> _Plan:
    keys = [column.name for column in table.key]

    def by_key(rows: Sequence[Row]) -> dict[tuple[object, ...], Row]:
        return {tuple(row[name] for name in keys): row for row in rows}

    before, after = by_key(present), by_key(wanted)
    return _Plan(
        new=[row for key, row in after.items() if key not in before],
        changed=[row for key, row in after.items() if key in before and before[key] != row],
        gone=[row for key, row in before.items() if key not in after],
    )


async def _company(connection: Connection, wanted: CompanyDeclaration, stored: StoredCompany | None) -> UUID:
    """The id of the company, which is made or brought up to date."""
    values = (wanted.slug, wanted.name, wanted.time_zone, wanted.locale)
    settings = _settings(wanted)
    told = msgspec.json.encode(settings).decode()
    if stored is None:
        made: UUID = await connection.fetchval(
            "insert into companies (slug, name, time_zone, locale, settings) values ($1, $2, $3, $4, $5) returning id",
            *values,
            told,
        )
        return made
    if tuple(stored.fields.values()) != values or stored.settings != settings:
        await connection.execute(
            "update companies set name = $2, time_zone = $3, locale = $4,"
            " settings = settings - $5::text[] || $6 where slug = $1",
            *values,
            list(CompanySettings.__struct_fields__),
            told,
        )
    return stored.company_id


def _settings(declaration: CompanyDeclaration) -> CompanySettings:
    return CompanySettings(
        notifications=declaration.notifications,
        callbacks=declaration.callbacks,
        calcom=declaration.calcom,
        retell=declaration.retell,
    )


async def _refuse_zones(connection: Connection, declaration: CompanyDeclaration, stored: StoredCompany | None) -> None:
    places: dict[str, Path] = {declaration.time_zone: ("time_zone",)}
    for number, branch in enumerate(declaration.branches):
        places.setdefault(branch.time_zone or declaration.time_zone, ("branches", number, "time_zone"))
    known = {stored.fields["time_zone"], *(row["time_zone"] for row in stored.rows["branches"])} if stored else set()
    new = [name for name in places if name not in known]
    if new and (unknown := await unknown_zone(connection, new)) is not None:
        raise DeclarationWrong(
            [Mistake(places[unknown], f"`time_zone`: {unknown!r} is no time zone of the database")], declaration.slug
        )


async def _refuse_taken(connection: Connection, company_id: UUID, declaration: CompanyDeclaration) -> None:
    places = dict(_ownable(declaration))
    taken = await taken_by_others(
        connection,
        company_id,
        [item for item, path in places.items() if "numbers" in path],
        [item for item, path in places.items() if "agents" in path],
    )
    if taken:
        raise DeclarationWrong(
            (
                Mistake(places[item], f"{item} belongs to another company, {owner}")
                for item, owner in sorted(taken.items())
            ),
            declaration.slug,
        )


def _ownable(declaration: CompanyDeclaration) -> Iterator[tuple[str, Path]]:
    """Numbers and agents, with where they are declared."""
    for number, agent in enumerate(declaration.agents):
        yield agent, ("agents", number)
    for place, branch in enumerate(declaration.branches):
        for number, agent in enumerate(branch.agents):
            yield agent, ("branches", place, "agents", number)
        for number, raw in enumerate(branch.numbers):
            yield normalise(raw) or raw, ("branches", place, "numbers", number)


async def export_company(connection: Connection, slug: str) -> CompanyDeclaration | None:
    """The declaration that the database agrees with, in one round trip; None when there is no such company."""
    stored = await read_company(connection, slug)
    return declaration_of(stored.fields, stored.rows, stored.settings) if stored else None


@dataclass(frozen=True, slots=True)
class CompanyLine:
    """A company in a list."""

    slug: str
    name: str
    time_zone: str
    branches: int
    """How many can be booked; of services and staff likewise."""
    services: int
    staff: int
    is_active: bool


async def list_companies(connection: Connection) -> tuple[CompanyLine, ...]:
    """All companies by slug, in one round trip."""
    rows = await connection.fetch(
        """
        select c.slug, c.name, c.time_zone, c.is_active,
               (select count(*) from branches b where b.company_id = c.id and b.is_active) as branches,
               (select count(*) from services s where s.company_id = c.id and s.is_active) as services,
               (select count(*) from staff p where p.company_id = c.id and p.is_bookable) as staff
        from companies c order by c.slug
        """
    )
    return tuple(CompanyLine(**dict(row)) for row in rows)
