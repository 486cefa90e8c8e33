"""A company as rows of tables that name each other by slug: the form in which declaration and database are compared.

`rows_of` makes them of a declaration and `declaration_of` goes back. Cells are JSON: times `08:00:00`, days ISO 8601.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import TypeAlias

import msgspec

from backend.domain.phones import normalise
from backend.domain.vocabulary import ExceptionKind
from backend.domain.weeks import WEEKDAYS, Span, Week, Weekday
from backend.services.companies.declarations import (
    MAIN_ROLE,
    BranchDeclaration,
    BranchException,
    CompanyDeclaration,
    CompanySettings,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    StaffException,
)

Cell: TypeAlias = str | int | bool | dict[str, list[list[str]]] | None
Row: TypeAlias = dict[str, Cell]
Rows: TypeAlias = dict[str, list[Row]]
"""Rows by table."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table here."""

    name: str
    """In a row."""
    kind: str = "text"
    """Its type in PostgreSQL."""
    refers: str | None = None
    """The table whose slug it is; the column in the database is then the id."""
    nullable: bool = False

    @property
    def stored(self) -> str:
        """Its name in the database."""
        return f"{self.name}_id" if self.refers else self.name


@dataclass(frozen=True, slots=True)
class Table:
    """A table that belongs to a company's declaration."""

    name: str
    key: tuple[Column, ...]
    values: tuple[Column, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """All of them, the key first."""
        return self.key + self.values


def _integers(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "integer") for name in names)


_STAFF = Column("staff", refers="staff")
_BRANCH = Column("branch", refers="branches")
_SERVICE = Column("service", refers="services")
_SPAN = (Column("starts", "time"), Column("ends", "time"))

NAMED = (
    Table(
        "branches",
        (Column("slug"),),
        (
            *map(Column, ("name", "address", "bundesland", "time_zone")),
            Column("opening_hours", "jsonb"),
            Column("is_active", "boolean"),
        ),
    ),
    Table(
        "services",
        (Column("slug"),),
        (
            Column("name"),
            *_integers("duration_min", "buffer_before_min", "buffer_after_min", "notice_min", "horizon_days"),
            *_integers("step_min", "price_cents", "capacity", "cancel_hours", "cancel_fee_cents"),
            Column("calcom_event_type_id", "bigint"),
            Column("is_active", "boolean"),
        ),
    ),
    Table("staff", (Column("slug"),), (Column("name"), Column("is_bookable", "boolean"))),
)
"""What has a slug; others refer to it, so that it may have to stay."""

OWNED = (
    Table("phone_numbers", (Column("number"),), (_BRANCH,)),
    Table("agents", (Column("agent_id"),), (Column("branch", refers="branches", nullable=True),)),
)
"""What can belong to one company alone."""

LINKS = (
    Table("staff_branches", (_STAFF, _BRANCH)),
    Table("staff_services", (_STAFF, _SERVICE), (Column("calcom_event_type_id", "bigint", nullable=True),)),
    Table("working_hours", (_STAFF, _BRANCH, Column("weekday", "smallint"), *_SPAN)),
    Table("breaks", (_STAFF, Column("weekday", "smallint"), *_SPAN)),
    Table(
        "calendar_exceptions",
        (
            Column("staff", refers="staff", nullable=True),
            Column("branch", refers="branches", nullable=True),
            Column("kind"),
            Column("first_day", "date"),
            Column("last_day", "date"),
            Column("starts", "time", nullable=True),
            Column("ends", "time", nullable=True),
        ),
        (Column("reason"),),
    ),
    Table(
        "service_segments",
        (_SERVICE, Column("position", "smallint")),
        (
            Column("label"),
            Column("duration_min", "integer"),
            Column("is_gap", "boolean"),
            Column("role"),
            Column("skill_service", refers="services", nullable=True),
        ),
    ),
)
"""What hangs on something that has a slug and goes with it."""

TABLES = (*NAMED, *OWNED, *LINKS)

INACTIVE = {"branches": "is_active", "services": "is_active", "staff": "is_bookable"}
"""The column that is false for what stays only because others refer to it."""


def rows_of(declaration: CompanyDeclaration) -> Rows:
    """The rows that a checked declaration means."""
    rows: Rows = {table.name: [] for table in TABLES}
    rows["agents"] += [{"agent_id": agent, "branch": None} for agent in declaration.agents]
    for branch in declaration.branches:
        _add_branch(rows, branch, declaration.time_zone)
    for service in declaration.services:
        _add_service(rows, service)
    for person in declaration.staff:
        _add_person(rows, person)
    return rows


