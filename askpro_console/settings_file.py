"""Reading the settings: the TOML file's active profile, the environment over it, every mistake named with its place.

A mistake is reported with file, line and key, and with the nearest right key or value; all of them at once.
Profiles that are not active are checked too, so that a typo in `production` is found on a developer's machine.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from askpro_console.policy_settings import (
    built_in,
    is_policy,
    policies_of,
    policy_contradictions,
    policy_kinds,
    table_of,
)
from askpro_console.refusal import WrongUsage, nearest
from askpro_console.settings import Settings, Size
from askpro_console.settings_checks import contradictions
from askpro_console.toml_lines import Path as Place
from askpro_console.toml_lines import key_lines, line_of
from backend.domain.nearest import perhaps
from backend.queue.policies import Policies

DEFAULT_PROFILE = "local"
KNOWN_PROFILES = ("local", "production")
"""These can be chosen even when the file does not mention them; they then hold the defaults."""

ENVIRONMENT_PREFIX = "ASKPRO_"
LIKE_A_SETTING = 0.85
"""A variable whose name is so similar to a setting's is a typo, not somebody else's variable."""

_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


class SettingsWrong(WrongUsage):
    """The settings file or a variable of the environment says something that cannot be."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting."""

    key: str
    """Dotted: `api.port`."""
    kind: Any
    """Its type, with limits."""
    default: object

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return ENVIRONMENT_PREFIX + self.key.replace(".", "_").upper()


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, and how they came about."""

    settings: Settings
    profile: str
    profiles: tuple[str, ...]
    """Profiles that can be chosen."""
    origins: Mapping[str, str]
    """Dotted key to `default`, `askpro.toml:12`, `join file` or the variable's name."""
    file: Path
    file_exists: bool
    policies: Policies
    """Of queues and job types, with what the file and the environment say of them."""


def fields() -> tuple[Field, ...]:
    """Every setting but the policies of queues and job types, in the order of the records."""
    return tuple(_fields_of(Settings, ""))


@cache
def policy_fields() -> tuple[Field, ...]:
    """Every setting of queues and job types."""
    return tuple(
        Field(key, kind, built_in(*key.partition(".")[2].rsplit(".", 1))) for key, kind in policy_kinds().items()
    )


def _fields_of(record: type[msgspec.Struct], prefix: str) -> Iterator[Field]:
    hints = get_type_hints(record, include_extras=True)
    for info in msgspec.structs.fields(record):
        kind = hints[info.name]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from _fields_of(kind, f"{prefix}{info.name}.")
        else:
            yield Field(prefix + info.name, kind, info.default)


def load(file: Path, environ: Mapping[str, str], shared: Mapping[str, object] | None = None) -> Loaded:
    """The settings of the active profile: `ASKPRO_PROFILE`, else the file's `profile`, else `local`.

    Args:
        file: The settings file; it may be absent.
        environ: The environment, which wins.
        shared: What the system that this node has joined set, by dotted key; this node's own settings win.

    Raises:
        SettingsWrong: with every mistake found, each on a line of its own.
    """
    document, lines, mistakes = _read(file)
    profiles = document.get("profiles", {})
    if not isinstance(profiles, dict):
        raise SettingsWrong(f"{file}: `profiles` must be tables such as [profiles.{DEFAULT_PROFILE}]")
    plain = fields()
    known = {field.key: field for field in (*plain, *policy_fields())}
    values: dict[str, dict[str, tuple[object, int]]] = {}
    for key in document.keys() - {"profile", "profiles"}:
        mistakes.append(_at(file, lines, (key,)) + _unknown(key, ["profile", "profiles"]))
    for name, table in profiles.items():
        values[name] = {}
        if not isinstance(table, dict):
            mistakes.append(_at(file, lines, ("profiles", name)) + f"`profiles.{name}` must be a table")
            continue
        for path, value in _leaves(table, known):
            key, line = ".".join(path), line_of(lines, ("profiles", name, *path))
            try:
                values[name][key] = (_checked(key, value, known), line)
            except ValueError as wrong:
                mistakes.append(f"{file}:{line}: {wrong}")
    if not isinstance(document.get("profile", ""), str):
        mistakes.append(_at(file, lines, ("profile",)) + "`profile` must be a name; tables are [profiles.NAME]")
        document["profile"] = DEFAULT_PROFILE
    available = tuple(dict.fromkeys((*profiles, *KNOWN_PROFILES)))
    profile, chosen_at = _profile(document, environ, file, lines)
    if profile not in available:
        mistakes.append(f"{chosen_at}: there is no profile `{profile}`{perhaps(profile, available)}")
    merged = _from_join(shared or {}, known, mistakes)
    merged |= {key: (value, f"{file.name}:{line}") for key, (value, line) in values.get(profile, {}).items()}
    merged |= _from_environment(environ, known, mistakes)
    if mistakes:
        raise SettingsWrong("\n".join(mistakes))
    contradicted = list(_contradicted(file, merged))
    for name, told in values.items():
        if name != profile:
            idle = {key: (value, f"{file.name}:{line}") for key, (value, line) in told.items()}
            contradicted += _contradicted(file, idle)
    if contradicted:
        raise SettingsWrong("\n".join(contradicted))
    return Loaded(
        settings=_build(merged),
        profile=profile,
        profiles=available,
        origins={field.key: merged[field.key][1] if field.key in merged else "default" for field in plain},
        file=file,
        file_exists=file.exists(),
        policies=_policies(profile, merged),
    )


