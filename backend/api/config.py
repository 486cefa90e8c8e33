"""What the API process has to be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.api.limits.table import LimitFigures
from backend.postgres.address import PostgresAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """Configuration of one API process. Secrets stay out of `repr`."""

    host: str
    port: int
    """0 for any free one; an inherited listening socket goes before both."""
    postgres: PostgresAddress
    valkey_url: str | None
    retell_keys: tuple[str, ...] = field(repr=False)
    """Any of them may sign; empty: no Retell delivery is accepted, all are kept for replay."""
    calcom_secrets: tuple[str, ...] = field(repr=False)
    reject_key: bytes = field(repr=False)
    """32 bytes; seals refused deliveries."""
    version: str
    node: str = "localhost"
    dashboard_token: str | None = field(default=None, repr=False)
    """Lets others than this machine read `/api/dashboard` and `/metrics`: `Authorization: Bearer …`."""
    pool_size: int = 8
    """Connections beside the intake's writers: lookups, readiness, refused deliveries."""
    patience_s: float = 2.5
    """A delivery that is not stored by then is answered 503."""
    lookup_s: float = 0.4
    """Who asks who is calling has an answer by then."""
    limits: LimitFigures = field(default_factory=LimitFigures)
    trusted_proxies: tuple[str, ...] = ()
    """Networks of the proxies whose word about a sender's address is believed."""
    proxy_header: str = "x-forwarded-for"
    """The header in which they name it, or `forwarded`."""
    function_pool_size: int = 8
    """Connections for in-call functions alone, so that nothing else makes a caller wait for one."""
    function_s: float = 2.5
    """The voice agent has the answer to a function by then."""
    max_connections: int = 4_000
    """Open HTTP connections; further ones are answered 503."""
