-- The ground: tenants, people, calls, appointments and their events, intake, job records.
-- Runs as askpro_owner in one transaction. Times are UTC (timestamptz); zones are IANA names beside them;
-- money is whole cents; keys are UUIDv7.

-- The extensions btree_gist and pg_trgm are there already (backend.postgres.bootstrap).

-- The tenant of this transaction; null when none is set, and then no tenant row is visible.
create function current_company() returns uuid
language sql stable parallel safe
as $$ select nullif(current_setting('app.company_id', true), '')::uuid $$;

create function refuse_change() returns trigger
language plpgsql
as $$ begin raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege'; end $$;

-- Companies and what they offer -------------------------------------------------------------------------------------

create table companies (
    id          uuid primary key default uuidv7(),
    slug        text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name        text not null check (name <> ''),
    time_zone   text not null default 'Europe/Berlin',
    locale      text not null default 'de_DE',
    settings    jsonb not null default '{}',
    is_active   boolean not null default true,
    created_at  timestamptz not null default now()
);

create table branches (
    id            uuid primary key default uuidv7(),
    company_id    uuid not null references companies,
    slug          text not null,
    name          text not null,
    address       text not null default '',
    bundesland    text not null default 'BE',
    time_zone     text not null default 'Europe/Berlin',
    opening_hours jsonb not null default '{}',
    unique (company_id, slug),
    unique (company_id, id)
);

create table phone_numbers (
    number      text primary key check (number ~ '^\+[1-9][0-9]{4,14}$'),
    company_id  uuid not null,
    branch_id   uuid not null,
    foreign key (company_id, branch_id) references branches (company_id, id)
);
create index phone_numbers_company_branch on phone_numbers (company_id, branch_id);

create table agents (
    agent_id    text primary key,
    company_id  uuid not null references companies,
    branch_id   uuid,
    foreign key (company_id, branch_id) references branches (company_id, id)
);
create index agents_company_branch on agents (company_id, branch_id);

create table services (
    id                uuid primary key default uuidv7(),
    company_id        uuid not null references companies,
    slug              text not null,
    name              text not null,
    duration_min      integer not null check (duration_min between 1 and 1440),
    buffer_before_min integer not null default 0 check (buffer_before_min between 0 and 240),
    buffer_after_min  integer not null default 0 check (buffer_after_min between 0 and 240),
    notice_min        integer not null default 0 check (notice_min >= 0),
    horizon_days      integer not null default 90 check (horizon_days between 1 and 730),
    price_cents       integer not null default 0 check (price_cents >= 0),
    is_active         boolean not null default true,
    unique (company_id, slug),
    unique (company_id, id)
);

create table staff (
    id          uuid primary key default uuidv7(),
    company_id  uuid not null references companies,
    slug        text not null,
    name        text not null,
    is_bookable boolean not null default true,
    unique (company_id, slug),
    unique (company_id, id)
);

create table staff_branches (
    company_id  uuid not null,
    staff_id    uuid not null,
    branch_id   uuid not null,
    primary key (staff_id, branch_id),
    foreign key (company_id, staff_id) references staff (company_id, id),
    foreign key (company_id, branch_id) references branches (company_id, id)
);
create index staff_branches_branch on staff_branches (company_id, branch_id);
create index staff_branches_staff on staff_branches (company_id, staff_id);

create table staff_services (
    company_id  uuid not null,
    staff_id    uuid not null,
    service_id  uuid not null,
    primary key (staff_id, service_id),
    foreign key (company_id, staff_id) references staff (company_id, id),
    foreign key (company_id, service_id) references services (company_id, id)
);
create index staff_services_service on staff_services (company_id, service_id);
create index staff_services_staff on staff_services (company_id, staff_id);

create table working_hours (
    id          uuid primary key default uuidv7(),
    company_id  uuid not null,
    staff_id    uuid not null,
    branch_id   uuid not null,
    weekday     smallint not null check (weekday between 1 and 7),
    starts      time not null,
    ends        time not null,
    foreign key (company_id, staff_id) references staff (company_id, id),
    foreign key (company_id, branch_id) references branches (company_id, id)
);
create index working_hours_staff on working_hours (company_id, staff_id);
create index working_hours_branch on working_hours (company_id, branch_id);