def _add_branch(rows: Rows, branch: BranchDeclaration, time_zone: str) -> None:
    rows["branches"].append(
        {
            "slug": branch.slug,
            "name": branch.name,
            "address": branch.address,
            "bundesland": branch.bundesland,
            "time_zone": branch.time_zone or time_zone,
            "opening_hours": {
                day: [[starts.isoformat(), ends.isoformat()] for starts, ends in sorted(branch.opening_hours[day])]
                for day in WEEKDAYS
                if branch.opening_hours.get(day)
            },
            "is_active": branch.active,
        }
    )
    rows["phone_numbers"] += [{"number": normalise(raw), "branch": branch.slug} for raw in branch.numbers]
    rows["agents"] += [{"agent_id": agent, "branch": branch.slug} for agent in branch.agents]
    rows["calendar_exceptions"] += _exception_rows(branch.exceptions, None, branch.slug)


def _add_service(rows: Rows, service: ServiceDeclaration) -> None:
    own: Row = {column.name: getattr(service, column.name, None) for column in NAMED[1].columns}
    rows["services"].append(own | {"duration_min": service.total_min, "is_active": service.active})
    rows["service_segments"] += [
        {
            "service": service.slug,
            "position": position,
            "label": segment.label,
            "duration_min": segment.duration_min,
            "is_gap": segment.gap,
            "role": None if segment.gap else segment.role or MAIN_ROLE,
            "skill_service": segment.skill,
        }
        for position, segment in enumerate(service.segments, 1)
    ]


def _add_person(rows: Rows, person: StaffDeclaration) -> None:
    rows["staff"].append({"slug": person.slug, "name": person.name, "is_bookable": person.bookable})
    rows["staff_branches"] += [{"staff": person.slug, "branch": branch} for branch in person.branches]
    rows["staff_services"] += [
        {"staff": person.slug, "service": service, "calcom_event_type_id": person.calcom_event_types.get(service)}
        for service in person.services
    ]
    for branch, week in person.hours.items():
        rows["working_hours"] += [{"staff": person.slug, "branch": branch, **span} for span in _week_rows(week)]
    rows["breaks"] += [{"staff": person.slug, **span} for span in _week_rows(person.breaks)]
    for exception in person.exceptions:
        branch_slug = exception.branch
        if branch_slug is None and exception.kind is not ExceptionKind.CLOSED:
            (branch_slug,) = person.branches
        rows["calendar_exceptions"] += _exception_rows([exception], person.slug, branch_slug)


def _week_rows(week: Week) -> list[Row]:
    return [
        {"weekday": number, "starts": starts.isoformat(), "ends": ends.isoformat()}
        for number, day in enumerate(WEEKDAYS, 1)
        for starts, ends in week.get(day, ())
    ]


def _exception_rows(exceptions: Iterable[BranchException], staff: str | None, branch: str | None) -> list[Row]:
    return [
        {
            "staff": staff,
            "branch": branch,
            "kind": exception.kind.value,
            "first_day": exception.first_day.isoformat(),
            "last_day": (exception.last_day or exception.first_day).isoformat(),
            "starts": span[0].isoformat() if span else None,
            "ends": span[1].isoformat() if span else None,
            "reason": exception.reason,
        }
        for exception in exceptions
        for span in exception.hours or (None,)
    ]


def declaration_of(
    company: Mapping[str, str],
    rows: Rows,
    settings: CompanySettings = CompanySettings(),  # noqa: B008 - it is frozen
) -> CompanyDeclaration:
    """The declaration that means these rows, in their order; `company` has slug, name, time_zone and locale."""
    exceptions = _exceptions(rows["calendar_exceptions"])
    return CompanyDeclaration(
        slug=company["slug"],
        name=company["name"],
        time_zone=company["time_zone"],
        locale=company["locale"],
        agents=_strings(rows["agents"], "agent_id", "branch", None),
        notifications=settings.notifications,
        callbacks=settings.callbacks,
        calcom=settings.calcom,
        retell=settings.retell,
        branches=tuple(_branch(row, rows, exceptions, company["time_zone"]) for row in rows["branches"]),
        services=tuple(_service(row, rows) for row in rows["services"]),
        staff=tuple(_person(row, rows, exceptions) for row in rows["staff"]),
    )


def _strings(rows: Iterable[Row], wanted: str, key: str, value: Cell) -> tuple[str, ...]:
    return tuple(str(row[wanted]) for row in rows if row[key] == value)


