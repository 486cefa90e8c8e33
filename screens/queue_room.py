"""How the lists of the Queues screen share its height: what needs a person first, the list one went to always."""

from __future__ import annotations

from collections.abc import Mapping

HEAD = 2
"""Lines of a list above its rows."""

LEAST = 4
"""Lines below which a list is not worth showing."""

ORDER = ("causes", "lanes", "notes", "providers", "types")
"""The lists under the queues, in the order in which `tab` goes through them."""

URGENT = ("causes", "lanes", "notes", "types", "providers")
"""The same in the order in which they get room."""

ALWAYS = frozenset({"causes", "types"})
"""Shown even when they are empty: that nothing is held is worth saying."""

SIDE = ("lanes", "notes", "providers")
"""Beside the others where the screen is wide."""

MOST = {"lanes": 8, "notes": 7, "providers": 5}
"""Rows of a list that leaves room for the others, as long as those need it."""


def reachable(sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The lists that one can go to, by their numbers of rows."""
    return tuple(name for name in ORDER if name in ALWAYS or sizes.get(name))


def heights(room: int, sizes: Mapping[str, int], wanted: str, *, names: tuple[str, ...] = ORDER) -> dict[str, int]:
    """Lines for each list that is shown, out of `room`; those that are missing are not shown.

    Args:
        room: Lines there are.
        sizes: Rows of each list.
        wanted: The list that one went to: it is shown whatever the room.
        names: The lists that share the room.
    """
    possible = [name for name in names if name in ALWAYS or sizes.get(name) or name == wanted]
    if not possible:
        return {}
    first = [wanted] if wanted in possible else []
    queue = first + [name for name in URGENT if name in possible and name not in first]
    given: dict[str, int] = {}
    left = room
    for name in queue:
        least = min(_full(name, sizes), LEAST + 1) if name not in MOST else min(_full(name, sizes), LEAST)
        if not given or left >= least:
            given[name] = min(least, left)
            left -= given[name]
    for name in queue:
        if name in given:
            more = max(0, min(left, min(_full(name, sizes), HEAD + MOST.get(name, 10_000)) - given[name]))
            given[name] += more
            left -= more
    for name in queue:
        if name in given:
            more = max(0, min(left, _full(name, sizes) - given[name]))
            given[name] += more
            left -= more
    last = next((name for name in ("types", "causes", *reversed(queue)) if name in given), queue[0])
    given[last] += left
    return given


def _full(name: str, sizes: Mapping[str, int]) -> int:
    """Lines with which everything of a list is seen; an empty one says so in two lines."""
    return HEAD + (sizes.get(name) or 2)
