"""Strict JSON for bodies that strangers send: one meaning, bounded, and safe to hand to PostgreSQL.

Refused, beyond what is no JSON at all: NaN and infinities, numbers out of range, duplicate names, lone surrogates,
NUL characters in strings, and nesting deeper than MAX_DEPTH.
"""

from __future__ import annotations

import json
import re

import msgspec

from backend.providers.delivery import Malformed

MAX_DEPTH = 64
"""Deepest nesting of objects and arrays; real deliveries have about eight levels."""

MAX_INTEGER = 2**63 - 1

_decode = msgspec.json.Decoder().decode
_space_before_colon = re.compile(rb'"[ \t\r\n]+:')
_nul_escape = re.compile(rb"\\u0000")


def read_object(body: bytes) -> dict[str, object]:
    """The JSON object that `body` (UTF-8) holds. Raises `Malformed`."""
    try:
        root = _decode(body)
    except RecursionError as error:
        raise Malformed("", f"nested deeper than {MAX_DEPTH} levels") from error
    except UnicodeDecodeError as error:
        raise Malformed("", "the body is not UTF-8") from error
    except msgspec.ValidationError as error:
        raise Malformed("", "a number is out of range") from error
    except msgspec.DecodeError as error:
        raise Malformed("", "the body is not valid JSON") from error
    if not isinstance(root, dict):
        raise Malformed("", "the body is not a JSON object")
    members = _measure(root)
    # A name ends with `":`. So many pairs of these bytes as there are members means that no name came twice;
    # more of them can also come from strings, and then the slower parser decides.
    if body.count(b'":') != members or _space_before_colon.search(body):
        _refuse_duplicates(body)
    if _nul_escape.search(body):
        _refuse_nul(root)
    return root


def _measure(root: dict[str, object]) -> int:
    """Number of members of all objects. Raises `Malformed` for depth and integers out of bounds."""
    members = 0
    depth = 0
    level: list[object] = [root]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise Malformed("", f"nested deeper than {MAX_DEPTH} levels")
        below: list[object] = []
        for node in level:
            if type(node) is dict:
                members += len(node)
                values = list(node.values())
            else:
                assert type(node) is list
                values = node
            for value in values:
                kind = type(value)
                if kind is dict or kind is list:
                    below.append(value)
                elif kind is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
                    raise Malformed("", "a number is out of range")
        level = below
    return members


def _refuse_duplicates(body: bytes) -> None:
    def once(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Malformed(name[:64], "the name occurs twice in one object")
            seen.add(name)

    json.loads(body, object_pairs_hook=once)


def _refuse_nul(root: object) -> None:
    waiting: list[object] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            if "\x00" in node:
                raise Malformed("", "a string holds a NUL character")
        elif isinstance(node, dict):
            waiting.extend(node)
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
