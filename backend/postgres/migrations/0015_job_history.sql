-- What queues did, minute by minute: it outlives the runs it was counted from.

create table job_minutes (
    minutes      smallint not null check (minutes between 1 and 60),
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
comment on table job_minutes is 'what became of jobs within one, ten or sixty minutes from a moment on, by job type';
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

-- Costs that do not grow with age ---------------------------------------------------------------------------------------
-- Each job leaves dead rows in the queue and in its run. Vacuum comes when a few thousand are there (the embedded server
-- looks every five seconds), so that their space is used again before the tables grow. What it cleans is in memory, so
-- it need not sleep.

alter table pgqueuer set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
                          autovacuum_analyze_scale_factor = 0.1, autovacuum_analyze_threshold = 5000);
alter table job_runs set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 20000,
                          autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_insert_threshold = 50000,
                          autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
alter table pgqueuer_log set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 50000,
                              autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 100000);
alter table pgqueuer_statistics set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
alter table job_minutes set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 200, fillfactor = 80);
alter table parked_jobs set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);

-- Indexes that no statement of ours or of the engine's claims uses, while each job is written to them several times.
-- Of the log only failures are asked for by job.
create index pgqueuer_log_failures on pgqueuer_log (job_id, created desc) where traceback is not null;
drop index pgqueuer_log_status, pgqueuer_log_not_aggregated, pgqueuer_log_job_id_status,
    pgqueuer_priority_id_id1_idx, pgqueuer_updated_id_id1_idx, pgqueuer_queue_manager_id_idx;
