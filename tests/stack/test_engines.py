"""The embedded servers start, answer, and have the settings that the screens and checks rely on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import asyncpg
import pytest
import redis

from backend.stack.layout import Layout
from backend.stack.postgres_server import BOOT_SETTINGS, PostgresServer
from tests.engines import layout_below, running
from tests.stack.systems import make_base


async def connect(server: PostgresServer) -> asyncpg.Connection[asyncpg.Record]:
    address = server.superuser
    return await asyncpg.connect(
        host=address.host, port=address.port, user=address.user, password=address.password, database="postgres",
        timeout=5, command_timeout=5,
    )  # fmt: skip


async def test_postgres_listens_on_its_socket_only(postgres_server: PostgresServer) -> None:
    connection = await connect(postgres_server)
    try:
        assert await connection.fetchval("select current_setting('listen_addresses')") == ""
        assert await connection.fetchval("select inet_server_addr()") is None
    finally:
        await connection.close()


async def test_postgres_sorts_by_code_point_and_speaks_utf8(postgres_server: PostgresServer) -> None:
    connection = await connect(postgres_server)
    try:
        row = await connection.fetchrow(
            "select datlocprovider::text as provider, datlocale, pg_encoding_to_char(encoding) as encoding"
            " from pg_database where datname = 'postgres'"
        )
        assert row is not None
        assert tuple(row) == ("b", "C.UTF-8", "UTF8")
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "name",
    ["shared_preload_libraries", "compute_query_id", "track_io_timing", "reserved_connections",
     "client_connection_check_interval", "log_lock_waits", "deadlock_timeout"],
)  # fmt: skip
async def test_postgres_boots_with_what_the_health_checks_need(postgres_server: PostgresServer, name: str) -> None:
    connection = await connect(postgres_server)
    try:
        assert await connection.fetchval("select current_setting($1)", name) == BOOT_SETTINGS[name]
    finally:
        await connection.close()


async def test_a_wrong_password_is_refused(postgres_server: PostgresServer) -> None:
    address = postgres_server.superuser
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=address.host, port=address.port, user=address.user, password="wrong", database="postgres", timeout=5
        )


def test_postgres_is_ready_only_for_the_pid_that_runs(postgres_server: PostgresServer) -> None:
    assert not postgres_server.ready(1)


def test_a_second_initialise_keeps_the_data(postgres_server: PostgresServer) -> None:
    before = (postgres_server.data / "global" / "pg_control").stat().st_ino
    postgres_server.initialise()
    assert (postgres_server.data / "global" / "pg_control").stat().st_ino == before


def test_valkey_keeps_within_its_memory_and_saves_its_keys_when_it_ends(valkey_url: str) -> None:
    client = redis.Redis.from_url(valkey_url, socket_timeout=2, decode_responses=True)
    try:
        assert client.config_get("maxmemory") == {"maxmemory": str(256 * 1024 * 1024)}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        assert client.config_get("save") == {"save": "60 1"}
        assert client.config_get("shutdown-on-sigterm") == {"shutdown-on-sigterm": "save force"}
        assert client.config_get("port") == {"port": "0"}
    finally:
        client.close()


def test_a_layout_has_short_sockets_however_long_its_path(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("x" * 100)
    layout = Layout.from_environment({"ASKPRO_HOME": str(home)})
    assert len(str(layout.sockets / ".s.PGSQL.5432.lock")) < 100


@pytest.fixture
def own_layout() -> Iterator[Layout]:
    """A layout for a server of the test's own."""
    base = make_base()
    yield layout_below(base)
    shutil.rmtree(base)


async def test_an_interrupted_creation_of_the_database_is_begun_anew(own_layout: Layout) -> None:
    half = own_layout.postgres_data / ".new-half" / "cluster"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = PostgresServer(own_layout, "secret")
    server.initialise()
    assert server.is_initialised
    assert not half.exists()


async def test_lost_passwords_are_renewed_and_a_stale_lock_with_a_reused_pid_does_not_block(
    own_layout: Layout,
) -> None:
    PostgresServer(own_layout, "lost").initialise()
    server = PostgresServer(own_layout, "it's new")
    server.initialise()
    server.set_superuser_password()
    lock = server.data / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{server.data}\n0\n5432\n{server.sockets}\n\n\nready\n")
    assert server.owner() is None
    server.clear_stale_locks()
    assert not lock.exists()
    with running(server.command(), own_layout.data / "log", server.ready, signal.SIGINT) as pid:
        assert server.owner() == pid
        server.clear_stale_locks()
        assert lock.exists()
        connection = await connect(server)
        await connection.close()
