"""What operators say about queues: each in one transaction, refused in words, and written down with who and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from backend.domain.balancing import Shift
from backend.domain.vocabulary import NodeOrder, PauseKind, QueueName
from backend.postgres.address import Role
from backend.queue.control import read_control
from backend.queue.port import JobQueue, NewJob
from backend.services.fleet.orders import order
from backend.services.operating import audit, breakers, pauses, quarantines, slots
from backend.services.operating.audit import By
from backend.services.operating.obeying import slots_obeyed
from backend.services.operating.refusals import AlreadySo, NotPossible
from tests.databases import OpenConnection, OwnConnection
from tests.watch.scenery import ago

ANNA = By("anna", "laptop")
BEN = By("ben", "desk")


@pytest.fixture
async def worker(open_connection: OpenConnection) -> OwnConnection:
    """A connection as operators' commands have it, in a system with one company."""
    setup = await open_connection(Role.SETUP)
    await setup.execute("insert into companies (slug, name) values ('nord', 'Praxis Nord')")
    return await open_connection(Role.WORKER)


async def company(worker: OwnConnection) -> object:
    return await worker.fetchval("select company_named('nord')")


async def told(worker: OwnConnection) -> list[tuple[str, str, str, str]]:
    """The record, oldest first: who did what to what and why."""
    rows = await worker.fetch("select actor, action, subject, reason from audit_log order by id")
    return [tuple(row) for row in rows]


async def test_a_pause_says_who_why_and_until_when_and_a_resume_ends_it(worker: OwnConnection) -> None:
    until = datetime.now(UTC) + timedelta(minutes=30)
    paused = await pauses.pause(worker, ANNA, PauseKind.QUEUE, "webhooks", reason=" rotating\nkeys ", until=until)
    assert (paused.paused_by, paused.reason, paused.until, paused.is_changed) == ("anna", "rotating keys", until, False)
    assert [each.id for each in await pauses.list_pauses(worker)] == [paused.id]

    resumed = await pauses.resume(worker, BEN, PauseKind.QUEUE, "webhooks", ramp_s=60, reason="done")
    assert (resumed.pause.id, resumed.pause.resumed_by, resumed.pause.ramp_s) == (paused.id, "ben", 60)
    assert await pauses.list_pauses(worker) == []
    assert [each.id for each in await pauses.list_pauses(worker, ended=True)] == [paused.id]
    assert await told(worker) == [
        ("anna", "queue.pause", "webhooks", "rotating keys"),
        ("ben", "queue.resume", "webhooks", "done"),
    ]
    with pytest.raises(AlreadySo, match="Queue webhooks is not paused"):
        await pauses.resume(worker, BEN, PauseKind.QUEUE, "webhooks")

    first = await pauses.pause(worker, ANNA, PauseKind.PROVIDER, "calcom", reason="429")
    again = await pauses.pause(worker, BEN, PauseKind.PROVIDER, "calcom", reason="they say an hour", ramp_s=300)
    assert (again.id, again.is_changed, again.reason, again.paused_by) == (first.id, True, "they say an hour", "ben")
    assert len(await pauses.list_pauses(worker)) == 1


async def test_what_is_not_there_or_must_go_on_is_not_paused(worker: OwnConnection) -> None:
    for kind, name, hint in (
        (PauseKind.QUEUE, "webhoks", "webhooks"),
        (PauseKind.JOB_TYPE, "webhooks.retel_call", "webhooks.retell_call"),
        (PauseKind.COMPANY, "nrd", "company list"),
        (PauseKind.PROVIDER, "calcon", "calcom"),
        (PauseKind.NODE, "nowhere", "none"),
        (PauseKind.SCHEDULE, "webhooks.retell_call", "default"),
        (PauseKind.JOB_TYPE, "default.release_holds", "queue policies"),
    ):
        with pytest.raises(NotPossible) as refused:
            await pauses.pause(worker, ANNA, kind, name, reason="")
        assert hint in refused.value.hint
    with pytest.raises(NotPossible, match="over already"):
        await pauses.pause(worker, ANNA, PauseKind.QUEUE, "default", reason="", until=ago(seconds=1))
    assert await told(worker) == []


