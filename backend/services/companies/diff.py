"""What is different between two declarations of a company, in words for the person who applies one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import msgspec

from backend.domain.weeks import format_spans, format_week
from backend.services.companies.declarations import (
    BranchDeclaration,
    BranchException,
    CompanyDeclaration,
    SegmentDeclaration,
    ServiceDeclaration,
    StaffDeclaration,
    StaffException,
    fields_of,
)

Kind = Literal["companies", "branches", "services", "staff"]
KINDS: tuple[Kind, ...] = ("branches", "services", "staff")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One difference inside a change. Of a list, each item that comes or goes is one."""

    key: str
    old: str | None
    """None: it comes."""
    new: str | None
    """None: it goes."""

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.key}: + {self.new}"
        if self.new is None:
            return f"{self.key}: - {self.old}"
        return f"{self.key}: {self.old} → {self.new}"


@dataclass(frozen=True, slots=True)
class CompanyChange:
    """One thing that applying a declaration does."""

    action: Literal["add", "change", "deactivate", "remove"]
    """deactivate: it is not declared any more, but appointments, calls or customers refer to it."""
    kind: Kind
    """The table."""
    name: str
    """The slug."""
    fields: tuple[FieldChange, ...] = ()

    @property
    def detail(self) -> str:
        """What is different, on one line."""
        return ", ".join(map(str, self.fields))


_Item = BranchDeclaration | ServiceDeclaration | StaffDeclaration


def differences(present: CompanyDeclaration | None, wanted: CompanyDeclaration) -> Iterator[CompanyChange]:
    """What `wanted` adds and changes, in its order. What it no longer names is `undeclared`'s subject.

    Both must be in the form that `declaration_of` makes of rows.
    """
    fields = tuple(_fields(_told_company(present) if present else {}, _told_company(wanted)))
    if present is None or fields:
        yield CompanyChange("change" if present else "add", "companies", wanted.slug, fields)
    for kind in KINDS:
        before = {item.slug: item for item in items(present, kind)}
        for item in items(wanted, kind):
            old = before.get(item.slug)
            if fields := tuple(_fields(_told(old) if old else {}, _told(item, defaults=old is not None))):
                yield CompanyChange("change" if old else "add", kind, item.slug, fields)


def undeclared(present: CompanyDeclaration | None, wanted: CompanyDeclaration, kind: Kind) -> tuple[str, ...]:
    """Slugs that the database has and `wanted` does not name."""
    named = {item.slug for item in items(wanted, kind)}
    return tuple(item.slug for item in items(present, kind) if item.slug not in named)


def items(declaration: CompanyDeclaration | None, kind: Kind) -> Sequence[_Item]:
    """What of a kind is declared."""
    if declaration is None:
        return ()
    found: Mapping[str, Sequence[_Item]] = {
        "branches": declaration.branches,
        "services": declaration.services,
        "staff": declaration.staff,
    }
    return found.get(kind, ())


_Told = Mapping[str, "str | tuple[str, ...]"]
"""Fields in words; a tuple is a list whose items come and go by themselves."""


def _fields(old: _Told, new: _Told) -> Iterator[FieldChange]:
    for key in dict.fromkeys((*new, *old)):
        before, after = old.get(key, ""), new.get(key, "")
        if isinstance(before, tuple) or isinstance(after, tuple):
            had, has = _listed(before), _listed(after)
            yield from (FieldChange(key, item, None) for item in had if item not in has)
            yield from (FieldChange(key, None, item) for item in has if item not in had)
        elif before != after:
            yield FieldChange(key, (before or "nothing") if old else None, after or "nothing")


def _listed(told: str | tuple[str, ...]) -> tuple[str, ...]:
    return told if isinstance(told, tuple) else (told,) if told else ()


def _told_company(company: CompanyDeclaration) -> _Told:
    return {
        "name": company.name,
        "time_zone": company.time_zone,
        "locale": company.locale,
        "agents": company.agents,
        **_told_rules("notifications", company.notifications),
        **_told_rules("callbacks", company.callbacks),
        **_told_rules("calcom", company.calcom),
        **_told_rules("retell", company.retell),
    }


def _told_rules(name: str, rules: msgspec.Struct) -> _Told:
    """A table of the company's own: what is not at its default."""
    return {f"{name}.{key}": value for key, value in _told(rules, defaults=False).items()}


def _told(item: msgspec.Struct, *, defaults: bool = True) -> _Told:
    """The fields; on demand without those that nobody changed from their default."""
    found: dict[str, str | tuple[str, ...]] = {}
    for info in fields_of(type(item)):
        value = getattr(item, info.name)
        if info.name == "slug" or (not defaults and not info.required and value == _default(info)):
            continue
        if info.name == "hours":
            found |= {f"hours at {branch}": format_week(week) for branch, week in value.items()}
        elif info.name == "calcom_event_types":
            found |= {f"calcom_event_types.{service}": str(number) for service, number in value.items()}
        elif info.name in {"opening_hours", "breaks"}:
            found[info.name] = format_week(value)
        else:
            found[info.name] = tuple(map(_word, value)) if isinstance(value, tuple) else _word(value)
    return found


def _default(info: msgspec.structs.FieldInfo) -> object:
    return info.default_factory() if info.default_factory is not msgspec.NODEFAULT else info.default


def _word(value: object) -> str:
    match value:
        case BranchException():
            return told_exception(value)
        case SegmentDeclaration():
            gap = ", gap" if value.gap else ""
            by = "".join(f", {name} {word}" for name, word in (("role", value.role), ("skill", value.skill)) if word)
            return f"{value.label} {value.duration_min} min{gap}{by}"
        case bool():
            return "yes" if value else "no"
        case StrEnum():
            return value.value
        case None:
            return ""
        case _:
            return str(value)


def told_exception(exception: BranchException) -> str:
    """`closed 2026-12-24 until 2026-12-31 (vacation)`."""
    until = f" until {exception.last_day}" if exception.last_day else ""
    hours = f" {format_spans(exception.hours)}" if exception.hours else ""
    where = f" at {exception.branch}" if isinstance(exception, StaffException) and exception.branch else ""
    why = f" ({exception.reason})" if exception.reason else ""
    return f"{exception.kind} {exception.first_day}{until}{hours}{where}{why}"