def _policies(profile: str, told: Mapping[str, tuple[object, str]]) -> Policies:
    """The policies, each value with its source in words."""

    def source(key: str, origin: str) -> str:
        if origin.startswith(ENVIRONMENT_PREFIX):
            return f"environment {origin}"
        return f"{origin} {table_of(profile, key)}" if ":" in origin else origin

    return policies_of({key: (value, source(key, origin)) for key, (value, origin) in told.items() if is_policy(key)})


def _contradicted(file: Path, told: Mapping[str, tuple[object, str]]) -> Iterator[str]:
    """What the settings of one profile say against each other, with the place of one of them."""
    for key, message in (*contradictions(_build(told)), *policy_contradictions(_policies("", told))):
        origin = told[key][1] if key in told else file.name
        place = origin if origin == "join file" else f"environment: {origin}"
        if origin.startswith(file.name):
            place = f"{file}{origin.removeprefix(file.name)}"
        yield f"{place}: {message}"


def _read(file: Path) -> tuple[dict[str, Any], dict[Place, int], list[str]]:
    try:
        text = file.read_text(encoding="utf-8")
        return tomllib.loads(text), key_lines(text), []
    except (FileNotFoundError, NotADirectoryError):
        return {}, {}, []
    except tomllib.TOMLDecodeError as wrong:
        raise SettingsWrong(f"{file}: not TOML: {wrong}") from wrong
    except UnicodeDecodeError as wrong:
        raise SettingsWrong(f"{file}: not UTF-8 text: {wrong}") from wrong
    except OSError as wrong:
        raise SettingsWrong(f"{file}: cannot be read: {wrong.strerror}") from wrong


def _profile(
    document: Mapping[str, Any], environ: Mapping[str, str], file: Path, lines: Mapping[Place, int]
) -> tuple[str, str]:
    if from_environment := environ.get("ASKPRO_PROFILE"):
        return from_environment, "--profile or ASKPRO_PROFILE"
    chosen = document.get("profile", DEFAULT_PROFILE)
    return chosen, f"{file}:{line_of(lines, ('profile',))}"


def _leaves(table: Mapping[str, Any], known: Mapping[str, Field], prefix: tuple[str, ...] = ()) -> Iterator[Any]:
    """The paths and values in a profile's table; a table that is no section is a leaf, to be refused."""
    sections = _sections(known)
    for name, value in table.items():
        path = (*prefix, name)
        # A job type's name has a dot of its own: quoted it is one key, unquoted two.
        if isinstance(value, dict) and ".".join(path) in sections:
            yield from _leaves(value, known, path)
        else:
            yield path, value


