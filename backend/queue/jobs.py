"""Every job type by its name, and what it does: read the payload, call a service, put follow-up jobs in.

Each handler works in one tenant's transaction (housekeeping: in many short ones) and may run again after it has
succeeded, so each effect is idempotent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

from backend.domain.vocabulary import Provider, QueueName
from backend.postgres.pools import Connection
from backend.providers.delivery import Malformed
from backend.queue import notification_jobs, reconciliation_jobs
from backend.queue.booking_jobs import fold_calcom_booking
from backend.queue.calendar_jobs import CALENDAR_SYNC, sync_calendar
from backend.queue.context import Handler, JobContext
from backend.queue.delivered import Delivered
from backend.queue.failures import Permanent
from backend.queue.port import JobQueue, NewJob
from backend.queue.retention import PRUNERS, prune_all, prune_held, prune_runs, unsettled
from backend.queue.turns import Turns
from backend.services import housekeeping, idempotent_answers
from backend.services.booking import BookingRequest, Refused
from backend.services.callbacks.requests import date_callback
from backend.services.calls.folding import fold_call_events
from backend.services.calls.wishes import book_wish
from backend.services.notifications.file_channel import FileChannel
from backend.services.reconciliation import differences

RETELL_CALL = "webhooks.retell_call"
CALCOM_BOOKING = "webhooks.calcom_booking"
BOOK = "appointments.book"
CLOSE_STALE_CALLS = "default.close_stale_calls"
RELEASE_HOLDS = "default.release_holds"
PURGE_REJECTS = "default.purge_rejects"
RETENTION = "default.retention"

RETENTION_S = 60.0
"""So long one run deletes at most; its time limit is longer."""

UNSETTLED_LONG = timedelta(hours=3)
"""When minutes have not been settled for so long, whoever counts them stands still."""

logger = logging.getLogger(__name__)
queue = JobQueue()
turns = Turns()

_HAS_EFFECT = """
-- Nothing is written then, so the commit need not wait for the disk.
select case when state = 'processed' then set_config('synchronous_commit', 'off', true) end is not null
from webhook_inbox where id = $1
"""


async def fold_retell_call(context: JobContext) -> None:
    """Fold a call's deliveries into its row; a booking that the call carries becomes a job.

    One fold takes up all deliveries about its call that are there, so most jobs find theirs taken up already.
    """
    delivered = context.read(Delivered)
    async with turns.turn(delivered.subject), context.tenant() as connection:
        if await connection.fetchval(_HAS_EFFECT, delivered.inbox_id):
            return
        try:
            folded = await fold_call_events(connection, context.company_id, Provider.RETELL, delivered.subject)
        except Malformed as error:
            raise Permanent(f"the delivery can't be read: {error}") from error
        if folded is not None and folded.booking is not None:
            wish = NewJob(BOOK, folded.booking.encode(), context.company_id, dedupe_key=f"book:{delivered.subject}")
            await queue.enqueue(connection, [wish])
    context.changed("calls")


async def book_appointment(context: JobContext) -> None:
    """Book what a caller agreed to, or leave a request to call back."""
    request = context.read(BookingRequest)
    if request.company_id != context.company_id:
        raise Permanent("the request is another company's")
    async with context.tenant() as connection:
        result = await book_wish(connection, request)
        if isinstance(result, Refused) and result.callback_id is not None and result.is_new:
            await date_callback(connection, context.company_id, result.callback_id)
    context.changed("appointments", "calls")


async def close_stale_calls(context: JobContext) -> None:
    """End calls that have been going on for too long."""
    if await _for_each_company(context, housekeeping.close_stale_calls):
        context.changed("calls")


async def release_holds(context: JobContext) -> None:
    """Free slots that were held and never confirmed."""
    if await _for_each_company(context, housekeeping.release_expired_holds):
        context.changed("appointments")


async def purge_rejects(context: JobContext) -> None:
    """Delete refused deliveries whose time is over."""
    await prune_all(context.housekeeping, housekeeping.purge_rejects, is_over=lambda: False)


async def retention(context: JobContext) -> None:
    """Delete what has been kept for long enough, batch by batch; what is left after a while the next run deletes."""
    # It stands above this module: it names the jobs of this one that come round.
    from backend.queue.periodic import SCHEDULE

    end = time.monotonic() + RETENTION_S

    def is_over() -> bool:
        return time.monotonic() > end

    async with context.housekeeping() as connection:
        behind = await unsettled(connection)
    if behind > UNSETTLED_LONG:
        logger.warning("no minute was counted for %.0f hours: runs pile up", behind.total_seconds() / 3_600)
    scheduled = frozenset(item.entrypoint for item in SCHEDULE)
    await prune_runs(context.housekeeping, context.policies, scheduled=scheduled, is_over=is_over)
    await prune_held(context.housekeeping, context.policies, is_over=is_over)
    for prune in (
        *PRUNERS,
        housekeeping.prune_inbox,
        housekeeping.prune_notifications,
        housekeeping.prune_function_calls,
        differences.prune,
        idempotent_answers.prune,
    ):
        await prune_all(context.housekeeping, prune, is_over=is_over)
    if context.outbox is not None:
        await asyncio.to_thread(FileChannel(context.outbox).prune, datetime.now(UTC).date())
    if is_over():
        logger.warning("there was more to delete than %.0f s are enough for", RETENTION_S)


async def _for_each_company(context: JobContext, work: Callable[[Connection, UUID], Awaitable[int]]) -> int:
    async with context.housekeeping() as connection:
        companies = await housekeeping.companies(connection)
    total = 0
    for company_id in companies:
        done = housekeeping.AT_MOST
        while done == housekeeping.AT_MOST:
            async with context.tenant(company_id) as connection:
                done = await work(connection, company_id)
            total += done
    return total


HANDLERS: Mapping[str, Handler] = {
    RETELL_CALL: fold_retell_call,
    CALCOM_BOOKING: fold_calcom_booking,
    BOOK: book_appointment,
    notification_jobs.REMINDERS_DUE: notification_jobs.reminders_due,
    notification_jobs.REMINDER: notification_jobs.remind,
    notification_jobs.FOLLOW_UP: notification_jobs.follow_up,
    notification_jobs.CALLBACKS_OVERDUE: notification_jobs.callbacks_overdue,
    notification_jobs.CALLBACK_OVERDUE: notification_jobs.tell_overdue,
    CLOSE_STALE_CALLS: close_stale_calls,
    RELEASE_HOLDS: release_holds,
    PURGE_REJECTS: purge_rejects,
    RETENTION: retention,
    CALENDAR_SYNC: sync_calendar,
    reconciliation_jobs.RECONCILE_CALLS: reconciliation_jobs.reconcile_calls_of_all,
    reconciliation_jobs.RECONCILE_BOOKINGS: reconciliation_jobs.reconcile_bookings_of_all,
    reconciliation_jobs.RECONCILE_NIGHTLY: reconciliation_jobs.reconcile_nightly,
}
"""Every job type. A job whose type stands in no worker's list waits until a worker knows it."""


def queue_of(entrypoint: str) -> str:
    """The queue that a job type belongs to: what stands before the dot."""
    return entrypoint.partition(".")[0]


def handlers_of(queue_name: QueueName) -> dict[str, Handler]:
    """The job types of one queue."""
    return {name: handler for name, handler in HANDLERS.items() if queue_of(name) == queue_name}
