"""The snapshot of queues tells how providers do and how they were last compared with."""

from __future__ import annotations

from backend.watch.collect import Sources, queues
from backend.watch.connection import Connection
from tests.watch.scenery import Scenery, within


async def test_queues_tell_how_providers_were_last_compared_with_and_what_is_open(
    watch: Connection, scenery: Scenery
) -> None:
    assert (await queues.collect(watch, Sources())).reconciled == ()
    await scenery.worker.execute(
        """
        insert into reconciliation_runs (provider, account, cause, holder, since, until, started_at, ended_at, state)
        select provider, account, 'schedule', 'test', now(), now(), now() - make_interval(mins => ago),
               now() - make_interval(mins => ago), state
        from (values ('retell', 'system', 3, 'done'), ('retell', 'one', 20, 'done'), ('retell', 'one', 5, 'delayed'),
                     ('calcom', 'two', 90, 'failed')) t (provider, account, ago, state)
        """
    )
    await scenery.worker.execute(
        "insert into reconciliation_differences (provider, kind, subject, action, resolved_at) values "
        "('calcom', 'conflict', 'u1', 'reported', null), ('calcom', 'conflict', 'u2', 'reported', now())"
    )
    calcom, retell = (await queues.collect(watch, Sources())).reconciled
    assert (calcom.provider, calcom.state, calcom.done_s, calcom.open) == ("calcom", "done", None, 1)
    assert (retell.provider, retell.state, retell.open) == ("retell", "delayed", 0)
    assert retell.done_s is not None
    assert within(retell.done_s, 180, 10)


async def test_calendars_and_providers_are_told_with_the_worst_of_each(watch: Connection, scenery: Scenery) -> None:
    customer = await scenery.customer()
    for state, since in (("pending", 30), ("pending", 90), ("failed", 500), ("synced", 900)):
        appointment = await scenery.appointment(customer=customer)
        await scenery.setup.execute(
            "insert into calendar_sync (company_id, appointment_id, state, wanted_version, pending_since)"
            " values ($1, $2, $3, 1, now() - make_interval(secs => $4))",
            scenery.company,
            appointment,
            state,
            since,
        )
    for breaker, failures in (("closed", 1), ("open", 9)):
        await scenery.worker.execute(
            "insert into provider_state (provider, worker_id, breaker, calls, failures, endpoints)"
            " values ('calcom', gen_random_uuid(), $1, 10, $2, $3)",
            breaker,
            failures,
            '{"create": {"p99_s": 1.5}}',
        )
    snapshot = await queues.collect(watch, Sources())
    assert (snapshot.calendar_pending, snapshot.calendar_failed) == (2, 1)
    assert snapshot.calendar_oldest_s is not None
    assert within(snapshot.calendar_oldest_s, 90, 20)
    (row,) = snapshot.providers
    assert (row.provider, row.breaker, row.calls, row.failures, row.p99_s) == ("calcom", "open", 20, 10, 1.5)
