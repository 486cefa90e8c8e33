"""A declaration as TOML, the way a person would write it: what is at its default is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from enum import StrEnum

import msgspec

from backend.domain.weeks import format_spans, format_week
from backend.services.companies.declarations import CompanyDeclaration, fields_of

WIDTH = 110
"""A list that makes a longer line is written with one item on each."""


def write_declaration(declaration: CompanyDeclaration) -> str:
    """The file that `read_declaration` reads back as the same declaration."""
    return "\n".join(_table(declaration, "", None)).strip("\n") + "\n"


def _table(record: msgspec.Struct, place: str, number: int | None) -> Iterator[str]:
    """A record's lines: its own keys, then the records in it. `number` is its place in a list, None outside of one."""
    if place:
        yield ""
        yield f"[{place}]" if number is None else f"[[{place}]]"
    nested: list[tuple[str, msgspec.Struct | tuple[msgspec.Struct, ...]]] = []
    for info in fields_of(type(record)):
        value = getattr(record, info.name)
        if not info.required and value == _default(info):
            continue
        if isinstance(value, msgspec.Struct) or (
            isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct)
        ):
            nested.append((info.encode_name, value))
        else:
            yield from _pair(info.encode_name, value)
    for key, records in nested:
        inner = f"{place}.{key}" if place else key
        if isinstance(records, msgspec.Struct):
            yield from _table(records, inner, None)
            continue
        if key == "segments":
            yield f"{key} = ["
            yield from (f"    {_inline(segment)}," for segment in records)
            yield "]"
            continue
        for position, one in enumerate(records):
            yield from _table(one, inner, position)


def _default(info: msgspec.structs.FieldInfo) -> object:
    return info.default_factory() if info.default_factory is not msgspec.NODEFAULT else info.default


def _pair(key: str, value: object) -> Iterator[str]:
    if key in {"opening_hours", "breaks"} and isinstance(value, dict):
        yield f"{key} = {_text(format_week(value))}"
    elif key == "hours" and isinstance(value, tuple):
        yield f"{key} = {_text(format_spans(value))}"
    elif key == "calcom_event_types" and isinstance(value, dict):
        yield from (f"{key}.{service} = {_value(number)}" for service, number in value.items())
    elif isinstance(value, dict):
        for branch, week in value.items():
            yield f"{key}.{branch} = {_text(format_week(week))}"
    elif isinstance(value, tuple):
        line = f"{key} = [{', '.join(map(_value, value))}]"
        if len(line) <= WIDTH:
            yield line
        else:
            yield f"{key} = ["
            yield from (f"    {_value(item)}," for item in value)
            yield "]"
    else:
        yield f"{key} = {_value(value)}"


def _inline(record: msgspec.Struct) -> str:
    pairs = (
        f"{info.encode_name} = {_value(value)}"
        for info in fields_of(type(record))
        if (value := getattr(record, info.name)) != info.default or info.required
    )
    return f"{{ {', '.join(pairs)} }}"


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case StrEnum():
            return _text(value.value)
        case str():
            return _text(value)
        case int() | date():
            return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a declaration")


def _text(text: str) -> str:
    """A basic string of TOML. JSON's escapes are TOML's, but for the two that it leaves plain or splits."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
