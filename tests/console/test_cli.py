"""The command line: finding commands, saying no, and being quick about it."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from askpro_console import cli
from askpro_console.version import version


def askpro(
    *arguments: str,
    home: Path,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ASKPRO_")}
    return subprocess.run(
        [sys.executable, "-m", "askpro_console", *arguments],
        env={**env, "ASKPRO_HOME": str(home), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_help_lists_every_command_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0

    out = capsys.readouterr().out
    for name, entry in cli.COMMANDS.items():
        assert name in out
        assert entry.help in out


def test_help_loads_no_command_and_no_library() -> None:
    watched = ["msgspec", "asyncpg", "redis", "httpx", "pydantic", "textual", "rich", "keyring", "asyncio", "psutil"]
    code = (
        "import sys; from askpro_console.cli import main; main(['--help']);"
        f"print([name for name in {watched!r} if name in sys.modules], file=sys.stderr);"
        "print([name for name in sys.modules if name.startswith('askpro_console.commands.')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr.split("\n")[:2] == ["[]", "[]"]


@pytest.mark.parametrize("name", [*cli.COMMANDS, *cli.HIDDEN])
def test_every_command_in_the_table_exists_and_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    module = importlib.import_module(f"askpro_console.commands.{(cli.COMMANDS | cli.HIDDEN)[name].module}")

    assert name == module.NAME
    with pytest.raises(SystemExit) as left:
        cli.main([name, "--help"])
    assert left.value.code == 0
    assert cli.sentence(module.HELP) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "meant"), [("shwo", "show"), ("statsu", "status"), ("simulat", "simulate"), ("docter", "doctor")]
)
def test_a_mistyped_command_is_answered_with_the_nearest_right_one(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([typed]) == 2

    said = capsys.readouterr().err
    assert f"`{typed}`" in said
    assert f"Did you mean `askpro {meant}`?" in said


def test_a_word_like_no_command_points_at_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["zzzzzz"]) == 2
    assert "`askpro --help` lists the commands." in capsys.readouterr().err


def test_a_wrong_argument_exits_with_two_and_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--jsn"]) == 2

    said = capsys.readouterr().err
    assert said.startswith("askpro: config: ")
    assert "Traceback" not in said


def test_an_error_is_json_when_json_was_asked_for(tmp_path: Path) -> None:
    done = askpro("config", "--json", "--profile", "prodution", home=tmp_path)

    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert "there is no profile `prodution`; did you mean `production`?" in told["error"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--profile", "nope", "secrets", "list"),
        ("secrets", "--profile", "nope", "list"),
        ("secrets", "list", "--profile", "nope"),
        ("secrets", "list", "--profile=nope"),
    ],
)
def test_a_profile_can_be_named_anywhere(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASKPRO_HOME", str(tmp_path))
    monkeypatch.setenv("ASKPRO_PROFILE", "local")

    assert cli.main(arguments) == 2
    assert "there is no profile `nope`" in capsys.readouterr().err


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"]) == 0
    assert "usage: askpro" in capsys.readouterr().out

    with pytest.raises(SystemExit):
        cli.main(["help", "config"])
    assert "--schema" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_error_on_the_screen(tmp_path: Path) -> None:
    script = (
        f"{shlex.quote(sys.executable)} -m askpro_console config --schema | head -c 1; echo; echo ${{PIPESTATUS[0]}}"
    )
    env = os.environ | {"ASKPRO_HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr == ""
    assert done.stdout.split() in (["{", "141"], ["{", "0"])  # The pipe may have taken everything before it broke.


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    from askpro_console.commands import config

    def interrupted(_args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "run", interrupted)

    assert cli.main(["config"]) == 130


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"askpro {version()}\n"


def test_output_that_the_character_set_lacks_is_replaced_rather_than_fatal(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "askpro.toml").write_text('[profiles.local]\nconsole.keymap = "größe"\n', encoding="utf-8")

    done = askpro("config", home=tmp_path, environment={"PYTHONIOENCODING": "ascii"})

    assert done.returncode == 0, done.stderr
    assert "gr??e" in done.stdout or "gr\\xf6\\xdfe" in done.stdout


def test_an_unknown_home_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("HOME", "ASKPRO_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # A user that the machine does not know.

    assert cli.main(["config"]) == 2
    assert "Set HOME or ASKPRO_HOME." in capsys.readouterr().err


@pytest.mark.parametrize("command", [("show", "calls"), ("db", "verify"), ("db", "migrate")])
def test_what_needs_a_running_system_says_how_to_start_it(command: tuple[str, ...], tmp_path: Path) -> None:
    done = askpro(*command, home=tmp_path)

    assert done.returncode == 1
    assert done.stderr == "askpro: The system does not run.\nStart it with `askpro up`.\n"


def test_an_unknown_domain_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "cals"]) == 2
    assert "Did you mean `calls`?" in capsys.readouterr().err


def test_places_named_relatively_are_the_same_for_processes_that_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASKPRO_HOME", "here")
    monkeypatch.setenv("ASKPRO_SECRET_RETELL_API_KEY_FILE", "key")

    assert cli.main(["config", "--json"]) == 0

    assert os.environ["ASKPRO_HOME"] == str(tmp_path / "here")
    assert os.environ["ASKPRO_SECRET_RETELL_API_KEY_FILE"] == str(tmp_path / "key")


def test_a_full_disk_under_the_output_is_a_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "askpro_console", "config"],
            env=os.environ | {"ASKPRO_HOME": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == "askpro: The output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed_is_no_error(closed: str, tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m askpro_console config {closed}"
    done = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | {"ASKPRO_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert ("api.port" in done.stdout) is (">&-" not in closed.split())


def test_commands_that_talk_http_load_no_second_command_line() -> None:
    code = (
        "import sys; from askpro_console.cli import main; main(['--version']); import httpx;"
        "print([name for name in ('click', 'rich', 'pygments') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr == "[]\n"
