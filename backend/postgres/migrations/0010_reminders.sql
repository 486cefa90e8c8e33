-- Reminders and follow-ups; requests to call back with who settled them, when and how.

-- Callback requests ---------------------------------------------------------------------------------------------------

alter table callback_requests
    add column wanted_at timestamptz,
    add column closed_at timestamptz,
    add column closed_by text,
    add column note text not null default '',
    add column escalated_at timestamptz,
    add check (closed_at is null or state <> 'open');
comment on column callback_requests.priority is '0 usual, 1 urgent: the reason has one of the company''s urgent words';
comment on column callback_requests.wanted_at is 'when the customer asked to be called; null: as soon as can be';
comment on column callback_requests.escalated_at is 'when the company was told that it is overdue';
create index callback_requests_open_by_company on callback_requests (company_id, due_at) where state = 'open';

-- Notifications -------------------------------------------------------------------------------------------------------

-- What a customer was told about an appointment, or why not. No address and no text: those are in the appointment.
create table notifications (
    id             uuid primary key default uuidv7(),
    company_id     uuid not null,
    appointment_id uuid not null,
    kind           text not null check (kind in ('confirmed', 'moved', 'cancelled', 'no_show',
                                                 'reminder_24h', 'reminder_2h', 'reminder_30min')),
    occasion       bigint not null,
    state          text not null default 'waiting' check (state in ('waiting', 'sent', 'dropped', 'refused')),
    channel        text not null default '',
    detail         text not null default '',
    created_at     timestamptz not null default now(),
    decided_at     timestamptz,
    check ((state = 'waiting') = (decided_at is null)),
    unique (company_id, appointment_id, kind, occasion),
    foreign key (company_id, appointment_id) references appointments (company_id, id)
);
comment on column notifications.occasion is
    'what makes it one: of a reminder the start that it reminds of, in seconds since 1970 (so that a moved appointment is '
    'reminded of anew); of the others the version of the appointment that it tells of';
comment on column notifications.detail is 'the channel''s answer, or why it was dropped';
create index notifications_created on notifications (created_at);

alter table notifications enable row level security;
alter table notifications force row level security;
create policy tenant on notifications to askpro_api, askpro_worker
    using (company_id = (select current_company())) with check (company_id = (select current_company()));
create policy across on notifications for select to askpro_watch, askpro_console using (true);
create policy setup on notifications to askpro_setup using (true) with check (true);
grant select on notifications to askpro_api;
grant select, insert, update on notifications to askpro_worker;
grant insert on notifications to askpro_setup;

-- What a company wants to be sent: the words of its declaration, or the usual ones.
create function company_sends(settings jsonb) returns jsonb
language sql immutable parallel safe
return coalesce(settings #> '{notifications,send}', '["confirmed", "moved", "cancelled"]');

create function company_reminds(settings jsonb) returns jsonb
language sql immutable parallel safe
return coalesce(settings #> '{notifications,reminders}', '["24h", "2h", "30min"]');

grant execute on function company_sends(jsonb), company_reminds(jsonb) to askpro_api, askpro_worker, askpro_intake;

-- Follow-ups: an event of which the customer is told puts its job in. What is imported was told by whoever had it
-- before, and Cal.com tells of its own bookings itself. A no-show is told an hour later: it may be taken back.
create function follow_appointment_events() returns trigger
language plpgsql
as $$
begin
    if session_user not in ('askpro_api', 'askpro_worker') then
        return null;
    end if;
    with told as (
        select e.company_id, e.appointment_id, e.version, case e.kind
                   when 'rescheduled' then 'moved'
                   when 'cancelled' then 'cancelled'
                   when 'no_show' then 'no_show'
                   else 'confirmed' end as kind
        from appended e
        where e.kind in ('booked', 'confirmed', 'rescheduled', 'cancelled', 'no_show', 'restored')
          and e.actor not like 'calcom%'
    ), put_in as (
        insert into pgqueuer (priority, entrypoint, payload, headers, execute_after, status)
        select 0, 'notifications.follow_up',
               convert_to(json_build_object('appointment_id', told.appointment_id, 'version', told.version)::text, 'UTF8'),
               jsonb_build_object('company', told.company_id),
               -- Not at once: the bell is not rung for it (see push_to_calendar), nobody waits for the message.
               now() + case told.kind when 'no_show' then interval '1 hour' else interval '1 millisecond' end, 'queued'
        from told
        join companies c on c.id = told.company_id and company_sends(c.settings) ? told.kind
        returning id, entrypoint, priority
    )
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'queued', entrypoint, priority from put_in;
    return null;
end $$;

create trigger appointment_events_followed after insert on appointment_events
    referencing new table as appended for each statement execute function follow_appointment_events();

-- Doors across tenants, as askpro_intake: whose turn it is, and what is old.
grant select (id, company_id, starts_at, status) on appointments to askpro_intake;
grant select, update, delete on notifications to askpro_intake;
create policy reminders on appointments for select to askpro_intake using (true);
create policy housekeeping on notifications to askpro_intake using (true);

-- Companies with an appointment of which somebody is to be reminded now: word, seconds before the start, and seconds
-- before the start until which it is still of use, of each kind of reminder.
create function companies_to_remind(words text[], lead_s integer[], useful_s integer[], moment timestamptz)
returns setof uuid
language sql stable security definer set search_path = askpro, pg_temp
as $$
    select distinct a.company_id
    from unnest(words, lead_s, useful_s) as k (word, lead_s, useful_s)
    join appointments a on a.starts_at > moment + make_interval(secs => k.useful_s)
                       and a.starts_at <= moment + make_interval(secs => k.lead_s)
    join companies c on c.id = a.company_id and c.is_active and company_reminds(c.settings) ? k.word
    where a.status in ('pending', 'confirmed')
      and not exists (
          select from notifications n
          where n.company_id = a.company_id and n.appointment_id = a.id and n.kind = 'reminder_' || k.word
            and n.occasion = extract(epoch from a.starts_at)::bigint)
$$;

create function prune_notifications(keep interval, at_most integer) returns integer
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    with aged as (
        select id from notifications where created_at < now() - keep
        order by created_at limit least(at_most, 1000)
        for update skip locked
    ), pruned as (
        delete from notifications using aged where notifications.id = aged.id returning 1
    )
    select count(*)::integer from pruned
$$;

grant execute on function companies_to_remind(text[], integer[], integer[], timestamptz),
    prune_notifications(interval, integer) to askpro_worker;
grant create on schema askpro to askpro_intake;
alter function companies_to_remind(text[], integer[], integer[], timestamptz) owner to askpro_intake;
alter function prune_notifications(interval, integer) owner to askpro_intake;
revoke create on schema askpro from askpro_intake;
