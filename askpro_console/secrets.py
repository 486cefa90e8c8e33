"""Secrets by name, from the first place that has one: file, environment, keyring, sealed file.

A secret is never a setting, never an argument of a command, never in a log or a `repr`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from askpro_console.refusal import Refused, WrongUsage
from backend.domain.vocabulary import Verdict
from backend.stack.layout import Layout

if TYPE_CHECKING:
    from askpro_console.keyrings import Keyring
    from askpro_console.sealed import SealedFile

KNOWN: dict[str, str] = {
    "retell_api_key": "signs the voice agent's webhooks; for calls to Retell",
    "retell_api_key_previous": "still accepted while the key above is being replaced",
    "calcom_api_key": "for calls to Cal.com",
    "calcom_webhook_secret": "signs Cal.com's webhooks",
    "calcom_webhook_secret_previous": "still accepted while the secret above is being replaced",
    "smtp_password": "logs in to the mail server as `notifications.smtp_user`",
    "database_url": "an external PostgreSQL instead of the embedded one",
    "pagerduty_routing_key": "where alerts are sent",
    "dashboard_token": "lets other machines read /api/dashboard and /metrics",
    "reject_key": "seals rejected deliveries; made by the system itself",
}
"""Secrets that the system itself uses, and for what. A company may name others of its own."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
LIMIT_BYTES = 64 * 1024
PASSPHRASE_TRIES = 3


class Place(StrEnum):
    """Where a secret can be, in the order of search."""

    FILE = "file"
    ENVIRONMENT = "environment"
    KEYRING = "keyring"
    SEALED = "sealed file"


class SecretMissing(Refused):
    """A secret that is needed is nowhere."""


class SecretRefused(Refused):
    """A secret is there, but where or how it is kept cannot be accepted."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one place had to say about one secret."""

    place: Place
    verdict: Verdict
    """ok: it is there. unknown: it is not. warn: the place cannot be asked. crit: it must not be used as it is."""
    detail: str
    value: str | None = field(default=None, repr=False)