def _branch(row: Row, rows: Rows, exceptions: _Exceptions, time_zone: str) -> BranchDeclaration:
    slug = str(row["slug"])
    return BranchDeclaration(
        slug=slug,
        name=str(row["name"]),
        address=str(row["address"]),
        bundesland=str(row["bundesland"]),
        time_zone=None if row["time_zone"] == time_zone else str(row["time_zone"]),
        numbers=_strings(rows["phone_numbers"], "number", "branch", slug),
        agents=_strings(rows["agents"], "agent_id", "branch", slug),
        opening_hours=msgspec.convert(row["opening_hours"], Week),
        exceptions=tuple(
            BranchException(**{name: getattr(one, name) for name in BranchException.__struct_fields__})
            for one in exceptions[None, slug]
        ),
        active=bool(row["is_active"]),
    )


def _service(row: Row, rows: Rows) -> ServiceDeclaration:
    segments = tuple(
        SegmentDeclaration(
            label=str(segment["label"]),
            duration_min=msgspec.convert(segment["duration_min"], int),
            gap=bool(segment["is_gap"]),
            role=None if segment["role"] in {None, MAIN_ROLE} else str(segment["role"]),
            skill=msgspec.convert(segment["skill_service"], str | None),
        )
        for segment in rows["service_segments"]
        if segment["service"] == row["slug"]
    )
    fields = {name: value for name, value in row.items() if name != "is_active"}
    return msgspec.structs.replace(
        msgspec.convert(fields, ServiceDeclaration), segments=segments, active=bool(row["is_active"])
    )


def _person(row: Row, rows: Rows, exceptions: _Exceptions) -> StaffDeclaration:
    slug = str(row["slug"])
    hours: dict[str, list[Row]] = defaultdict(list)
    for span in rows["working_hours"]:
        if span["staff"] == slug:
            hours[str(span["branch"])].append(span)
    branches = _strings(rows["staff_branches"], "branch", "staff", slug)
    return StaffDeclaration(
        slug=slug,
        name=str(row["name"]),
        branches=branches,
        services=_strings(rows["staff_services"], "service", "staff", slug),
        calcom_event_types={
            str(row["service"]): msgspec.convert(row["calcom_event_type_id"], int)
            for row in rows["staff_services"]
            if row["staff"] == slug and row["calcom_event_type_id"] is not None
        },
        hours={branch: _week(spans) for branch, spans in hours.items()},
        breaks=_week([span for span in rows["breaks"] if span["staff"] == slug]),
        exceptions=tuple(one for (staff, _), several in exceptions.items() if staff == slug for one in several),
        bookable=bool(row["is_bookable"]),
    )


def _week(rows: Sequence[Row]) -> Week:
    found: dict[Weekday, list[Span]] = defaultdict(list)
    for row in rows:
        found[WEEKDAYS[msgspec.convert(row["weekday"], int) - 1]].append(_span(row))
    return {day: tuple(sorted(found[day])) for day in WEEKDAYS if day in found}


def _span(row: Row) -> Span:
    return time.fromisoformat(str(row["starts"])), time.fromisoformat(str(row["ends"]))


_Exceptions: TypeAlias = "Mapping[tuple[str | None, str | None], list[StaffException]]"
"""By staff member and branch."""


def _exceptions(rows: Iterable[Row]) -> _Exceptions:
    """Exceptions that differ in nothing but their span are one with several spans."""
    together: dict[tuple[Cell, ...], list[Span]] = {}
    for row in rows:
        whole_day = row["starts"] is None
        key = (*(row[name] for name in ("staff", "branch", "kind", "first_day", "last_day", "reason")), whole_day)
        spans = together.setdefault(key, [])
        if not whole_day:
            spans.append(_span(row))
    found: dict[tuple[str | None, str | None], list[StaffException]] = defaultdict(list)
    for (staff, branch, kind, first, last, reason, _), spans in together.items():
        place = (None if staff is None else str(staff), None if branch is None else str(branch))
        found[place].append(
            StaffException(
                kind=ExceptionKind(str(kind)),
                first_day=date.fromisoformat(str(first)),
                last_day=None if first == last else date.fromisoformat(str(last)),
                hours=tuple(sorted(spans)),
                reason=str(reason),
                branch=place[1],
            )
        )
    for exceptions in found.values():
        exceptions.sort(key=lambda one: (one.first_day, one.last_day or one.first_day, one.kind, one.hours))
    return found
