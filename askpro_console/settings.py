"""The settings: what can be set, its default and its limits. Reading the file is `settings_file`'s subject.

One TOML file with profiles; a setting is `section.key` in a profile, and `ASKPRO_SECTION_KEY` in the environment,
which wins. Secrets are never settings (see `secrets`). The docstring under each field is what `askpro config` prints.
"""

from __future__ import annotations

from typing import Annotated, Literal, NewType

import msgspec

Size = NewType("Size", int)
"""Bytes; written as a number or as text with a unit: `"512 MB"`, `"1 GiB"` (both count in 1024s)."""

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]

MIB = 1024 * 1024


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP API."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for all."""
    port: Port = 8400
    """Port to listen on; 0 for any free one."""
    port_tries: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    """How many ports to try, upwards from `port`, when it is taken; 1 insists on `port`."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log files of every process."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe records that are kept."""
    file_size: Size = Size(50 * MIB)
    """A log file that has grown to this size is rotated; every file is rotated daily as well."""
    total_size: Size = Size(1024 * MIB)
    """The oldest rotated files are deleted beyond this size in total."""


class StackSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The processes and their supervisor."""

    memory_ceiling: Size = Size(512 * MIB)
    """A process of ours that holds more resident memory is drained and started afresh."""
    start_timeout_s: Seconds = 60.0
    """How long `askpro up` waits for the system to be ready."""


class PostgresSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded PostgreSQL server; a change applies at its next start."""

    shared_buffers: Size = Size(128 * MIB)
    """Memory for its page cache."""
    max_connections: Annotated[int, msgspec.Meta(ge=40, le=1000)] = 100
    """Connections it allows."""


class ValkeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded Valkey server; a change applies at its next start."""

    max_memory: Size = Size(256 * MIB)
    """Memory for its data; it holds nothing that cannot be rebuilt."""


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The console."""

    theme: str = "auto"
    """Name of a theme (`:theme` lists them); `auto` takes the one that suits the terminal."""
    keymap: str = ""
    """File with own keys; empty for `keymap.toml` beside the settings file."""
    mouse: bool = True
    """React to the mouse; without, the terminal's own selection works."""
    read_only: bool = False
    """Allow no action that changes anything."""


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The demo traffic of `--demo`."""

    calls_per_minute: Annotated[float, msgspec.Meta(gt=0, le=6000)] = 12.0
    """Rate of simulated calls."""
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    """Equal seeds make equal traffic."""
    history_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 56
    """Days of history that a new demo system starts with."""


class SecretSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where secrets are looked up after files and environment."""

    keyring: str = "auto"
    """`auto` for the desktop's own keyring, `off` for none, or a backend's class, `module.Class`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. What a section is about stands with its record."""

    api: ApiSettings = ApiSettings()
    logs: LogSettings = LogSettings()
    stack: StackSettings = StackSettings()
    postgres: PostgresSettings = PostgresSettings()
    valkey: ValkeySettings = ValkeySettings()
    console: ConsoleSettings = ConsoleSettings()
    demo: DemoSettings = DemoSettings()
    secrets: SecretSettings = SecretSettings()
