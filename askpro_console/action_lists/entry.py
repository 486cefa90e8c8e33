"""What an entry of the registry of actions is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Danger(StrEnum):
    """What an action can do to the system."""

    NONE = "none"
    """Shows something."""
    CHANGES = "changes"
    """Changes something that can be changed back. Greyed out in read-only mode."""
    DANGEROUS = "dangerous"
    """Cannot be undone: confirmed with what and how many. Greyed out in read-only mode."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing the console can do."""

    id: str
    """`group.verb`: how the keymap file names it."""
    title: str
    """A word or two, as the key hints show it."""
    group: str
    """Heading in the help."""
    run: str
    """`target.method`, the method without its `action_`; or `open.NAME` for a screen of the second level."""
    keys: tuple[str, ...] = ()
    """Default keys, in Textual's names; the first is the one that is shown."""
    screens: tuple[str, ...] = ()
    """Screens on which it is valid; empty for all."""
    danger: Danger = Danger.NONE
    hint: int = 0
    """Place among the key hints, smallest first; 0 for not there."""
    words: tuple[str, ...] = ()
    """Names on the `:` line and in the palette."""
    help: str = ""
    """A sentence for help and palette; the title when empty."""
