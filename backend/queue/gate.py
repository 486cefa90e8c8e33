"""What one worker may take and start just now, by what is in force; and what becomes of jobs that may not start.

Nothing is looked through while nobody said anything: then a worker that takes jobs asks for no more than a number.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from backend.queue.claims import Claim, Claims
from backend.queue.control import Control, Plan, Quarantine, Work
from backend.queue.outages import insist

logger = logging.getLogger(__name__)


class Gate:
    """The door between a queue and a worker's slots."""

    def __init__(self, work: Work, let_go: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`let_go` is told the id of each job that is this worker's no more without having been started."""
        self.work = work
        self.control = Control()
        self._let_go = let_go
        self._clock = clock
        self._plan = self.control.plan(work, clock())

    def heed(self, control: Control) -> bool:
        """This is in force from now on; whether that is anything new, and not what was read before read once more."""
        control = control.known_as(self.control)
        is_new = control != self.control
        self.control = control
        self._plan = control.plan(self.work, self._clock())
        return is_new

    def plan(self) -> Plan:
        """What to take now."""
        now = self._clock()
        if now >= self._plan.valid_until:
            self._plan = self.control.plan(self.work, now)
        return self._plan

    def lasts_s(self, at_most: float = 60.0) -> float:
        """For how long the plan is right if nobody says anything."""
        return max(0.0, min(at_most, self._plan.valid_until - self._clock()))

    def told(self) -> dict[str, object]:
        """What is in force, for the roster: JSON."""
        return self.control.told(self.work, self._clock())

    async def let_through(self, claims: Sequence[Claim], taken_by: Claims) -> Sequence[Claim]:
        """Those that may start. Others are held (quarantined) or put off (their company is paused)."""
        control, now = self.control, self._clock()
        if control.is_quiet:
            return claims
        through: list[Claim] = []
        paused: list[Claim] = []
        quarantined: dict[tuple[str, Quarantine], list[Claim]] = {}
        for claim in claims:
            if control.is_paused(claim.company_id, now):
                paused.append(claim)
            elif quarantine := control.quarantined(claim.entrypoint, claim.company_id, claim.payload, now):
                quarantined.setdefault((claim.entrypoint, quarantine), []).append(claim)
            else:
                through.append(claim)
        for (entrypoint, quarantine), matching in quarantined.items():
            await self._hold(entrypoint, quarantine, matching, taken_by)
        if paused:
            parked = await self._park(paused, taken_by)
            # A pause that has just ended parks nothing any more.
            through += [claim for claim in paused if claim.job_id not in parked]
            if len(parked) == len(claims) > 1:
                # Where all are theirs many may be: jobs of others need not wait until each has been taken.
                await self._park_waiting(paused[0], taken_by)
        if control.has_parked and through:
            await insist("taking jobs up that were parked", partial(taken_by.unpark, through))
        return through

    async def _park(self, claims: Sequence[Claim], taken_by: Claims) -> set[int]:
        parked = await insist("parking jobs", partial(taken_by.park, claims))
        for job_id in parked:
            self._let_go(job_id)
        return parked

    async def _park_waiting(self, like: Claim, taken_by: Claims) -> None:
        if like.company_id is None:
            return
        count = await insist("parking jobs", partial(taken_by.park_waiting, like.company_id, like.entrypoint))
        if count:
            logger.info("parked: %d of %s, as company %s is paused", count, like.entrypoint, like.company_id)

    async def _hold(self, entrypoint: str, quarantine: Quarantine, claims: Sequence[Claim], taken_by: Claims) -> None:
        # This attempt is none: it does not begin.
        before = [replace(claim, attempt=claim.attempt - 1) for claim in claims]
        await insist("holding jobs", partial(taken_by.hold_all, before, quarantine.verdict(entrypoint)))
        logger.warning("held by quarantine %d: %d of %s", quarantine.id, len(claims), entrypoint)
        for claim in claims:
            self._let_go(claim.job_id)
