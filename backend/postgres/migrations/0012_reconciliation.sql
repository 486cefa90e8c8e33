-- Reconciliation: what the providers say happened, compared with what is here; and bookings made in the calendar.

-- A calendar's clock says that a booking is over, and only then somebody that nobody came.
create or replace function appointment_event_allowed(kind text, status text) returns boolean
language sql immutable parallel safe
return case kind
    when 'confirmed' then status in ('held', 'pending')
    when 'rescheduled' then status in ('pending', 'confirmed')
    when 'started' then status in ('pending', 'confirmed')
    when 'completed' then status in ('pending', 'confirmed', 'in_progress')
    when 'cancelled' then status in ('held', 'pending', 'confirmed')
    when 'no_show' then status in ('pending', 'confirmed', 'completed')
    when 'restored' then status in ('cancelled', 'no_show')
    when 'hold_expired' then status = 'held'
    else false
end;

-- Bookings that somebody made, moved or cancelled at Cal.com ---------------------------------------------------------

-- One row for each booking through all its moves: a move makes a new uid that replaces the old one.
-- `starts_at` and `status` are what the calendar said when it was last followed: only what it says differently from
-- then on is news, so that a late delivery never undoes what happened here meanwhile.
create table calendar_bookings (
    id             uuid primary key default uuidv7(),
    company_id     uuid not null references companies,
    appointment_id uuid,
    uid            text not null collate "C",
    state          text not null check (state in ('waiting', 'requested', 'unmapped', 'conflict', 'settled')),
    status         text check (status in ('requested', 'accepted', 'completed', 'cancelled', 'no_show')),
    starts_at      timestamptz,
    event_type_id  bigint,
    began_at       timestamptz,
    over_at        timestamptz,
    problem        text,
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now(),
    unique (company_id, id),
    foreign key (company_id, appointment_id) references appointments (company_id, id)
);
comment on column calendar_bookings.uid is 'the latest of its uids';
comment on column calendar_bookings.began_at is 'when the calendar''s clock said that it begins (MEETING_STARTED)';
comment on column calendar_bookings.over_at is 'when the calendar''s clock said that it is over (MEETING_ENDED)';
comment on column calendar_bookings.problem is 'why it could not be followed, in a word';
create index calendar_bookings_appointment on calendar_bookings (company_id, appointment_id)
    where appointment_id is not null;
create index calendar_bookings_trouble on calendar_bookings (company_id, state)
    where state in ('unmapped', 'conflict');

create table calendar_booking_uids (
    company_id uuid not null,
    uid        text not null collate "C",
    booking_id uuid not null,
    primary key (company_id, uid),
    foreign key (company_id, booking_id) references calendar_bookings (company_id, id)
);
create index calendar_booking_uids_booking on calendar_booking_uids (company_id, booking_id);

-- Which service, whose and where (when that is one place), an event type stands for; several rows when several people
-- share it.
create function calendar_offers(company uuid, event_type bigint)
returns table (service_slug text, staff_slug text, branch_slug text)
language sql stable
as $$
    select s.slug, p.slug,
           (select min(b.slug) from staff_branches w join branches b on b.company_id = company and b.id = w.branch_id
            where w.company_id = company and w.staff_id = p.id having count(*) = 1)
    from staff_services o
    join services s on s.company_id = company and s.id = o.service_id and s.is_active
    join staff p on p.company_id = company and p.id = o.staff_id
    where o.company_id = company and o.calcom_event_type_id = event_type
    union all
    select s.slug, null,
           (select min(b.slug) from staff_services o
            join staff p on p.company_id = company and p.id = o.staff_id and p.is_bookable
            join staff_branches w on w.company_id = company and w.staff_id = p.id
            join branches b on b.company_id = company and b.id = w.branch_id
            where o.company_id = company and o.service_id = s.id having count(distinct b.id) = 1)
    from services s
    where s.company_id = company and s.calcom_event_type_id = event_type and s.is_active
      and not exists (select from staff_services o
                      where o.company_id = company and o.calcom_event_type_id = event_type)
