"""Public holidays by Bundesland, from the `holidays` library, not from a table typed by hand."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

from backend.domain.vocabulary import Bundesland

_CODES = frozenset(item.value for item in Bundesland)


@lru_cache(maxsize=256)
def public_holidays(bundesland: str, year: int) -> frozenset[date]:
    """The days on which the whole Bundesland has a holiday; none for an empty or unknown code.

    The first call in a process loads the library (0.15 s): a server that answers callers makes one at its start.
    """
    if bundesland not in _CODES:
        return frozenset()
    from holidays.countries.germany import Germany

    return frozenset(Germany(subdiv=bundesland, years=[year]))


def is_public_holiday(day: date, bundesland: str) -> bool:
    """Whether the Bundesland has a holiday on the day."""
    return bool(bundesland) and day in public_holidays(bundesland, day.year)
