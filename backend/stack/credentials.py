"""The passwords of the embedded database, made at the first start and known to nobody."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

from backend.postgres.address import Role
from backend.stack.failures import StackFailure, place_unusable

SUPERUSER = "postgres"
"""The administrator's entry in the file."""


def ensure_credentials(path: Path) -> tuple[dict[str, str], bool]:
    """The passwords by role, and whether the administrator's is new; missing ones are made and written (mode 0600).

    Removing the file renews every password at the next start. Raises StackFailure.
    """
    found: dict[str, str] = {}
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        pass
    except msgspec.MsgspecError as error:
        raise StackFailure(
            f"{path} is damaged: {error}.", "Remove it: the next start makes new passwords and keeps the data."
        ) from error
    except OSError as error:
        raise place_unusable(path, error) from error
    wanted = (SUPERUSER, *(role.value for role in Role))
    complete = {name: found.get(name) or secrets.token_urlsafe(24) for name in wanted}
    if complete != found:
        _write(path, complete)
    return complete, SUPERUSER not in found


def _write(path: Path, passwords: dict[str, str]) -> None:
    temporary = path.with_suffix(".new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(passwords))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise place_unusable(path, error) from error
