-- Calls and customers: what the fold of call events needs from the database in one round trip each.

-- Become the only one who works on a call (its fold, and the booking it wished for) until the transaction ends, then
-- return its deliveries. In this order: what is read before the lock would be stale after waiting for it.
create function lock_call(booking_key text, call_provider text, call_subject text)
returns table (inbox_id uuid, body bytea, received_at timestamptz, branch_id uuid)
language plpgsql set plan_cache_mode = force_generic_plan
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended(booking_key, 0));
    return query
        select w.id, w.body, w.received_at, w.branch_id
        from webhook_inbox w
        where w.provider = call_provider and w.subject = call_subject and w.state <> 'ignored'
        order by w.id;
end $$;

-- Who a caller is. A name on a usable phone: the customer of that name on that line, made when there is none. A name
-- without a phone: whoever has this e-mail and this name, else nobody. No name: the line's customer when it has exactly
-- one, else nobody. A phone alone never merges two people, and nobody is made of a hidden number.
-- Two transactions that make the same customer at once get the same row: the unique index is the guard.
create function find_or_create_customer(
    company uuid, caller_phone text, raw_phone text, key text, given_name text, family_name text, mail text
) returns table (customer_id uuid, is_new boolean)
language plpgsql set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    person customers;
begin
    is_new := false;
    if key = '' then
        return query
            select (array_agg(c.id))[1], false
            from (select id from customers
                  where company_id = company and phone = caller_phone and erased_at is null limit 2) c
            having count(*) = 1;
        return;
    end if;
    if caller_phone is null then
        return query
            select c.id, false from customers c
            where c.company_id = company and c.email = mail and c.name_key = key and c.erased_at is null
            order by c.id limit 1;
        return;
    end if;
    select * into person from customers c
    where c.company_id = company and c.phone = caller_phone and c.name_key = key and c.erased_at is null;
    if found then
        if person.email is null and mail is not null then
            update customers c set email = mail, version = c.version + 1, updated_at = now()
            where c.company_id = company and c.id = person.id and c.email is null;
        end if;
        return query select person.id, false;
        return;
    end if;
    return query
        insert into customers as c (company_id, first_name, last_name, name_key, email, phone, phone_raw)
        values (company, given_name, family_name, key, mail, caller_phone, raw_phone)
        on conflict (company_id, phone, name_key) where phone is not null and erased_at is null
            do update set email = coalesce(c.email, excluded.email)
        returning c.id, c.xmax = 0;
end $$;

grant execute on function lock_call(text, text, text),
    find_or_create_customer(uuid, text, text, text, text, text, text) to askpro_api, askpro_worker;
