-- Calendars at Cal.com, written behind: what each appointment should look like there, and how far that has got.
--
-- A change of an appointment appends an event; a trigger notes in the same transaction that the calendar has to follow,
-- and puts a job in. The job pushes the latest state, so several changes fold into one job. Its key carries the
-- `round`, which the job raises when it ends: a change that comes while it runs either folds into it or starts a job
-- of the next round, and is never lost between the two.

-- A job that must wait for somebody else is no failure ----------------------------------------------------------------

alter table job_runs drop constraint job_runs_outcome_check;
alter table job_runs add constraint job_runs_outcome_check
    check (outcome in ('done', 'retry', 'held', 'released', 'postponed'));

-- Who syncs, and with what --------------------------------------------------------------------------------------------

-- A company syncs when its settings name a key (backend.services.companies.declarations.CalcomRules).
alter table staff_services add column calcom_event_type_id bigint check (calcom_event_type_id > 0);
comment on column staff_services.calcom_event_type_id is 'of this person for this service; null: the service''s own';

create table calendar_sync (
    company_id      uuid not null,
    appointment_id  uuid not null,
    state           text not null default 'pending' check (state in ('pending', 'synced', 'failed', 'off')),
    wanted_version  integer not null,
    synced_version  integer not null default 0,
    round           integer not null default 1,
    uid             text collate "C",
    event_type_id   bigint,
    earlier_uids    text[] not null default '{}',
    asked_at        timestamptz,
    asked_for       timestamptz,
    asked_of        bigint,
    attempts        integer not null default 0,
    last_error      text,
    last_at         timestamptz,
    pending_since   timestamptz not null default now(),
    synced_at       timestamptz,
    primary key (company_id, appointment_id),
    check ((asked_at is null) = (asked_for is null) and (asked_at is null) = (asked_of is null)),
    foreign key (company_id, appointment_id) references appointments (company_id, id)
);
comment on table calendar_sync is 'how far each appointment has got into its calendar at Cal.com';
comment on column calendar_sync.wanted_version is 'the appointment''s version that the calendar has to show';
comment on column calendar_sync.round is 'of the job that pushes it; raised whenever one ends';
comment on column calendar_sync.uid is 'the booking there; the last one, when it was cancelled';
comment on column calendar_sync.earlier_uids is
    'bookings that were cancelled or replaced from here: what the provider still tells about them is old news';
comment on column calendar_sync.asked_at is
    'a new booking was asked for and the answer is not known: at asked_for, of event type asked_of';
comment on column calendar_sync.attempts is 'pushes that failed since the last one that did not';
create index calendar_sync_open on calendar_sync (state, pending_since) where state in ('pending', 'failed');
create index calendar_sync_uid on calendar_sync (company_id, uid) where uid is not null;

alter table calendar_sync enable row level security;
alter table calendar_sync force row level security;
create policy tenant on calendar_sync to askpro_api, askpro_worker
    using (company_id = (select current_company())) with check (company_id = (select current_company()));
create policy across on calendar_sync for select to askpro_watch, askpro_console using (true);
create policy setup on calendar_sync to askpro_setup using (true) with check (true);
grant select, insert, update on calendar_sync to askpro_api, askpro_worker, askpro_setup;

-- Note that these appointments have to be pushed, and put their jobs in.
create function push_to_calendar(company uuid, appointments uuid[], versions integer[]) returns integer
language sql
as $$
    with noted as (
        insert into calendar_sync as known (company_id, appointment_id, wanted_version)
        select company, item.appointment, item.version
        from unnest(appointments, versions) item (appointment, version)
        order by item.appointment
        on conflict (company_id, appointment_id) do update
        set state = 'pending', wanted_version = greatest(known.wanted_version, excluded.wanted_version), attempts = 0,
            pending_since = case known.state when 'pending' then known.pending_since else now() end
        returning appointment_id, round
    ), queued as (
        -- As the engine itself puts jobs in (backend.queue.port), but for a moment later: the bell is not rung then, and
        -- the workers find it with their next look. A ring holds a lock over its commit, so that bookings, which all
        -- come through here, would commit one after the other.
        insert into pgqueuer (priority, entrypoint, payload, execute_after, headers, dedupe_key, status)
        select 0, 'default.calendar_sync',
               convert_to(json_build_object('appointment_id', appointment_id)::text, 'UTF8'),
               now() + interval '1 millisecond', jsonb_build_object('company', company),
               'calendar:' || appointment_id || ':' || round, 'queued'
        from noted
        order by appointment_id
        on conflict (dedupe_key) where status in ('queued', 'picked') and dedupe_key is not null do nothing
        returning id, entrypoint, priority
    ), logged as (
        insert into pgqueuer_log (job_id, status, entrypoint, priority)
        select id, 'queued', entrypoint, priority from queued
    )
    select count(*)::integer from noted
$$;

-- Follow the events that change what a calendar shows. Costs one look at the companies when none of them syncs.
create function follow_into_calendar() returns trigger
language plpgsql
as $$
declare
    item record;
begin
    if not exists (select from companies c
                   where c.id in (select e.company_id from appended e)
                     and c.settings #>> '{calcom,api_key_secret}' <> '') then
        return null;
    end if;
    for item in
        with latest as (
            select e.company_id, e.appointment_id, max(e.version) as version
            from appended e
            where e.kind not in ('held', 'started', 'completed', 'no_show')
              and e.company_id in (select c.id from companies c where c.settings #>> '{calcom,api_key_secret}' <> '')
            group by e.company_id, e.appointment_id
        )
        select l.company_id, array_agg(l.appointment_id order by l.appointment_id) as appointments,
               array_agg(l.version order by l.appointment_id) as versions
        from latest l
        join appointments a on a.company_id = l.company_id and a.id = l.appointment_id
        where exists (select from calendar_sync known
                      where known.company_id = a.company_id and known.appointment_id = a.id)
           or a.status in ('pending', 'confirmed', 'in_progress')
              and exists (select from services s
                          left join staff_services o
                               on o.company_id = a.company_id and o.service_id = s.id and o.staff_id = a.staff_id
                          where s.company_id = a.company_id and s.id = a.service_id
                            and coalesce(o.calcom_event_type_id, s.calcom_event_type_id) is not null)
        group by l.company_id
    loop
        perform push_to_calendar(item.company_id, item.appointments, item.versions);
    end loop;
    return null;
end $$;

create trigger appointment_events_into_calendar after insert on appointment_events
    referencing new table as appended for each statement execute function follow_into_calendar();

grant execute on function push_to_calendar(uuid, uuid[], integer[]), follow_into_calendar()
    to askpro_api, askpro_worker, askpro_setup;

-- How providers do ----------------------------------------------------------------------------------------------------

create table provider_state (
    provider    text not null check (provider in ('retell', 'calcom')),
    worker_id   uuid not null,
    breaker     text not null check (breaker in ('closed', 'open', 'half_open')),
    open_until  timestamptz,
    opened      integer not null default 0,
    calls       bigint not null default 0,
    failures    bigint not null default 0,
    endpoints   jsonb not null default '{}',
    since       timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    primary key (provider, worker_id)
);
comment on table provider_state is 'what each worker process knows about the providers that it calls; rows age quickly';
comment on column provider_state.since is 'when the breaker came into this state';
comment on column provider_state.endpoints is '{"create": {"ok", "refused", "busy", "unreachable", "p50_s", "p99_s"}}';
grant select, insert, update, delete on provider_state to askpro_worker;
grant select on provider_state to askpro_api, askpro_watch, askpro_console;