-- Customers ---------------------------------------------------------------------------------------------------------

create table customers (
    id                 uuid primary key default uuidv7(),
    company_id         uuid not null references companies,
    first_name         text not null default '',
    last_name          text not null default '',
    name_key           text not null default '' collate "C",
    email              text collate "C",
    phone              text collate "C",
    phone_raw          text,
    tags               text[] not null default '{}',
    notes              text not null default '',
    is_vip             boolean not null default false,
    no_show_count      integer not null default 0,
    preferred_branch_id uuid,
    preferred_staff_id uuid,
    consented_at       timestamptz,
    erased_at          timestamptz,
    version            integer not null default 1,
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now(),
    unique (company_id, id),
    foreign key (company_id, preferred_branch_id) references branches (company_id, id),
    foreign key (company_id, preferred_staff_id) references staff (company_id, id)
);
comment on column customers.name_key is 'folded full name (backend.domain.names.name_key): equal keys agree';
create index idx_customers_company_phone on customers (company_id, phone);
create index idx_customers_company_email on customers (company_id, email);
create index customers_company_name on customers (company_id, name_key, id);
create index customers_preferred_branch on customers (company_id, preferred_branch_id)
    where preferred_branch_id is not null;
create index customers_preferred_staff on customers (company_id, preferred_staff_id)
    where preferred_staff_id is not null;
-- One person of one name on one line: the guard behind find-or-create.
create unique index customers_one_per_phone_and_name on customers (company_id, phone, name_key)
    where phone is not null and erased_at is null;

-- Calls -------------------------------------------------------------------------------------------------------------

create table calls (
    id                   uuid primary key default uuidv7(),
    company_id           uuid not null references companies,
    branch_id            uuid,
    provider             text not null check (provider in ('retell', 'calcom')),
    provider_call_id     text not null,
    agent_id             text,
    call_type            text,
    direction            text,
    from_number          text,
    to_number            text,
    status               text not null check (status in ('registered', 'not_connected', 'ongoing', 'ended', 'error')),
    started_at           timestamptz not null,
    ended_at             timestamptz,
    duration_ms          integer,
    disconnection_reason text,
    transcript           text,
    summary              text,
    sentiment            text check (sentiment in ('negative', 'neutral', 'positive', 'unknown')),
    recording_url        text,
    cost_cents           integer,
    latency              jsonb,
    outcome              text check (outcome in ('booked', 'enquiry', 'rescheduled', 'cancelled', 'callback', 'transfer',
                                                 'hangup', 'error', 'unknown')),
    caller_name          text,
    customer_id          uuid,
    events               text[] not null default '{}',
    created_at           timestamptz not null default now(),
    updated_at           timestamptz not null default now(),
    unique (provider, provider_call_id),
    unique (company_id, id),
    check (ended_at is null or duration_ms is null or duration_ms >= 0),
    foreign key (company_id, branch_id) references branches (company_id, id),
    foreign key (company_id, customer_id) references customers (company_id, id)
);
comment on column calls.events is 'kinds of provider events folded into this row, sorted';
create index idx_calls_company_created on calls (company_id, created_at);
create index calls_company_started on calls (company_id, started_at desc, id desc)
    include (status, outcome, duration_ms, cost_cents);
create index calls_started on calls (started_at desc, id desc) include (company_id, outcome, duration_ms, cost_cents);
create index calls_customer on calls (company_id, customer_id, started_at desc);
create index calls_ongoing on calls (started_at) where status in ('registered', 'ongoing');
create index calls_branch on calls (company_id, branch_id);
create index calls_from on calls (company_id, from_number, started_at desc);

-- Appointments ------------------------------------------------------------------------------------------------------

