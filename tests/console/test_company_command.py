"""`askpro company`: mistakes with their lines, a diff and a question before anything changes, files that go round."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ptyprocess import PtyProcess

from askpro_console import cli
from askpro_console.company_schema import json_schema
from backend.services.companies.applying import read_declaration
from tests.whole_system import WHOLE_SYSTEM, Running

pytestmark = WHOLE_SYSTEM


def example(capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["company", "example"]) == 0
    return capsys.readouterr().out


def test_every_mistake_in_every_file_is_told_with_its_line_and_what_would_be_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = example(capsys)
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(
        text.replace("buffer_after_min = 5 ", "buffer_aftr_min = 5 ").replace('"Mon-Thu 12:30', '"Mnn-Thu 12:30'),
        encoding="utf-8",
    )
    second.write_text(text.replace('"BE" ', '"Bayern" ').replace('["blutabnahme",', '["blutabname",'), encoding="utf-8")

    assert cli.main(["company", "apply", str(first), str(second)]) == 2

    told = capsys.readouterr().err
    for file, key, message in (
        (first, "buffer_aftr_min", "there is no `buffer_aftr_min` here; did you mean `buffer_after_min`?"),
        (first, "Mnn", "`breaks`: 'Mnn' is no day of the week; did you mean Mon?"),
        (second, "Bayern", "did you mean `BY`?"),
        (second, '"blutabname"', "which is no service; did you mean `blutabnahme`?"),
    ):
        lines = file.read_text(encoding="utf-8").splitlines()
        number = next(number for number, line in enumerate(lines, 1) if key in line)
        assert re.search(rf"{re.escape(f'{file}:{number}: ')}.*{re.escape(message)}", told), told


def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "broken.toml"
    file.write_text('slug = "a"\nname = \n', encoding="utf-8")
    assert cli.main(["company", "apply", str(file)]) == 2
    assert f"{file}:2: not TOML: Invalid value" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["company", "apply", str(tmp_path / "none.toml")]) == 1
    assert "cannot be read: No such file or directory" in capsys.readouterr().err


def test_the_example_is_right_and_the_schema_knows_every_key_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = example(capsys)
    assert read_declaration(text.encode()).slug == "praxis-beispiel"

    def look(value: object, schema: dict[str, Any], place: str) -> None:
        if isinstance(value, dict) and "properties" in schema:
            assert set(schema["required"]) <= value.keys(), place
            for key, inner in value.items():
                assert schema["properties"][key]["description"], f"{place}.{key}"
                look(inner, schema["properties"][key], f"{place}.{key}")
        elif isinstance(value, list) and "items" in schema:
            for item in value:
                look(item, schema["items"], place)

    look(tomllib.loads(text), json_schema(), "")


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["company", "schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    branch = printed["properties"]["branches"]["items"]["properties"]
    assert "BY" in branch["bundesland"]["enum"]
    assert branch["exceptions"]["items"]["required"] == ["kind", "from"]
    assert printed["properties"]["staff"]["items"]["properties"]["exceptions"]["items"]["properties"]["branch"]


def declared(home: Path, name: str) -> Path:
    """A company of this test's own."""
    file = home / f"{name}.toml"
    file.write_text(
        f'slug = "{name}"\nname = "Test {name}"\n[[branches]]\nslug = "main"\nname = "Main"\n'
        '[[services]]\nslug = "one"\nname = "One"\nduration_min = 30\nprice_cents = 1000\n'
        '[[staff]]\nslug = "ann"\nname = "Ann"\nbranches = ["main"]\nservices = ["one"]\n'
        'hours = "Mon-Fri 09:00-17:00"\n',
        encoding="utf-8",
    )
    return file


def test_nothing_changes_without_a_yes(system: Running) -> None:
    file = declared(system.home, "careful")
    dry = system.askpro("company", "apply", str(file), "--dry-run")
    assert (dry.returncode, "+ staff ann" in dry.stdout, "none of them made" in dry.stdout) == (0, True, True)
    refused = system.askpro("company", "apply", str(file))
    assert (refused.returncode, "Add --yes" in refused.stderr, "+ staff ann" in refused.stdout) == (2, True, True)
    assert "careful" not in {company["slug"] for company in system.told("company", "list")["companies"]}


def test_a_file_goes_round_without_a_change(system: Running) -> None:
    file = declared(system.home, "round")
    first = system.told("company", "apply", str(file), "--yes")
    assert (first["applied"], {change["action"] for change in first["changes"]}) == (True, {"add"})
    again = system.told("company", "apply", str(file))
    assert (again["applied"], again["changes"]) == (False, [])
    assert system.askpro("company", "export", "round", "-o", str(file)).returncode == 0
    text = file.read_text(encoding="utf-8")
    assert 'hours.main = "Mon-Fri 09:00-17:00"' in text
    assert system.told("company", "apply", str(file))["changes"] == []

    file.write_text(text.replace("price_cents = 1000", "price_cents = 1200"), encoding="utf-8")
    changed = system.askpro("company", "apply", str(file), "--yes")
    assert "~ service one\n      price_cents: 1000 → 1200\n" in changed.stdout
    assert "\x1b" not in changed.stdout
    missing = system.askpro("company", "export", "rond")
    assert (missing.returncode, "Did you mean round?" in missing.stderr) == (1, True)


@pytest.mark.parametrize(("answer", "code", "there"), [("n\n", 1, False), ("\x04", 1, False), ("y\n", 0, True)])
def test_a_person_is_shown_the_changes_in_colour_and_asked(
    system: Running, answer: str, code: int, there: bool
) -> None:
    name = f"asked-{answer.encode().hex()}"
    file = declared(system.home, name)
    terminal = PtyProcess.spawn(
        [sys.executable, "-m", "askpro_console", "company", "apply", str(file)],
        env={"TERM": "xterm-256color", "PATH": os.environ["PATH"]} | system.environment,
        dimensions=(24, 200),
    )
    seen = b""
    while b"[y/N]" not in seen:
        seen += terminal.read(4096)
    terminal.write(answer.encode())
    try:
        while True:
            seen += terminal.read(4096)
    except EOFError:
        terminal.wait()
    assert terminal.exitstatus == code, seen.decode()
    assert "\x1b[32m+ staff ann\x1b[0m" in seen.decode()
    assert "Make these 4 changes?" in seen.decode()
    assert (name in {company["slug"] for company in system.told("company", "list")["companies"]}) is there
