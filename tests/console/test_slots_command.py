"""`askpro slots`: what support staff reads to a caller, and what it says when there is nothing to read."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from askpro_console import cli
from tests.whole_system import WHOLE_SYSTEM, Running

pytestmark = WHOLE_SYSTEM

TOMORROW = (datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(days=1)).date()


def declared(home: Path) -> Path:
    """A company that works an hour every day of the year."""
    file = home / "free.toml"
    file.write_text(
        'slug = "free"\nname = "Free"\n[[branches]]\nslug = "main"\nname = "Main"\nbundesland = ""\n'
        '[[services]]\nslug = "one"\nname = "One"\nduration_min = 30\nstep_min = 30\n'
        '[[services]]\nslug = "nobody"\nname = "Nobody"\nduration_min = 30\n'
        '[[staff]]\nslug = "ann"\nname = "Ann\u202e Öz"\nbranches = ["main"]\nservices = ["one"]\n'
        'hours = "Mon-Sun 09:00-10:00"\n'
        '[[staff]]\nslug = "bo"\nname = "Bo"\nbranches = ["main"]\nservices = ["one"]\n'
        'hours = "Mon-Sun 09:30-10:00"\n',
        encoding="utf-8",
    )
    return file


def test_the_slots_of_a_day_are_read_with_who_is_free(system: Running) -> None:
    system.told("company", "apply", str(declared(system.home)), "--yes")
    asked = ("slots", "free", "one", "--from", TOMORROW.isoformat(), "--days", "1")
    text = system.askpro(*asked)
    assert text.returncode == 0, text.stderr
    assert text.stdout == f"{TOMORROW:%a} {TOMORROW}\n  09:00  Ann� Öz\n  09:30  Ann� Öz or Bo\n"
    told = system.told(*asked, "--staff", "bo")
    assert told["time_zone"] == "Europe/Berlin"
    (slot,) = told["slots"]
    assert slot["local"].startswith(f"{TOMORROW}T09:30:00+0")
    assert [[one["name"] for one in able] for able in slot["staff"]] == [["Bo"]]
    nothing = system.askpro(*asked[:3], "--from", (TOMORROW + timedelta(days=200)).isoformat())
    assert (nothing.returncode, nothing.stdout) == (0, "No free slots.\n")


def test_what_there_is_not_is_a_sentence(system: Running) -> None:
    system.told("company", "apply", str(declared(system.home)), "--yes")
    for arguments, sentence in (
        (("fre", "one"), "There is no company fre."),
        (("free", "two"), "free has no service two"),
        (("free", "one", "--branch", "x"), "give --branch"),
        (("free", "one", "--staff", "cy"), "nobody called cy"),
        (("free", "nobody"), "Nobody who could be booked offers nobody"),
    ):
        refused = system.askpro("slots", *arguments)
        assert (refused.returncode, sentence in refused.stderr) == (1, True), refused.stderr


@pytest.mark.parametrize("wrong", [("--days", "0"), ("--from", "morgen")])
def test_wrong_usage_is_told_before_anything_is_asked(
    wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["slots", "free", "one", *wrong]) == 2
    assert wrong[0] in capsys.readouterr().err
