"""What a node needs to work on another system's stores: addresses, passwords, secrets and shared settings, in one file.

Made by `askpro node invite`, taken by `askpro serve --join FILE`, kept in the node's data directory (mode 0600).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from backend.postgres.address import PostgresAddress, Role
from backend.stack.failures import StackFailure, place_unusable

NEEDED = (Role.API, Role.WORKER, Role.WATCH, Role.CONSOLE)
"""The roles a node logs in as: it neither migrates nor writes companies."""

ANOTHER = "Make another one with `askpro node invite` on the system that the node is to join."


Setting: TypeAlias = bool | int | float | str | list[int | float | str]
"""A setting's value as JSON has it."""


class JoinWrong(StackFailure):
    """The file cannot be used; says what is wrong with it."""


class Join(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One system as its nodes know it. Holds passwords."""

    askpro_join: Literal[1] = 1
    """Format of the file."""
    made_by: str = ""
    """The node that invited."""
    version: str = ""
    """Its version."""
    postgres_host: str
    """A host name, or the directory of the Unix socket."""
    postgres_port: int = 5432
    postgres_database: str = "askpro"
    valkey_url: str
    """`unix:///path` or `redis://[:password@]host:port/0`."""
    is_demo: bool = False
    """The customers are invented: nobody gets mail."""
    passwords: dict[str, str]
    """By login role."""
    secrets: dict[str, str] = {}
    """What its workers and API need to talk to providers, by name."""
    settings: dict[str, Setting] = {}
    """Settings that must be alike on every node, by dotted key."""

    def __repr__(self) -> str:
        return f"Join({self.where})"

    @property
    def where(self) -> str:
        """The database's place, for people."""
        if self.postgres_host.startswith("/"):
            return self.postgres_host
        return f"{self.postgres_host}:{self.postgres_port}"

    @property
    def address(self) -> PostgresAddress:
        """The database's address with the roles' passwords."""
        return PostgresAddress(
            host=self.postgres_host, port=self.postgres_port, database=self.postgres_database, passwords=self.passwords
        )


def read_join(path: Path) -> Join | None:
    """The join that is kept at `path`; None when there is none. Raises JoinWrong."""
    try:
        return decode_join(path.read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise JoinWrong(f"{path} cannot be read: {error.strerror or error}.") from error


def decode_join(content: bytes, name: str) -> Join:
    """What the file `name` says. Raises JoinWrong."""
    try:
        join = msgspec.json.decode(content, type=Join)
    except msgspec.ValidationError as wrong:
        raise JoinWrong(f"{name} is not what `askpro node invite` writes: {wrong}.", ANOTHER) from wrong
    except msgspec.DecodeError as wrong:
        raise JoinWrong(f"{name} is no join file: it is not JSON ({wrong}).", ANOTHER) from wrong
    missing = [role.value for role in NEEDED if not join.passwords.get(role.value)]
    if missing:
        raise JoinWrong(f"{name} lacks the password of {', '.join(missing)}.", ANOTHER)
    address = urlsplit(join.valkey_url)
    if address.scheme not in {"unix", "redis", "rediss"} or not (address.hostname or address.path):
        raise JoinWrong(
            f"{name}: valkey_url is `{_without_password(join.valkey_url)}`, which is no address of Valkey.",
            "It is unix:///path or redis://host:port/0.",
        )
    return join


def write_join(path: Path, join: Join) -> None:
    """Keep it at `path`, readable by its owner alone, in one step. Raises PlaceUnusable."""
    temporary = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(join_text(join))
        temporary.replace(path)
    except OSError as error:
        raise place_unusable(path, error) from error


def join_text(join: Join) -> bytes:
    """The file's content."""
    return msgspec.json.format(msgspec.json.encode(join)) + b"\n"


def _without_password(url: str) -> str:
    return f"…@{url.rpartition('@')[2]}" if "@" in url else url