async def test_a_pause_that_ended_by_itself_is_written_down_and_what_it_put_off_starts(worker: OwnConnection) -> None:
    paused = await pauses.pause(worker, ANNA, PauseKind.COMPANY, "nord", reason="they asked", ramp_s=0)
    job = NewJob("webhooks.retell_call", b"{}", company_id=paused.company_id, delay=timedelta(hours=1))
    (job_id,) = await JobQueue().enqueue(worker, [job])
    await worker.execute("insert into parked_jobs (job_id, kind, name) values ($1, 'company', 'nord')", job_id)
    assert await pauses.end_due(worker) == ()

    await worker.execute("update pauses set paused_at = now() - interval '2 h', until = now() - interval '1 h'")
    assert await pauses.list_pauses(worker) == []
    (ended,) = await pauses.end_due(worker, node="n1")
    assert (ended.pause.resumed_by, ended.released) == (pauses.ITS_TIME, 1)
    assert await worker.fetchval("select execute_after <= now() from pgqueuer where id = $1", job_id)
    assert await worker.fetchval("select count(*) from parked_jobs") == 0
    assert await pauses.end_due(worker) == ()
    assert (await told(worker))[-1][:3] == (pauses.ITS_TIME, "company.resume", "nord")

    # With a ramp what was put off starts bit by bit.
    await worker.execute("delete from pgqueuer")
    await pauses.pause(worker, ANNA, PauseKind.COMPANY, "nord", reason="")
    ids = await JobQueue().enqueue(worker, [NewJob("default.a", b"{}", delay=timedelta(hours=1)) for _ in range(50)])
    await worker.execute(
        "insert into parked_jobs (job_id, kind, name) select id, 'company', 'nord' from unnest($1::bigint[]) id", ids
    )
    resumed = await pauses.resume(worker, ANNA, PauseKind.COMPANY, "nord", ramp_s=600)
    assert resumed.released == 50
    span = await worker.fetchrow("select min(execute_after) as first, max(execute_after) as last from pgqueuer")
    assert span is not None
    assert span["last"] <= datetime.now(UTC) + timedelta(seconds=601)
    assert span["last"] - span["first"] > timedelta(seconds=100)


async def test_a_closed_breaker_is_closed_for_good_whether_it_was_paused_or_not(worker: OwnConnection) -> None:
    await pauses.pause(worker, ANNA, PauseKind.PROVIDER, "calcom", reason="429", ramp_s=30)
    closed = await breakers.close_breaker(worker, BEN, "calcom", reason="well again")
    assert closed.resumed is not None
    assert closed.resumed.pause.reason == "429"
    assert (await breakers.close_breaker(worker, BEN, "calcom", reason="again")).resumed is None
    row = await worker.fetchrow("select provider, reset_by from breaker_resets")
    assert row is not None
    assert tuple(row) == ("calcom", "ben")
    with pytest.raises(NotPossible, match="no provider"):
        await breakers.close_breaker(worker, BEN, "nobody", reason="")


async def test_a_queue_has_the_slots_a_person_says_until_it_is_freed(worker: OwnConnection) -> None:
    scaled = await slots.scale(worker, ANNA, "webhooks", 40, reason="monday")
    assert (scaled.before, scaled.after, scaled.is_pinned) == (30, 40, True)
    assert (await slots.scale(worker, ANNA, "webhooks", 50, reason="more")).before == 40
    with pytest.raises(AlreadySo):
        await slots.scale(worker, ANNA, "webhooks", 50, reason="more")
    for wrong in (0, 61):
        with pytest.raises(NotPossible, match="1 to 60 slots"):
            await slots.scale(worker, ANNA, "webhooks", wrong, reason="")
    freed = await slots.unpin(worker, BEN, "webhooks")
    assert (freed.before, freed.after) == (50, 30)
    with pytest.raises(AlreadySo):
        await slots.unpin(worker, BEN, "webhooks")
    rows = await worker.fetch("select before, after, decided_by, why from slot_changes order by id")
    assert [tuple(row) for row in rows] == [
        (30, 40, "anna", "monday"),
        (40, 50, "anna", "more"),
        (50, 30, "ben", "its policy's number again"),
    ]
    assert [action for _, action, _, _ in await told(worker)] == ["slots.pin", "slots.pin", "slots.unpin"]


async def lives(worker: OwnConnection, node: str, in_force: str) -> None:
    """A worker of webhooks on that node, which goes by what `in_force` says."""
    await worker.execute(
        "insert into workers (id, node, queue, pid, version, concurrency, in_force, heartbeat_at)"
        " values (uuidv7(), $1, 'webhooks', 1, '', 30, $2::jsonb, now() + interval '1 h')",
        node,
        in_force,
    )


