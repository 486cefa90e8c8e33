"""One system as this process sees it: where it lives, its settings, secrets and addresses; configurations of its parts.

Loading reads one small file and opens nothing; everything else happens at first use. The backend's modules are
imported by the methods that need them, so that the console can load a system before its first frame.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from askpro_console.refusal import Refused, WrongUsage
from askpro_console.secrets import SecretStore
from askpro_console.settings import Settings
from askpro_console.settings_file import Loaded, load
from backend.stack.endpoints import Endpoints
from backend.stack.layout import Layout

if TYPE_CHECKING:
    from backend.postgres.address import PostgresAddress
    from backend.watch.reader import SnapshotReader


class NotRunning(Refused):
    """What was asked for needs a running system, and there is none."""


@dataclass(frozen=True)
class System:
    """One system. Two values of this class for one layout see the same."""

    layout: Layout
    loaded: Loaded
    environ: Mapping[str, str]

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> System:
        """The system that the environment points at. Raises SettingsWrong."""
        env = os.environ if environ is None else environ
        try:
            layout = Layout.from_environment(env)
        except RuntimeError as homeless:
            raise WrongUsage("It is unknown where this user's files live.", "Set HOME or ASKPRO_HOME.") from homeless
        return cls(layout=layout, loaded=load(layout.config_file, env), environ=env)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    @property
    def node(self) -> str:
        """This machine's name in the fleet."""
        return socket.gethostname() or "localhost"

    @cached_property
    def secrets(self) -> SecretStore:
        """The secrets; looks nothing up yet."""
        return SecretStore(self.layout, self.environ, keyring=self.settings.secrets.keyring)

    def endpoints(self) -> Endpoints:
        """Where the running system's parts listen. Raises NotRunning."""
        try:
            return Endpoints.read(self.layout.endpoints_file)
        except FileNotFoundError:
            raise NotRunning("The system does not run.", "Start it with `askpro up`.") from None
        except (OSError, msgspec.MsgspecError) as wrong:
            raise NotRunning(
                f"{self.layout.endpoints_file} cannot be read: {wrong}.", "`askpro down`, `askpro up`."
            ) from wrong

    def passwords(self) -> dict[str, str]:
        """The login roles' passwords, never the administrator's. Raises NotRunning when there is no database yet."""
        from backend.postgres.address import Role

        try:
            found = msgspec.json.decode(self.layout.credentials_file.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            raise NotRunning("There is no database here yet.", "Start the system with `askpro up`.") from None
        except (OSError, msgspec.MsgspecError) as wrong:
            raise NotRunning(f"{self.layout.credentials_file} cannot be read: {wrong}.") from wrong
        return {role.value: found[role.value] for role in Role if role.value in found}

    def postgres(self) -> PostgresAddress:
        """The database's address with passwords. Raises NotRunning."""
        return self.endpoints().postgres(self.passwords())

    def reader(self) -> SnapshotReader:
        """A reader of the running system's snapshots. Raises NotRunning."""
        from backend.watch.reader import SnapshotReader

        endpoints = self.endpoints()
        return SnapshotReader(endpoints.valkey_url, endpoints.postgres(self.passwords()))
