"""A company's file described for editors: a JSON Schema (2020-12) made from the records and the texts under them."""

from __future__ import annotations

import inspect
from datetime import date
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from askpro_console.field_texts import field_texts
from backend.domain.vocabulary import Bundesland
from backend.domain.weeks import WEEKDAYS, Span, Week
from backend.services.companies import declarations as company_declarations
from backend.services.companies.checks import REMINDERS, SENT
from backend.services.companies.declarations import CompanyDeclaration

_CLOCK = r"([01]?\d|2[0-3]):[0-5]\d"
_SPANS = {
    "type": "string",
    "pattern": rf"^\s*({_CLOCK}-({_CLOCK}|24:00)[\s,]*)*$",
    "examples": ["08:00-12:30 13:30-18:00"],
}
_WEEK = {
    "anyOf": [
        {"type": "string", "examples": ["Mon-Thu 08:00-12:30 13:30-18:00, Fri 08:00-14:00"]},
        {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(WEEKDAYS, _SPANS)},
    ]
}


def json_schema() -> dict[str, Any]:
    """The schema of a company's TOML file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "AskPro company"} | _record(
        CompanyDeclaration
    )


def _record(kind: type[msgspec.Struct]) -> dict[str, Any]:
    texts = field_texts(company_declarations)
    hints = get_type_hints(kind, include_extras=True)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for info in msgspec.structs.fields(kind):
        text = next(texts[base.__name__, info.name] for base in kind.__mro__ if (base.__name__, info.name) in texts)
        properties[info.encode_name] = _value(info.name, hints[info.name]) | {"description": text}
        if info.required:
            required.append(info.encode_name)
        elif isinstance(info.default, str | int) and info.default != "":
            properties[info.encode_name]["default"] = info.default
    return {
        "type": "object",
        "description": inspect.getdoc(kind) or "",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _value(name: str, hint: Any) -> dict[str, Any]:  # noqa: ANN401 # a type
    if name == "bundesland":
        return {"enum": [*(item.value for item in Bundesland), ""]}
    if hint == Week:
        return dict(_WEEK)
    if hint == dict[str, Week]:
        return {"anyOf": [*_WEEK["anyOf"], {"type": "object", "additionalProperties": _WEEK}]}
    if hint == tuple[Span, ...]:
        return dict(_SPANS)
    if get_origin(hint) is tuple and isinstance(item := get_args(hint)[0], type) and issubclass(item, msgspec.Struct):
        return {"type": "array", "items": _record(item)}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _record(hint)
    if name in {"send", "reminders"}:
        return {"type": "array", "uniqueItems": True, "items": {"enum": list(SENT if name == "send" else REMINDERS)}}
    if date in (hint, *get_args(hint)):
        return {"type": "string", "format": "date"}
    found = msgspec.json.schema(hint)
    reference = found.pop("$ref", None)
    definitions = found.pop("$defs", {})
    return dict(definitions[reference.rpartition("/")[2]]) if reference else found