async def test_what_is_said_for_all_nodes_holds_where_nothing_else_is_said_and_again_afterwards(
    worker: OwnConnection,
) -> None:
    for node, has in (("n1", 20), ("n2", 12)):
        await lives(worker, node, f'{{"slots": {has}}}')
    await lives(worker, "n3", '{"slots": 0, "paused": ["node n3"]}')
    await slots.scale(worker, ANNA, "webhooks", 20, reason="spare the provider")
    await slots.scale(worker, ANNA, "webhooks", 12, node="n2", reason="a small machine")

    async def obeyed(node: str, number: int) -> tuple[int, int]:
        told = await slots_obeyed(worker, "webhooks", node, number, patience_s=0.0)
        return told.workers, told.obeying

    # The second has a number of its own; the third is drained, and comes back with what is said for all.
    assert await obeyed("", 20) == (2, 2)
    assert await obeyed("", 30) == (2, 1)
    assert await obeyed("n2", 12) == (1, 1)
    assert await obeyed("n2", 20) == (1, 0)

    freed = await slots.unpin(worker, BEN, "webhooks", node="n2")
    assert (freed.before, freed.after, freed.is_pinned) == (12, 20, True)
    assert (await told(worker))[-1][:3] == ("ben", "slots.unpin", "webhooks")
    why = await worker.fetchval("select why from slot_changes order by id desc limit 1")
    assert why == "what was said for all nodes again"
    assert (await read_control(worker, "n2", QueueName.WEBHOOKS)).slots == 20
    assert await obeyed("", 20) == (3, 2)
    with pytest.raises(AlreadySo) as nothing:
        await slots.unpin(worker, BEN, "webhooks", node="n2")
    assert "said for all nodes holds there: 20" in nothing.value.hint
    freed = await slots.unpin(worker, BEN, "webhooks")
    assert (freed.before, freed.after, freed.is_pinned) == (20, 30, False)


async def test_a_node_is_known_by_its_registration_its_workers_or_its_pause(worker: OwnConnection) -> None:
    await worker.execute("insert into nodes (node, home, version, is_joined) values ('node-1', 'box:/1', '', false)")
    await lives(worker, "node-2", "{}")
    await worker.execute("insert into pauses (kind, name, paused_by, reason) values ('node', 'gone-3', 'anna', '')")
    for node in ("node-1", "node-2", "gone-3"):
        assert (await slots.scale(worker, ANNA, "webhooks", 12, node=node, reason="")).node == node
    await pauses.resume(worker, BEN, PauseKind.NODE, "gone-3")
    for refused in (
        slots.scale(worker, ANNA, "webhooks", 12, node="node-11", reason=""),
        slots.unpin(worker, ANNA, "webhooks", node="node-11"),
        pauses.pause(worker, ANNA, PauseKind.NODE, "node-11", reason=""),
    ):
        with pytest.raises(NotPossible, match="There is no node node-11") as wrong:
            await refused
        assert wrong.value.hint == "Did you mean node-1?"
    with pytest.raises(NotPossible) as wrong:
        await slots.scale(worker, ANNA, "webhooks", 12, node="gone-3", reason="")
    assert wrong.value.hint == "There are: node-1, node-2."
    with pytest.raises(NotPossible) as wrong:
        await slots.scale(worker, ANNA, "webhooks", 0, node="node-1", reason="")
    assert "askpro node drain node-1" in wrong.value.hint


async def test_a_shift_is_done_whole_or_not_at_all_and_never_against_a_person(worker: OwnConnection) -> None:
    def lent(before: int, after: int) -> tuple[Shift, ...]:
        return (
            Shift(queue="default", node="n1", before=before, after=after, base=20, why="d to w"),
            Shift(queue="webhooks", node="n1", before=50 - before, after=50 - after, base=30, why="d to w"),
        )

    async def done(shifts: tuple[Shift, ...]) -> bool:
        transaction = worker.transaction()
        await transaction.start()
        result = await slots.shift(worker, shifts)
        await (transaction.commit() if result else transaction.rollback())
        return result

    assert await done(lent(20, 19))
    assert not await done(lent(20, 19)), "somebody was faster"
    assert not await done(
        (Shift(queue="notifications", node="n1", before=7, after=6, base=10, why="what was given back"),)
    )
    assert await done(lent(19, 20))
    assert await worker.fetchval("select count(*) from queue_slots") == 0, "its policy's number is nobody's decision"
    assert await done(lent(20, 19))
    await worker.execute("insert into nodes (node, home, version, is_joined) values ('n1', 'box:/n1', '', false)")
    await slots.scale(worker, ANNA, "webhooks", 40, node="n1", reason="")
    assert not await done(lent(19, 18))
    assert await worker.fetchval("select slots from queue_slots where queue = 'default'") == 19
    await slots.unpin(worker, ANNA, "webhooks", node="n1")
    assert await slots.set_balancing(worker, ANNA, False)
    assert not await slots.set_balancing(worker, ANNA, False)
    assert not await done(lent(19, 18))
    assert await slots.reset_shifts(worker, ANNA) == 1
    assert await worker.fetchval("select count(*) from queue_slots") == 0

    # What is said for all nodes holds where the balancer had decided.
    assert await slots.set_balancing(worker, ANNA, True)
    shift = Shift(queue="webhooks", node="n1", before=30, after=35, base=30, why="flood")
    assert await slots.shift(worker, [shift])
    assert (await slots.scale(worker, ANNA, "webhooks", 20, reason="spare the provider")).before == 35
    rows = await worker.fetch("select node, slots, is_pinned from queue_slots")
    assert [tuple(row) for row in rows] == [("", 20, True)]


