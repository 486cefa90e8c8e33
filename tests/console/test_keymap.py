"""The user's own keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from askpro_console.actions import ACTIONS, BY_ID
from askpro_console.keymap import read_keymap, with_keymap
from askpro_console.modes import MODES, SECOND
from askpro_console.refusal import WrongUsage


def written(tmp_path: Path, text: str) -> Path:
    """A keymap file."""
    path = tmp_path / "keymap.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_a_file_every_action_keeps_its_keys(tmp_path: Path) -> None:
    assert read_keymap(tmp_path / "none.toml") == {}
    assert with_keymap({}) == {action.id: action.keys for action in ACTIONS}


def test_keys_may_be_written_as_people_name_them(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [keys]
        list.filter = "f"
        "list.open" = ["enter", "ctrl+o", "shift+x"]
        "console.help" = "?"
        "console.back" = "esc"
        "list.page_down" = "pgdn"
        """,
    )
    assert read_keymap(path) == {
        "list.filter": ("f",),
        "list.open": ("enter", "ctrl+o", "X"),
        "console.help": ("question_mark",),
        "console.back": ("escape",),
        "list.page_down": ("pagedown",),
    }


def test_a_key_given_away_is_no_longer_its_former_actions(tmp_path: Path) -> None:
    keys = with_keymap(read_keymap(written(tmp_path, '[keys]\n"list.filter" = "p"\n')))
    assert keys["list.filter"] == ("p",)
    assert keys["console.pause"] == ("p",), "valid elsewhere: lists take p for themselves only where there are lists"
    keys = with_keymap(read_keymap(written(tmp_path, '[keys]\n"console.pause" = "q"\n')))
    assert keys["console.quit"] == ("ctrl+c",)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[keys]\n"list.filtr" = "f"', "Did you mean list.filter?"),
        ('[keys]\n"list.filter" = "ctlr+f"', "Did you mean ctrl?"),
        ('[keys]\n"list.filter" = "pagedwn"', "Did you mean pagedown?"),
        ('[keys]\n"list.filter" = 5', "must be a key or a list of keys"),
        ('[keys]\n"list.filter" = []', "must be a key or a list of keys"),
        ('[key]\n"list.filter" = "f"', "there is no table [key]"),
        ('[keys]\n"list.filter" = "f"\n"list.mark" = "f"', "f is the key of both list.filter and list.mark"),
        ('[keys]\n"list.filter" = "j"\n"list.down" = "j"', "j is the key of both list.filter and list.down"),
        ('[keys]\n"list.down" = "2"', "2 is the key of both Calls and list.down"),
        ("[keys", "keymap.toml"),
    ],
)
def test_every_mistake_is_named_with_what_was_probably_meant(tmp_path: Path, text: str, wanted: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(WrongUsage) as refused:
        read_keymap(path)
    said = f"{refused.value.message} {refused.value.hint}"
    assert wanted in said
    assert str(path) in said


def test_a_keymap_that_the_settings_name_must_be_there_and_the_usual_one_need_not(tmp_path: Path) -> None:
    assert read_keymap(tmp_path / "keymap.toml") == {}
    with pytest.raises(WrongUsage, match="there is no such file"):
        read_keymap(tmp_path / "keymap.toml", is_wanted=True)


def test_on_no_screen_two_actions_have_one_key() -> None:
    screens = {screen for action in ACTIONS for screen in action.screens} | {"elsewhere"}
    for screen in screens:
        taken: dict[str, str] = {mode.key: mode.name for mode in MODES}
        for action in ACTIONS:
            if action.screens and screen not in action.screens:
                continue
            for key in action.keys:
                assert key not in taken, f"{key} on {screen}: {taken.get(key)} and {action.id}"
                taken[key] = action.id


def test_every_action_says_what_it_does() -> None:
    for action in BY_ID.values():
        assert action.title
        kind, _, name = action.run.partition(".")
        assert kind in {"app", "screen", "list"} or (kind == "open" and name in SECOND)
