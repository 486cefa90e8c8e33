-- What people (and the balancer) say about queues, what they did with jobs, and the record of all of it.

-- The record: append-only -----------------------------------------------------------------------------------------------

create table audit_log (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default clock_timestamp(),
    db_user text not null default session_user,
    actor   text not null check (actor <> ''),
    node    text not null,
    action  text not null check (action ~ '^[a-z_]+\.[a-z_]+$'),
    subject text not null,
    company_id uuid,
    reason  text not null default '',
    detail  jsonb not null default '{}'
);
comment on table audit_log is 'what was done by hand, and by whom; rows are only ever added';
comment on column audit_log.db_user is 'the login role, which nobody can put in as another';
comment on column audit_log.actor is 'the person, as the machine they sat at knows them; or the part of the system';
create index audit_log_at on audit_log (at desc, id desc);
create index audit_log_subject on audit_log (subject, id desc);

create trigger audit_log_append_only before update or delete or truncate on audit_log
    for each statement execute function refuse_change();

-- Pauses --------------------------------------------------------------------------------------------------------------

create table pauses (
    id         bigint generated always as identity primary key,
    kind       text not null check (kind in ('queue', 'job_type', 'company', 'provider', 'node', 'schedule')),
    name       text not null,
    company_id uuid references companies (id),
    reason     text not null default '',
    paused_by  text not null,
    paused_at  timestamptz not null default now(),
    until      timestamptz check (until > paused_at),
    ramp_s     integer not null default 0 check (ramp_s between 0 and 86400),
    resumed_at timestamptz,
    resumed_by text,
    check ((kind = 'company') = (company_id is not null)),
    check ((resumed_at is null) = (resumed_by is null))
);
comment on column pauses.name is 'queue, job type, company slug, provider, node, or the job type of a schedule';
comment on column pauses.until is 'when it ends by itself; null: when somebody resumes';
comment on column pauses.ramp_s is 'after the end it is let up to full speed over so many seconds';
create unique index pauses_open on pauses (kind, name) where resumed_at is null;
create index pauses_ended on pauses (resumed_at desc) where resumed_at is not null;
create index pauses_company on pauses (company_id) where company_id is not null;

create table parked_jobs (
    job_id     bigint primary key,
    kind       text not null,
    name       text not null,
    parked_at  timestamptz not null default now()
);
comment on table parked_jobs is 'jobs put off because their company is paused; the resume lets them start';
create index parked_jobs_by on parked_jobs (kind, name);

create table breaker_resets (
    provider text primary key,
    reset_by text not null,
    reset_at timestamptz not null default now()
);
comment on table breaker_resets is 'when somebody last closed a provider''s breakers by hand';

-- Slots ---------------------------------------------------------------------------------------------------------------

create table queue_slots (
    queue      text not null check (queue in ('webhooks', 'appointments', 'default', 'notifications')),
    node       text not null default '',
    slots      integer not null check (slots between 0 and 1000),
    is_pinned  boolean not null,
    decided_by text not null,
    reason     text not null default '',
    decided_at timestamptz not null default now(),
    primary key (queue, node)
);
comment on table queue_slots is 'jobs at once of a queue''s worker where that is not its policy''s number';
comment on column queue_slots.node is 'empty: every node without a row of its own';
comment on column queue_slots.is_pinned is 'said by a person: the balancer leaves it alone';

create table slot_changes (
    id         bigint generated always as identity primary key,
    at         timestamptz not null default now(),
    queue      text not null,
    node       text not null,
    before     integer not null,
    after      integer not null,
    decided_by text not null,
    why        text not null
);
comment on column slot_changes.why is 'the decision in one line';
create index slot_changes_at on slot_changes (at desc, id desc);

create table balancing (
    only_row   boolean primary key default true check (only_row),
    is_on      boolean not null default true,
    said_by    text not null default '',
    said_at    timestamptz not null default now()
);
insert into balancing default values;

-- Quarantine ----------------------------------------------------------------------------------------------------------

