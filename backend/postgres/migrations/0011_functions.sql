-- In-call functions: what the voice agent asks for while the caller is on the line, and the answers it was given.

-- An answer that had an effect, kept so that the same tool call again gets the same answer and no other effect.
create table function_calls (
    company_id       uuid not null references companies,
    provider_call_id text not null,
    tool_key         text not null check (length(tool_key) between 1 and 200),
    name             text not null,
    payload_hash     bytea not null,
    answer           json not null,
    created_at       timestamptz not null default clock_timestamp(),
    primary key (company_id, provider_call_id, tool_key)
);
comment on column function_calls.tool_key is
    'id:<tool call id>, or args:<hash of name and arguments>, then :2, :3, … when the same was wished for again';
comment on column function_calls.answer is 'as it was sent, to the letter';
comment on column function_calls.payload_hash is 'SHA-256 of the name and the canonical arguments';
create index function_calls_created on function_calls (created_at);

alter table function_calls enable row level security;
alter table function_calls force row level security;
create policy tenant on function_calls to askpro_api, askpro_worker
    using (company_id = (select current_company())) with check (company_id = (select current_company()));
create policy across on function_calls for select to askpro_watch, askpro_console using (true);
create policy setup on function_calls to askpro_setup using (true) with check (true);
create policy intake on function_calls to askpro_intake using (true);
grant select, insert on function_calls to askpro_api, askpro_worker;
grant select on function_calls to askpro_setup;
grant select, delete on function_calls to askpro_intake;

-- What was really done in a call. The fold of its events leaves these alone, and believes them before the analysis.
alter table calls
    add column function_outcomes    text[] not null default '{}',
    add column function_customer_id uuid,
    add constraint calls_function_customer foreign key (company_id, function_customer_id)
        references customers (company_id, id);
comment on column calls.function_outcomes is 'what functions did in the call: booked, rescheduled, cancelled, callback';
comment on column calls.function_customer_id is 'who a function found out the caller is';
create index calls_function_customer on calls (company_id, function_customer_id)
    where function_customer_id is not null;

-- The outcome that these make; null when functions did nothing.
create function function_outcome(outcomes text[]) returns text
language sql immutable parallel safe
return case
    when 'booked' = any (outcomes) then 'booked'
    when 'rescheduled' = any (outcomes) then 'rescheduled'
    when 'cancelled' = any (outcomes) then 'cancelled'
    when 'callback' = any (outcomes) then 'callback'
end;

-- Begin a function's work in a transaction: whose call it is, the tenant set for what follows, the call's row (made when
-- no event of the call has come yet). No row when the tenant is unknown, or the call another one's.
-- With a tool key, which only functions with an effect have: become the only one who works on the call (as its fold
-- does), then say what was answered to this tool call before. A key that is no id of the provider's means the same tool
-- call only while nothing else was done in the call meanwhile; a refusal only for half a minute, since it may be over.
create function enter_function_call(
    dialled text, agent text, call_provider text, call_subject text, key text, hash bytea,
    kind text, way text, caller_number text, called_number text, began timestamptz
) returns table (
    company_id uuid, company_name text, locale text, company_zone text, is_active boolean, calendar_version bigint,
    branch_id uuid, call_id uuid, outcomes text[], customer_id uuid, tool_key text, answer text, is_same boolean
)
language plpgsql set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    tenant record;
    company companies;
    present record;
    earlier record;
    times integer;
begin
    select * into tenant from intake_tenant(dialled, agent);
    if tenant.company_id is null then
        return;
    end if;
    perform set_config('app.company_id', tenant.company_id::text, true);
    if key is not null then
        perform pg_advisory_xact_lock(hashtextextended('call:' || call_subject, 0));
    end if;
    select * into company from companies c where c.id = tenant.company_id;
    select c.id, c.branch_id, c.function_outcomes, c.function_customer_id into present
    from calls c where c.provider = call_provider and c.provider_call_id = call_subject;
    if not found then
        insert into calls as c (company_id, branch_id, provider, provider_call_id, agent_id, call_type, direction,
                                from_number, to_number, status, started_at)
        values (tenant.company_id, tenant.branch_id, call_provider, call_subject, agent, kind, way,
                caller_number, called_number, 'ongoing', coalesce(began, now()))
        on conflict (provider, provider_call_id) do nothing;
        select c.id, c.branch_id, c.function_outcomes, c.function_customer_id into present
        from calls c where c.provider = call_provider and c.provider_call_id = call_subject;
        if not found then
            return;
        end if;
    end if;
    company_id := company.id;
    company_name := company.name;
    locale := company.locale;
    company_zone := company.time_zone;
    is_active := company.is_active;
    calendar_version := company.calendar_version;
    branch_id := coalesce(tenant.branch_id, present.branch_id);
    call_id := present.id;
    outcomes := present.function_outcomes;
    customer_id := present.function_customer_id;
    tool_key := key;
    if key like 'id:%' then
        select f.answer::text, f.payload_hash into earlier
        from function_calls f
        where f.company_id = company.id and f.provider_call_id = call_subject and f.tool_key = key;
        if found then
            answer := earlier.answer;
            is_same := earlier.payload_hash = hash;
        end if;
    elsif key is not null then
        select f.answer::text, f.answer ->> 'ok' = 'true' as is_done, f.tool_key, f.created_at into earlier
        from function_calls f
        where f.company_id = company.id and f.provider_call_id = call_subject
        order by f.created_at desc limit 1;
        if found and starts_with(earlier.tool_key, key)
           and (earlier.is_done or earlier.created_at > clock_timestamp() - interval '30 seconds') then
            answer := earlier.answer;
            is_same := true;
        else
            select count(*) into times
            from function_calls f
            where f.company_id = company.id and f.provider_call_id = call_subject and starts_with(f.tool_key, key);
            if times > 0 then
                tool_key := key || ':' || times + 1;
            end if;
        end if;
    end if;
    return next;
end $$;

-- Delete answers that nobody will ask for again, across tenants; how many.
create function prune_function_calls(keep interval, at_most integer) returns integer
language sql volatile security definer set search_path = askpro, pg_temp
as $$
    with aged as (
        select company_id, provider_call_id, tool_key from function_calls
        where created_at < now() - keep order by created_at limit at_most
    ), gone as (
        delete from function_calls f using aged
        where f.company_id = aged.company_id and f.provider_call_id = aged.provider_call_id
          and f.tool_key = aged.tool_key
        returning 1
    )
    select count(*)::integer from gone
$$;

revoke execute on function prune_function_calls(interval, integer) from public;
grant execute on function prune_function_calls(interval, integer) to askpro_worker;
grant execute on function function_outcome(text[]) to askpro_api, askpro_worker;
grant execute on function
    enter_function_call(text, text, text, text, text, bytea, text, text, text, text, timestamptz) to askpro_api;
grant usage, create on schema askpro to askpro_intake;
alter function prune_function_calls(interval, integer) owner to askpro_intake;
revoke create on schema askpro from askpro_intake;
