"""The check-up: what it finds on a machine, in a configuration and in secrets, and what it says to do."""

from __future__ import annotations

import errno
import json
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import msgspec
import psutil
import pytest

from askpro_console import cli
from askpro_console.checks.configuration import check_configuration, check_secrets
from askpro_console.checks.findings import Finding, size
from askpro_console.checks.machine import check_machine
from askpro_console.checks.running import process_finding
from askpro_console.system import System
from backend.domain.vocabulary import Verdict
from backend.stack.status import ProcessState, ProcessStatus


def system(home: Path, **environ: str) -> System:
    return System.load({"ASKPRO_HOME": str(home), "ASKPRO_SECRETS_KEYRING": "off", "TERM": "xterm"} | environ)


def machine(home: Path, name: str, **environ: str) -> Finding:
    return {finding.name: finding for finding in check_machine(system(home, **environ))}[name]


def test_a_check_up_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"

    list(check_machine(system(home)))
    list(check_configuration(system(home)))
    list(check_secrets(system(home)))

    assert not home.exists()


def test_every_finding_that_is_not_in_order_says_what_to_do(tmp_path: Path) -> None:
    found = [*check_machine(system(tmp_path, TERM="dumb", LC_ALL="C")), *check_secrets(system(tmp_path))]

    to_mind = [finding for finding in found if finding.verdict in {Verdict.WARN, Verdict.CRIT}]
    assert {"terminal", "locale", "retell_api_key"} <= {finding.name for finding in to_mind}
    assert all(finding.remedy for finding in to_mind)


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free", "verdict"), [(100 * 2**20, Verdict.CRIT), (1 * 2**30, Verdict.WARN), (50 * 2**30, Verdict.OK)]
)
def test_little_room_on_the_disk_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(100 * 2**30, 0, free))

    assert machine(tmp_path, "disk").verdict is verdict


def test_little_memory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=100 * 2**20))

    assert machine(tmp_path, "memory").verdict is Verdict.CRIT


def test_a_low_limit_of_open_files_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (128, 4096))

    finding = machine(tmp_path, "open files")

    assert finding.verdict is Verdict.CRIT
    assert "ulimit -n 1024" in finding.remedy


def test_a_place_that_is_no_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    finding = machine(tmp_path, "data directory")

    assert finding.verdict is Verdict.CRIT
    assert str(tmp_path / "data") in finding.detail


def test_a_place_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refused)  # Root may write everywhere else.

    assert machine(tmp_path, "data directory").verdict is Verdict.CRIT


def test_a_variable_that_does_nothing_is_found(tmp_path: Path) -> None:
    found = {finding.name: finding for finding in check_configuration(system(tmp_path, ASKPRO_COLOUR="red"))}

    assert found["ASKPRO_COLOUR"].verdict is Verdict.WARN
    assert "ASKPRO_SECRETS_KEYRING" not in found


def test_settings_that_others_may_change_are_found(tmp_path: Path) -> None:
    file = tmp_path / "config" / "askpro.toml"
    file.parent.mkdir()
    file.write_text("")
    file.chmod(0o666)

    found = {finding.name: finding for finding in check_configuration(system(tmp_path))}

    assert found["settings file"].remedy == f"Run `chmod go-w {file}`."


def test_a_secret_is_found_and_not_told(tmp_path: Path) -> None:
    found = list(check_secrets(system(tmp_path, ASKPRO_SECRET_RETELL_API_KEY="hunter2")))

    assert {finding.name: finding.verdict for finding in found}["retell_api_key"] is Verdict.OK
    assert "hunter2" not in repr(found)


def test_without_a_running_system_the_doctor_says_how_to_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKPRO_HOME", str(tmp_path))
    monkeypatch.setenv("ASKPRO_SECRETS_KEYRING", "off")

    assert cli.main(["doctor", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    supervisor = next(finding for finding in told["findings"] if finding["name"] == "supervisor")
    assert supervisor["verdict"] == "warn"
    assert "askpro up" in supervisor["remedy"]


def test_an_area_without_anything_to_say_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKPRO_HOME", str(tmp_path))
    monkeypatch.setenv("ASKPRO_SECRETS_KEYRING", "off")

    assert cli.main(["doctor"]) == 0
    short = capsys.readouterr().out
    assert cli.main(["doctor", "--all"]) == 0

    assert "\nnotifications\n" in capsys.readouterr().out
    assert "notifications" not in short


def test_a_process_that_says_nothing_is_told_without_a_reason() -> None:
    starting = ProcessStatus(name="api", state=ProcessState.STARTING, pid=7, rss_bytes=2**20)

    assert process_finding(starting, 2**30).detail == "starting, pid 7, 1.0 MB"
    assert (
        process_finding(msgspec.structs.replace(starting, detail="waits\nfor more"), 2**30).detail
        == "starting, pid 7, 1.0 MB: waits"
    )


def test_sizes_are_read_by_people() -> None:
    assert [size(count) for count in (0, 1023, 1536, 50 * 2**20, 3 * 2**40)] == [
        "0 B",
        "1023 B",
        "1.5 KB",
        "50 MB",
        "3.0 TB",
    ]
