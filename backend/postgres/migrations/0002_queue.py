"""The queue engine's tables, who may use them, and the two doors that housekeeping needs across tenants."""

from __future__ import annotations

import asyncpg

from backend.queue.engine import install

ANNOUNCEMENTS = """
-- The engine announces every insert and delete to everybody. Here each worker process serves one queue, so it is
-- woken by jobs of its own queue only, and only by those that may start now.
drop trigger tg_pgqueuer_changed on pgqueuer;
drop function fn_pgqueuer_changed();

create function announce_jobs() returns trigger
language plpgsql
as $$
declare
    queue text;
begin
    for queue in select distinct split_part(entrypoint, '.', 1) from put_in where execute_after <= now() loop
        perform pg_notify('askpro_queue_' || left(queue, 40), '');
    end loop;
    return null;
end $$;

create trigger pgqueuer_announce after insert on pgqueuer
    referencing new table as put_in for each statement execute function announce_jobs();
"""

RUNS = """
-- Starts without an end, few however many runs are kept: what a claim asks for and a completion closes.
create index job_runs_open on job_runs (job_id, worker_id) where ended_at is null;
"""

GRANTS = """
grant select, insert, update, delete on pgqueuer, pgqueuer_log, pgqueuer_statistics, pgqueuer_schedules
    to askpro_worker;
grant usage on sequence pgqueuer_id_seq, pgqueuer_log_id_seq, pgqueuer_statistics_id_seq, pgqueuer_schedules_id_seq
    to askpro_worker;

-- Enqueueing is all the API does here: it returns ids and skips keys that wait already, hence the columns.
grant insert on pgqueuer, pgqueuer_log to askpro_api, askpro_intake;
grant select (id, entrypoint, priority, dedupe_key, status) on pgqueuer to askpro_api, askpro_intake;
grant usage on sequence pgqueuer_id_seq, pgqueuer_log_id_seq to askpro_api, askpro_intake;

grant select on pgqueuer, pgqueuer_log, pgqueuer_statistics, pgqueuer_schedules to askpro_watch, askpro_console;

grant select, insert, update, delete on job_runs, held_jobs, workers to askpro_worker;
grant select, delete on webhook_rejects to askpro_worker;
"""

DOORS = """
-- Tenants can only be listed and aged deliveries only be pruned across companies; the worker sees one at a time.
-- Both run as askpro_intake, whom row-level security lets see all deliveries and companies.
create function housekeeping_companies() returns setof uuid
language sql stable security definer set search_path = askpro, pg_temp
as $$ select id from companies where is_active order by id $$;

create function prune_webhook_inbox(keep interval, at_most integer) returns integer
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    with aged as (
        select id from webhook_inbox
        where state in ('processed', 'ignored') and received_at < now() - keep
        order by received_at
        limit least(at_most, 1000)
        for update skip locked
    ), pruned as (
        delete from webhook_inbox using aged where webhook_inbox.id = aged.id returning 1
    )
    select count(*)::integer from pruned
$$;

revoke execute on function housekeeping_companies(), prune_webhook_inbox(interval, integer) from public;
grant execute on function housekeeping_companies(), prune_webhook_inbox(interval, integer) to askpro_worker;

grant select (id, is_active) on companies to askpro_intake;
grant select, update, delete on webhook_inbox to askpro_intake;
alter function housekeeping_companies() owner to askpro_intake;
alter function prune_webhook_inbox(interval, integer) owner to askpro_intake;
"""


async def apply(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Install the engine within the migration's transaction, as the owner of schema `askpro`."""
    await install(connection)
    for statements in (ANNOUNCEMENTS, RUNS, GRANTS, DOORS):
        await connection.execute(statements)
