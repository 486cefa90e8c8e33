-- Held jobs are counted by cause, chosen by what narrows them, and looked for as somebody types.

-- What is searched stands beside the jobs: whoever decides about a job changes its row, and with it every index that the
-- row stands in, of which this one is dear. What narrows a search stands with it.
create table held_texts (
    job_id     bigint primary key references held_jobs on delete cascade,
    queue      text not null,
    entrypoint text not null,
    company_id uuid,
    held_at    timestamptz not null,
    searched   text not null
);
comment on table held_texts is 'what is known of each held job, to find it by; kept by a trigger, so that whoever holds a job need not know of it';
comment on column held_texts.searched is 'type, error and payload in lower case, at most 8,000 characters';

insert into held_texts (job_id, queue, entrypoint, company_id, held_at, searched)
select job_id, queue, entrypoint, company_id, held_at, searched from held_jobs;

drop trigger held_jobs_searched on held_jobs;
alter table held_jobs drop column searched;

create or replace function note_what_is_searched() returns trigger
language plpgsql
as $$
begin
    insert into askpro.held_texts as kept (job_id, queue, entrypoint, company_id, held_at, searched)
    values (new.job_id, new.queue, new.entrypoint, new.company_id, new.held_at,
            lower(left(concat_ws(' ', new.entrypoint, new.error_type, new.message,
                                 askpro.readable_bytes(new.payload)), 8000)))
    on conflict (job_id) do update
    set queue = excluded.queue, entrypoint = excluded.entrypoint, company_id = excluded.company_id,
        held_at = excluded.held_at, searched = excluded.searched;
    return null;
end $$;

create trigger held_jobs_searched
    after insert or update of queue, entrypoint, company_id, held_at, error_type, message, payload on held_jobs
    for each row execute function note_what_is_searched();

create index held_texts_searched on held_texts using gin (searched gin_trgm_ops);
create index held_texts_latest on held_texts (held_at desc, job_id desc);
create index held_texts_queue on held_texts (queue, held_at desc);
create index held_texts_type on held_texts (entrypoint, held_at desc);
create index held_texts_company on held_texts (company_id, held_at desc);

grant select on held_texts to askpro_watch, askpro_console;
grant select, insert, update, delete on held_texts to askpro_worker;

-- By cause, then time: the edges of a cause are two probes, and its jobs are counted in this index alone. The queue's is
-- held_jobs_open. All of undecided jobs only: a decision takes a job out of them.
create index held_jobs_undecided on held_jobs (fingerprint, held_at) include (company_id) where state = 'held';
create index held_jobs_undecided_type on held_jobs (entrypoint, held_at desc) where state = 'held';
create index held_jobs_undecided_company on held_jobs (company_id, held_at desc) where state = 'held';
create index held_jobs_quarantined on held_jobs (held_at) where state = 'held' and error_type = 'Quarantined';
