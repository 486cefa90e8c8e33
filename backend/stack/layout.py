"""Where everything lives on this machine: XDG directories, or all under one with `ASKPRO_HOME`."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_LIMIT = 100
"""Longest path of a Unix socket that every part can use (the kernel's limit is 107 bytes)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The directories of one system. Two systems with two layouts run side by side."""

    config: Path
    data: Path
    state: Path
    """Logs, and what is worth keeping but can be lost."""
    run: Path
    """Sockets, the pid file, endpoints: gone after a reboot."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Layout:
        """The layout that the environment asks for; creates nothing.

        `ASKPRO_HOME` wins over the XDG variables; their defaults are the XDG specification's.
        """
        env = os.environ if environ is None else environ
        if home := env.get("ASKPRO_HOME"):
            base = Path(home).expanduser().absolute()
            return cls(base / "config", base / "data", base / "state", short_run_directory(base / "run"))
        user = Path(env.get("HOME") or Path.home())
        data = Path(env.get("XDG_DATA_HOME") or user / ".local" / "share") / "askpro"
        runtime = env.get("XDG_RUNTIME_DIR")
        run = Path(runtime) / "askpro" if runtime else data / "run"
        return cls(
            config=Path(env.get("XDG_CONFIG_HOME") or user / ".config") / "askpro",
            data=data,
            state=Path(env.get("XDG_STATE_HOME") or user / ".local" / "state") / "askpro",
            run=short_run_directory(run),
        )

    @property
    def home(self) -> str:
        """The machine and the directory of the data, which no other system shares: `host:/path`."""
        return f"{os.uname().nodename}:{self.data}"

    @property
    def config_file(self) -> Path:
        """The settings, TOML."""
        return self.config / "askpro.toml"

    @property
    def logs(self) -> Path:
        """Log files of every process, rotated."""
        return self.state / "logs"

    @property
    def postgres_data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.data / "postgres"

    @property
    def valkey_data(self) -> Path:
        """Valkey's working directory."""
        return self.data / "valkey"

    @property
    def credentials_file(self) -> Path:
        """Passwords of the database roles, JSON {role: password}, mode 0600."""
        return self.data / "credentials.json"

    @property
    def join_file(self) -> Path:
        """The stores of another system that this node works on, JSON, mode 0600; absent in a system of its own."""
        return self.data / "join.json"

    @property
    def sockets(self) -> Path:
        """Directory of the servers' Unix sockets."""
        return self.run / "s"

    @property
    def valkey_socket(self) -> Path:
        """Valkey's Unix socket."""
        return self.sockets / "valkey"

    @property
    def control_socket(self) -> Path:
        """The supervisor's control socket, mode 0600."""
        return self.run / "control"

    @property
    def pid_file(self) -> Path:
        """Locked (flock) by the running supervisor; holds its pid and start time."""
        return self.run / "supervisor.pid"

    @property
    def endpoints_file(self) -> Path:
        """Where the running system's parts listen, JSON."""
        return self.run / "endpoints.json"

    @property
    def children_file(self) -> Path:
        """The supervisor's record of its children, JSON."""
        return self.run / "children.json"

    @property
    def last_failure_file(self) -> Path:
        """The status of the last start if it failed, JSON."""
        return self.state / "last-failure.json"


def short_run_directory(wanted: Path) -> Path:
    """`wanted`, or a private directory with a short name when sockets in it would have too long a path."""
    if len(os.fsencode(wanted / "s" / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_LIMIT:
        return wanted
    name = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"askpro-{os.getuid()}-{name}"
