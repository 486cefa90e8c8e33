"""Jobs that reconcile with the providers: every quarter of an hour, and once a night further back.

Without a key nothing is asked, and nothing said. A provider that is down or busy postpones the job, which then goes on
where it got to; one that refuses is noted in the run's record, and asked again by the next job.
"""

from __future__ import annotations

from contextlib import suppress

from backend.domain.vocabulary import Provider, RunCause, RunState
from backend.providers.clients import Providers
from backend.queue.context import JobContext
from backend.queue.failures import Later, Permanent
from backend.services.reconciliation.bookings import reconcile_bookings
from backend.services.reconciliation.calls import reconcile_calls
from backend.services.reconciliation.running import Account, NoKey, Report, RunUnderWay, accounts

RECONCILE_CALLS = "default.reconcile_calls"
RECONCILE_BOOKINGS = "default.reconcile_bookings"
RECONCILE_NIGHTLY = "default.reconcile_nightly"

BUDGET_S = 75.0
"""A run gives way after so long, so that a job ends well within its time; it is gone on with at once."""


async def reconcile_calls_of_all(context: JobContext) -> None:
    """Compare the calls of every account at Retell with ours."""
    await _of_all(context, Provider.RETELL, RunCause.SCHEDULE)


async def reconcile_bookings_of_all(context: JobContext) -> None:
    """Compare the calendars of every company that has one at Cal.com with ours."""
    await _of_all(context, Provider.CALCOM, RunCause.SCHEDULE)


async def reconcile_nightly(context: JobContext) -> None:
    """Both, further back."""
    await _of_all(context, Provider.RETELL, RunCause.NIGHTLY)
    await _of_all(context, Provider.CALCOM, RunCause.NIGHTLY)


async def _of_all(context: JobContext, provider: Provider, cause: RunCause) -> None:
    try:
        providers = context.providers
    except Permanent:
        return
    delayed: list[Report] = []
    for account in await accounts(context, provider):
        with suppress(NoKey, RunUnderWay):
            report = await _one(context, providers, account, provider, cause)
            if report.differences:
                context.changed("calls" if provider is Provider.RETELL else "appointments")
            if report.state is RunState.DELAYED:
                delayed.append(report)
    if delayed:
        raise Later(min(report.retry_s for report in delayed), delayed[0].error)


async def _one(
    context: JobContext, providers: Providers, account: Account, provider: Provider, cause: RunCause
) -> Report:
    holder = f"job {context.job_id}"
    if provider is Provider.RETELL:
        return await reconcile_calls(context, providers, account, cause=cause, holder=holder, budget_s=BUDGET_S)
    return await reconcile_bookings(context, providers, account, cause=cause, holder=holder, budget_s=BUDGET_S)