async def test_a_quarantine_tells_what_it_would_hold_and_is_not_made_twice(worker: OwnConnection) -> None:
    of = await company(worker)
    kept = [
        NewJob("webhooks.retell_call", b'{"subject": "Call_Bad"}', company_id=of),  # type: ignore[arg-type]  # a UUID
        NewJob("webhooks.retell_call", b'{"subject": "call_good"}', company_id=of),  # type: ignore[arg-type]  # a UUID
        NewJob("webhooks.retell_call", '{"subject": "MÜLLER"}'.encode()),
        NewJob("default.a", b'{"subject": "call_bad"}'),
    ]
    await JobQueue().enqueue(worker, kept)
    for wanted, count in (
        ({}, 3),
        ({"company": "nord"}, 2),
        ({"contains": "call_BAD"}, 1),
        ({"contains": "müller"}, 1),
        ({"contains": "nothing"}, 0),
    ):
        assert (await quarantines.would_match(worker, "webhooks.retell_call", **wanted)).waiting == count, wanted
    made = await quarantines.quarantine(
        worker, ANNA, "webhooks.retell_call", company="nord", contains="call_bad", reason="kills workers"
    )
    with pytest.raises(AlreadySo, match=f"Quarantine {made.id} does that"):
        await quarantines.quarantine(
            worker, BEN, "webhooks.retell_call", company="nord", contains="call_bad", reason="same"
        )
    assert await quarantines.lift(worker, BEN, made.id, reason="mended") == "webhooks.retell_call"
    with pytest.raises(AlreadySo):
        await quarantines.lift(worker, BEN, made.id)
    with pytest.raises(NotPossible, match="no job type"):
        await quarantines.quarantine(worker, ANNA, "webhooks.nothing", reason="")
    record = await worker.fetch("select action, company_id is not null as whose, detail from audit_log order by id")
    assert [(row["action"], row["whose"]) for row in record] == [
        ("quarantine.make", True),
        ("quarantine.lift", True),
    ]
    assert "call_bad" not in record[0]["detail"], "a piece of payload may be personal data"


async def test_the_record_keeps_one_line_and_cannot_be_changed(worker: OwnConnection) -> None:
    number = await audit.record(
        worker, By("", "n1"), "queue.pause", "x", reason="a\x00\nb" + "c" * 900, detail={"a": "\0"}
    )
    row = await worker.fetchrow("select actor, reason, detail, db_user from audit_log where id = $1", number)
    assert row is not None
    assert (row["actor"], row["reason"][:5], len(row["reason"])) == ("somebody", "a bcc", audit.LONGEST_REASON)
    assert (json.loads(row["detail"]), row["db_user"]) == ({"a": " "}, "askpro_worker")
    with pytest.raises(Exception, match=r"permission denied|append"):
        await worker.execute("delete from audit_log")


async def test_a_reason_is_kept_as_one_line_that_is_not_too_long_wherever_it_is_kept(worker: OwnConnection) -> None:
    await worker.execute(
        "insert into nodes (node, home, version, is_joined, told) values ('Node-2', 'x', '0', true, '{}')"
    )
    reason = " keys\n rotate\0today " + "x" * 600
    await pauses.pause(worker, ANNA, PauseKind.QUEUE, "webhooks", reason=reason)
    await quarantines.quarantine(worker, ANNA, "webhooks.retell_call", reason=reason)
    await slots.scale(worker, ANNA, "default", 9, reason=reason)
    await order(worker, ANNA, "Node-2", "", NodeOrder.RESTART, reason=reason)
    for place in ("pauses", "quarantines", "queue_slots", "node_orders", "audit_log"):
        rows = await worker.fetch(f"select reason from {place}")
        assert {row["reason"] for row in rows} == {"keys rotate today " + "x" * (audit.LONGEST_REASON - 18)}, place
    with pytest.raises(AlreadySo, match="Node Node-2 is not paused"):
        await pauses.resume(worker, ANNA, PauseKind.NODE, "Node-2")
