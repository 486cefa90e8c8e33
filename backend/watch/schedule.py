"""How often each domain is collected, and from which age on a picture of it is called stale."""

from __future__ import annotations

from backend.watch.snapshots import DOMAINS

INTERVAL_S: dict[str, float] = {
    "calls": 1.0,
    "appointments": 1.0,
    "queues": 1.0,
    "database": 2.0,
    "fleet": 2.0,
    "business": 2.0,
}
"""Time between two collections when nothing asks for one sooner."""

NOTICED = frozenset({"calls", "appointments"})
"""Domains that are collected at once when a notice says that they changed."""

NOTICED_S = 0.25
"""Shortest time between two collections of a noticed domain."""

COST_FACTOR = 100.0
"""A domain rests so many times as long as its last collection took: no collector takes more than 1 % of a core."""

NOTICED_COST_FACTOR = 20.0
"""The same between two collections that notices asked for: 5 % of a core, and only while things change."""

NOTICED_REST_LIMIT_S = 0.5
"""Longest rest that this may impose: who waits for a screen waits for no longer than that."""

REST_LIMIT_S = 10.0
"""Longest rest that the cost factor may impose."""

assert set(INTERVAL_S) == set(DOMAINS)


def rest_s(domain: str, took_s: float) -> float:
    """Time from one collection's begin to the next one's, when a collection takes so long."""
    return min(max(INTERVAL_S[domain], COST_FACTOR * took_s), REST_LIMIT_S)


def noticed_rest_s(took_s: float) -> float:
    """The same for two collections that notices ask for."""
    return max(NOTICED_S, min(NOTICED_COST_FACTOR * took_s, NOTICED_REST_LIMIT_S))


def live_s(domain: str, due_s: float | None = None) -> float:
    """A snapshot younger than this is live, an older one is stale; `due_s` is when its publisher promised the next."""
    return max(3.0, 3.0 * INTERVAL_S[domain], 2.0 * due_s + 1.0 if due_s is not None else 0.0)
