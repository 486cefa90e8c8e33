"""Whole phone numbers of those who wait for a call, shown to somebody who says why; the record tells who looked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from backend.postgres.pools import Connection
from backend.services.callbacks.desk import CallbackLine
from backend.services.operating.audit import By, record
from backend.services.operating.refusals import NotPossible


async def record_reveal(connection: Connection, by: By, lines: Sequence[CallbackLine], *, reason: str) -> None:
    """Write down that these requests' numbers are shown. Commit before you show them.

    Needs the worker's role. Raises NotPossible without a reason, and asyncpg's errors.
    """
    if not reason.strip():
        raise NotPossible("Whole phone numbers are shown for a reason.", "Say in a few words what you need them for.")
    shown = [line for line in lines if line.phone]
    if not shown:
        return
    await record(
        connection,
        by,
        "callback.reveal",
        f"callback {shown[0].id}" if len(shown) == 1 else f"{len(shown):,} callbacks",
        reason=reason,
        # Never the numbers themselves: the record only grows.
        detail={"callbacks": [str(line.id) for line in shown], "companies": Counter(line.company for line in shown)},
    )
