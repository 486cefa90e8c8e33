"""Where the parts of a running system listen: written by the supervisor, read by everybody else."""

from __future__ import annotations

from pathlib import Path

import msgspec

from backend.postgres.address import PostgresAddress


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of one running system. Holds no secret."""

    postgres_host: str
    """A host name, or the directory of the Unix socket."""
    postgres_port: int = 5432
    postgres_database: str = "askpro"
    valkey_url: str
    """`unix:///path` or `redis://host:port/0`."""
    api_url: str
    """`http://host:port`, without a slash at the end."""

    def postgres(self, passwords: dict[str, str]) -> PostgresAddress:
        """The database's address with the roles' passwords."""
        return PostgresAddress(
            host=self.postgres_host, port=self.postgres_port, database=self.postgres_database, passwords=passwords
        )

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> Endpoints:
        """Read the file. Raises FileNotFoundError when no system runs, msgspec.DecodeError when it is broken."""
        return msgspec.json.decode(path.read_bytes(), type=cls)
