-- Tokens of the HTTP API, and what was answered to requests that may come twice.
-- A token's tenant is known only after it was found, so looking it up is a function that runs as askpro_intake; the API
-- itself can read no token. Of a token's secret only the SHA-256 is kept, and nobody but that function reads it.

create table api_tokens (
    id           text collate "C" primary key check (id ~ '^[a-z0-9]{8}$'),
    company_id   uuid not null references companies,
    name         text not null check (name <> '' and length(name) <= 200),
    scopes       text[] not null check (scopes <@ array[
                     'availability:read', 'appointments:read', 'appointments:write', 'customers:read', 'customers:write',
                     'calls:read', 'dashboard:read']),
    digest       bytea not null check (octet_length(digest) = 32),
    created_by   text not null default '',
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    rotated_from text collate "C",
    check (cardinality(scopes) > 0),
    check (expires_at > created_at),
    unique (company_id, id),
    foreign key (company_id, rotated_from) references api_tokens (company_id, id)
);
comment on column api_tokens.id is 'the second part of the token ap_live_<id>_<secret>; no secret itself';
comment on column api_tokens.digest is 'SHA-256 of the whole token; it has 256 random bits, so a slow hash would add nothing';
comment on column api_tokens.last_used_at is 'to the minute';
comment on column api_tokens.rotated_from is 'the token that this one takes the place of';
create index api_tokens_company on api_tokens (company_id, created_at);
create index api_tokens_rotated on api_tokens (company_id, rotated_from) where rotated_from is not null;

create table idempotency_keys (
    company_id uuid not null,
    token_id   text collate "C" not null,
    key        text collate "C" not null check (length(key) between 1 and 255),
    request    bytea not null check (octet_length(request) = 32),
    status     smallint not null check (status between 200 and 299),
    headers    jsonb not null default '{}',
    answer     bytea not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (token_id, key),
    foreign key (company_id, token_id) references api_tokens (company_id, id)
);
comment on table idempotency_keys is
    'answers to requests that had an effect, written in the transaction of that effect; a refusal leaves none';
comment on column idempotency_keys.request is 'SHA-256 of method, path, conditions and body: the same key for another request is refused';
create index idempotency_keys_token on idempotency_keys (company_id, token_id);
create index idempotency_keys_expiry on idempotency_keys (expires_at);

-- A token that is good now, by its id; no row else. The caller compares the digest, in constant time.
create function api_token(token_id text) returns table (company_id uuid, digest bytea, scopes text[], touch boolean)
language sql stable security definer set search_path = askpro, pg_temp
as $$
    select token.company_id, token.digest, token.scopes,
           coalesce(token.last_used_at < now() - interval '1 minute', true)
    from api_tokens token
    join companies company on company.id = token.company_id and company.is_active
    where token.id = token_id and token.revoked_at is null and token.expires_at > now()
$$;

-- Note that a token was used, once a minute at most.
create function api_token_used(token_id text) returns void
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    update api_tokens set last_used_at = now()
    where id = token_id and coalesce(last_used_at < now() - interval '1 minute', true)
$$;

-- Begin a request with an idempotency key: `running` while another transaction works on the same key, `stored` with
-- what was answered, `other` when the key was used for another request, else `new`. The lock ends with the transaction.
create function begin_idempotent(company uuid, token text, request_key text, request_digest bytea)
returns table (state text, status smallint, headers jsonb, answer bytea)
language plpgsql
as $$
#variable_conflict use_column
declare
    known idempotency_keys;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('idempotency:' || token || ':' || request_key, 0)) then
        return query select 'running', null::smallint, null::jsonb, null::bytea;
        return;
    end if;
    select * into known from idempotency_keys k
    where k.company_id = company and k.token_id = token and k.key = request_key and k.expires_at > now();
    if not found then
        return query select 'new', null::smallint, null::jsonb, null::bytea;
    elsif known.request <> request_digest then
        return query select 'other', null::smallint, null::jsonb, null::bytea;
    else
        return query select 'stored', known.status, known.headers, known.answer;
    end if;
end $$;

-- Delete answers whose time is over; how many. Every tenant's, which is why it runs as askpro_intake.
create function prune_idempotency_keys(at_most integer) returns integer
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    with expired as (
        select token_id, key from idempotency_keys where expires_at <= now() order by expires_at limit at_most
    ), gone as (
        delete from idempotency_keys stored using expired
        where stored.token_id = expired.token_id and stored.key = expired.key
        returning 1
    )
    select count(*)::integer from gone
$$;

-- Row-level security and grants ---------------------------------------------------------------------------------------

do $$
declare
    item text;
begin
    foreach item in array array['api_tokens', 'idempotency_keys'] loop
        execute format('alter table %I enable row level security', item);
        execute format('alter table %I force row level security', item);
        execute format('create policy intake on %I to askpro_intake using (true) with check (true)', item);
        execute format('revoke all on %I from askpro_watch, askpro_console', item);
    end loop;
end $$;

create policy setup on api_tokens to askpro_setup using (true) with check (true);
create policy across on api_tokens for select to askpro_watch, askpro_console using (true);
create policy tenant on idempotency_keys to askpro_api
    using (company_id = (select current_company())) with check (company_id = (select current_company()));

grant select (id, company_id, name, scopes, created_by, created_at, expires_at, last_used_at, revoked_at, rotated_from)
    on api_tokens to askpro_setup, askpro_watch, askpro_console;
grant insert, update (expires_at, revoked_at) on api_tokens to askpro_setup;
grant select, insert, update on idempotency_keys to askpro_api;

revoke execute on function
    api_token(text), api_token_used(text), begin_idempotent(uuid, text, text, bytea), prune_idempotency_keys(integer)
    from public;
grant execute on function api_token(text), api_token_used(text), begin_idempotent(uuid, text, text, bytea)
    to askpro_api;
grant execute on function prune_idempotency_keys(integer) to askpro_worker;

grant select, update (last_used_at) on api_tokens to askpro_intake;
grant select (token_id, key, expires_at), delete on idempotency_keys to askpro_intake;
grant create on schema askpro to askpro_intake;
alter function api_token(text) owner to askpro_intake;
alter function api_token_used(text) owner to askpro_intake;
alter function prune_idempotency_keys(integer) owner to askpro_intake;
revoke create on schema askpro from askpro_intake;
