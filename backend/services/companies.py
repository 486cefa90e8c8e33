"""Companies, declared: what a company is stands in one record (or TOML file), and applying it makes the database agree.

Applying is idempotent and says what it changes, before it does when asked for a dry run. What people's records refer
to is never deleted: services become inactive, staff unbookable; a branch that is no longer declared stays and is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from backend.domain.phones import normalise
from backend.domain.zones import ZoneUnknown, zone
from backend.postgres.pools import Connection

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In ISO order: `mon` is stored as 1."""

Span = tuple[time, time]
"""From and until, wall time of the branch."""


class BranchDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place of the company."""

    slug: str
    name: str
    address: str = ""
    bundesland: str = "BE"
    time_zone: str | None = None
    """None: the company's."""
    numbers: tuple[str, ...] = ()
    """Phone numbers that are answered for it."""
    opening_hours: dict[Weekday, tuple[Span, ...]] = {}


class ServiceDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that can be booked. Times in minutes, the price in cents."""

    slug: str
    name: str
    duration_min: int
    buffer_before_min: int = 0
    buffer_after_min: int = 0
    notice_min: int = 0
    horizon_days: int = 90
    price_cents: int = 0


class StaffDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person who can be booked."""

    slug: str
    name: str
    branches: tuple[str, ...]
    services: tuple[str, ...]
    hours: dict[str, dict[Weekday, tuple[Span, ...]]] = {}
    """Working hours by branch."""


class CompanyDeclaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole company. Everything is named by its slug."""

    slug: str
    name: str
    time_zone: str = "Europe/Berlin"
    locale: str = "de_DE"
    agents: tuple[str, ...] = ()
    """Ids of its voice agents."""
    branches: tuple[BranchDeclaration, ...]
    services: tuple[ServiceDeclaration, ...]
    staff: tuple[StaffDeclaration, ...]


class DeclarationWrong(Exception):
    """A declaration that contradicts itself or another company; the message says where."""


@dataclass(frozen=True, slots=True)
class CompanyChange:
    """One thing that applying a declaration does."""

    action: Literal["add", "change", "remove", "keep"]
    kind: str
    """The table."""
    name: str
    detail: str = ""
    """What is different, in words."""


@dataclass(frozen=True, slots=True)
class AppliedCompany:
    """What applying a declaration did, or would do."""

    company_id: UUID
    changes: tuple[CompanyChange, ...]


def read_declaration(text: bytes) -> CompanyDeclaration:
    """A declaration from TOML. Raises DeclarationWrong with the place and the reason."""
    try:
        return msgspec.toml.decode(text, type=CompanyDeclaration)
    except msgspec.DecodeError as error:
        raise DeclarationWrong(str(error)) from error


async def apply_company(
    connection: Connection, declaration: CompanyDeclaration, *, dry_run: bool = False
) -> AppliedCompany:
    """Make the database agree with `declaration`, in one transaction of a connection that logs in as `askpro_setup`.

    A dry run does everything and then takes it back, so that what it says is what would happen.
    Raises DeclarationWrong; asyncpg errors.
    """
    numbers = _checked(declaration)
    transaction = connection.transaction()
    await transaction.start()
    try:
        applied = await _Application(connection, declaration, numbers).run()
    except BaseException:
        await transaction.rollback()
        raise
    if dry_run:
        await transaction.rollback()
    else:
        await transaction.commit()
    return applied


def _checked(declaration: CompanyDeclaration) -> dict[str, str]:
    """The branch of each phone number (E.164), after everything was checked that needs no database."""
    zones = [declaration.time_zone, *(branch.time_zone for branch in declaration.branches if branch.time_zone)]
    for name in zones:
        try:
            zone(name)
        except ZoneUnknown as error:
            raise DeclarationWrong(f"{declaration.slug}: {error}") from error
    branches = _once(declaration, "branch", (branch.slug for branch in declaration.branches))
    services = _once(declaration, "service", (service.slug for service in declaration.services))
    _once(declaration, "staff member", (person.slug for person in declaration.staff))
    for person in declaration.staff:
        for slug in (*person.branches, *person.hours):
            if slug not in branches:
                raise DeclarationWrong(f"{declaration.slug}: {person.slug} works at {slug}, which is no branch")
        for slug in person.services:
            if slug not in services:
                raise DeclarationWrong(f"{declaration.slug}: {person.slug} offers {slug}, which is no service")
        for _, day, (starts, ends) in _hours(person):
            if ends <= starts:
                raise DeclarationWrong(f"{declaration.slug}: {person.slug} ends before starting on {day}")
    numbers: dict[str, str] = {}
    for branch in declaration.branches:
        for raw in branch.numbers:
            number = normalise(raw)
            if number is None or number in numbers:
                raise DeclarationWrong(f"{declaration.slug}: {raw!r} is no phone number, or is given twice")
            numbers[number] = branch.slug
    return numbers


def _once(declaration: CompanyDeclaration, kind: str, slugs: Iterable[str]) -> frozenset[str]:
    seen: set[str] = set()
    for slug in slugs:
        if slug in seen:
            raise DeclarationWrong(f"{declaration.slug}: the {kind} {slug} is declared twice")
        seen.add(slug)
    return frozenset(seen)


def _hours(person: StaffDeclaration) -> Iterable[tuple[str, Weekday, Span]]:
    for branch, week in person.hours.items():
        for day, spans in week.items():
            for span in spans:
                yield branch, day, span


class _Application:
    """One run of `apply_company`, with what it found and did."""

    def __init__(self, connection: Connection, declaration: CompanyDeclaration, numbers: Mapping[str, str]) -> None:
        self._connection = connection
        self._declaration = declaration
        self._numbers = numbers
        self._changes: list[CompanyChange] = []
        self._company_id = UUID(int=0)

    async def run(self) -> AppliedCompany:
        wanted = self._declaration
        await self._connection.execute(
            "select pg_advisory_xact_lock(hashtextextended($1, 0))", f"company:{wanted.slug}"
        )
        await self._company()
        branches = await self._named(
            "branches",
            {
                branch.slug: {
                    "name": branch.name,
                    "address": branch.address,
                    "bundesland": branch.bundesland,
                    "time_zone": branch.time_zone or wanted.time_zone,
                    "opening_hours": msgspec.json.encode(branch.opening_hours).decode(),
                }
                for branch in wanted.branches
            },
            gone=None,
        )
        services = await self._named(
            "services",
            {
                service.slug: {name: getattr(service, name) for name in service.__struct_fields__ if name != "slug"}
                | {"is_active": True}
                for service in wanted.services
            },
            gone={"is_active": False},
        )
        staff = await self._named(
            "staff",
            {person.slug: {"name": person.name, "is_bookable": True} for person in wanted.staff},
            gone={"is_bookable": False},
        )
        await self._owned("phone_numbers", {number: branches[slug] for number, slug in self._numbers.items()}, "number")
        await self._owned("agents", dict.fromkeys(wanted.agents), "agent_id")
        await self._links(
            "staff_branches",
            ("staff_id", "branch_id"),
            {
                (staff[person.slug], branches[slug]): f"{person.slug} at {slug}"
                for person in wanted.staff
                for slug in person.branches
            },
        )
        await self._links(
            "staff_services",
            ("staff_id", "service_id"),
            {
                (staff[person.slug], services[slug]): f"{person.slug}: {slug}"
                for person in wanted.staff
                for slug in person.services
            },
        )
        await self._links(
            "working_hours",
            ("staff_id", "branch_id", "weekday", "starts", "ends"),
            {
                (staff[person.slug], branches[branch], WEEKDAYS.index(day) + 1, starts, ends): (
                    f"{person.slug} at {branch}, {day} {starts:%H:%M}-{ends:%H:%M}"
                )
                for person in wanted.staff
                for branch, day, (starts, ends) in _hours(person)
            },
        )
        return AppliedCompany(self._company_id, tuple(self._changes))

    async def _company(self) -> None:
        wanted = self._declaration
        fields = {"name": wanted.name, "time_zone": wanted.time_zone, "locale": wanted.locale}
        present = await self._connection.fetchrow("select * from companies where slug = $1", wanted.slug)
        if present is None:
            self._company_id = await self._connection.fetchval(
                "insert into companies (slug, name, time_zone, locale) values ($1, $2, $3, $4) returning id",
                wanted.slug,
                *fields.values(),
            )
            self._changes.append(CompanyChange("add", "companies", wanted.slug))
            return
        self._company_id = present["id"]
        if different := _different(present, fields):
            await self._connection.execute(
                "update companies set name = $2, time_zone = $3, locale = $4 where id = $1",
                self._company_id,
                *fields.values(),
            )
            self._changes.append(CompanyChange("change", "companies", wanted.slug, different))

    async def _named(
        self, table: str, wanted: Mapping[str, Mapping[str, object]], *, gone: Mapping[str, object] | None
    ) -> dict[str, UUID]:
        """Bring the rows that have a slug up to date; `gone` is set on those no longer wanted (None: kept)."""
        rows = await self._connection.fetch(f"select * from {table} where company_id = $1", self._company_id)  # noqa: S608
        present = {row["slug"]: row for row in rows}
        ids: dict[str, UUID] = {}
        for slug, fields in wanted.items():
            row = present.get(slug)
            names = list(fields)
            if row is None:
                places = ", ".join(f"${number}" for number in range(1, len(names) + 3))
                ids[slug] = await self._connection.fetchval(
                    f"insert into {table} (company_id, slug, {', '.join(names)}) values ({places}) returning id",  # noqa: S608
                    self._company_id,
                    slug,
                    *fields.values(),
                )
                self._changes.append(CompanyChange("add", table, slug))
                continue
            ids[slug] = row["id"]
            if different := _different(row, fields):
                await self._update(table, row["id"], fields)
                self._changes.append(CompanyChange("change", table, slug, different))
        for slug, row in present.items():
            if slug in wanted:
                continue
            if gone is None:
                self._changes.append(CompanyChange("keep", table, slug, "no longer declared; its records stay"))
            elif _different(row, gone):
                await self._update(table, row["id"], gone)
                self._changes.append(CompanyChange("remove", table, slug))
        return ids

    async def _update(self, table: str, row_id: UUID, fields: Mapping[str, object]) -> None:
        assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(fields, 2))
        await self._connection.execute(
            f"update {table} set {assignments} where id = $1",  # noqa: S608
            row_id,
            *fields.values(),
        )

    async def _owned(self, table: str, wanted: Mapping[str, UUID | None], key: str) -> None:
        """Bring what a company owns alone (numbers, agents: the key) and its branch up to date."""
        rows = await self._connection.fetch(
            f"select {key} as key, company_id, branch_id from {table} where company_id = $1 or {key} = any ($2)",  # noqa: S608
            self._company_id,
            list(wanted),
        )
        present: dict[str, UUID | None] = {}
        for row in rows:
            if row["company_id"] != self._company_id:
                raise DeclarationWrong(f"{self._declaration.slug}: {row['key']} belongs to another company")
            present[row["key"]] = row["branch_id"]
        for name in present.keys() - wanted.keys():
            await self._connection.execute(f"delete from {table} where {key} = $1", name)  # noqa: S608
            self._changes.append(CompanyChange("remove", table, name))
        for name, branch in wanted.items():
            if name in present and present[name] == branch:
                continue
            await self._connection.execute(
                f"insert into {table} ({key}, company_id, branch_id) values ($1, $2, $3) "  # noqa: S608
                f"on conflict ({key}) do update set branch_id = excluded.branch_id",
                name,
                self._company_id,
                branch,
            )
            self._changes.append(CompanyChange("change" if name in present else "add", table, name))

    async def _links(self, table: str, columns: tuple[str, ...], wanted: Mapping[tuple[object, ...], str]) -> None:
        """Bring rows that consist of their key alone up to date."""
        names = ", ".join(columns)
        rows = await self._connection.fetch(f"select {names} from {table} where company_id = $1", self._company_id)  # noqa: S608
        present = {tuple(row) for row in rows}
        for link in present - wanted.keys():
            conditions = " and ".join(f"{name} = ${number}" for number, name in enumerate(columns, 2))
            await self._connection.execute(
                f"delete from {table} where company_id = $1 and {conditions}",  # noqa: S608
                self._company_id,
                *link,
            )
            self._changes.append(CompanyChange("remove", table, ", ".join(str(part) for part in link)))
        added = [link for link in wanted if link not in present]
        places = ", ".join(f"${number}" for number in range(1, len(columns) + 2))
        await self._connection.executemany(
            f"insert into {table} (company_id, {names}) values ({places})",  # noqa: S608
            [(self._company_id, *link) for link in added],
        )
        self._changes.extend(CompanyChange("add", table, wanted[link]) for link in added)


def _different(row: asyncpg.Record, fields: Mapping[str, object]) -> str:
    """What of `fields` the row does not say yet, in words; empty when it agrees."""
    return ", ".join(
        f"{name}: {row[name]!r} → {value!r}" for name, value in fields.items() if not _same(row[name], value)
    )


def _same(present: object, wanted: object) -> bool:
    if present == wanted:
        return True
    if isinstance(present, str) and isinstance(wanted, str) and present[:1] in "{[" and wanted[:1] in "{[":
        return bool(msgspec.json.decode(present) == msgspec.json.decode(wanted))
    return False
