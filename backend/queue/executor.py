"""One run of one job: its time limit, and the decision what becomes of it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from backend.domain.vocabulary import RunOutcome, TroubleKind
from backend.providers.breaker import BreakerOpen
from backend.providers.calling import ProviderUnreachable
from backend.queue.claims import Claim
from backend.queue.context import Handler, JobContext
from backend.queue.failures import ClaimLost, Failure, JobTimeout, Later, Permanent, WorkerCrashed, describe
from backend.queue.frozen import bearing
from backend.queue.policies import JobPolicy, Policies

logger = logging.getLogger(__name__)

HANGS_S = 5.0
"""A job that calls a provider is asked so often whether it waits for it."""

UNWIND_S = 5.0
"""A cancelled handler has so long to put its things down; then the run ends without it."""


class Recall(Enum):
    """Why a running job was cancelled from outside."""

    STOPPING = "stopping"
    """The worker ends: the job goes back to the queue."""
    LOST = "lost"
    """Another worker has it."""
    GREW = "grew"
    """It made its worker grow to the ceiling: it counts as one that brought it down."""


@dataclass(slots=True, eq=False)
class Run:
    """A job in work."""

    claim: Claim
    began: float = field(default_factory=time.monotonic)
    handler: asyncio.Task[None] | None = None
    recalled: Recall | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once its end is written, and the job is this worker's no more."""

    @property
    def name(self) -> str:
        """As its handler's task is called: job type and id."""
        return f"{self.claim.entrypoint} {self.claim.job_id}"

    def recall(self, reason: Recall) -> None:
        """Cancel it, unless it has ended already."""
        if self.recalled is None:
            self.recalled = reason
            if self.handler is not None:
                self.handler.cancel()


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a run."""

    outcome: RunOutcome | None
    """None when another worker has the job, so that nothing is to be written."""
    failure: Failure | None = None
    delay_s: float = 0.0
    """Before the next attempt."""
    reason: str = ""
    """Why it is postponed."""
    is_crash: bool = False
    """Whether it goes back to the queue as one that brought its worker down."""


class Executor:
    """Runs the handlers of one queue by the policies of their job types."""

    def __init__(
        self,
        policies: Policies,
        handlers: Mapping[str, Handler],
        unwind_s: float = UNWIND_S,
        tell: Callable[[TroubleKind, Claim, str], None] = lambda kind, claim, detail: None,
        hangs_s: float = HANGS_S,
    ) -> None:
        """`tell` hears what jobs do to the worker."""
        self._hangs_s = hangs_s
        self._policies = policies
        self._tell = tell
        self._unwind_s = unwind_s
        self._handlers = handlers
        self.stuck: set[asyncio.Task[None]] = set()
        """Handlers that were cancelled and did not end."""

    def poisoned(self, claim: Claim, crashes: int) -> Ending | None:
        """The verdict on a job that was running whenever its worker crashed; None while it may still run."""
        if crashes < self._policies.job(claim.entrypoint).crash_starts:
            return None
        error = WorkerCrashed(f"crashed its worker {crashes}×")
        self._tell(TroubleKind.CRASH, claim, f"is held: {error}")
        return Ending(RunOutcome.HELD, describe(error, claim.entrypoint))

    async def execute(self, run: Run, context: JobContext) -> Ending:
        """Run the job to one of its ends. Raises nothing but its own cancellation."""
        claim = run.claim
        if run.recalled is not None:
            return self._recalled(run.recalled, claim)
        call = bearing(claim.job_id, _call)
        run.handler = asyncio.create_task(call(self._handlers[claim.entrypoint], context), name=run.name)
        policy = self._policies.job(claim.entrypoint)
        if not await self._ends_in_time(claim, run.handler, policy, context):
            return await self._overdue(run, run.handler, policy.timeout_s)
        if run.handler.cancelled():
            if run.recalled is not None:
                return self._recalled(run.recalled, claim)
            return self._failed(claim, asyncio.CancelledError("the handler cancelled itself"))
        error = run.handler.exception()
        if error is None:
            return Ending(RunOutcome.DONE)
        if isinstance(error, ClaimLost):
            return Ending(None)
        if (provider := silent_provider(error)) is not None:
            self._tell(TroubleKind.PROVIDER_HANGS, claim, str(provider))
        if isinstance(error, Later):
            return Ending(RunOutcome.POSTPONED, delay_s=error.seconds, reason=describe(error, claim.entrypoint).message)
        return self._failed(claim, error)

    async def _ends_in_time(
        self, claim: Claim, handler: asyncio.Task[None], policy: JobPolicy, context: JobContext
    ) -> bool:
        """Wait until the handler ends or its time is over; one that calls a provider is asked what it waits for."""
        left_s = policy.timeout_s
        while left_s > 0:
            step_s = left_s if policy.provider is None else min(left_s, self._hangs_s)
            done, _ = await asyncio.wait({handler}, timeout=step_s)
            if done:
                return True
            left_s -= step_s
            if policy.provider is not None and (silent_s := context.silent_s(policy.provider)) >= self._hangs_s / 2:
                detail = f"has been waiting for {policy.provider} for {silent_s:.0f} s"
                self._tell(TroubleKind.PROVIDER_HANGS, claim, detail)
        return False

    async def _overdue(self, run: Run, handler: asyncio.Task[None], limit: float) -> Ending:
        self._tell(TroubleKind.OVERRUN, run.claim, f"ran longer than the {limit:g} s it may")
        handler.cancel()
        await asyncio.wait({handler}, timeout=self._unwind_s)
        error = JobTimeout(f"ran longer than {limit:g} s")
        if not handler.done():
            self.stuck.add(handler)
            handler.add_done_callback(self.stuck.discard)
            logger.error("job %d (%s) ignores its cancellation", run.claim.job_id, run.claim.entrypoint)
            detail = f"goes on {self._unwind_s:g} s after it was cancelled, {len(self.stuck)} such in this worker"
            self._tell(TroubleKind.IGNORES_CANCELLATION, run.claim, detail)
        elif not handler.cancelled() and (own := handler.exception()) is not None:
            error.__cause__ = own
        if run.recalled is Recall.LOST:
            return Ending(None)
        return self._failed(run.claim, error)

    def _recalled(self, reason: Recall, claim: Claim) -> Ending:
        if reason is Recall.GREW:
            policy = self._policies.job(claim.entrypoint)
            return Ending(RunOutcome.RELEASED, delay_s=policy.wait_s(claim.attempt), is_crash=True)
        return Ending(RunOutcome.RELEASED if reason is Recall.STOPPING else None)

    def _failed(self, claim: Claim, error: BaseException) -> Ending:
        failure = describe(error, claim.entrypoint)
        policy = self._policies.job(claim.entrypoint)
        if claim.attempt > 1 and not isinstance(error, JobTimeout):
            left = f"{claim.attempt} of {policy.attempts} attempts"
            self._tell(TroubleKind.RAISES, claim, f"{left}: {failure.error_type}: {failure.message[:200]}")
        if isinstance(error, Permanent) or policy.is_permanent(error) or claim.attempt >= policy.attempts:
            return Ending(RunOutcome.HELD, failure)
        spread = policy.jitter
        delay_s = policy.wait_s(claim.attempt) * random.uniform(1 - spread, 1 + spread)  # noqa: S311 - spreads load, guards nothing
        return Ending(RunOutcome.RETRY, failure, delay_s)


def silent_provider(error: BaseException | None) -> BaseException | None:
    """What stands behind the error when it came of a provider that gives no answer, else None."""
    for _ in range(8):
        if error is None or isinstance(error, ProviderUnreachable | BreakerOpen):
            return error
        error = error.__cause__
    return None


async def _call(handler: Handler, context: JobContext) -> None:
    await handler(context)
