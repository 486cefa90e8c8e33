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
