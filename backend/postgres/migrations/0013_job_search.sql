-- Any job that was ever held is found by what is known about it: its type, its error, a value in its payload.
-- A trigger writes down what can be searched, so that whoever holds a job need not know of the search.

create function readable_bytes(bytes bytea) returns text
language plpgsql immutable parallel safe
as $$
begin
    return convert_from(bytes, 'UTF8');
exception when others then
    return encode(bytes, 'escape');
end $$;

alter table held_jobs add column searched text not null default '';
comment on column held_jobs.searched is 'type, error and payload in lower case, at most 8,000 characters';

create function note_what_is_searched() returns trigger
language plpgsql
as $$
begin
    new.searched := lower(left(concat_ws(' ', new.entrypoint, new.error_type, new.message,
                                         askpro.readable_bytes(new.payload)), 8000));
    return new;
end $$;

create trigger held_jobs_searched before insert or update of entrypoint, error_type, message, payload on held_jobs
    for each row execute function note_what_is_searched();

update held_jobs set message = message;

create index held_jobs_searched on held_jobs using gin (searched gin_trgm_ops);
create index held_jobs_latest on held_jobs (held_at desc, job_id desc);

grant execute on function readable_bytes(bytea), note_what_is_searched() to askpro_worker;
