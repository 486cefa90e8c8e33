"""`askpro config`: every setting, its value and where it comes from; a schema for editors; a commented example."""

from __future__ import annotations

import argparse
import json
from typing import Any

from askpro_console import policy_settings
from askpro_console.settings import Size
from askpro_console.settings_file import Field, Loaded, fields
from askpro_console.settings_schema import descriptions, json_schema, section_descriptions
from askpro_console.system import System

NAME = "config"
HELP = "print every setting and where it comes from"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--schema", action="store_true", help="print a JSON Schema of the file, for editors")
    what.add_argument("--example", action="store_true", help="print a commented file with every default")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for."""
    if args.schema:
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    if args.example:
        print(example(), end="")
        return 0
    loaded = System.load().loaded
    if args.json:
        print(json.dumps(_as_json(loaded), ensure_ascii=False))
        return 0
    state = "" if loaded.file_exists else " (does not exist: `askpro config --example` prints one to start from)"
    print(f"file     {loaded.file}{state}")
    print(f"profile  {loaded.profile} (of {', '.join(loaded.profiles)})\n")
    rows = [(field.key, shown(value_of(loaded, field.key), field), loaded.origins[field.key]) for field in fields()]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for key, value, origin in rows:
        print(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {origin}")
    print("\nWhat holds for queues and job types: `askpro queue policies`.")
    return 0


def _as_json(loaded: Loaded) -> dict[str, Any]:
    told = descriptions()
    return {
        "file": str(loaded.file),
        "profile": loaded.profile,
        "profiles": loaded.profiles,
        "settings": [
            {
                "key": field.key,
                "value": value_of(loaded, field.key),
                "origin": loaded.origins[field.key],
                "variable": field.variable,
                "description": told[field.key],
            }
            for field in fields()
        ],
        "policies": [
            {"subject": line.subject, "name": line.name, "value": line.value, "origin": line.source}
            for line in loaded.policies.lines()
        ],
    }


def value_of(loaded: Loaded, key: str) -> object:
    """The value in force of a dotted key."""
    value: object = loaded.settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def shown(value: object, field: Field) -> str:
    """A value as it would stand in the file."""
    if field.kind is Size and isinstance(value, int):
        for unit, size in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
            if value and value % size == 0:
                return f'"{value // size} {unit}"'
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def example() -> str:
    """A settings file that says nothing but what is true anyway, with every setting explained."""
    told, sections = descriptions(), section_descriptions()
    lines = ['profile = "local"', "", "[profiles.local]"]
    section = ""
    for field in fields():
        own, _, name = field.key.rpartition(".")
        if own != section:
            section = own
            lines += ["", f"# {sections[own]}", f"[profiles.local.{own}]"]
        lines += [f"# {told[field.key]}", f"# {name} = {shown(field.default, field)}"]
    lines += [*policy_settings.example("local"), "", "[profiles.production]", ""]
    return "\n".join(lines)
