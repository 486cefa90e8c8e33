"""Whole runs against a whole system: what should be in the database is there, and what is wrong is found."""

from __future__ import annotations

import asyncio

import pytest

from backend.domain.vocabulary import RejectReason
from backend.postgres.address import Role
from backend.simulate.presets import PACES, FunctionFault
from backend.simulate.run import Order, Simulation, SimulationBusy, Target, alone
from tests.databases import OpenConnection, OwnConnection, SuperuserConnection


def order(calls: int, *, seed: int = 1, run: str = "a", faults: bool = True, speed: float | None = None) -> Order:
    return Order(
        calls=calls, seed=seed, run=run, pace=PACES["now"], faults=faults, speed=speed, check=True, connections=24
    )


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_run_with_all_faults_leaves_exactly_what_it_should(target: Target, seed: int) -> None:
    report = await Simulation(target, order(150, seed=seed)).run()
    assert "\n".join(report.shown) == ""
    assert report.differences == 0
    assert report.expected["calls"] > 140
    assert report.expected["appointments"] > 50
    assert report.undeliverable == report.unsent == 0
    assert report.functions.keys() >= {"initialize_call", "check_availability", "book_appointment", "request_callback"}
    assert len(report.refusals) >= 3, "what must be refused is asked for, whoever wins the races"
    assert report.visits["completed"] > 0
    assert {f"function_{fault}" for fault in FunctionFault} <= report.faults.keys()


async def test_runs_of_one_seed_follow_each_other_without_meeting(target: Target) -> None:
    for run in ("a", "b"):
        report = await Simulation(target, order(40, run=run)).run()
        assert "\n".join(report.shown) == ""


async def test_a_run_in_compressed_time_is_checked_as_well(target: Target) -> None:
    report = await Simulation(target, order(10, faults=False, speed=50_000.0)).run()
    assert "\n".join(report.shown) == ""
    assert report.calls >= 10


async def test_refused_deliveries_are_counted_by_reason(target: Target, open_connection: OpenConnection) -> None:
    report = await Simulation(target, order(60)).run()
    assert report.refused >= 3
    watch = await open_connection(Role.WATCH)
    rows = await watch.fetch("select reason, sum(count)::int as refused from webhook_rejects group by reason")
    counted = {RejectReason(row["reason"]): row["refused"] for row in rows}
    assert sum(counted.values()) == report.refused
    assert {RejectReason.STALE, RejectReason.MALFORMED} <= set(counted)


async def test_two_runs_at_once_are_refused(target: Target) -> None:
    async with alone(target.postgres):
        with pytest.raises(SimulationBusy):
            await Simulation(target, order(5)).run()


async def test_a_stopped_run_says_what_it_did_not_send(target: Target) -> None:
    stop = asyncio.Event()
    stop.set()
    report = await Simulation(target, order(30), stop=stop).run()
    assert report.unsent > 0
    assert not report.checked


CALL = "(select id from calls where events <> '{}' order by id limit 1)"
LAST_CALL = "(select id from calls where events <> '{}' order by id desc limit 1)"
CALLED_BACK = """
    delete from callback_requests
    where id = (select id from callback_requests where reason {} 'slot_taken' limit 1)
"""
BOOKED = "(select id from appointments where idempotency_key !~ ':.*:' order by id limit 1)"
PROMISED = "(select id from appointments where idempotency_key ~ ':id:' and status <> 'cancelled' order by id limit 1)"
OTHER_PROMISED = PROMISED.replace("limit 1", "limit 1 offset 3")
CUSTOMER = "(select id from customers order by id limit 1)"

