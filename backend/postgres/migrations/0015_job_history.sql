-- What queues did, minute by minute: it outlives the runs it was counted from.

create table job_minutes (
    minutes      smallint not null check (minutes in (1, 10, 60)),
    at           timestamptz not null,
    entrypoint   text not null,
    put_in       integer not null default 0,
    done         integer not null default 0,
    failed       integer not null default 0,
    held         integer not null default 0,
    run_total_s  double precision not null default 0,
    wait_buckets integer[] not null default '{}',
    wait_counts  integer[] not null default '{}',
    run_buckets  integer[] not null default '{}',
    run_counts   integer[] not null default '{}',
    primary key (minutes, at, entrypoint)
);
comment on table job_minutes is 'what became of jobs within so many minutes from a moment on, by job type';
comment on column job_minutes.put_in is 'jobs put in, or queued again by somebody';
comment on column job_minutes.failed is 'attempts that failed and are followed by another';
comment on column job_minutes.held is 'attempts that failed and were the last';
comment on column job_minutes.run_total_s is 'seconds that all these attempts ran';
comment on column job_minutes.wait_buckets is 'logarithmic buckets (backend/watch/histogram.py), ascending, each with its count in wait_counts';

create table job_minutes_mark (
    only_row      boolean primary key default true check (only_row),
    counted_until timestamptz not null,
    settled_until timestamptz not null,
    check (settled_until <= counted_until)
);
comment on column job_minutes_mark.counted_until is 'minutes before it stand in job_minutes';
comment on column job_minutes_mark.settled_until is 'minutes before it are never counted again: their runs may go';

insert into job_minutes_mark (counted_until, settled_until)
select moment, moment
from (select date_bin('1 minute', coalesce(min(started_at), now()), timestamptz 'epoch') as moment from job_runs) first_run;

grant select on job_minutes, job_minutes_mark to askpro_watch, askpro_console;
grant select, insert, update, delete on job_minutes to askpro_worker;
grant select, update on job_minutes_mark to askpro_worker;

-- Retention -----------------------------------------------------------------------------------------------------------

create index held_jobs_decided on held_jobs (entrypoint, coalesce(decided_at, held_at)) where state <> 'held';
