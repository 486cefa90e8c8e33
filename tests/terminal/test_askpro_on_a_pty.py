"""Bare `askpro` on a terminal where no system can start: it says what, why, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.terminal.terminals import Terminal

ASKPRO = (sys.executable, "-m", "askpro_console")


def test_a_start_that_cannot_work_is_explained_and_ends_with_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Terminal(ASKPRO, environment={"ASKPRO_HOME": str(tmp_path / "file" / "home")}) as terminal:
        terminal.until_shows("The start failed", "r try again", "ASKPRO_HOME")
        terminal.press("q")
        assert terminal.until_ended() == 1


def test_a_wrong_keymap_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    keymap = tmp_path / "config" / "keymap.toml"
    keymap.parent.mkdir()
    keymap.write_text('[keys]\n"list.filtr" = "f"\n')
    with Terminal(ASKPRO, environment={"ASKPRO_HOME": str(tmp_path)}) as terminal:
        assert terminal.until_ended() == 2
        terminal.until_shows("there is no such action.", "Did you mean list.filter?")
        assert b"\x1b[?1049h" not in terminal.output
