"""Random numbers that can be had again: one generator for each purpose, so that one draw more shifts nothing else."""

from __future__ import annotations

import random


def seeded(*purpose: object) -> random.Random:
    """A generator that gives the same numbers whenever it is made for the same purpose. Never for secrets."""
    return random.Random(":".join(map(str, purpose)))  # noqa: S311 - repeatable is the point
