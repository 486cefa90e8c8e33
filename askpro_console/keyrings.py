"""The keyring: only backends that are known to be real and never to prompt, in a thread, with a bound on every wait.

Detection is our own. The package's would also pick up whatever plug-in is installed, and some of those ask for a
password on the terminal or keep plain text. An exception of any kind means: this machine has no keyring, and why.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from importlib import import_module
from typing import ClassVar, TypeVar, cast

import keyring.backend
import keyring.errors

from askpro_console.sealed import SealedFile, places_in
from backend.stack.layout import Layout

SERVICE = "askpro"
"""The service name under which a keyring holds our secrets."""

WAIT_S = 3.0
"""A keyring that has not answered by then is taken for absent (a locked one may wait for a dialogue nobody sees)."""

REAL_BACKENDS = (
    "keyring.backends.SecretService.Keyring",
    "keyring.backends.kwallet.DBusKeyring",
    "keyring.backends.macOS.Keyring",
    "keyring.backends.Windows.WinVaultKeyring",
)
"""Tried in this order when the setting says `auto`."""

REFUSED_MODULES = ("keyring.backends.null", "keyring.backends.fail", "keyring.backends.chainer", "keyrings.alt")
"""They lose secrets silently, keep them in the clear, or ask on the terminal."""

Result = TypeVar("Result")


class KeyringAbsent(Exception):
    """There is no keyring to be used; the message says why."""


class Keyring:
    """One keyring, opened at first use. After one failure it stays absent for the life of the process."""

    def __init__(self, choice: str = "auto") -> None:
        """`choice` is the setting: `auto`, `off`, or the class of a backend as `module.Class`."""
        self._choice = choice
        self._backend: keyring.backend.KeyringBackend | None = None
        self._absent = "switched off by the setting secrets.keyring" if choice == "off" else ""

    @property
    def name(self) -> str:
        """The backend in use, for a person."""
        backend = self._backend
        return f"{type(backend).__module__}.{type(backend).__name__}" if backend else "none"

    def get(self, name: str) -> str | None:
        """The secret, or None when this keyring has none of that name. Raises KeyringAbsent."""
        return self._bounded(lambda backend: backend.get_password(SERVICE, name))

    def put(self, name: str, value: str) -> None:
        """Keep a secret. Raises KeyringAbsent."""
        self._bounded(lambda backend: backend.set_password(SERVICE, name, value))

    def remove(self, name: str) -> bool:
        """Forget a secret; False when there was none. Raises KeyringAbsent."""
        if self.get(name) is None:
            return False
        self._bounded(lambda backend: backend.delete_password(SERVICE, name))
        return True

    def _bounded(self, use: Callable[[keyring.backend.KeyringBackend], Result]) -> Result:
        if self._absent:
            raise KeyringAbsent(self._absent)
        answers: queue.SimpleQueue[tuple[bool, object]] = queue.SimpleQueue()

        def work() -> None:
            try:
                if self._backend is None:
                    self._backend = _open(self._choice)
                answers.put((True, use(self._backend)))
            except BaseException as error:  # a backend may raise anything, even SystemExit
                answers.put((False, error))

        # A daemon: a keyring that hangs must not keep the process from ending.
        threading.Thread(target=work, name="keyring", daemon=True).start()
        try:
            fine, answer = answers.get(timeout=WAIT_S)
        except queue.Empty:
            self._absent = f"no answer within {WAIT_S:.0f} s"
            raise KeyringAbsent(self._absent) from None
        if not fine:
            self._absent = _reason(cast("BaseException", answer))
            raise KeyringAbsent(self._absent) from None
        return cast("Result", answer)


def _open(choice: str) -> keyring.backend.KeyringBackend:
    if choice != "auto":
        if choice.startswith(REFUSED_MODULES):
            raise KeyringAbsent(f"{choice} loses or exposes secrets and is refused")
        return _backend_class(choice)()
    reasons = []
    for name in REAL_BACKENDS:
        try:
            backend = _backend_class(name)
            if backend.viable:
                return backend()
            reasons.append(f"{name.split('.')[-2]} is not usable here")
        except Exception as error:  # on a server, importing one fails in many ways
            reasons.append(f"{name.split('.')[-2]}: {_reason(error)}")
    raise KeyringAbsent("this machine has none (" + "; ".join(reasons) + ")")


def _backend_class(name: str) -> type[keyring.backend.KeyringBackend]:
    module, _, cls = name.rpartition(".")
    found = getattr(import_module(module), cls)
    if not (isinstance(found, type) and issubclass(found, keyring.backend.KeyringBackend)):
        raise KeyringAbsent(f"{name} is not a keyring backend")
    return found


def _reason(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


class SealedKeyring(keyring.backend.KeyringBackend):
    """The sealed file as a backend of the `keyring` package, which takes it only when it finds nothing else."""

    priority: ClassVar[float] = 0.1

    def __init__(self, sealed: SealedFile | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the package leaves it unannotated
        self._sealed = sealed or SealedFile(places_in(Layout.from_environment()))

    def get_password(self, service: str, username: str) -> str | None:
        """The secret, or None. Raises SealedError as `SealedFile.read` does."""
        return self._sealed.read().get(_entry(service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Seal a secret."""
        self._sealed.write(_entry(service, username), password)

    def delete_password(self, service: str, username: str) -> None:
        """Forget a secret. Raises PasswordDeleteError when there is none, as the package's own backends do."""
        if not self._sealed.remove(_entry(service, username)):
            raise keyring.errors.PasswordDeleteError("No such password!")


def _entry(service: str, username: str) -> str:
    return username if service == SERVICE else f"{service}/{username}"
