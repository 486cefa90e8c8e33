"""The sealed file: secrets of a machine that has no keyring of its own, encrypted as one block with AES-256-GCM.

The key is either a random key file (mode 0600, kept apart from the sealed file) or derived from a passphrase with
scrypt. The passphrase is never asked for here: `askpro secrets unlock` leaves the derived key in the run directory,
which a reboot empties. `keyrings.SealedKeyring` offers the file as a backend of the `keyring` package.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from backend.stack.layout import Layout

KEY_BYTES = 32
NONCE_BYTES = 12
SCRYPT_COST = 2**16
"""With 8 blocks: 64 MiB and a third of a second for one guess."""


class SealedError(Exception):
    """The sealed file cannot be used."""


class SealedLocked(SealedError):
    """The file is sealed with a passphrase, and this machine has not been unlocked since it started."""


class SealedBroken(SealedError):
    """The file was changed, cut short, or sealed with another key."""


class SealedExposed(SealedError):
    """Others than its owner may read the file."""


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    key: str
    """`file` or `passphrase`."""
    salt: str = ""
    cost: int = 0
    nonce: str
    sealed: str

    def header(self) -> bytes:
        """What is authenticated along with the content."""
        return f"askpro-sealed:{self.version}:{self.key}:{self.salt}:{self.cost}".encode()


@dataclass(frozen=True, slots=True)
class SealedPlaces:
    """The files of one sealed store."""

    sealed: Path
    key_file: Path
    """The random key; absent when a passphrase is used."""
    unlocked: Path
    """The key derived from a passphrase, until the next reboot."""


class SealedFile:
    """Named secrets in one encrypted file. Blocking, but local and quick: one derivation for each process."""

    def __init__(self, places: SealedPlaces) -> None:
        self.places = places
        self._derived: bytes | None = None

    @property
    def exists(self) -> bool:
        """Whether anything was ever sealed."""
        return self.places.sealed.exists()

    @property
    def uses_passphrase(self) -> bool:
        """Whether the existing file is sealed with a passphrase."""
        return self.exists and self._envelope().key == "passphrase"

    def read(self) -> dict[str, str]:
        """All secrets by name; empty when there is no file.

        Raises:
            SealedLocked: the passphrase is needed first.
            SealedBroken: the content is not what was sealed.
            SealedExposed: the file's or the key's mode lets others read it.
        """
        if not self.exists:
            return {}
        envelope = self._envelope()
        return self._opened(envelope, self._key(envelope))

    def write(self, name: str, value: str) -> None:
        """Seal one secret, keeping the others. Raises what `read` raises."""
        self._update(lambda items: items | {name: value})

    def remove(self, name: str) -> bool:
        """Forget one secret; False when there was none."""
        found = name in self.read()
        if found:
            self._update(lambda items: {key: value for key, value in items.items() if key != name})
        return found

    def write_if_absent(self, name: str, make: Callable[[], str]) -> str:
        """The secret of that name; made and sealed first when there is none. Safe between processes."""
        self._update(lambda items: items if name in items else items | {name: make()})
        return self.read()[name]

    def use_passphrase(self, passphrase: str) -> None:
        """Seal what is there with a passphrase from now on, and unlock it until the next reboot."""
        with self._locked():
            items = self.read()
            salt = secrets.token_bytes(16)
            key = _derive(passphrase, salt, SCRYPT_COST)
            self._store(items, key, kind="passphrase", salt=salt, cost=SCRYPT_COST)
            self._remember(key)
            self.places.key_file.unlink(missing_ok=True)

    def unlock(self, passphrase: str) -> None:
        """Derive the key, check it, and leave it in the run directory. Raises SealedBroken when it is the wrong one."""
        envelope = self._envelope()
        key = _derive(passphrase, _unpacked(envelope.salt), envelope.cost)
        self._opened(envelope, key)
        self._remember(key)

    def lock(self) -> None:
        """Take the derived key out of the run directory."""
        self._derived = None
        self.places.unlocked.unlink(missing_ok=True)

    def _update(self, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        with self._locked():
            items = self.read()
            changed = change(items)
            if changed == items:
                return
            if self.exists:
                envelope = self._envelope()
                salt = _unpacked(envelope.salt)
                self._store(changed, self._key(envelope), kind=envelope.key, salt=salt, cost=envelope.cost)
            else:
                self._store(changed, self._new_key(), kind="file")

    def _envelope(self) -> _Envelope:
        refuse_exposed(self.places.sealed)
        try:
            envelope = msgspec.json.decode(self.places.sealed.read_bytes(), type=_Envelope)
        except msgspec.MsgspecError as wrong:
            raise SealedBroken(f"{self.places.sealed} is not a sealed file: {wrong}") from wrong
        if envelope.version != 1:
            raise SealedBroken(f"{self.places.sealed} was written by a newer version of askpro")
        return envelope

    def _key(self, envelope: _Envelope) -> bytes:
        if envelope.key == "passphrase":
            if self._derived is None:
                if not self.places.unlocked.exists():
                    raise SealedLocked(f"{self.places.sealed} is locked by its passphrase")
                refuse_exposed(self.places.unlocked)
                self._derived = self.places.unlocked.read_bytes()
            return self._derived
        if not self.places.key_file.exists():
            raise SealedBroken(f"the key of {self.places.sealed} is gone: {self.places.key_file} does not exist")
        refuse_exposed(self.places.key_file)
        return self.places.key_file.read_bytes()

    def _new_key(self) -> bytes:
        if self.places.key_file.exists():
            refuse_exposed(self.places.key_file)
            return self.places.key_file.read_bytes()
        key = secrets.token_bytes(KEY_BYTES)
        _replace(self.places.key_file, key)
        return key

    def _remember(self, key: bytes) -> None:
        self._derived = key
        _replace(self.places.unlocked, key)

    def _opened(self, envelope: _Envelope, key: bytes) -> dict[str, str]:
        # Imported where it is used: whoever only asks whether the file is locked need not wait for OpenSSL.
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            plain = AESGCM(key).decrypt(_unpacked(envelope.nonce), _unpacked(envelope.sealed), envelope.header())
            return msgspec.json.decode(plain, type=dict[str, str])
        except (InvalidTag, ValueError) as wrong:
            raise SealedBroken(
                f"{self.places.sealed} cannot be opened: it was changed, or sealed with another key"
            ) from wrong

    def _store(self, items: dict[str, str], key: bytes, *, kind: str, salt: bytes = b"", cost: int = 0) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        empty = _Envelope(version=1, key=kind, salt=_packed(salt), cost=cost, nonce=_packed(nonce), sealed="")
        sealed = AESGCM(key).encrypt(nonce, msgspec.json.encode(items), empty.header())
        envelope = msgspec.structs.replace(empty, sealed=_packed(sealed))
        _replace(self.places.sealed, msgspec.json.format(msgspec.json.encode(envelope)))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self.places.sealed.with_suffix(".lock")
        _private_directory(lock.parent)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def places_in(layout: Layout) -> SealedPlaces:
    """Where a system's sealed store lies: sealed file, key and unlocked key each in another directory."""
    return SealedPlaces(
        sealed=layout.config / "secrets.sealed",
        key_file=layout.data / "secrets.key",
        unlocked=layout.run / "secrets.unlocked",
    )


def refuse_exposed(path: Path, *, bits: int = 0o077) -> None:
    """Refuse a secret file that its group or everybody may read, or whatever `bits` say. Raises SealedExposed."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits:
        raise SealedExposed(f"{path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`")


def _derive(passphrase: str, salt: bytes, cost: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=KEY_BYTES, n=cost, r=8, p=1).derive(passphrase.encode())


def _replace(path: Path, content: bytes) -> None:
    """Write a private file in one step; what was there stays until the new content is on the disk."""
    _private_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _private_directory(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _packed(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text)
