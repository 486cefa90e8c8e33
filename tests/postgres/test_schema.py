"""What the schema promises: one vocabulary, tenants apart, keys indexed, events that stay."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

import asyncpg
import pytest

from backend.domain import vocabulary
from backend.domain.appointments import ALLOWED, RESULT
from backend.postgres.address import Role
from tests.databases import OpenConnection, SuperuserConnection

WORDS: dict[tuple[str, str], type[StrEnum]] = {
    ("api_tokens", "scopes"): vocabulary.TokenScope,
    ("appointments", "status"): vocabulary.AppointmentStatus,
    ("appointments", "source"): vocabulary.AppointmentSource,
    ("appointment_events", "kind"): vocabulary.AppointmentEvent,
    ("branches", "bundesland"): vocabulary.Bundesland,
    ("calendar_exceptions", "kind"): vocabulary.ExceptionKind,
    ("calendar_bookings", "state"): vocabulary.CalendarBookingState,
    ("calendar_bookings", "status"): vocabulary.CalendarStatus,
    ("calls", "status"): vocabulary.CallStatus,
    ("calls", "outcome"): vocabulary.CallOutcome,
    ("calls", "sentiment"): vocabulary.Sentiment,
    ("calls", "provider"): vocabulary.Provider,
    ("callback_requests", "state"): vocabulary.CallbackState,
    ("notifications", "kind"): vocabulary.NotificationKind,
    ("notifications", "state"): vocabulary.NotificationState,
    ("calendar_sync", "state"): vocabulary.CalendarState,
    ("provider_state", "provider"): vocabulary.Provider,
    ("provider_state", "breaker"): vocabulary.BreakerState,
    ("webhook_inbox", "provider"): vocabulary.Provider,
    ("webhook_inbox", "state"): vocabulary.InboxState,
    ("webhook_rejects", "provider"): vocabulary.Provider,
    ("webhook_rejects", "reason"): vocabulary.RejectReason,
    ("bulk_actions", "action"): vocabulary.BulkAction,
    ("bulk_actions", "state"): vocabulary.BulkState,
    ("job_lineage", "how"): vocabulary.JobOrigin,
    ("moved_job_types", "queue"): vocabulary.QueueName,
    ("node_orders", "action"): vocabulary.NodeOrder,
    ("node_orders", "state"): vocabulary.OrderState,
    ("pauses", "kind"): vocabulary.PauseKind,
    ("queue_slots", "queue"): vocabulary.QueueName,
    ("job_troubles", "queue"): vocabulary.QueueName,
    ("job_troubles", "kind"): vocabulary.TroubleKind,
    ("held_jobs", "queue"): vocabulary.QueueName,
    ("held_jobs", "state"): vocabulary.HeldState,
    ("reconciliation_differences", "action"): vocabulary.DifferenceAction,
    ("reconciliation_differences", "kind"): vocabulary.DifferenceKind,
    ("reconciliation_differences", "provider"): vocabulary.Provider,
    ("reconciliation_runs", "cause"): vocabulary.RunCause,
    ("reconciliation_runs", "provider"): vocabulary.Provider,
    ("reconciliation_runs", "state"): vocabulary.RunState,
    ("workers", "queue"): vocabulary.QueueName,
    ("workers", "state"): vocabulary.WorkerState,
    ("job_runs", "outcome"): vocabulary.RunOutcome,
}

CHECKED_WORDS = r"""
    select rel.relname as table_name, att.attname as column_name,
           array(select (regexp_matches(pg_get_constraintdef(con.oid), '''([^'']+)''', 'g'))[1]) as words
    from pg_constraint con
    join pg_class rel on rel.oid = con.conrelid
    join pg_attribute att on att.attrelid = con.conrelid and att.attnum = con.conkey[1]
    where con.contype = 'c' and con.connamespace = 'askpro'::regnamespace and cardinality(con.conkey) = 1
      and pg_get_constraintdef(con.oid) like '%ARRAY%'