create table quarantines (
    id          bigint generated always as identity primary key,
    entrypoint  text not null,
    company_id  uuid references companies (id),
    contains    text not null default '' check (length(contains) <= 500),
    fingerprint text,
    reason      text not null default '',
    made_by     text not null,
    made_at     timestamptz not null default now(),
    until       timestamptz check (until > made_at),
    lifted_at   timestamptz,
    lifted_by   text,
    check ((lifted_at is null) = (lifted_by is null))
);
comment on table quarantines is 'jobs of this type, company and payload are held before they run';
comment on column quarantines.contains is 'stands somewhere in the payload, in any case; empty: any payload';
comment on column quarantines.fingerprint is 'the cause it was made for: what it holds is counted there';
create index quarantines_open on quarantines (entrypoint) where lifted_at is null;
create index quarantines_company on quarantines (company_id) where company_id is not null;

-- Held jobs -----------------------------------------------------------------------------------------------------------

alter table held_jobs drop constraint held_jobs_state_check;
alter table held_jobs add constraint held_jobs_state_check check (state in ('held', 'retried', 'discarded', 'replaced'));
alter table held_jobs add column decided_at timestamptz, add column decided_by text, add column dedupe_key text;
comment on column held_jobs.state is 'replaced: another job was made of it, see job_lineage';

create table job_lineage (
    job_id  bigint primary key,
    came_of bigint not null,
    how     text not null check (how in ('edited', 'moved')),
    made_by text not null,
    made_at timestamptz not null default now()
);
comment on table job_lineage is 'jobs that were made of held ones';
create index job_lineage_came_of on job_lineage (came_of);

create table moved_job_types (
    queue      text not null check (queue in ('webhooks', 'appointments', 'default', 'notifications')),
    entrypoint text not null,
    primary key (queue, entrypoint)
);
comment on table moved_job_types is 'job types of other queues that a queue''s workers take as well, as <queue>.<type>';

create table bulk_actions (
    id         uuid primary key default uuidv7(),
    action     text not null check (action in ('retry', 'discard', 'move', 'edit')),
    filter     jsonb not null,
    reason     text not null default '',
    started_by text not null,
    node       text not null,
    started_at timestamptz not null default now(),
    seen_at    timestamptz not null default now(),
    ended_at   timestamptz,
    state      text not null default 'running' check (state in ('running', 'done', 'cancelled', 'failed')),
    matched    integer not null,
    done       integer not null default 0,
    skipped    integer not null default 0,
    per_s      double precision,
    is_cancel_asked boolean not null default false,
    error      text not null default ''
);
comment on column bulk_actions.seen_at is 'when whoever works on it last said so: one that fell silent while running was given up';
create index bulk_actions_started on bulk_actions (started_at desc);

-- Workers say what is in force with them ------------------------------------------------------------------------------------

alter table workers add column policies jsonb not null default '[]', add column in_force jsonb not null default '{}';
comment on column workers.policies is 'policies as this worker works by them, with where each value comes from';
comment on column workers.in_force is 'what of the control it has applied: {slots, paused, ramp…}';

-- Whoever listens hears of each change at once.

create function ring_control() returns trigger
language plpgsql
as $$
begin
    perform pg_notify('askpro_control', '');
    return null;
end $$;

do $$
declare
    item text;
begin
    foreach item in array array['pauses', 'breaker_resets', 'queue_slots', 'balancing', 'quarantines', 'moved_job_types'] loop
        execute format('create trigger %I after insert or update or delete on %I
                        for each statement execute function ring_control()', item || '_ring', item);
    end loop;
end $$;

-- People name companies by their slug, while the worker's role sees none but the one it works for.

create function company_named(wanted text) returns uuid
language sql stable security definer set search_path = askpro, pg_temp
as $$ select id from companies where slug = wanted $$;

revoke execute on function company_named(text) from public;
grant execute on function company_named(text) to askpro_worker, askpro_console;
grant select (slug) on companies to askpro_intake;
grant create on schema askpro to askpro_intake;
alter function company_named(text) owner to askpro_intake;
revoke create on schema askpro from askpro_intake;

grant select on audit_log, pauses, parked_jobs, breaker_resets, queue_slots, slot_changes, balancing, quarantines,
    job_lineage, moved_job_types, bulk_actions to askpro_watch, askpro_console;
grant select, insert on audit_log to askpro_worker;
grant select, insert, update, delete on pauses, parked_jobs, breaker_resets, queue_slots, slot_changes, quarantines,
    job_lineage, moved_job_types, bulk_actions to askpro_worker;
grant select, update on balancing to askpro_worker;
grant execute on function ring_control() to askpro_worker;
grant execute on function readable_bytes(bytea) to askpro_console;
