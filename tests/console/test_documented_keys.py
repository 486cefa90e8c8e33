"""The tables of keys in docs/console.md tell what the registry of actions says: no key too many, none too few."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from askpro_console.actions import ACTIONS
from widgets.key_hints import key_name

PAGE = Path(__file__).parents[2] / "docs" / "console.md"

SECTIONS = {
    "Queues": ("queues.",),
    "Schedule and history": ("schedule.", "history."),
    "Fleet": ("fleet.",),
    "Held jobs": ("held.",),
}
"""Sections with a table of keys, and the actions that it is of."""


def documented(section: str) -> list[str]:
    """The keys in a section's table."""
    text = re.split(r"^##+ ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    (found,) = [part for part in text if part.startswith(f"{section}\n")]
    return re.findall(r"^\| `([^`]+)` \|", found, flags=re.MULTILINE)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_tables_of_keys_equal_the_registry(section: str) -> None:
    known = [key_name(action.keys[0]) for action in ACTIONS if action.id.startswith(SECTIONS[section]) and action.keys]
    assert sorted(documented(section)) == sorted(known)


def test_find_is_where_the_page_says() -> None:
    screens = {screen: set(action.keys) for action in ACTIONS if action.run == "open.find" for screen in action.screens}
    assert screens == {"queues": {"slash", "f"}, **{name: {"f"} for name in ("pulse", "fleet", "cause", "job")}}
    assert any(action.words == ("find",) and not action.screens for action in ACTIONS)
