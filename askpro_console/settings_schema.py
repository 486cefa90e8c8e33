"""The settings described for people and editors: docstrings by key, and a JSON Schema of the file."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, get_type_hints

import msgspec

from askpro_console import policy_settings, settings
from askpro_console.field_texts import field_texts
from askpro_console.settings import Settings, Size


@cache
def descriptions() -> dict[str, str]:
    """The docstring under each field of the records, by dotted key."""
    told = field_texts(settings)
    found: dict[str, str] = {}
    for name, kind in get_type_hints(Settings).items():
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            found |= {f"{name}.{field}": told[kind.__name__, field] for field in kind.__struct_fields__}
        else:
            found[name] = told[Settings.__name__, name]
    return found


def section_descriptions() -> dict[str, str]:
    """What each section is about."""
    return {
        name: inspect.getdoc(kind) or ""
        for name, kind in get_type_hints(Settings).items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    }


def json_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) of the settings file."""
    told, sections = descriptions(), section_descriptions()
    profile: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    hints = get_type_hints(Settings, include_extras=True)
    for name, kind in hints.items():
        if name not in sections:
            profile["properties"][name] = _leaf(kind) | {"description": told[name]}
            continue
        properties = {
            field: _leaf(inner) | {"description": told[f"{name}.{field}"]}
            for field, inner in get_type_hints(kind, include_extras=True).items()
        }
        profile["properties"][name] = {
            "type": "object",
            "description": sections[name],
            "additionalProperties": False,
            "properties": properties,
        }
    profile["properties"] |= {
        section: {
            "type": "object",
            "additionalProperties": False,
            "properties": {subject: _policy(record) for subject in subjects},
        }
        for section, subjects, record in policy_settings.sections()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "AskPro settings",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "profile": {"type": "string", "description": "The profile in force, unless --profile names another."},
            "profiles": {"type": "object", "additionalProperties": profile},
        },
    }


def _policy(record: type[msgspec.Struct]) -> dict[str, Any]:
    hints, told = get_type_hints(record, include_extras=True), policy_settings.texts(record)
    return {
        "type": "object",
        "description": inspect.getdoc(record) or "",
        "additionalProperties": False,
        "properties": {name: _leaf(kind) | {"description": told[name]} for name, kind in hints.items()},
    }


def _leaf(kind: object) -> dict[str, Any]:
    if kind is Size:
        return {"type": ["integer", "string"], "minimum": 0, "examples": ["512 MB"]}
    return msgspec.json.schema(kind)
