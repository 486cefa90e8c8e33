-- Held jobs are counted by cause, chosen by company and type, and looked for as somebody types.

-- By cause, then time: the edges of a cause are two probes, and its jobs are counted in this index alone.
create index held_jobs_undecided on held_jobs (fingerprint, held_at) include (company_id) where state = 'held';

-- By what narrows a search or a bulk action, the newest first; of all that were ever held.
create index held_jobs_type on held_jobs (entrypoint, held_at desc);
create index held_jobs_company on held_jobs (company_id, held_at desc);
create index held_jobs_queue on held_jobs (queue, held_at desc);
drop index held_jobs_open;
create index held_jobs_quarantined on held_jobs (held_at) where state = 'held' and error_type = 'Quarantined';