"""

UNPROTECTED = """
    select rel.relname
    from pg_class rel
    join pg_attribute att on att.attrelid = rel.oid and att.attname = 'company_id' and att.attnotnull
    where rel.relnamespace = 'askpro'::regnamespace and rel.relkind in ('r', 'p')
      and not (rel.relrowsecurity and rel.relforcerowsecurity)
"""

UNINDEXED = """
    select con.conrelid::regclass || ' ' || con.conname
    from pg_constraint con
    where con.contype = 'f' and con.connamespace = 'askpro'::regnamespace
      and not exists (
          select from pg_index idx
          where idx.indrelid = con.conrelid
            -- The index begins with the key's columns, or with all of them but the company.
            and (select array_agg(k order by k) from unnest(con.conkey) k) <@ (
                select array_agg(k) from unnest((idx.indkey::smallint[])[0:cardinality(con.conkey) - 1]) k)
            or idx.indrelid = con.conrelid and cardinality(con.conkey) = 2
               and idx.indkey[0] = con.conkey[2]
               and con.conkey[1] = (select attnum from pg_attribute
                                    where attrelid = con.conrelid and attname = 'company_id'))
"""


async def test_the_database_knows_exactly_the_words_of_the_vocabulary(open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WATCH)
    found: dict[tuple[str, str], Collection[str]] = {
        (row["table_name"], row["column_name"]): set(row["words"]) for row in await connection.fetch(CHECKED_WORDS)
    }
    for place, words in WORDS.items():
        assert found.get(place) == {word.value for word in words}, place
    assert set(found) == set(WORDS), "a column with a list of words that is in no vocabulary"


async def test_every_tenants_table_is_under_forced_row_level_security(open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WATCH)
    assert [row["relname"] for row in await connection.fetch(UNPROTECTED)] == []


async def test_every_foreign_key_has_an_index(open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WATCH)
    assert [row[0] for row in await connection.fetch(UNINDEXED)] == []


async def test_no_login_role_is_a_superuser_or_passes_row_level_security(open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WATCH)
    rows = await connection.fetch(
        "select rolname from pg_roles where rolname like 'askpro%' and "
        "(rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)"
    )
    assert rows == []


async def test_every_login_role_has_limits(open_connection: OpenConnection) -> None:
    for role in Role:
        connection = await open_connection(role)
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert await connection.fetchval("select current_setting($1)", name) != "0", (role, name)
        assert await connection.fetchval("show search_path") == "askpro, public"


async def test_passwords_are_kept_as_scram_verifiers(superuser_connection: SuperuserConnection) -> None:
    superuser = await superuser_connection()
    rows = await superuser.fetch(
        "select rolname, rolpassword from pg_authid where rolname like 'askpro%' and rolcanlogin"
    )
    assert {row["rolname"] for row in rows} == {role.value for role in Role}
    assert all(row["rolpassword"].startswith("SCRAM-SHA-256$4096:") for row in rows)


@pytest.mark.parametrize(
    "change",
    ["update appointment_events set actor = 'x'", "delete from appointment_events", "truncate appointment_events"],
)
async def test_events_stay_even_for_the_administrator(superuser_connection: SuperuserConnection, change: str) -> None:
    superuser = await superuser_connection()
    await superuser.execute("set search_path = askpro, public")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await superuser.execute(change)


async def test_nobody_who_serves_requests_may_delete_a_business_record(open_connection: OpenConnection) -> None:
    for role in (Role.API, Role.WORKER):
        connection = await open_connection(role)
        for table in ("customers", "calls", "appointments", "appointment_events", "callback_requests"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"delete from {table}")


async def test_the_database_and_the_domain_agree_what_may_follow(open_connection: OpenConnection) -> None:
    connection = await open_connection(Role.WORKER)
    for kind in vocabulary.AppointmentEvent:
        expected = RESULT[kind]
        assert await connection.fetchval("select appointment_event_result($1)", kind.value) == expected
        allowed = await connection.fetchval(
            "select array_agg(s) from unnest($2::text[]) s where appointment_event_allowed($1, s)",
            kind.value,
            [status.value for status in vocabulary.AppointmentStatus],
        )
        assert set(allowed or ()) == ALLOWED[kind], kind
