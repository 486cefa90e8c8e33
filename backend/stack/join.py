"""What a node keeps of the system that it joined: addresses, passwords and shared settings.

It comes with an invitation (`backend/stack/invitation.py`) and lies in the node's data directory, mode 0600, as the
passwords of a system with its own database do. Secrets are not in it: the node's sealed file has them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec

from backend.domain.nearest import perhaps
from backend.postgres.address import PostgresAddress, Role
from backend.stack.failures import StackFailure, place_unusable

NEEDED = (Role.API, Role.WORKER, Role.WATCH, Role.CONSOLE)
"""The roles a node logs in as: it neither migrates nor writes companies."""

ANOTHER = "Make another one with `askpro node invite` on the system that the node is to join."

AGAIN = "`askpro node invite` on the other system, then `askpro serve --join FILE` here, puts that right."

Setting: TypeAlias = bool | int | float | str | list[int | float | str]
"""A setting's value as JSON has it."""

Record = TypeVar("Record", bound=msgspec.Struct)

_SCHEMES = ("unix", "redis", "rediss")


class JoinWrong(StackFailure):
    """The file cannot be used; says what is wrong with it."""


class Join(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One system as its nodes know it. Holds passwords."""

    askpro_joined: Literal[1] = 1
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

    def check(self, name: str) -> None:
        """Whether it can be used, as far as that shows without asking. Raises JoinWrong about the file `name`."""
        missing = [role.value for role in NEEDED if not self.passwords.get(role.value)]
        if missing:
            raise JoinWrong(f"{name} lacks the password of {', '.join(missing)}.", ANOTHER)
        if not is_host(self.postgres_host) or not 0 < self.postgres_port < 65_536:
            raise JoinWrong(
                f"{name}: the database is said to be at `{self.where}`, which is no place of one.",
                "It is HOST:PORT, or the directory of its socket.",
            )
        if (why := what_is_wrong_with(self.valkey_url)) is not None:
            raise JoinWrong(
                f"{name}: Valkey is said to be at `{_without_password(self.valkey_url)}`, {why}.",
                "It is unix:///path or redis://[:PASSWORD@]HOST:PORT/0, rediss:// with TLS.",
            )


def is_host(text: str) -> bool:
    """Whether it may be a host's name or address, or an absolute directory."""
    if text.startswith("/"):
        return "\0" not in text
    return re.fullmatch(r"[A-Za-z0-9_.:%-]{1,255}", text) is not None


def what_is_wrong_with(url: str) -> str | None:
    """Why this is no address of Valkey, as the end of a sentence; None when it may be one."""
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError as wrong:
        return f"which is no address ({str(wrong)[:1].lower()}{str(wrong)[1:]})"
    if address.scheme not in _SCHEMES:
        near = perhaps(address.scheme, _SCHEMES) if address.scheme else ""
        return f"which begins with none of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}{near}"
    if address.scheme == "unix":
        return None if address.path.strip("/") and not address.netloc else "which names no socket by its whole path"
    if not address.hostname or not is_host(address.hostname):
        return "which names no host"
    if port == 0:
        return "which names no port"
    if address.path.strip("/") and not address.path.strip("/").isdecimal():
        return "whose database is no number"
    return None


def read_join(path: Path) -> Join | None:
    """The join that is kept at `path`; None when there is none. Raises JoinWrong."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise JoinWrong(f"{path} cannot be read: {error.strerror or error}.", AGAIN) from error
    told = examined(content, str(path), AGAIN)
    if told.get("askpro_joined") != 1:
        raise JoinWrong(f"{path} was not kept by this version of askpro, which cannot read it.", AGAIN)
    join = decoded(content, str(path), Join, AGAIN)
    join.check(str(path))
    return join


def write_join(path: Path, join: Join) -> None:
    """Keep it at `path`, readable by its owner alone, in one step. Raises PlaceUnusable."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A name that nobody can foresee, so that nobody else has made that file.
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(join)) + b"\n")
                file.flush()
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise place_unusable(path, error) from error


def examined(content: bytes, name: str, hint: str = ANOTHER) -> dict[str, object]:
    """The JSON object in the file `name`. Raises JoinWrong, which says where it is none."""
    if not content.strip():
        raise JoinWrong(f"{name} is empty.", hint)
    try:
        text = content.decode()
    except UnicodeDecodeError as wrong:
        where = f"byte {wrong.start + 1} is {content[wrong.start]:#04x}"
        raise JoinWrong(f"{name} is not what was written: it is no text in UTF-8 ({where}).", hint) from wrong
    try:
        told = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as wrong:
        raise JoinWrong(f"{name} is cut off, was changed, or is another file: {_why_no_json(text)}.", hint) from wrong
    if not isinstance(told, dict):
        begins = text.strip()[:1]
        raise JoinWrong(f"{name} is another file: it is JSON that begins with `{begins}` and not with `{{`.", hint)
    return told


def _why_no_json(text: str) -> str:
    import json  # only here, where there is time: it tells line and column

    try:
        json.loads(text)
    except json.JSONDecodeError as wrong:
        return f"it is no JSON (line {wrong.lineno}, column {wrong.colno}: {wrong.msg[:1].lower()}{wrong.msg[1:]})"
    except (RecursionError, ValueError):
        pass
    return "it is no JSON"


def decoded(content: bytes, name: str, kind: type[Record], hint: str = ANOTHER) -> Record:
    """The record in the file `name`. Raises JoinWrong, which names the key that is wrong."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as wrong:
        raise JoinWrong(f"{name} cannot be used: {_in_words(str(wrong), kind)}.", hint) from wrong


def _in_words(complaint: str, kind: type[msgspec.Struct]) -> str:
    """What the decoder complains of, as the end of a sentence."""
    what, _, place = complaint.partition(" - at `$")
    at = place.rstrip("`").lstrip(".")
    inside = f"{at}." if at else ""
    if missing := re.fullmatch(r"Object missing required field `(.+)`", what):
        return f"it lacks `{inside}{missing[1]}`"
    if unknown := re.fullmatch(r"Object contains unknown field `(.+)`", what):
        names = [field.name for field in msgspec.structs.fields(kind)]
        return f"it has `{inside}{unknown[1]}`, which this version does not know{perhaps(unknown[1], names)}"
    if wrong := re.fullmatch(r"Expected `(.+)`, got `(.+)`", what):
        return f"`{at}` is of the kind {wrong[2]}, and must be {wrong[1]}"
    return f"{what[:1].lower()}{what[1:]}{f' (`{at}`)' if at else ''}"


def _without_password(url: str) -> str:
    return f"…@{url.rpartition('@')[2]}" if "@" in url else url
