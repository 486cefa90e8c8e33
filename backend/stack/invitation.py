"""An invitation: the file that lets a node join, sealed with a key that travels another way and is kept nowhere.

Made by `askpro node invite`, taken by `askpro serve --join FILE`. Readable in it is who made it, when, and with which
version; addresses, passwords, secrets and settings are one block, encrypted with AES-128-GCM under the key.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from backend.stack.failures import PlaceUnusable, place_unusable
from backend.stack.join import ANOTHER, Join, JoinWrong, decoded, examined

FORMAT: Final = 2

MOST_BYTES = 1024 * 1024
"""A file is not read beyond this; an invitation has some kilobytes."""

KEY_BYTES = 16
KEY_LETTERS = 26
"""Of base 32, in which a key is written."""
NONCE_BYTES = 12

_GROUP = 5

_MISREAD = str.maketrans({"0": "O", "1": "I", "8": "B"})
"""Digits that no key has, and what they were read for."""


class KeyWrong(JoinWrong):
    """What was given as the invitation's key does not open it."""


class Invited(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an invitation holds. Passwords and secrets among it."""

    join: Join
    secrets: dict[str, str] = {}
    """What workers and API need to talk to providers, by name; the node keeps them in its own sealed file."""

    def __repr__(self) -> str:
        return f"Invited({self.join.where})"


class Invitation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    askpro_join: Literal[2] = FORMAT
    """Format of the file."""
    made_by: str = ""
    """The node that invited."""
    version: str = ""
    """Its version."""
    made_at: str = ""
    """ISO 8601, UTC."""
    nonce: str
    """Base 64, as the next."""
    sealed: str

    def header(self) -> bytes:
        """What is authenticated along with the content."""
        return msgspec.json.encode([self.askpro_join, self.made_by, self.version, self.made_at])


def new_key() -> str:
    """A key as people read it: letters and digits in groups."""
    text = base64.b32encode(secrets.token_bytes(KEY_BYTES)).decode().rstrip("=")
    groups = [text[start : start + _GROUP] for start in range(0, KEY_LETTERS - 1, _GROUP)]
    return "-".join([*groups[:-1], groups[-1] + text[KEY_LETTERS - 1]])


def seal(invited: Invited, key: str) -> bytes:
    """The file's content. Raises KeyWrong when `key` is none."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(NONCE_BYTES)
    empty = Invitation(
        made_by=invited.join.made_by,
        version=invited.join.version,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        nonce=_packed(nonce),
        sealed="",
    )
    sealed = AESGCM(_key(key)).encrypt(nonce, msgspec.json.encode(invited), empty.header())
    return msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(empty, sealed=_packed(sealed)))) + b"\n"


def read_invitation(content: bytes, name: str) -> Invitation:
    """The invitation in the file `name`, sealed as it is. Raises JoinWrong, which says what is wrong where."""
    told = examined(content, name)
    if "askpro_joined" in told:
        raise JoinWrong(f"{name} is what a node that joined keeps for itself, not an invitation.", ANOTHER)
    if "askpro_join" not in told:
        raise JoinWrong(f"{name} is no invitation: it lacks `askpro_join`, with which each one begins.", ANOTHER)
    if (found := told["askpro_join"]) != FORMAT:
        by = told.get("version")
        made = f", made by askpro {by[:40]}" if isinstance(by, str) and by else ""
        raise JoinWrong(
            f"{name} is an invitation of format {str(found)[:20]}{made}; this version reads format {FORMAT}.",
            "Both machines need the same version of askpro: then make another one with `askpro node invite`.",
        )
    return decoded(content, name, Invitation)


def open_invitation(invitation: Invitation, key: str, name: str) -> Invited:
    """What it holds. Raises KeyWrong, or JoinWrong when what is in it cannot be used."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        nonce, sealed = _unpacked(invitation.nonce), _unpacked(invitation.sealed)
    except (binascii.Error, ValueError) as wrong:
        raise JoinWrong(f"{name} was damaged on its way: what is sealed in it is no base 64.", ANOTHER) from wrong
    try:
        plain = AESGCM(_key(key)).decrypt(nonce, sealed, invitation.header())
    except (InvalidTag, ValueError) as wrong:
        raise KeyWrong(
            f"The key does not open {name}: it is mistyped or another invitation's, or the file was changed.",
            f"`askpro node invite` printed it when it made the file ({invitation.made_at or 'no time told'}"
            f" on {invitation.made_by or 'no node told'}). Without it, make another one.",
        ) from wrong
    invited = decoded(plain, f"What is sealed in {name}", Invited)
    invited.join.check(name)
    return invited


def write_new(path: Path, content: bytes) -> None:
    """Make the file, readable by its owner alone; nothing that is there is written to. Raises PlaceUnusable."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise PlaceUnusable(f"{path} is there already.", "Name another file, or remove that one first.") from error
    except OSError as error:
        if not path.parent.is_dir():
            raise PlaceUnusable(f"There is no directory {path.parent}.", "Make it, or name another file.") from error
        raise PlaceUnusable(f"{path} cannot be made: {error.strerror or error}.", "Name another file.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise place_unusable(path, error) from error


def _key(text: str) -> bytes:
    letters = "".join(text.split()).replace("-", "").upper().translate(_MISREAD)
    try:
        if len(letters) == KEY_LETTERS:
            return base64.b32decode(letters + "=" * (-len(letters) % 8))
    except binascii.Error:
        pass
    raise KeyWrong(
        f"That is no key of an invitation: it has {len(letters)} characters of which all must be A to Z or 2 to 7,"
        f" and a key has {KEY_LETTERS}.",
        "`askpro node invite` printed it, in five groups.",
    )


def _packed(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
