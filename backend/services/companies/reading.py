"""A declaration from TOML: the record, or every mistake in the file, each with its place."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import time
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from backend.domain.nearest import perhaps
from backend.domain.weeks import WEEKDAYS, Span, Week, Weekday, parse_spans, parse_week
from backend.services.companies.checks import mistakes_in
from backend.services.companies.declarations import CompanyDeclaration, DeclarationWrong, Mistake, Path, fields_of

Record = TypeVar("Record", bound=msgspec.Struct)


def read_declaration(text: bytes) -> CompanyDeclaration:
    """A checked declaration from TOML. Raises DeclarationWrong with every mistake and its place."""
    try:
        document = tomllib.loads(text.decode())
    except UnicodeDecodeError as error:
        raise DeclarationWrong([Mistake((), f"not UTF-8 text: {error}")]) from error
    except tomllib.TOMLDecodeError as error:
        raise DeclarationWrong([Mistake((), f"not TOML: {error}")]) from error
    return declaration_from(document)


def declaration_from(document: Mapping[str, object]) -> CompanyDeclaration:
    """A checked declaration from a TOML document's content. Raises DeclarationWrong with every mistake."""
    reading = _Reading()
    declaration = reading.record(CompanyDeclaration, document, ())
    if declaration is None:
        raise DeclarationWrong(reading.mistakes)
    if found := tuple(mistakes_in(declaration)):
        raise DeclarationWrong(found)
    return declaration


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


class _Part(ValueError):
    """A mistake inside a value, at `path` below it."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path: Path = path


class _Reading:
    """One document on its way into records, and the mistakes found so far."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def record(self, kind: type[Record], table: object, path: Path) -> Record | None:
        """The table as its record; None after a mistake."""
        if not isinstance(table, dict):
            self._wrong(path, "must be a table")
            return None
        before = len(self.mistakes)
        hints = _hints(kind)
        known = {info.encode_name: info for info in fields_of(kind)}
        for key in table:
            if key not in known:
                self._wrong((*path, key), f"there is no `{key}` here{perhaps(key, known)}")
        for key, info in known.items():
            if info.required and key not in table:
                self._wrong(path, f"`{key}` is missing")
        values = {
            info.name: self._value(hints[info.name], table, key, (*path, key))
            for key, info in known.items()
            if key in table
        }
        return kind(**values) if len(self.mistakes) == before else None

    def _value(self, hint: Any, table: Mapping[str, object], key: str, path: Path) -> object:  # noqa: ANN401 # a type
        value = table[key]
        if (
            get_origin(hint) is tuple
            and isinstance(item := get_args(hint)[0], type)
            and issubclass(item, msgspec.Struct)
        ):
            if not isinstance(value, list):
                self._wrong(path, f"`{key}` must be a list of tables, as in [[{key}]]")
                return ()
            return tuple(self.record(item, one, (*path, number)) for number, one in enumerate(value))
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self.record(hint, value, path)
        try:
            return _converted(hint, value, table)
        except _Part as wrong:
            self._wrong((*path, *wrong.path), f"`{key}`: {wrong}")
        except msgspec.ValidationError as wrong:
            self._wrong(path, f"`{key}` is {_shown(value)}: {str(wrong)[:1].lower()}{str(wrong)[1:]}")
        except ValueError as wrong:
            self._wrong(path, f"`{key}`: {wrong}")
        return None

    def _wrong(self, path: Path, message: str) -> None:
        self.mistakes.append(Mistake(path, message))


def _converted(hint: Any, value: object, table: Mapping[str, object]) -> object:  # noqa: ANN401 # a type
    """A value that is no list of records. Raises ValueError, msgspec.ValidationError."""
    if hint == Week:
        return _week(value)
    if hint == dict[str, Week]:
        return dict(_weeks(value, table))
    if hint == tuple[Span, ...]:
        return _spans(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        words = [word.value for word in hint]
        if value not in words:
            raise ValueError(f"{_shown(value)} is none of {', '.join(words)}{perhaps(str(value), words)}")
        return hint(value)
    converted = msgspec.convert(value, hint)
    if "\0" in str(converted):
        raise ValueError("text cannot hold a NUL character")
    return converted


def _weeks(value: object, table: Mapping[str, object]) -> Iterator[tuple[str, Week]]:
    """Working hours by branch: given once for all of a person's branches, or for each."""
    branches = table.get("branches")
    names = [name for name in branches if isinstance(name, str)] if isinstance(branches, list) else []
    if isinstance(value, dict) and not (value.keys() <= set(WEEKDAYS) and value.keys().isdisjoint(names)):
        for name, week in value.items():
            try:
                yield name, _week(week)
            except _Part as wrong:
                raise _Part(str(wrong), name, *wrong.path) from wrong
            except ValueError as wrong:
                raise _Part(str(wrong), name) from wrong
        return
    week = _week(value)
    for name in names:
        yield name, week


def _week(value: object) -> Week:
    if isinstance(value, str):
        return parse_week(value)
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is no week such as Mon-Thu 08:00-12:30 13:30-18:00, Fri 08:00-14:00")
    found: Week = {}
    for name, spans in value.items():
        day = _day(name)
        try:
            found[day] = _spans(spans)
        except ValueError as wrong:
            raise _Part(str(wrong), name) from wrong
    return {day: found[day] for day in WEEKDAYS if day in found}


def _day(name: str) -> Weekday:
    for day in WEEKDAYS:
        if day == name:
            return day
    raise _Part(f"`{name}` is no day of the week{perhaps(name, WEEKDAYS)}", name)


def _spans(value: object) -> tuple[Span, ...]:
    if isinstance(value, str):
        return parse_spans(value)
    try:
        spans = msgspec.convert(value, tuple[tuple[time, time], ...])
    except msgspec.ValidationError:
        raise ValueError(f"{_shown(value)} is no list of spans such as 08:00-12:30 13:30-18:00") from None
    return tuple(sorted(spans))


def _shown(value: object) -> str:
    """A value as it stands in the file, shortened."""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"  # what fits on a line beside the rest
