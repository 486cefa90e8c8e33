"""`askpro calendar`: how far calendars have got, and what it says to a command that names nothing."""

from __future__ import annotations

from pathlib import Path

from tests.whole_system import WHOLE_SYSTEM, Running

pytestmark = WHOLE_SYSTEM


def declared(home: Path) -> Path:
    """A company that writes to Cal.com and has no appointments."""
    file = home / "calendars.toml"
    file.write_text(
        'slug = "calendars"\nname = "Calendars"\n[calcom]\napi_key_secret = "calcom_api_key"\n'
        '[[branches]]\nslug = "main"\nname = "Main"\n[[services]]\nslug = "one"\nname = "One"\nduration_min = 30\n'
        'calcom_event_type_id = 7\n[[staff]]\nslug = "ann"\nname = "Ann"\nbranches = ["main"]\nservices = ["one"]\n',
        encoding="utf-8",
    )
    return file


def test_a_company_that_syncs_is_told_with_its_figures(system: Running) -> None:
    assert "declare `[calcom]`" in system.askpro("calendar", "status", "--company", "nobody").stdout
    system.told("company", "apply", str(declared(system.home)), "--yes")
    told = system.told("calendar", "status", "--company", "calendars")
    (row,) = told["companies"]
    assert (row["company"], row["syncs"], row["pending"], row["failed"]) == ("calendars", True, 0, 0)
    shown = system.askpro("calendar", "status")
    assert shown.returncode == 0, shown.stderr
    assert "calendars  0 " in shown.stdout
    assert system.told("calendar", "push", "--all-failed", "--never-written", "--company", "calendars") == {"pushed": 0}


def test_pushing_nothing_in_particular_is_refused_with_what_can_be_said(system: Running) -> None:
    for arguments, sentence in (((), "ids, --all-failed or --never-written"), (("abc",), "is named by its id")):
        refused = system.askpro("calendar", "push", *arguments)
        assert (refused.returncode, sentence in refused.stderr) == (2, True), refused.stderr
