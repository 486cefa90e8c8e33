"""How to reach the database, and the roles that may log in to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """The login roles; none of them is a superuser."""

    MIGRATE = "askpro_migrate"
    """Member of the owner; runs migrations and nothing else."""
    SETUP = "askpro_setup"
    """Writes companies and imported history across tenants (`company apply`, the simulator's history)."""
    API = "askpro_api"
    """One tenant at a time; intake through its function."""
    WORKER = "askpro_worker"
    """One tenant at a time; drives the queue."""
    WATCH = "askpro_watch"
    """Reads everything, changes nothing: collectors and publisher. May use reserved connections."""
    CONSOLE = "askpro_console"
    """Reads everything, changes nothing: the console's details and history."""


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Address of one database; the passwords stay out of `repr`."""

    host: str
    """A host name, or the directory of the Unix socket."""
    port: int
    database: str
    passwords: Mapping[str, str] = field(repr=False)
    """Password of each login role."""


@dataclass(frozen=True, slots=True)
class Superuser:
    """Address of the server for its administrator: used once, to set up roles and database, never at run time."""

    host: str
    """A host name, or the directory of the Unix socket."""
    port: int = 5432
    user: str = "postgres"
    password: str | None = field(default=None, repr=False)