MUTATIONS = {
    "a call out of nowhere": (
        "totals",
        """insert into calls (company_id, provider, provider_call_id, status, started_at)
           select company_id, provider, 'call_stranger', status, started_at from calls limit 1""",
    ),
    "a lost delivery": (
        "webhook_inbox",
        "delete from webhook_inbox where id = (select id from webhook_inbox where state = 'processed' limit 1)",
    ),
    "a changed body": (
        "webhook_inbox",
        """update webhook_inbox set body = set_byte(body, 40, get_byte(body, 40) # 1)
           where id = (select id from webhook_inbox where state = 'processed' limit 1)""",
    ),
    "a delivery twice": (
        "webhook_inbox",
        """insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state)
           select provider, dedup_key || '2', event, subject, company_id, body, state from webhook_inbox
           where state = 'processed' limit 1""",
    ),
    "a quarantined delivery given to somebody": (
        "webhook_inbox",
        """update webhook_inbox set company_id = (select id from companies limit 1), state = 'processed'
           where id = (select id from webhook_inbox where state = 'quarantined' limit 1)""",
    ),
    "an accepted delivery whose job is gone": (
        "I1 accepted without job",
        """update webhook_inbox set state = 'accepted', received_at = now() - interval '1 minute'
           where id = (select id from webhook_inbox where state = 'processed' order by id desc limit 1)""",
    ),
    "a lost call": (
        "calls",
        """delete from calls where id = (select id from calls where outcome = 'enquiry' limit 1)""",
    ),
    "a call twice": (
        "calls",
        """insert into calls (company_id, provider, provider_call_id, status, started_at)
           select company_id, provider, provider_call_id || 'again', status, started_at from calls
           where provider_call_id <> 'call_stranger' order by id limit 1""",
    ),
    "a wrong price of a call": (
        "calls",
        f"update calls set cost_cents = cost_cents + 1 where id = {CALL}",
    ),
    "a call of another company": (
        "calls",
        f"""update calls set company_id = (select id from companies where id <> calls.company_id limit 1)
            where id = {LAST_CALL}""",
    ),
    "a call of another customer": (
        "calls",
        f"""update calls set customer_id = {CUSTOMER}
            where id = (select id from calls where customer_id <> {CUSTOMER} order by id desc limit 1)""",
    ),
    "a lost customer": ("customers", f"delete from customers where id = {CUSTOMER}"),
    "a customer twice": (
        "customers",
        """insert into customers (company_id, first_name, last_name, name_key, phone)
           select company_id, first_name, last_name, name_key || 'x', phone from customers order by id desc limit 1""",
    ),
    "two people made one": (
        "customers",
        """update customers set last_name = 'Anders', name_key = 'x anders'
           where id = (select id from customers order by id limit 1 offset 3)""",
    ),
    "a lost appointment": ("appointments", f"delete from appointments where id = {BOOKED}"),
    "an appointment at another time": (
        "appointments",
        """update appointments set starts_at = starts_at + interval '1 minute', ends_at = ends_at + interval '1 minute'
           where id = (select id from appointments where idempotency_key !~ ':.*:' order by id desc limit 1)""",
    ),
    "a promised appointment that is gone": ("promises", f"delete from appointments where id = {PROMISED}"),
    "a promised appointment with somebody else": (
        "promises",
        f"""update appointments set staff_id = (
                select staff_id from staff_services s
                where s.service_id = appointments.service_id and s.staff_id <> appointments.staff_id limit 1)
            where id = {OTHER_PROMISED}""",
    ),
    "a promised appointment that was cancelled": (
        "promises",
        f"update appointments set status = 'cancelled' where id = {OTHER_PROMISED}",
    ),
    "a tool call with two effects": (
        "appointments",
        """insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                                     source, version, idempotency_key)
           select company_id, branch_id, staff_id, service_id, starts_at + interval '1 year',
                  ends_at + interval '1 year', time_zone, status, source, 1, idempotency_key || ':2'
           from appointments where idempotency_key ~ ':id:' limit 1""",
    ),
    "an answer that was forgotten": (
        "function_calls",
        "delete from function_calls where tool_key = (select max(tool_key) from function_calls)",
    ),
    "an answer that is another one by now": (
        "function_calls",
        """update function_calls set answer = '{"ok": false}'
           where tool_key = (select max(tool_key) from function_calls where answer ->> 'ok' = 'true')""",
    ),
    "an appointment that is not what its events say": (
        "I4 events",
        f"update appointments set price_cents = price_cents + 100 where id = {BOOKED}",
    ),
    "time of somebody that is not kept free for an appointment": (
        "I4 staff_time",
        """delete from staff_time where appointment_id = (
               select id from appointments join staff_time on appointment_id = id and appointments.staff_id =
                   staff_time.staff_id and busy_from = starts_at - make_interval(mins => buffer_before_min)
               where status = 'confirmed' order by id desc limit 1 offset 5)""",
    ),
    "a lost event": (
        "I4 events",
        "delete from appointment_events where id = (select id from appointment_events order by id desc limit 1)",
    ),
    "a double booking": (
        "I2 double booking",
        """insert into appointments (company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status,
                                     source, version)
           select company_id, branch_id, staff_id, service_id, starts_at, ends_at, time_zone, status, source, 1
           from appointments where status = 'confirmed' order by id desc limit 1""",
    ),
    "a lost request to call back": (
        "callback_requests",
        CALLED_BACK.format("<>"),
    ),
    "a loser who is not called back": (
        "callback_requests",
        CALLED_BACK.format("="),
    ),
    "a request to call back that nobody made": (
        "callback_requests",
        """insert into callback_requests (company_id, call_id, reason, due_at)
           select company_id, id, 'x', now() from calls where outcome = 'hangup' limit 1""",
    ),
    "rejects that were not counted": ("webhook_rejects", "delete from webhook_rejects where reason = 'stale'"),
}


async def spoil(database: OwnConnection, statement: str) -> int:
    """Run a statement past every trigger and foreign key; how many rows it changed."""
    async with database.transaction():
        await database.execute("set local session_replication_role = replica")
        done = await database.execute(f"set local search_path = askpro, public; {statement}")
    return int(done.rsplit(" ", 1)[-1])


async def test_every_kind_of_wrong_row_is_found(
    target: Target, superuser_connection: SuperuserConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = Simulation(target, order(150, seed=7))
    report = await simulation.run()
    assert "\n".join(report.shown) == ""
    monkeypatch.setattr("backend.simulate.run.REJECTS_WITHIN_S", 0.0)
    database = await superuser_connection()
    known: set[str] = set()
    for name, (where, statement) in MUTATIONS.items():
        assert await spoil(database, statement) > 0, f"{name}: nothing to spoil"
        found = {str(difference) for difference in await simulation.check()}
        fresh = found - known
        assert any(text.startswith(f"{where}:") for text in fresh), f"{name} is not found among {sorted(fresh)}"
        known |= found