$$;

-- Whose an event type is, when its services are exactly one company's: besides `agents`, how a booking event finds home.
create function calendar_tenant(agent text) returns uuid
language sql stable security definer set search_path = askpro, pg_temp
as $$
    select case when count(distinct found.company_id) = 1 then (array_agg(found.company_id))[1] end
    from (select s.company_id from services s
          where s.calcom_event_type_id = case when agent ~ '^calcom:[0-9]{1,15}$' then substr(agent, 8)::bigint end
          union all
          select o.company_id from staff_services o
          where o.calcom_event_type_id = case when agent ~ '^calcom:[0-9]{1,15}$' then substr(agent, 8)::bigint end
    ) found
$$;
create index services_event_type on services (calcom_event_type_id) where calcom_event_type_id is not null;
create index staff_services_event_type on staff_services (calcom_event_type_id) where calcom_event_type_id is not null;
create policy calendars on services for select to askpro_intake using (true);
create policy calendars on staff_services for select to askpro_intake using (true);
grant select on services, staff_services to askpro_intake;

grant execute on function calendar_tenant(text) to askpro_intake;
grant usage, create on schema askpro to askpro_intake;
set local role askpro_intake;

-- As in 0003, and a booking event may also find its company by the event type that a service names.
create or replace function intake_accept(deliveries json, bodies bytea) returns table (ord integer, state text)
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    with given as materialized (
        select *
        from json_to_recordset(deliveries) as item (
            ord integer, provider text, key text, event text, subject text, dialled text, agent text, headers jsonb,
            job text, start integer, size integer)
    ), located as (
        select given.*,
               coalesce(number.company_id, entry.company_id, earlier.company_id,
                        case when given.provider = 'calcom' then calendar_tenant(given.agent) end) as company_id,
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

create or replace function intake_release(at_most integer)
returns table (inbox_id uuid, provider text, subject text, company_id uuid)
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    with known as (
        select inbox.id,
               coalesce(number.company_id, agent.company_id, mapped.company_id) as company_id,
               case when number.company_id is not null then number.branch_id else agent.branch_id end as branch_id
        from webhook_inbox inbox
        left join phone_numbers number on number.number = inbox.dialled
        left join agents agent on agent.agent_id = inbox.agent_id
        left join lateral (
            select calendar_tenant(inbox.agent_id) as company_id
            where inbox.provider = 'calcom' and agent.company_id is null
        ) mapped on true
        where inbox.state = 'quarantined'
          and (number.company_id is not null or agent.company_id is not null or mapped.company_id is not null)
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
-- What a run finds out is taken in as deliveries are.
grant execute on function intake_accept(json, bytea) to askpro_worker;

set local role askpro_owner;

-- Runs and what they found --------------------------------------------------------------------------------------------

create table reconciliation_runs (
    id            uuid primary key default uuidv7(),
    provider      text not null check (provider in ('retell', 'calcom')),
    account       text not null,
    cause         text not null check (cause in ('schedule', 'nightly', 'command')),
    state         text not null default 'running' check (state in ('running', 'done', 'delayed', 'failed')),
    holder        text not null,
    since         timestamptz not null,
    until         timestamptz not null,
    covered_until timestamptz,
    started_at    timestamptz not null default now(),
    progress_at   timestamptz not null default now(),
    ended_at      timestamptz,
    pages         integer not null default 0,
    listed        integer not null default 0,
    found         integer not null default 0,
    unrepaired    integer not null default 0,
    error         text,
    retry_at      timestamptz,
    check ((state = 'running') = (ended_at is null))
);
comment on column reconciliation_runs.account is 'whose key was used: `system`, or a company''s id';
comment on column reconciliation_runs.holder is 'who runs it; a run that makes no progress for long is taken over';
comment on column reconciliation_runs.covered_until is 'everything that began before has been compared';
create unique index reconciliation_runs_one_at_a_time on reconciliation_runs (provider, account)
    where state = 'running';
create index reconciliation_runs_latest on reconciliation_runs (provider, account, started_at desc);
create index reconciliation_runs_started on reconciliation_runs (started_at);
grant select, insert, update, delete on reconciliation_runs to askpro_worker;
grant select on reconciliation_runs to askpro_api, askpro_setup;

-- A difference is one row for as long as it lasts, however many runs see it. Nothing personal.
create table reconciliation_differences (
    id             uuid primary key default uuidv7(),
    company_id     uuid,
    run_id         uuid references reconciliation_runs on delete set null,
    provider       text not null check (provider in ('retell', 'calcom')),
    kind           text not null check (kind in (
                       'call_missing', 'end_missing', 'analysis_missing', 'call_unassigned', 'call_unknown_there',
                       'call_differs', 'missing_there', 'missing_here', 'time_differs', 'cancelled_there',
                       'cancelled_here', 'conflict', 'unmapped', 'doubled')),
    subject        text not null,
    appointment_id uuid,
    ours           jsonb,
    theirs         jsonb,
    action         text not null check (action in ('folded_in', 'pushed', 'closed', 'reported')),
    found_at       timestamptz not null default now(),
    seen_at        timestamptz not null default now(),
    resolved_at    timestamptz,
    foreign key (company_id) references companies (id),
    foreign key (company_id, appointment_id) references appointments (company_id, id)
);
comment on column reconciliation_differences.company_id is 'null while nobody knows whose the call is';
comment on column reconciliation_differences.subject is 'the provider''s call id or booking uid, or our appointment''s id';
create unique index reconciliation_differences_open on reconciliation_differences
    (provider, kind, subject, company_id) nulls not distinct where resolved_at is null;
create index reconciliation_differences_run on reconciliation_differences (run_id) where run_id is not null;
create index reconciliation_differences_company on reconciliation_differences (company_id, found_at desc);
create index reconciliation_differences_appointment on reconciliation_differences (company_id, appointment_id)
    where appointment_id is not null;
create index reconciliation_differences_resolved on reconciliation_differences (resolved_at)
    where resolved_at is not null;

-- Doors and rights ----------------------------------------------------------------------------------------------------

do $$
declare
    item text;
begin
    foreach item in array array['calendar_bookings', 'calendar_booking_uids', 'reconciliation_differences'] loop
        execute format('alter table %I enable row level security', item);
        execute format('alter table %I force row level security', item);
        execute format('create policy tenant on %I to askpro_api, askpro_worker
                        using (company_id = (select current_company())) with check (company_id = (select current_company()))', item);
        execute format('create policy across on %I for select to askpro_watch, askpro_console using (true)', item);
        execute format('create policy setup on %I to askpro_setup using (true) with check (true)', item);
    end loop;
end $$;
create policy nobodys on reconciliation_differences to askpro_worker
    using (company_id is null) with check (company_id is null);
grant select on calendar_bookings, calendar_booking_uids, reconciliation_differences to askpro_api, askpro_setup;
grant select, insert, update, delete on calendar_bookings, calendar_booking_uids to askpro_worker;
grant select, insert, update on reconciliation_differences to askpro_worker;

-- Which deliveries are here already, by key; whose calls with these numbers and agents would be. Runs span tenants.
create function intake_has(from_provider text, keys text[]) returns setof text
language sql stable security definer set search_path = askpro, pg_temp
as $$ select dedup_key from webhook_inbox where provider = from_provider and dedup_key = any (keys) $$;

create function intake_tenants(dialled text[], agents text[]) returns table (place bigint, company_id uuid)
language sql stable security definer set search_path = askpro, pg_temp
as $$
    select given.place, coalesce(number.company_id, entry.company_id)
    from unnest(dialled, agents) with ordinality as given (dialled, agent, place)
    left join phone_numbers number on number.number = given.dialled
    left join agents entry on entry.agent_id = given.agent
$$;

-- Take in what a provider tells about a company whose account it is, under a key by which it is recognised; the
-- delivery's id, new or not. Whoever calls it folds it in the same transaction, so it needs no job.
create function intake_take_over(company uuid, from_provider text, key text, kind text, about text, content bytea)
returns uuid
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    with taken as (
        insert into webhook_inbox (provider, dedup_key, event, subject, company_id, body, state)
        select from_provider, key, kind, about, company, content, 'accepted'
        where company = current_company()
        on conflict (provider, dedup_key) do nothing
        returning id
    )
    select id from taken
    union all
    select id from webhook_inbox
    where provider = from_provider and dedup_key = key and company_id = current_company()
    limit 1
$$;

-- Calls that have been going on since before a moment: whose, and by which id to ask about them. Oldest first.
create function calls_going_on(before timestamptz, at_most integer)
returns table (company_id uuid, provider_call_id text, started_at timestamptz)
language sql stable security definer set search_path = askpro, pg_temp
as $$
    select c.company_id, c.provider_call_id, c.started_at from calls c
    where c.status in ('registered', 'ongoing') and c.started_at < before and c.provider = 'retell'
    order by c.started_at limit least(at_most, 1000)
$$;

-- Companies that use a provider with a key of their own, and the secret's name.
create function provider_accounts(of_provider text) returns table (company_id uuid, slug text, secret text)
language sql stable security definer set search_path = askpro, pg_temp
as $$
    select c.id, c.slug, c.settings #>> array[of_provider, 'api_key_secret'] from companies c
    where c.is_active and c.settings #>> array[of_provider, 'api_key_secret'] <> ''
    order by c.id
$$;

create function prune_reconciliation(keep interval, at_most integer) returns integer
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    -- What no run has seen for two weeks lies behind everybody: nothing is left to decide.
    update reconciliation_differences set resolved_at = now()
    where resolved_at is null and seen_at < now() - interval '14 days';
    with aged as (
        select id from reconciliation_differences where resolved_at < now() - keep
        order by resolved_at limit least(at_most, 1000)
        for update skip locked
    ), forgotten as (
        delete from reconciliation_differences using aged where reconciliation_differences.id = aged.id returning 1
    ), old as (
        select r.id from reconciliation_runs r
        where r.started_at < now() - keep and r.state <> 'running'
          and exists (select from reconciliation_runs later
                      where later.provider = r.provider and later.account = r.account and later.id > r.id
                        and later.covered_until >= r.covered_until)
        order by r.started_at limit least(at_most, 1000)
        for update skip locked
    ), ended as (
        delete from reconciliation_runs using old where reconciliation_runs.id = old.id returning 1
    )
    select (select count(*) from forgotten)::integer + (select count(*) from ended)::integer
$$;

create policy reconciliation on calls for select to askpro_intake using (true);
grant select (id, company_id, provider, provider_call_id, status, started_at) on calls to askpro_intake;
create policy housekeeping on reconciliation_differences to askpro_intake using (true);
grant select, update, delete on reconciliation_differences, reconciliation_runs to askpro_intake;

grant execute on function calendar_offers(uuid, bigint) to askpro_worker;
do $$
declare
    item text;
begin
    foreach item in array array['intake_has(text, text[])', 'intake_tenants(text[], text[])',
                                'calls_going_on(timestamptz, integer)', 'provider_accounts(text)',
                                'intake_take_over(uuid, text, text, text, text, bytea)',
                                'prune_reconciliation(interval, integer)', 'calendar_tenant(text)'] loop
        execute format('revoke execute on function %s from public', item);
        execute format('grant execute on function %s to askpro_worker, askpro_intake', item);
    end loop;
end $$;
alter function intake_has(text, text[]) owner to askpro_intake;
alter function intake_tenants(text[], text[]) owner to askpro_intake;
alter function intake_take_over(uuid, text, text, text, text, bytea) owner to askpro_intake;
alter function calls_going_on(timestamptz, integer) owner to askpro_intake;
alter function provider_accounts(text) owner to askpro_intake;
alter function prune_reconciliation(interval, integer) owner to askpro_intake;
alter function calendar_tenant(text) owner to askpro_intake;
revoke create on schema askpro from askpro_intake;