def _sections(known: Mapping[str, Field]) -> set[str]:
    """Every table that stands above a setting, dotted."""
    parts = (key.split(".")[:-1] for key in known)
    return {".".join(part[: count + 1]) for part in parts for count in range(len(part))}


def _checked(key: str, value: object, known: Mapping[str, Field]) -> object:
    field = known.get(key)
    if field is None:
        sections = _sections(known)
        if key in sections:
            raise ValueError(f"`{key}` must be a table, as in [profiles.{DEFAULT_PROFILE}.{key}]")
        # A key is compared with those beside it, else with all keys and tables that stand as deep.
        above = key.rpartition(".")[0]
        beside = [other for other in known if above and other.rpartition(".")[0] == above]
        alike = [other for other in (*known, *sections) if other.count(".") == key.count(".")]
        raise ValueError(_unknown(key, beside or alike))
    return _converted(field, value, strict=True)


def _converted(field: Field, value: object, *, strict: bool) -> object:
    """`value` as the field's type. Raises ValueError that names key, value and what would be right."""
    if field.kind is Size and isinstance(value, str):
        return _size(field.key, value)
    kind = Annotated[int, msgspec.Meta(ge=0)] if field.kind is Size else field.kind
    if isinstance(value, str) and not strict and isinstance(field.default, tuple):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, type=kind, strict=strict)
    except msgspec.ValidationError as wrong:
        shown = repr(value) if isinstance(value, str) else str(value)
        if get_origin(field.kind) is Literal:
            choices = [str(choice) for choice in get_args(field.kind)]
            near = perhaps(str(value), choices)
            raise ValueError(f"`{field.key}` is {shown}, but must be one of {', '.join(choices)}{near}") from wrong
        raise ValueError(f"`{field.key}` is {shown}: {str(wrong).lower()}") from wrong


def _size(key: str, text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"`{key}` is {text!r}, but must be a size such as 1048576, '512 MB' or '1 GB'")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _from_environment(
    environ: Mapping[str, str], known: Mapping[str, Field], mistakes: list[str]
) -> dict[str, tuple[object, str]]:
    variables = {field.variable: field for field in known.values()}
    found: dict[str, tuple[object, str]] = {}
    for name, text in environ.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or not text:
            continue
        if (field := variables.get(name)) is None:
            if near := mistyped(name, variables):
                mistakes.append(f"environment: there is no setting {name}; did you mean {near}?")
            continue
        try:
            found[field.key] = (_converted(field, text, strict=False), name)
        except ValueError as wrong:
            mistakes.append(f"environment: {name}: {wrong}")
    return found


def _from_join(
    shared: Mapping[str, object], known: Mapping[str, Field], mistakes: list[str]
) -> dict[str, tuple[object, str]]:
    """What the joined system set; a setting that this version does not have has no meaning here."""
    found: dict[str, tuple[object, str]] = {}
    for key, value in shared.items():
        if key in known:
            try:
                found[key] = (_checked(key, value, known), "join file")
            except ValueError as wrong:
                mistakes.append(f"join file: {wrong}")
    return found


def mistyped(name: str, variables: Mapping[str, Field]) -> str | None:
    """The setting's variable that `name` was meant to be, when it is so similar that it can be nothing else."""
    if name.startswith(("ASKPRO_SECRET_", "ASKPRO_HOME", "ASKPRO_PROFILE")):
        return None
    return nearest(name, variables, cutoff=LIKE_A_SETTING)


def _build(told: Mapping[str, tuple[object, str]]) -> Settings:
    nested: dict[str, Any] = {}
    for key, (value, _) in told.items():
        if is_policy(key):
            continue
        *section, name = key.split(".")
        (nested.setdefault(section[0], {}) if section else nested)[name] = value
    return msgspec.convert(nested, type=Settings)


def _unknown(key: str, right: list[str]) -> str:
    return f"there is no setting `{key}`{perhaps(key, right)}"


def _at(file: Path, lines: Mapping[Place, int], path: Place) -> str:
    return f"{file}:{line_of(lines, path)}: "