create table appointments (
    id                   uuid primary key default uuidv7(),
    company_id           uuid not null references companies,
    branch_id            uuid not null,
    staff_id             uuid not null,
    service_id           uuid not null,
    customer_id          uuid,
    call_id              uuid,
    starts_at            timestamptz not null,
    ends_at              timestamptz not null,
    time_zone            text not null,
    buffer_before_min    integer not null default 0 check (buffer_before_min >= 0),
    buffer_after_min     integer not null default 0 check (buffer_after_min >= 0),
    busy                 tstzrange generated always as (tstzrange(
                             ((starts_at at time zone 'UTC') - make_interval(mins => buffer_before_min)) at time zone 'UTC',
                             ((ends_at at time zone 'UTC') + make_interval(mins => buffer_after_min)) at time zone 'UTC',
                             '[)')) stored,
    seat                 smallint not null default 1,
    status               text not null check (status in ('held', 'pending', 'confirmed', 'in_progress', 'completed',
                                                         'cancelled', 'no_show')),
    source               text not null check (source in ('call', 'calcom', 'console', 'api', 'import')),
    price_cents          integer not null default 0 check (price_cents >= 0),
    attendee_name        text not null default '',
    attendee_email       text,
    attendee_phone       text,
    offered              jsonb,
    provider_booking_uid text,
    idempotency_key      text,
    hold_expires_at      timestamptz,
    version              integer not null,
    created_at           timestamptz not null default now(),
    updated_at           timestamptz not null default now(),
    check (ends_at > starts_at),
    check ((status = 'held') = (hold_expires_at is not null)),
    unique (company_id, id),
    foreign key (company_id, branch_id) references branches (company_id, id),
    foreign key (company_id, staff_id) references staff (company_id, id),
    foreign key (company_id, service_id) references services (company_id, id),
    foreign key (company_id, customer_id) references customers (company_id, id),
    foreign key (company_id, call_id) references calls (company_id, id),
    constraint appointments_no_double_booking
        exclude using gist (staff_id with =, seat with =, busy with &&)
        where (status in ('held', 'pending', 'confirmed', 'in_progress'))
);
comment on column appointments.offered is 'the slot as offered: {utc, local, offset_min, tz_version}';
create unique index appointments_idempotency on appointments (company_id, idempotency_key);
create unique index appointments_booking_uid on appointments (company_id, provider_booking_uid)
    where provider_booking_uid is not null;
create index idx_appointments_company_customer_date on appointments (company_id, customer_id, starts_at);
create index idx_appointments_staff_date on appointments (staff_id, starts_at, status);
create index idx_company_status_date on appointments (company_id, status, starts_at);
create index appointments_company_date on appointments (company_id, starts_at) include (status, price_cents);
create index appointments_created on appointments (created_at) include (company_id, price_cents);
create index appointments_starts on appointments (starts_at) include (status);
create index appointments_call on appointments (company_id, call_id);
create index appointments_service on appointments (company_id, service_id);
create index appointments_branch on appointments (company_id, branch_id);
create index appointments_expiring_holds on appointments (hold_expires_at) where status = 'held';

create table appointment_events (
    id             uuid primary key default uuidv7(),
    company_id     uuid not null,
    appointment_id uuid not null,
    version        integer not null check (version > 0),
    kind           text not null check (kind in ('held', 'booked', 'confirmed', 'rescheduled', 'started', 'completed',
                                                 'cancelled', 'no_show', 'restored', 'hold_expired')),
    actor          text not null,
    data           jsonb not null default '{}',
    occurred_at    timestamptz not null default now(),
    unique (appointment_id, version),
    foreign key (company_id, appointment_id) references appointments (company_id, id)
);
comment on column appointment_events.data is
    'the fields that this event set, by column name; nothing personal, so that erasure never has to touch the log';
create index appointment_events_appointment on appointment_events (company_id, appointment_id, version);
create trigger appointment_events_append_only before update or delete or truncate on appointment_events
    for each statement execute function refuse_change();