class SecretStore:
    """Looks secrets up and keeps them. Every wait is bounded (keyring: 3 s, once); nothing ever prompts."""

    def __init__(self, layout: Layout, environ: Mapping[str, str] | None = None, *, keyring: str = "auto") -> None:
        """`keyring` is the setting `secrets.keyring`."""
        self._layout = layout
        self._environ = os.environ if environ is None else environ
        self._keyring_choice = keyring

    @cached_property
    def keyring(self) -> Keyring:
        """The machine's keyring; may turn out to be absent."""
        from askpro_console.keyrings import Keyring

        return Keyring(self._keyring_choice)

    @cached_property
    def sealed(self) -> SealedFile:
        """Our own sealed file."""
        from askpro_console.sealed import SealedFile, places_in

        return SealedFile(places_in(self._layout))

    def get(self, name: str) -> str | None:
        """The secret from the first place that has it, or None.

        Raises:
            SecretRefused: a place has it, or may have it, and must not or cannot be read.
        """
        for look in self._looks(name):
            if look.verdict is Verdict.CRIT:
                raise SecretRefused(f"The secret {name} cannot be used: {look.detail}.")
            if look.value is not None:
                return look.value
        return None

    def require(self, name: str) -> str:
        """The secret. Raises SecretMissing, which says how to set it, and SecretRefused."""
        value = self.get(name)
        if value is None:
            raise SecretMissing(f"The secret {name} is not set.", f"Set it with `askpro secrets set {name}`.")
        return value

    def ensure(self, name: str, make: Callable[[], str]) -> str:
        """The secret; made and kept in the sealed file first when there is none. Safe between processes."""
        value = self.get(name)
        if value is not None:
            return value
        from askpro_console.sealed import SealedError

        try:
            return self.sealed.write_if_absent(name, make)
        except (SealedError, OSError) as wrong:
            raise SecretRefused(f"The secret {name} cannot be kept: {wrong}.") from wrong

    def put(self, name: str, value: str, place: Place | None = None) -> Place:
        """Keep a secret: in the keyring when there is one, else in the sealed file. Returns where.

        Raises:
            WrongUsage: the name or the value cannot be.
            SecretRefused: the place cannot take it.
        """
        if not NAME.fullmatch(name):
            raise WrongUsage(f"`{name}` is no name for a secret: small letters, digits and _, a letter first.")
        if not value.isprintable():
            raise WrongUsage(
                f"The secret {name} holds a character that cannot be seen, or is no UTF-8.",
                "Perhaps something was pasted with it: a line end, a no-break space.",
            )
        if not value or len(value.encode()) > LIMIT_BYTES:
            raise WrongUsage(f"The secret {name} is {'empty' if not value else 'longer than 64 KiB'}.")
        if place in {None, Place.KEYRING}:
            from askpro_console.keyrings import KeyringAbsent

            try:
                self.keyring.put(name, value)
                return Place.KEYRING
            except KeyringAbsent as absent:
                if place is Place.KEYRING:
                    raise SecretRefused(f"The keyring cannot keep {name}: {absent}.") from absent
        from askpro_console.sealed import SealedError

        try:
            self.sealed.write(name, value)
        except (SealedError, OSError) as wrong:
            raise SecretRefused(f"The sealed file cannot keep {name}: {wrong}.") from wrong
        return Place.SEALED

    def unlock_by_asking(self) -> None:
        """Ask for the sealed file's passphrase if it is locked and there is a terminal to ask on; three tries.

        Never called inside the console. Raises SecretRefused after the third wrong one.
        """
        from askpro_console.sealed import SealedBroken, SealedError

        try:
            locked = self.sealed.uses_passphrase and not self.sealed.places.unlocked.exists()
        except (SealedError, OSError):
            return  # Whoever needs a secret of it says so.
        if not locked or not sys.stdin.isatty():
            return
        from getpass import getpass

        for _ in range(PASSPHRASE_TRIES):
            try:
                self.sealed.unlock(getpass("Passphrase of the sealed secrets: "))
                return
            except SealedBroken:
                print("That is not it.", file=sys.stderr)  # noqa: T201
        raise SecretRefused("The secrets stay sealed.", "`askpro secrets unlock` asks again.")

    def remove(self, name: str) -> tuple[Place, ...]:
        """Forget a secret in keyring and sealed file; returns where it was."""
        from askpro_console.keyrings import KeyringAbsent
        from askpro_console.sealed import SealedError

        places = []
        try:
            if self.keyring.remove(name):
                places.append(Place.KEYRING)
        except KeyringAbsent:
            pass  # What does not exist holds nothing to be removed.
        try:
            if self.sealed.remove(name):
                places.append(Place.SEALED)
        except (SealedError, OSError) as wrong:
            raise SecretRefused(f"The sealed file cannot be changed: {wrong}.") from wrong
        return tuple(places)

    def look(self, name: str) -> tuple[Look, ...]:
        """What each place says about a secret, in the order of search, up to the one that has it."""
        return tuple(self._looks(name))

    def names(self) -> tuple[str, ...]:
        """The known names, then others found in files, environment and sealed file (a keyring cannot be listed)."""
        found = set(_names_in(self._environ))
        if directory := self._environ.get("CREDENTIALS_DIRECTORY"):
            found |= {path.name for path in _entries(Path(directory)) if NAME.fullmatch(path.name)}
        from askpro_console.sealed import SealedError

        # A sealed file that cannot be read is reported by `look` for each name.
        with contextlib.suppress(SealedError, OSError):
            found |= set(self.sealed.read())
        return (*KNOWN, *sorted(found - KNOWN.keys()))

    def _looks(self, name: str) -> list[Look]:
        """Later and slower places are asked only when no earlier one has it."""
        looks: list[Look] = []
        for ask in (self._in_file, self._in_environment, self._in_keyring, self._in_sealed):
            looks.append(ask(name))
            if looks[-1].verdict in {Verdict.OK, Verdict.CRIT}:
                break
        return looks

    def _in_file(self, name: str) -> Look:
        named = self._environ.get(f"ASKPRO_SECRET_{name.upper()}_FILE")
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        path = Path(named) if named else Path(directory) / name if directory else None
        if path is None or (not named and not path.exists()):
            return Look(Place.FILE, Verdict.UNKNOWN, "no file is named for it")
        from askpro_console.sealed import SealedExposed, refuse_exposed

        try:
            # systemd grants a service its credentials by an access list, which shows as the group's bits.
            refuse_exposed(path, bits=0o077 if named else 0o007)
            value = path.read_text(encoding="utf-8").rstrip("\r\n")
        except SealedExposed as exposed:
            return Look(Place.FILE, Verdict.CRIT, str(exposed))
        except (OSError, UnicodeDecodeError) as wrong:
            reason = wrong.strerror if isinstance(wrong, OSError) else "not UTF-8 text"
            return Look(Place.FILE, Verdict.CRIT, f"{path} cannot be read: {reason}")
        if not value:
            return Look(Place.FILE, Verdict.CRIT, f"{path} is empty")
        return Look(Place.FILE, Verdict.OK, str(path), value)

    def _in_environment(self, name: str) -> Look:
        variable = f"ASKPRO_SECRET_{name.upper()}"
        if value := self._environ.get(variable):
            return Look(Place.ENVIRONMENT, Verdict.OK, variable, value)
        return Look(Place.ENVIRONMENT, Verdict.UNKNOWN, f"{variable} is not set")

    def _in_keyring(self, name: str) -> Look:
        if self._keyring_choice == "off":
            return Look(Place.KEYRING, Verdict.UNKNOWN, "switched off by the setting secrets.keyring")
        from askpro_console.keyrings import KeyringAbsent

        try:
            value = self.keyring.get(name)
        except KeyringAbsent as absent:
            return Look(Place.KEYRING, Verdict.WARN, str(absent))
        if value is None:
            return Look(Place.KEYRING, Verdict.UNKNOWN, f"{self.keyring.name} has none of this name")
        return Look(Place.KEYRING, Verdict.OK, self.keyring.name, value)

    def _in_sealed(self, name: str) -> Look:
        from askpro_console.sealed import SealedError, SealedLocked

        try:
            value = self.sealed.read().get(name)
        except SealedLocked as locked:
            return Look(Place.SEALED, Verdict.CRIT, f"{locked}: run `askpro secrets unlock`")
        except (SealedError, OSError) as wrong:
            return Look(Place.SEALED, Verdict.CRIT, str(wrong))
        path = self.sealed.places.sealed
        if value is None:
            return Look(Place.SEALED, Verdict.UNKNOWN, f"{path} has none of this name")
        return Look(Place.SEALED, Verdict.OK, str(path), value)


def _names_in(environ: Mapping[str, str]) -> list[str]:
    names = [key.removeprefix("ASKPRO_SECRET_").lower() for key in environ if key.startswith("ASKPRO_SECRET_")]
    return [name.removesuffix("_file") for name in names if NAME.fullmatch(name)]


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []
