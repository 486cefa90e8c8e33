-- Intake: how deliveries get in, how quarantined ones get out, and what is remembered of refused ones.
-- A delivery's tenant is known only after it is read, so these functions run as askpro_intake, which sees across
-- tenants; they are all that the API may do there.

alter table webhook_inbox
    add column dialled  text collate "C",
    add column agent_id text collate "C";
comment on column webhook_inbox.dialled is 'the number by which a tenant was looked for; kept only when none was found';
comment on column webhook_inbox.agent_id is 'the agent by which a tenant was looked for; kept only when none was found';
create index webhook_inbox_quarantined_dialled on webhook_inbox (dialled) where state = 'quarantined';
create index webhook_inbox_quarantined_agent on webhook_inbox (agent_id) where state = 'quarantined';

-- A delivery's tenant comes from phone_numbers and agents, whose rows have these constraints themselves. Checking them
-- again took a third of the insert's time, and made every delivery lock its company's row.
alter table webhook_inbox
    drop constraint webhook_inbox_company_id_fkey,
    drop constraint webhook_inbox_company_id_branch_id_fkey;

-- Usual bodies (3 kB) stay in the row as they are: compressing them would cost more than storing them.
alter table webhook_inbox set (toast_tuple_target = 8160);

alter table webhook_rejects
    add column count        integer not null default 1 check (count > 0),
    add column sealed_bytes integer generated always as (octet_length(sealed)) stored;
comment on column webhook_rejects.count is 'refusals that this row stands for; more than one when they were not kept';
create index webhook_rejects_kept on webhook_rejects (received_at) include (sealed_bytes) where sealed is not null;

-- Store a batch of verified deliveries with their jobs: the whole transaction of the intake in one round trip.
-- `deliveries` is a JSON array of {ord, provider, key, event, subject, dialled, agent, headers, job, start, size};
-- a body is the slice of `bodies` that starts at `start` (from 1). Each gets the tenant that its number, else its
-- agent, belongs to; a booking event that names neither belongs where earlier events about the same booking went.
-- No tenant: quarantined, without a job; about nothing: ignored, without a job. Returns one row for each delivery
-- that was new: a missing one was there already.
-- Rows go in in key order, so that two batches with common keys wait for each other instead of dead-locking.
create function intake_accept(deliveries json, bodies bytea) returns table (ord integer, state text)
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    with given as materialized (
        select *
        from json_to_recordset(deliveries) as item (
            ord integer, provider text, key text, event text, subject text, dialled text, agent text, headers jsonb,
            job text, start integer, size integer)
    ), located as (
        select given.*,
               coalesce(number.company_id, entry.company_id, earlier.company_id) as company_id,
               case when number.company_id is not null then number.branch_id
                    when entry.company_id is not null then entry.branch_id
                    else earlier.branch_id end as branch_id
        from given
        left join phone_numbers number on number.number = given.dialled
        left join agents entry on entry.agent_id = given.agent
        left join lateral (
            select inbox.company_id, inbox.branch_id
            from webhook_inbox inbox
            where given.provider = 'calcom' and given.subject <> ''
              and number.company_id is null and entry.company_id is null
              and inbox.provider = given.provider and inbox.subject = given.subject and inbox.company_id is not null
            order by inbox.id desc
            limit 1
        ) earlier on true
    ), stored as (
        insert into webhook_inbox (provider, dedup_key, event, subject, company_id, branch_id, body, headers, state,
                                   dialled, agent_id, processed_at)
        select provider, key, event, subject, company_id, branch_id, substring(bodies from start for size), headers,
               case when subject = '' then 'ignored' when company_id is null then 'quarantined' else 'accepted' end,
               case when company_id is null then dialled end,
               case when company_id is null then agent end,
               case when subject = '' then now() end
        from located
        order by provider, key
        on conflict (provider, dedup_key) do nothing
        returning id, provider, dedup_key, subject, company_id, state
    ), queued as (
        -- As the engine itself puts jobs in (backend.queue.port); its trigger wakes the workers.
        insert into pgqueuer (priority, entrypoint, payload, execute_after, headers, status)
        select 0, given.job,
               convert_to(json_build_object('inbox_id', stored.id, 'subject', stored.subject)::text, 'UTF8'),
               now(), jsonb_build_object('company', stored.company_id), 'queued'
        from stored
        join given on given.provider = stored.provider and given.key = stored.dedup_key
        where stored.state = 'accepted'
        order by stored.id
        returning id, entrypoint, priority
    ), logged as (
        insert into pgqueuer_log (job_id, status, entrypoint, priority)
        select id, 'queued', entrypoint, priority from queued
    )
    select given.ord, stored.state
    from stored
    join given on given.provider = stored.provider and given.key = stored.dedup_key
$$;

