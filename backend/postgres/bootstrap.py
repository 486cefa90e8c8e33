"""What only the server's administrator can do: login roles, the database, its schema and extensions.

Idempotent, so it runs at every start of the embedded server; an external server needs it once.
Everything else is a migration and runs as `askpro_owner`.
"""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from backend.postgres.address import Role, Superuser
from backend.postgres.pools import CONNECT_TIMEOUT_S
from backend.postgres.scram import agrees, make_verifier

SCHEMA = "askpro"
OWNER = "askpro_owner"
INTAKE = "askpro_intake"

ROLE_SETTINGS: dict[Role, dict[str, str]] = {
    Role.MIGRATE: {
        "statement_timeout": "10min",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "10min",
    },
    Role.SETUP: {
        "statement_timeout": "10min",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "2min",
    },
    Role.API: {
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "10s",
    },
    Role.WORKER: {
        "statement_timeout": "30s",
        "lock_timeout": "15s",
        "idle_in_transaction_session_timeout": "60s",
    },
    Role.WATCH: {
        "statement_timeout": "2s",
        "lock_timeout": "500ms",
        "idle_in_transaction_session_timeout": "10s",
    },
    Role.CONSOLE: {
        "statement_timeout": "5s",
        "lock_timeout": "500ms",
        "idle_in_transaction_session_timeout": "10s",
        "default_transaction_read_only": "on",
    },
}
"""Limits of each login role, set on the role so that no client can forget them."""

MEMBERSHIPS = (
    f"grant {OWNER} to {Role.MIGRATE} with inherit false, set true",
    f"grant {INTAKE} to {OWNER} with inherit false, set true",
    f"grant pg_monitor, pg_use_reserved_connections to {Role.WATCH}",
    f"grant pg_monitor to {Role.CONSOLE}",
)

EXTENSIONS = ("btree_gist", "pg_trgm", "pg_stat_statements")

_LOCK = 7_236_001
"""Advisory lock: one bootstrap at a time (roles belong to the whole server)."""


async def bootstrap(superuser: Superuser, passwords: Mapping[str, str], *, database: str = "askpro") -> None:
    """Create or repair the roles, the database, the schema and the extensions.

    `passwords` has one for each `Role`; they are stored as SCRAM verifiers and replaced when they differ.
    Raises KeyError when a password is missing; OSError or asyncpg.PostgresError when the server fails.
    """
    missing = [role.value for role in Role if role.value not in passwords]
    if missing:
        raise KeyError(f"no password for {', '.join(missing)}")
    server = await _connect(superuser, "postgres")
    try:
        await server.execute("select pg_advisory_lock($1)", _LOCK)
        await _ensure_roles(server, passwords)
        await ensure_database(server, database)
    finally:
        await server.close()
    inside = await _connect(superuser, database)
    try:
        await inside.execute(_inside_sql())
    finally:
        await inside.close()


async def ensure_database(
    server: asyncpg.Connection[asyncpg.Record], database: str, *, template: str = "template0"
) -> None:
    """Create `database`, owned by the owner role, unless it exists; only our roles may connect to it."""
    if not await server.fetchval("select true from pg_database where datname = $1", database):
        name = quote_identifier(database)
        # A template with content is copied as files: written to the log page by page, the default, it costs more.
        strategy = "" if template == "template0" else "strategy file_copy"
        await server.execute(f"create database {name} owner {OWNER} template {quote_identifier(template)} {strategy}")
    name = quote_identifier(database)
    logins = ", ".join(role.value for role in Role)
    await server.execute(
        f"revoke connect, temporary on database {name} from public; grant connect on database {name} to {logins}"
    )


async def _ensure_roles(server: asyncpg.Connection[asyncpg.Record], passwords: Mapping[str, str]) -> None:
    rows = await server.fetch("select rolname, rolpassword from pg_authid where rolname like 'askpro%'")
    verifiers: dict[str, str | None] = {row["rolname"]: row["rolpassword"] for row in rows}
    statements = [f"create role {group} nologin" for group in (OWNER, INTAKE) if group not in verifiers]
    for role in Role:
        verb = "alter" if role.value in verifiers else "create"
        statements.append(f"{verb} role {role} login nosuperuser nocreatedb nocreaterole nobypassrls noreplication")
        password = passwords[role.value]
        if not agrees(password, verifiers.get(role.value)):
            statements.append(f"alter role {role} password {quote_literal(make_verifier(password))}")
        statements.append(f"alter role {role} set search_path = {SCHEMA}, public")
        settings = {"timezone": "UTC", "jit": "off", **ROLE_SETTINGS[role]}
        statements.extend(f"alter role {role} set {name} = {quote_literal(value)}" for name, value in settings.items())
    statements.extend(MEMBERSHIPS)
    async with server.transaction():
        await server.execute(";\n".join(statements))


def _inside_sql() -> str:
    """The database's own set-up: schema, extensions, who may use what."""
    logins = ", ".join(role.value for role in Role)
    extensions = "\n".join(f"create extension if not exists {name} with schema public;" for name in EXTENSIONS)
    return f"""
        set client_min_messages = 'warning';
        {extensions}
        create schema if not exists {SCHEMA} authorization {OWNER};
        grant usage on schema {SCHEMA} to {logins}, {INTAKE};
        grant create on schema {SCHEMA} to {INTAKE};
        revoke create on schema public from public;
    """


async def _connect(superuser: Superuser, database: str) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(
        host=superuser.host,
        port=superuser.port,
        user=superuser.user,
        password=superuser.password,
        database=database,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=60.0,
        server_settings={"application_name": "askpro-bootstrap"},
    )


def quote_identifier(name: str) -> str:
    """`name` as an SQL identifier. Raises ValueError when it holds a NUL."""
    if "\0" in name:
        raise ValueError("an identifier can't hold a NUL")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """`text` as an SQL string constant, whatever it holds. Raises ValueError when it holds a NUL."""
    if "\0" in text:
        raise ValueError("a string constant can't hold a NUL")
    return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
