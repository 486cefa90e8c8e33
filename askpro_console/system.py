"""One system as this process sees it: where it lives, its settings, secrets and addresses; configurations of its parts.

Loading reads one small file and opens nothing; everything else happens at first use. The backend's modules are
imported by the methods that need them, so that the console can load a system before its first frame.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from askpro_console.refusal import Refused, WrongUsage
from askpro_console.secrets import SecretRefused, SecretStore
from askpro_console.settings import Settings
from askpro_console.settings_file import Loaded, load
from askpro_console.version import version
from backend.queue.policies import put_in_force
from backend.stack.endpoints import Endpoints
from backend.stack.join import Join, read_join
from backend.stack.layout import Layout

if TYPE_CHECKING:
    from backend.api.config import ApiConfig
    from backend.domain.vocabulary import QueueName
    from backend.postgres.address import PostgresAddress
    from backend.providers.clients import ProviderConfig
    from backend.queue.worker import WorkerConfig
    from backend.services.notifications.smtp_channel import SmtpServer
    from backend.stack.config import StackConfig
    from backend.watch.publisher import PublisherConfig
    from backend.watch.reader import SnapshotReader

REJECT_KEY_BYTES = 32

QUEUE_WITH_MAIL = "notifications"

RETELL_KEYS = ("retell_api_key", "retell_api_key_previous")
CALCOM_SECRETS = ("calcom_webhook_secret", "calcom_webhook_secret_previous")
NEEDED_BY_API = (*RETELL_KEYS, *CALCOM_SECRETS, "reject_key", "dashboard_token")


class NotRunning(Refused):
    """What was asked for needs a running system, and there is none."""


@dataclass(frozen=True)
class System:
    """One system. Two values of this class for one layout see the same."""

    layout: Layout
    loaded: Loaded
    environ: Mapping[str, str]
    join: Join | None = None
    """The other system on whose stores this node works; None: it has stores of its own."""

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> System:
        """The system that the environment points at; this process works by its policies from now on.

        Raises SettingsWrong, JoinWrong.
        """
        env = os.environ if environ is None else environ
        try:
            layout = Layout.from_environment(env)
        except RuntimeError as homeless:
            raise WrongUsage("It is unknown where this user's files live.", "Set HOME or ASKPRO_HOME.") from homeless
        join = read_join(layout.join_file)
        loaded = load(layout.config_file, env, None if join is None else join.settings)
        put_in_force(loaded.policies)
        return cls(layout=layout, loaded=loaded, environ=env, join=join)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    @property
    def node(self) -> str:
        """This machine's name in the fleet."""
        return self.settings.stack.node or os.uname().nodename[:63] or "localhost"

    @cached_property
    def secrets(self) -> SecretStore:
        """The secrets; looks nothing up yet."""
        return SecretStore(self.layout, self.environ, keyring=self.settings.secrets.keyring)

    def endpoints(self) -> Endpoints:
        """Where the running system's parts listen. Raises NotRunning."""
        try:
            return Endpoints.read(self.layout.endpoints_file)
        except FileNotFoundError:
            raise NotRunning("The system does not run.", f"Start it with `{self.start_command}`.") from None
        except (OSError, msgspec.MsgspecError) as wrong:
            raise NotRunning(
                f"{self.layout.endpoints_file} cannot be read: {wrong}.", "`askpro down`, `askpro up`."
            ) from wrong

    @property
    def start_command(self) -> str:
        """How it is started."""
        return "askpro up" if self.join is None else "askpro serve"

    def passwords(self) -> dict[str, str]:
        """The login roles' passwords, never the administrator's. Raises NotRunning when there is no database yet."""
        from backend.postgres.address import Role

        if self.join is not None:
            return dict(self.join.passwords)
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

    def stack_config(self, *, demo: bool = False) -> StackConfig:
        """For the supervisor. Makes the secrets that a demo needs when they are not set.

        Raises SecretRefused, WrongUsage: better before the start than from a process that cannot begin.
        """
        from backend.stack.config import StackConfig
        from backend.stack.logs import LogLimits

        settings = self.settings
        self.refuse_demo(demo)
        for name in NEEDED_BY_API:
            self.secrets.get(name)
        self.trusted_proxies()
        if not (demo or (self.join is not None and self.join.is_demo)):
            self.mail()
        if demo:
            from backend.providers.retell.signature import MADE_UP

            self.secrets.ensure("retell_api_key", lambda: f"{MADE_UP}{os.urandom(16).hex()}")
            self.secrets.ensure("calcom_webhook_secret", lambda: os.urandom(16).hex())
        return StackConfig(
            layout=self.layout,
            version=version(),
            node=self.node,
            join=self.join,
            join_wait_s=self.settings.stack.join_wait_s,
            demo=demo,
            api_host=settings.api.host,
            api_port=settings.api.port,
            api_port_tries=settings.api.port_tries,
            logs=LogLimits(file_bytes=settings.logs.file_size, total_bytes=settings.logs.total_size),
            memory_ceiling_bytes=settings.stack.memory_ceiling,
            environment=self._inherited(),
            postgres={
                "shared_buffers": f"{settings.postgres.shared_buffers // 1024}kB",
                "max_connections": str(settings.postgres.max_connections),
            },
            valkey={"maxmemory": str(settings.valkey.max_memory)},
        )

    def refuse_demo(self, demo: bool) -> None:
        """Raises WrongUsage when demo traffic is asked of a node that joined."""
        if demo and self.join is not None:
            raise WrongUsage("Demo traffic belongs to the system that has the database.", "`askpro up --demo` there.")

    def _inherited(self) -> dict[str, str]:
        """What every process of the stack must see as this one does, wherever it runs."""
        told = {"ASKPRO_PROFILE": self.loaded.profile}
        if home := self.environ.get("ASKPRO_HOME"):
            told["ASKPRO_HOME"] = str(Path(home).expanduser().absolute())
        return told

    def api_config(self) -> ApiConfig:
        """For the API. Raises NotRunning, SecretRefused, WrongUsage."""
        from urllib.parse import urlsplit

        from backend.api.config import ApiConfig
        from backend.api.limits.table import LimitFigures

        endpoints = self.endpoints()
        address = urlsplit(endpoints.api_url)
        return ApiConfig(
            host=self.settings.api.host,
            port=address.port or self.settings.api.port,
            postgres=endpoints.postgres(self.passwords()),
            valkey_url=endpoints.valkey_url,
            retell_keys=self._either(RETELL_KEYS),
            calcom_secrets=self._either(CALCOM_SECRETS),
            reject_key=self.reject_key(),
            version=version(),
            node=self.node,
            dashboard_token=self.secrets.get("dashboard_token"),
            limits=LimitFigures(**msgspec.structs.asdict(self.settings.limits)),
            trusted_proxies=self.trusted_proxies(),
            proxy_header=self.settings.api.proxy_header,
        )

    def trusted_proxies(self) -> tuple[str, ...]:
        """The networks of the setting `api.trusted_proxies`. Raises WrongUsage when one is none."""
        from ipaddress import ip_network

        told = [text.strip() for text in self.settings.api.trusted_proxies.split(",") if text.strip()]
        for text in told:
            try:
                ip_network(text, strict=False)
            except ValueError:
                raise WrongUsage(f"The setting api.trusted_proxies names `{text}`, which is no network.") from None
        return tuple(told)

    def reject_key(self) -> bytes:
        """The key that seals rejected deliveries, 32 bytes; made at first use. Raises SecretRefused."""
        text = self.secrets.ensure("reject_key", lambda: os.urandom(REJECT_KEY_BYTES).hex())
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != REJECT_KEY_BYTES:
            raise SecretRefused(f"The secret reject_key must be {REJECT_KEY_BYTES} bytes in hexadecimal digits.")
        return key

    @property
    def outbox(self) -> Path:
        """Where messages go when there is no mail server."""
        return self.layout.state / "outbox"

    def mail(self) -> SmtpServer | None:
        """The mail server; None when none is set. Raises SecretRefused, SecretMissing, WrongUsage."""
        from backend.services.notifications.smtp_channel import SmtpServer

        told = self.settings.notifications
        if not told.smtp_host:
            return None
        ca_file = Path(told.smtp_ca_file).expanduser() if told.smtp_ca_file else None
        if ca_file is not None and not ca_file.is_file():
            raise WrongUsage(f"The setting notifications.smtp_ca_file is `{ca_file}`, which is no file.")
        return SmtpServer(
            host=told.smtp_host,
            port=told.smtp_port,
            security=told.smtp_security,
            sender=told.sender,
            user=told.smtp_user,
            password=self.secrets.require("smtp_password") if told.smtp_user else "",
            ca_file=ca_file,
        )

    def worker_config(self, queue: QueueName, *, files_only: bool = False) -> WorkerConfig:
        """For the worker of one queue; `files_only`: it sends no mail, whatever is set. Raises Refused."""
        from backend.queue.worker import WorkerConfig

        endpoints = self.endpoints()
        return WorkerConfig(
            queue=queue,
            providers=self.provider_config(),
            postgres=endpoints.postgres(self.passwords()),
            valkey_url=endpoints.valkey_url,
            node=self.node,
            version=version(),
            policies=self.loaded.policies,
            memory_ceiling=self.settings.stack.memory_ceiling,
            stacks=self.layout.run / "frozen",
            outbox=self.outbox,
            mail=self.mail() if queue == QUEUE_WITH_MAIL and not files_only else None,
        )

    def provider_config(self) -> ProviderConfig:
        """For whoever calls providers. Raises WrongUsage when an address is none."""
        from urllib.parse import urlsplit

        from backend.providers.calling import Timeouts
        from backend.providers.clients import ProviderConfig

        told = self.settings.providers
        for name, url in (("calcom_url", told.calcom_url), ("retell_url", told.retell_url)):
            parts = urlsplit(url)
            if parts.scheme not in {"https", "http"} or not parts.hostname:
                raise WrongUsage(f"The setting providers.{name} is `{url}`, which is no address of a web server.")
        return ProviderConfig(
            calcom_url=told.calcom_url,
            retell_url=told.retell_url,
            secret=self._provider_key,
            timeouts=Timeouts(connect_s=told.connect_timeout_s, total_s=told.answer_timeout_s),
        )

    def _provider_key(self, name: str) -> str | None:
        """A secret for a provider's client. Raises LookupError, which the backend knows, where it must not be read."""
        try:
            return self.secrets.get(name)
        except SecretRefused as refused:
            raise LookupError(refused.message) from refused

    def publisher_config(self) -> PublisherConfig:
        """For the publisher. Raises NotRunning."""
        from backend.watch.publisher import PublisherConfig

        endpoints = self.endpoints()
        return PublisherConfig(
            postgres=endpoints.postgres(self.passwords()),
            valkey_url=endpoints.valkey_url,
            node=self.node,
            version=version(),
            control=self.layout,
            is_joined=self.join is not None,
        )

    def _either(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value for name in names if (value := self.secrets.get(name)))
