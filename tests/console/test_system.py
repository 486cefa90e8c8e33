"""One system's parts are configured from its settings, secrets and addresses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from askpro_console.refusal import WrongUsage
from askpro_console.secrets import SecretRefused
from askpro_console.system import NotRunning, System
from backend.api.limits.table import LimitFigures
from backend.domain.vocabulary import QueueName
from backend.postgres.address import Role
from backend.stack.endpoints import Endpoints

KEY = "key_0123456789abcdef"


def system(home: Path, **environ: str) -> System:
    return System.load({"ASKPRO_HOME": str(home), "ASKPRO_SECRETS_KEYRING": "off"} | environ)


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """A home as a running stack leaves it: endpoints and passwords."""
    layout = system(tmp_path).layout
    for directory in (layout.run, layout.data):
        directory.mkdir(parents=True)
    Endpoints(postgres_host=str(layout.sockets), valkey_url="unix:///v", api_url="http://127.0.0.1:8409").write(
        layout.endpoints_file
    )
    passwords = {role.value: f"pw-{role.value}" for role in Role} | {"postgres": "administrator"}
    layout.credentials_file.write_text(json.dumps(passwords))
    return tmp_path


def test_without_a_running_system_addresses_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotRunning) as refused:
        system(tmp_path).postgres()

    assert refused.value.hint == "Start it with `askpro up`."


def test_a_broken_file_of_addresses_is_named(started: Path) -> None:
    layout = system(started).layout
    layout.endpoints_file.write_text("{")

    with pytest.raises(NotRunning, match=str(layout.endpoints_file)):
        system(started).endpoints()


def test_no_part_gets_the_administrators_password(started: Path) -> None:
    found = system(started)

    assert set(found.passwords()) == {role.value for role in Role}
    assert "administrator" not in json.dumps(dict(found.api_config().postgres.passwords))


def test_limits_that_nobody_set_are_the_policys(started: Path) -> None:
    assert system(started).api_config().limits == LimitFigures()


def test_limits_and_proxies_are_the_settings(started: Path) -> None:
    config = system(
        started,
        ASKPRO_LIMITS_TOKEN_WRITES_PER_MINUTE="7",
        ASKPRO_API_TRUSTED_PROXIES="10.0.0.0/8, ::1",
        ASKPRO_API_PROXY_HEADER="forwarded",
    ).api_config()

    assert config.limits == LimitFigures(token_writes_per_minute=7)
    assert (config.trusted_proxies, config.proxy_header) == (("10.0.0.0/8", "::1"), "forwarded")


def test_a_proxy_that_is_no_network_is_refused_before_the_start(started: Path) -> None:
    with pytest.raises(WrongUsage, match="my-proxy"):
        system(started, ASKPRO_API_TRUSTED_PROXIES="10.0.0.1, my-proxy").stack_config()


def test_the_api_accepts_the_key_and_the_one_before(started: Path) -> None:
    rotating = {"ASKPRO_SECRET_RETELL_API_KEY": KEY, "ASKPRO_SECRET_RETELL_API_KEY_PREVIOUS": "key_old"}

    config = system(started, **rotating).api_config()

    assert config.retell_keys == (KEY, "key_old")
    assert config.calcom_secrets == ()
    assert config.port == 8409
    assert KEY not in repr(config)


def test_the_key_that_seals_rejects_is_made_once(started: Path) -> None:
    first = system(started).reject_key()

    assert len(first) == 32
    assert system(started).reject_key() == first


def test_a_reject_key_of_the_wrong_length_is_refused(started: Path) -> None:
    with pytest.raises(SecretRefused, match="32 bytes"):
        system(started, ASKPRO_SECRET_REJECT_KEY="abcd").reject_key()


def test_workers_and_publisher_find_the_stores(started: Path) -> None:
    found = system(started)

    worker = found.worker_config(QueueName.WEBHOOKS)
    assert (worker.queue, worker.valkey_url, worker.node) == (QueueName.WEBHOOKS, "unix:///v", os.uname().nodename)
    assert found.publisher_config().postgres.passwords == found.passwords()


def test_settings_reach_the_supervisor(tmp_path: Path) -> None:
    config = system(
        tmp_path,
        ASKPRO_API_PORT="9100",
        ASKPRO_STACK_MEMORY_CEILING="256 MB",
        ASKPRO_POSTGRES_SHARED_BUFFERS="64 MB",
        ASKPRO_POSTGRES_MAX_CONNECTIONS="80",
        ASKPRO_VALKEY_MAX_MEMORY="32 MB",
        ASKPRO_LOGS_TOTAL_SIZE="100 MB",
    ).stack_config()

    assert config.api_port == 9100
    assert config.memory_ceiling_bytes == 256 * 2**20
    assert config.postgres == {"shared_buffers": "65536kB", "max_connections": "80"}
    assert config.valkey == {"maxmemory": str(32 * 2**20)}
    assert config.logs.total_bytes == 100 * 2**20


def test_processes_find_a_home_that_was_named_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    config = System.load({"ASKPRO_HOME": "here", "ASKPRO_PROFILE": "production"}).stack_config()

    assert config.environment == {"ASKPRO_HOME": str(tmp_path / "here"), "ASKPRO_PROFILE": "production"}


def test_a_demo_makes_the_secrets_it_needs_and_keeps_those_that_are_set(tmp_path: Path) -> None:
    system(tmp_path, ASKPRO_SECRET_RETELL_API_KEY=KEY).stack_config(demo=True)

    found = system(tmp_path)
    assert found.secrets.get("retell_api_key") is None
    assert found.secrets.get("calcom_webhook_secret")
    found.stack_config(demo=True)
    assert str(system(tmp_path).secrets.get("retell_api_key")).startswith("key_")


def test_without_a_demo_no_secret_is_invented(tmp_path: Path) -> None:
    system(tmp_path).stack_config()

    assert not (tmp_path / "config").exists()
