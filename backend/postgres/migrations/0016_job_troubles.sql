-- What jobs do to their workers, and with which priority a job starts whose type stands in a trigger's statement.

create table job_troubles (
    queue      text not null check (queue in ('webhooks', 'appointments', 'default', 'notifications')),
    entrypoint text not null,
    kind       text not null check (kind in ('crash', 'memory', 'blocks', 'overrun', 'ignores_cancellation', 'raises',
                                             'provider_hangs')),
    node       text not null,
    at         timestamptz not null default clock_timestamp(),
    since      timestamptz not null default clock_timestamp(),
    job_id     bigint,
    detail     text not null default '' check (length(detail) <= 500),
    count      integer not null default 1,
    primary key (queue, entrypoint, kind, node)
);
comment on table job_troubles is 'the latest trouble of each job type, kind and node; a row is renewed, so there are never many';
comment on column job_troubles.at is 'when it was last seen';
comment on column job_troubles.since is 'when it was first seen, without a quarter of an hour between two times';
comment on column job_troubles.count is 'how often since then';
create index job_troubles_at on job_troubles (at desc);

grant select, insert, update, delete on job_troubles to askpro_worker;
grant select on job_troubles to askpro_watch, askpro_console;

-- Priorities of job types that triggers put in: workers write down here what their policies say.

create table job_priorities (
    entrypoint text primary key,
    priority   integer not null,
    said_at    timestamptz not null default now()
);
comment on table job_priorities is 'with which priority jobs start that are put in by a statement of this database';

create function put_in_by_policy() returns trigger
language plpgsql security definer set search_path = askpro, pg_temp
as $$
begin
    select priority into new.priority from job_priorities where entrypoint = new.entrypoint;
    new.priority = coalesce(new.priority, 0);
    return new;
end $$;
revoke execute on function put_in_by_policy() from public;

create trigger pgqueuer_priority before insert on pgqueuer
    for each row
    when (new.priority = 0 and new.entrypoint in ('default.calendar_sync', 'notifications.follow_up'))
    execute function put_in_by_policy();

grant select, insert, update, delete on job_priorities to askpro_worker;
grant select on job_priorities to askpro_watch, askpro_console;

-- Deliveries become jobs with their type's priority: as in 0012 but for the number.
do $$
declare
    before text = pg_get_functiondef('intake_accept(json, bytea)'::regprocedure);
    after  text = replace(before, 'select 0, given.job,',
        'select coalesce((select priority from job_priorities said where said.entrypoint = given.job), 0), given.job,');
begin
    if after = before then
        raise exception 'intake_accept is not as it was';
    end if;
    grant usage, create on schema askpro to askpro_intake;
    grant select on job_priorities to askpro_intake;
    set local role askpro_intake;
    execute after;
    set local role askpro_owner;
    revoke create on schema askpro from askpro_intake;
end $$;