-- Give quarantined deliveries, oldest first, to the tenants that their numbers or agents belong to by now.
create function intake_release(at_most integer)
returns table (inbox_id uuid, provider text, subject text, company_id uuid)
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    with known as (
        select inbox.id,
               coalesce(number.company_id, agent.company_id) as company_id,
               case when number.company_id is not null then number.branch_id else agent.branch_id end as branch_id
        from webhook_inbox inbox
        left join phone_numbers number on number.number = inbox.dialled
        left join agents agent on agent.agent_id = inbox.agent_id
        where inbox.state = 'quarantined' and (number.company_id is not null or agent.company_id is not null)
        order by inbox.id
        limit at_most
        for update of inbox skip locked
    )
    update webhook_inbox inbox
    set state = 'accepted', company_id = known.company_id, branch_id = known.branch_id, dialled = null, agent_id = null
    from known
    where inbox.id = known.id
    returning inbox.id, inbox.provider, inbox.subject, inbox.company_id
$$;

-- Remember refused deliveries: sealed ones singly, the others as a number.
create function intake_reject(
    providers text[], reasons text[], remotes text[], sealed bytea[], counts integer[], keep interval
) returns void
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    insert into webhook_rejects (provider, reason, remote, sealed, count, expires_at)
    select provider, reason, remote, sealed, count, now() + keep
    from unnest(providers, reasons, remotes, sealed, counts) as item (provider, reason, remote, sealed, count)
$$;

-- Bytes of the refused deliveries that are kept: the disk that strangers were given.
create function intake_kept_bytes() returns bigint
language sql stable security definer set search_path = askpro, pg_temp
as $$ select coalesce(sum(sealed_bytes), 0)::bigint from webhook_rejects where sealed is not null $$;

-- The tenant of a number, else of an agent; no row when neither is known.
create function intake_tenant(dialled text, agent text) returns table (company_id uuid, branch_id uuid)
language sql stable security definer set search_path = askpro, pg_temp
as $$
    select found.company_id, found.branch_id
    from (select 1 as choice, number.company_id, number.branch_id
          from phone_numbers number where number.number = dialled
          union all
          select 2, entry.company_id, entry.branch_id
          from agents entry where entry.agent_id = agent) found
    order by found.choice
    limit 1
$$;

-- Who calls: the tenant that was dialled and the one customer with the caller's number; no customer when two share it.
-- Runs as its caller: the customer is read under the tenant's own row-level security, in this statement only.
create function intake_caller(dialled text, agent text, caller text)
returns table (company_name text, branch_name text, first_name text, last_name text)
language plpgsql volatile set search_path = askpro, pg_temp
as $$
declare
    tenant record;
begin
    select * into tenant from intake_tenant(dialled, agent);
    if tenant.company_id is null then
        return;
    end if;
    perform set_config('app.company_id', tenant.company_id::text, true);
    return query
        select company.name, coalesce(branch.name, ''), coalesce(person.first_name, ''), coalesce(person.last_name, '')
        from companies company
        left join branches branch on branch.company_id = company.id and branch.id = tenant.branch_id
        left join lateral (
            select min(customer.first_name) as first_name, min(customer.last_name) as last_name
            from (select customers.first_name, customers.last_name
                  from customers
                  where customers.company_id = tenant.company_id and customers.phone = caller
                    and customers.erased_at is null
                  limit 2) customer
            having count(*) = 1
        ) person on true
        where company.id = tenant.company_id;
    perform set_config('app.company_id', '', true);
end
$$;

-- Who may do it.
revoke execute on function
    intake_accept(json, bytea), intake_release(integer),
    intake_reject(text[], text[], text[], bytea[], integer[], interval), intake_kept_bytes(), intake_tenant(text, text),
    intake_caller(text, text, text)
    from public;
grant execute on function
    intake_accept(json, bytea), intake_release(integer)
    to askpro_api, askpro_setup;
grant execute on function
    intake_reject(text[], text[], text[], bytea[], integer[], interval), intake_kept_bytes(), intake_tenant(text, text),
    intake_caller(text, text, text)
    to askpro_api;

-- Replaying and assigning are the operator's: they read what is sealed, mark it, and put in the jobs.
grant select, update (replayed_at) on webhook_rejects to askpro_setup;
grant insert on pgqueuer, pgqueuer_log to askpro_setup;
grant select (id, entrypoint, priority, dedupe_key, status) on pgqueuer to askpro_setup;
grant usage on sequence pgqueuer_id_seq, pgqueuer_log_id_seq to askpro_setup;

grant select on phone_numbers, agents, webhook_rejects to askpro_intake;
grant select, insert, update on webhook_inbox to askpro_intake;
grant insert on webhook_rejects to askpro_intake;
grant usage, create on schema askpro to askpro_intake;
alter function intake_accept(json, bytea) owner to askpro_intake;
alter function intake_release(integer) owner to askpro_intake;
alter function intake_reject(text[], text[], text[], bytea[], integer[], interval) owner to askpro_intake;
alter function intake_kept_bytes() owner to askpro_intake;
alter function intake_tenant(text, text) owner to askpro_intake;
revoke create on schema askpro from askpro_intake;
