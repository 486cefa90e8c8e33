"""What the first caller would otherwise wait for: libraries and tables that load when they are first needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backend.domain.phones import normalise
from backend.domain.public_holidays import public_holidays
from backend.domain.vocabulary import Bundesland
from backend.domain.zones import stretches, tz_version

ZONE = "Europe/Berlin"


def warm_up() -> None:
    """Load the holidays library, the phone numbers' and the zone data, with what this year and the next need."""
    now = datetime.now(UTC)
    for land in Bundesland:
        for year in (now.year, now.year + 1):
            public_holidays(land.value, year)
    normalise("+4930123456")
    day = now.replace(tzinfo=None)
    stretches(day, day + timedelta(days=1), ZONE)
    tz_version()
