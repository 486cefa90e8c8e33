"""The settings: what can be set, its default and its limits. Reading the file is `settings_file`'s subject.

One TOML file with profiles; a setting is `section.key` in a profile, and `ASKPRO_SECTION_KEY` in the environment,
which wins. Secrets are never settings (see `secrets`). The docstring under each field is what `askpro config` prints.
"""

from __future__ import annotations

from typing import Annotated, Literal, NewType

import msgspec

Size = NewType("Size", int)
"""Bytes; written as a number or as text with a unit: `"512 MB"`, `"1 GiB"` (both count in 1024s)."""

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]

MIB = 1024 * 1024


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP API."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for all."""
    port: Port = 8400
    """Port to listen on; 0 for any free one."""
    port_tries: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20
    """How many ports to try, upwards from `port`, when it is taken; 1 insists on `port`."""
    trusted_proxies: str = ""
    """Networks of the proxies in front of it, with commas between them: `10.0.0.0/8, ::1`; nobody else is believed."""
    proxy_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    """The header in which these proxies name the address they were called from."""


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the HTTP API: requests in a minute, and how many are worked on at once."""

    unverified_per_minute: Count = 100
    """Deliveries and function calls whose signature fails, of one address; verified ones are not limited."""
    failed_auth_per_minute: Count = 20
    """Requests without a good token, of one address."""
    address_per_minute: Count = 1_200
    """Requests of one address in all; deliveries, probes and this machine itself do not count."""
    token_reads_per_minute: Count = 600
    """Requests with one token that only read."""
    token_writes_per_minute: Count = 60
    """Requests with one token that change something, such as an appointment."""
    token_reports_per_minute: Count = 120
    """Lists of calls and customers, and searches, with one token."""
    company_per_minute: Count = 1_800
    """Requests with all tokens of one company."""
    company_reports_per_minute: Count = 300
    """Lists and searches with all tokens of one company."""
    concurrency_start: Count = 8
    """Requests that an API process works on at once when it starts; it then finds the right number itself."""
    concurrency_least: Count = 4
    """The fewest that it works on at once."""
    concurrency_most: Count = 128
    """The most that it works on at once."""
    wait_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    """A request waits so long for its turn, then it is answered 503."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log files of every process."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe records that are kept."""
    file_size: Size = Size(50 * MIB)
    """A log file that has grown to this size is rotated; every file is rotated daily as well."""
    total_size: Size = Size(1024 * MIB)
    """The oldest rotated files are deleted beyond this size in total."""


class StackSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The processes and their supervisor."""

    node: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?$")] = ""
    """This machine's name in the fleet, of letters, digits, `.`, `_` and `-`; empty for its host name."""
    memory_ceiling: Size = Size(512 * MIB)
    """A process of ours that holds more resident memory is drained and started afresh."""
    start_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    """How long `askpro up` waits for the system to be ready."""
    join_wait_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0
    """How long a node that starts with `askpro serve` waits for a database that does not answer."""


class PostgresSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded PostgreSQL server; a change applies at its next start."""

    shared_buffers: Size = Size(128 * MIB)
    """Memory for its page cache."""
    max_connections: Annotated[int, msgspec.Meta(ge=40, le=1000)] = 300
    """Connections it allows; this machine and each node that joins take about 50."""


class ValkeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded Valkey server; a change applies at its next start."""

    max_memory: Size = Size(256 * MIB)
    """Memory for its data; it holds nothing that cannot be rebuilt."""


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The console."""

    theme: Literal["auto", "night", "day", "clear", "ansi"] = "auto"
    """Name of a theme (`:theme` lists them); `auto` takes the one that suits the terminal."""
    keymap: str = ""
    """File with own keys; empty for `keymap.toml` beside the settings file."""
    mouse: bool = True
    """React to the mouse; without, the terminal's own selection works."""
    read_only: bool = False
    """Allow no action that changes anything."""


class NotificationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How messages to customers leave this system: as e-mails through a mail server, or into files."""

    smtp_host: str = ""
    """The mail server; empty writes each message into a file in the state directory's `outbox` instead."""
    smtp_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    """Its port: 587 with `starttls`, 465 with `tls`."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """starttls: encrypted after a greeting; tls: from the start; none: never, for a server on this machine only."""
    smtp_user: str = ""
    """Who to log in as; the password is the secret `smtp_password`. Empty: without."""
    smtp_ca_file: str = ""
    """File with the certificates to trust, in place of the machine's; for a server with a certificate of its own."""
    sender: str = ""
    """The address that messages come from, as in termine@example.com; needed with `smtp_host`."""


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The demo traffic of `--demo`."""

    calls_per_minute: Annotated[float, msgspec.Meta(gt=0, le=6000)] = 12.0
    """Rate of simulated calls."""
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    """Equal seeds make equal traffic."""
    history_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 56
    """Days of history that a new demo system starts with."""


class SecretSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where secrets are looked up after files and environment."""

    keyring: str = "auto"
    """`auto` for the desktop's own keyring, `off` for none, or a backend's class, `module.Class`."""


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The providers that are called."""

    calcom_url: str = "https://api.cal.com"
    """Where Cal.com's API is; `http://` only for tests and tunnels."""
    retell_url: str = "https://api.retellai.com"
    """Where Retell's API is."""
    connect_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    """Longest wait for a connection to a provider."""
    answer_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10.0
    """Longest wait for a provider's whole answer."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. What a section is about stands with its record."""

    api: ApiSettings = ApiSettings()
    limits: LimitSettings = LimitSettings()
    logs: LogSettings = LogSettings()
    stack: StackSettings = StackSettings()
    postgres: PostgresSettings = PostgresSettings()
    valkey: ValkeySettings = ValkeySettings()
    console: ConsoleSettings = ConsoleSettings()
    notifications: NotificationSettings = NotificationSettings()
    demo: DemoSettings = DemoSettings()
    secrets: SecretSettings = SecretSettings()
    providers: ProviderSettings = ProviderSettings()
