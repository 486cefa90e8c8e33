"""The user's own keys: `keymap.toml` beside the settings. Every mistake is named with what was probably meant.

[keys]
"list.filter" = "f"
"console.quit" = ["q", "ctrl+x"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from textual.keys import Keys, _character_to_key

from askpro_console.actions import ACTIONS, BY_ID
from askpro_console.modes import MODES
from askpro_console.refusal import WrongUsage, nearest

_NAMED = frozenset(key.value for key in Keys) | {
    "space",
    "enter",
    "escape",
    "tab",
    "backspace",
    "delete",
    "home",
    "end",
}
_SHORT = {"esc": "escape", "pgup": "pageup", "pgdn": "pagedown", "return": "enter", "⏎": "enter"}
_MODIFIERS = frozenset({"ctrl", "alt", "shift", "super", "meta", "hyper"})
_WORD = re.compile(r"[a-z][a-z0-9_]*$")


def read_keymap(path: Path, *, is_wanted: bool = False) -> dict[str, tuple[str, ...]]:
    """Keys by action, in Textual's names; empty when there is no such file, unless it is wanted. Raises WrongUsage."""
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        if is_wanted:
            raise WrongUsage(f"{path}: there is no such file.", "console.keymap names it.") from error
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{path} cannot be read: {error}.", "Mend it or take it away.") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WrongUsage(f"{path}: {error}.", "It is TOML: a table [keys] of action = key.") from error
    for name in data:
        if name != "keys":
            raise WrongUsage(f"{path}: there is no table [{name}].", "All keys stand in [keys].")
    entries = data.get("keys", {})
    if not isinstance(entries, dict):
        raise WrongUsage(f"{path}: keys must be a table.", "Write [keys] and under it action = key.")
    keymap = {str(action): _keys_of(path, str(action), value) for action, value in _flat(entries).items()}
    _check_clashes(path, keymap)
    return keymap


def _flat(entries: Mapping[str, object], before: str = "") -> dict[str, object]:
    """`list.filter = "f"` without quotes is a table in a table to TOML; both ways of writing are taken."""
    flat: dict[str, object] = {}
    for name, value in entries.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[f"{before}{name}"] = value
    return flat


def _keys_of(path: Path, action: str, value: object) -> tuple[str, ...]:
    if action not in BY_ID:
        near = nearest(action, BY_ID)
        raise WrongUsage(
            f"{path}: keys.{action}: there is no such action.",
            f"Did you mean {near}?" if near else f"They are: {', '.join(BY_ID)}.",
        )
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or not all(isinstance(key, str) and key for key in given):
        raise WrongUsage(
            f"{path}: keys.{action} must be a key or a list of keys.", 'For instance "f" or ["f", "ctrl+f"].'
        )
    return tuple(_textual_key(path, action, key) for key in given)


def _textual_key(path: Path, action: str, key: str) -> str:
    if len(key) == 1:
        return _character_to_key(key) if not key.isalnum() else key
    *modifiers, last = key.split("+") if key != "+" else [key]
    last = _SHORT.get(last.lower(), last)
    for modifier in modifiers:
        if modifier not in _MODIFIERS:
            near = nearest(modifier, _MODIFIERS)
            raise WrongUsage(
                f"{path}: keys.{action}: {key}: {modifier} is no modifier.",
                f"Did you mean {near}?" if near else f"They are: {', '.join(sorted(_MODIFIERS))}.",
            )
    if len(last) == 1:
        if modifiers == ["shift"] and last.isalpha():
            return last.upper()
        return "+".join([*modifiers, _character_to_key(last) if not last.isalnum() else last])
    known = last in _NAMED or (bool(_WORD.match(last)) and _is_character_name(last))
    if not known:
        near = nearest(last, _NAMED)
        raise WrongUsage(
            f"{path}: keys.{action}: there is no key {key}.",
            f"Did you mean {near}?" if near else "For instance f5, ctrl+p, enter.",
        )
    return "+".join([*modifiers, last])


def _is_character_name(name: str) -> bool:
    return any(
        _character_to_key(character) == name for character in map(chr, range(33, 127)) if not character.isalnum()
    )


def _check_clashes(path: Path, keymap: Mapping[str, tuple[str, ...]]) -> None:
    """Two of the user's keys for two actions that are valid on one screen cannot both work."""
    taken: dict[str, list[tuple[frozenset[str], str]]] = {mode.key: [(frozenset(), mode.title)] for mode in MODES}
    for action in ACTIONS:
        screens = frozenset(action.screens)  # empty: all
        for key in keymap.get(action.id, ()):
            for others, other in taken.get(key, ()):
                if not screens or not others or screens & others:
                    raise WrongUsage(
                        f"{path}: {key} is the key of both {other} and {action.id}.", "Give one of them another key."
                    )
            taken.setdefault(key, []).append((screens, action.id))


def with_keymap(keymap: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Every action's keys: the user's, else its own less those that the user gave away."""
    given = {(key, screen) for name, keys in keymap.items() for key in keys for screen in BY_ID[name].screens or ("",)}
    every = {key for key, screen in given if not screen}
    result: dict[str, tuple[str, ...]] = {}
    for action in ACTIONS:
        if action.id in keymap:
            result[action.id] = keymap[action.id]
            continue
        lost = every | {key for key, screen in given if screen in action.screens}
        result[action.id] = tuple(key for key in action.keys if key not in lost)
    return result