create table callback_requests (
    id           uuid primary key default uuidv7(),
    company_id   uuid not null references companies,
    call_id      uuid,
    customer_id  uuid,
    phone        text,
    name         text not null default '',
    reason       text not null,
    priority     smallint not null default 0,
    due_at       timestamptz not null,
    state        text not null default 'open' check (state in ('open', 'done', 'dropped')),
    created_at   timestamptz not null default now(),
    foreign key (company_id, call_id) references calls (company_id, id),
    foreign key (company_id, customer_id) references customers (company_id, id)
);
create unique index callback_requests_one_per_call_and_reason on callback_requests (company_id, call_id, reason);
create index callback_requests_customer on callback_requests (company_id, customer_id);
create index callback_requests_open on callback_requests (due_at) where state = 'open';

-- Intake ------------------------------------------------------------------------------------------------------------

create table webhook_inbox (
    id           uuid primary key default uuidv7(),
    provider     text not null check (provider in ('retell', 'calcom')),
    dedup_key    text not null,
    event        text not null,
    subject      text not null,
    company_id   uuid references companies,
    branch_id    uuid,
    body         bytea not null,
    headers      jsonb not null default '{}',
    received_at  timestamptz not null default now(),
    state        text not null check (state in ('accepted', 'processed', 'quarantined', 'held', 'ignored')),
    error        text,
    processed_at timestamptz,
    unique (provider, dedup_key),
    check (company_id is not null or state in ('quarantined', 'ignored')),
    foreign key (company_id, branch_id) references branches (company_id, id)
);
comment on column webhook_inbox.subject is 'what the delivery is about: the provider''s call id or booking uid';
comment on column webhook_inbox.body is 'the raw bytes as signed';
create index webhook_inbox_subject on webhook_inbox (provider, subject, id);
create index webhook_inbox_company on webhook_inbox (company_id, received_at desc);
create index webhook_inbox_branch on webhook_inbox (company_id, branch_id) where branch_id is not null;
create index webhook_inbox_received on webhook_inbox (received_at) include (state, processed_at);
create index webhook_inbox_unfinished on webhook_inbox (state, received_at) where state in ('accepted', 'quarantined', 'held');

create table webhook_rejects (
    id          uuid primary key default uuidv7(),
    provider    text not null check (provider in ('retell', 'calcom')),
    reason      text not null check (reason in ('signature_missing', 'signature_wrong', 'stale', 'malformed', 'too_large')),
    remote      text not null,
    sealed      bytea,
    received_at timestamptz not null default now(),
    expires_at  timestamptz not null,
    replayed_at timestamptz
);
comment on column webhook_rejects.sealed is 'AES-256-GCM of body and headers; null when not kept (too large, or too many)';
create index webhook_rejects_received on webhook_rejects (received_at);
create index webhook_rejects_expiry on webhook_rejects (expires_at);

-- Work --------------------------------------------------------------------------------------------------------------

create table job_runs (
    job_id      bigint not null,
    attempt     integer not null,
    entrypoint  text not null,
    company_id  uuid,
    worker_id   uuid not null,
    started_at  timestamptz not null default now(),
    ended_at    timestamptz,
    waited_ms   integer,
    outcome     text check (outcome in ('done', 'retry', 'held', 'released')),
    error       text,
    primary key (job_id, started_at)
);
comment on table job_runs is 'one row for each start of a job; a row without an end after its worker is gone is a crash';
comment on column job_runs.waited_ms is 'from when the job might have started until it did';
create index job_runs_started on job_runs (started_at);
create index job_runs_entrypoint on job_runs (entrypoint, ended_at) include (started_at, waited_ms, outcome);

create table held_jobs (
    job_id      bigint primary key,
    queue       text not null check (queue in ('webhooks', 'appointments', 'default', 'notifications')),
    entrypoint  text not null,
    company_id  uuid,
    fingerprint text not null,
    error_type  text not null,
    message     text not null,
    traceback   text not null,
    payload     bytea,
    headers     jsonb not null default '{}',
    attempts    integer not null,
    enqueued_at timestamptz not null,
    held_at     timestamptz not null default now(),
    state       text not null default 'held' check (state in ('held', 'retried', 'discarded'))
);
comment on column held_jobs.fingerprint is 'job type and normalised error: equal fingerprints have one cause';
create index held_jobs_open on held_jobs (queue, held_at desc) where state = 'held';
create index held_jobs_cause on held_jobs (fingerprint, held_at desc);

create table workers (
    id           uuid primary key,
    node         text not null,
    queue        text not null check (queue in ('webhooks', 'appointments', 'default', 'notifications')),
    pid          integer not null,
    version      text not null,
    concurrency  integer not null,
    busy         integer not null default 0,
    done         bigint not null default 0,
    rss_bytes    bigint not null default 0,
    state        text not null default 'running' check (state in ('running', 'draining', 'stopped')),
    started_at   timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
);

-- Row-level security ------------------------------------------------------------------------------------------------
-- api and worker see the company set for the transaction; watch and console read across companies;
-- everybody else, the owner included, sees nothing.

do $$
declare
    item text;
begin
    foreach item in array array['branches', 'phone_numbers', 'agents', 'services', 'staff', 'staff_branches', 'staff_services',
                                'working_hours', 'customers', 'calls', 'appointments', 'appointment_events',
                                'callback_requests', 'webhook_inbox'] loop
        execute format('alter table %I enable row level security', item);
        execute format('alter table %I force row level security', item);
        execute format('create policy tenant on %I to askpro_api, askpro_worker
                        using (company_id = (select current_company())) with check (company_id = (select current_company()))', item);
        execute format('create policy across on %I for select to askpro_watch, askpro_console using (true)', item);
        execute format('create policy setup on %I to askpro_setup using (true) with check (true)', item);
    end loop;
end $$;

alter table companies enable row level security;
alter table companies force row level security;
create policy tenant on companies for select to askpro_api, askpro_worker using (id = (select current_company()));
create policy across on companies for select to askpro_watch, askpro_console using (true);
create policy setup on companies to askpro_setup using (true) with check (true);

-- Intake spans tenants (a delivery's tenant is known only after it is read), so it goes through askpro_intake,
-- which nobody can log in as and whose functions below are all that the API may do there.
create policy intake on phone_numbers for select to askpro_intake using (true);
create policy intake on agents for select to askpro_intake using (true);
create policy intake on companies for select to askpro_intake using (true);
create policy intake on webhook_inbox to askpro_intake using (true) with check (true);

-- Grants ------------------------------------------------------------------------------------------------------------
-- What a role may do at most; which rows it may do it to is the policies' part. Nobody may delete business records.

alter default privileges in schema askpro grant select on tables to askpro_watch, askpro_console;
alter default privileges in schema askpro revoke execute on functions from public;
revoke execute on all functions in schema askpro from public;
grant execute on function current_company() to askpro_api, askpro_worker, askpro_watch, askpro_console, askpro_setup,
    askpro_intake;

grant select on all tables in schema askpro to askpro_watch, askpro_console;

grant select on companies, branches, phone_numbers, agents, services, staff, staff_branches, staff_services, working_hours,
    customers, calls, appointments, appointment_events, callback_requests, webhook_inbox to askpro_api, askpro_worker;
grant insert, update on customers, calls, appointments, callback_requests to askpro_api, askpro_worker;
grant insert on appointment_events to askpro_api, askpro_worker;

grant update, delete on webhook_inbox to askpro_worker;
grant select, delete on webhook_rejects to askpro_worker;
grant select, insert, update, delete on job_runs, held_jobs, workers to askpro_worker;

grant select, insert, update, delete on companies, branches, phone_numbers, agents, services, staff, staff_branches,
    staff_services, working_hours to askpro_setup;
grant select, insert, update on customers, calls, appointments, callback_requests, webhook_inbox to askpro_setup;
grant select, insert on appointment_events, job_runs to askpro_setup;

grant select on companies, branches, phone_numbers, agents to askpro_intake;
grant select, insert, update on webhook_inbox to askpro_intake;
grant select, insert, update on webhook_rejects to askpro_intake;
