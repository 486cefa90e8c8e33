-- Booking: every change of an appointment is an event and its projection, written together by the functions below.
-- They run as whoever calls them, under row-level security. Locks are taken in one order (the booking's key, then staff
-- by id, then the row), so that no two of them can wait for each other; the exclusion constraint remains the truth
-- for writers that take no lock.
-- Under row-level security `&&` can't use an index (it is not leakproof): every search also bounds starts_at, and says
-- "active" as "not in" so that it is not answered from the exclusion constraint's index, which could only be read whole.
-- Plans are generic: nothing here gains from knowing the values, and planning would cost more than running.

-- What an event makes of an appointment's status; null when it leaves it alone (backend.domain.appointments.RESULT).
create function appointment_event_result(kind text) returns text
language sql immutable parallel safe
return case kind
    when 'held' then 'held'
    when 'booked' then 'confirmed'
    when 'confirmed' then 'confirmed'
    when 'started' then 'in_progress'
    when 'completed' then 'completed'
    when 'cancelled' then 'cancelled'
    when 'no_show' then 'no_show'
    when 'restored' then 'confirmed'
    when 'hold_expired' then 'cancelled'
end;

-- Whether an event may happen in a status (backend.domain.appointments.ALLOWED).
create function appointment_event_allowed(kind text, status text) returns boolean
language sql immutable parallel safe
return case kind
    when 'confirmed' then status in ('held', 'pending')
    when 'rescheduled' then status in ('pending', 'confirmed')
    when 'started' then status in ('pending', 'confirmed')
    when 'completed' then status in ('pending', 'confirmed', 'in_progress')
    when 'cancelled' then status in ('held', 'pending', 'confirmed')
    when 'no_show' then status in ('pending', 'confirmed')
    when 'restored' then status in ('cancelled', 'no_show')
    when 'hold_expired' then status = 'held'
    else false
end;

-- Reasons that end a call's wish for an appointment (backend.domain.vocabulary.RefusalReason).
create function booking_refusals() returns text[]
language sql immutable parallel safe
return array['slot_taken', 'service_unknown', 'branch_unknown', 'staff_unknown', 'not_offered', 'time_unreadable',
             'in_past', 'too_far'];

-- One transaction at a time for each of the staff members, by id. Taken before anything about their time is read.
create function lock_staff(staff_ids uuid[]) returns void
language plpgsql
as $$
declare
    item uuid;
begin
    for item in select distinct id from unnest(staff_ids) id where id is not null order by id loop
        perform pg_advisory_xact_lock(hashtextextended('staff:' || item, 0));
    end loop;
end $$;

-- A slot as it was offered: the instant, the wall time and offset that it was then, by which release of the zone data.
create function slot_offered(starts_at timestamptz, zone text, tz_version text) returns jsonb
language sql stable parallel safe
return jsonb_build_object(
    'utc', starts_at,
    'local', to_char(starts_at at time zone zone, 'YYYY-MM-DD"T"HH24:MI:SS'),
    'offset_min', extract(epoch from (starts_at at time zone zone) - (starts_at at time zone 'UTC'))::integer / 60,
    'tz_version', tz_version);

-- Append an event to an appointment whose row the caller has locked (or just made), and project it.
create function append_appointment_event(
    appointment appointments, event_kind text, event_actor text, event_data jsonb, event_at timestamptz
) returns integer
language plpgsql
as $$
declare
    becomes appointments;
    new_version integer := appointment.version + 1;
begin
    becomes := jsonb_populate_record(appointment, event_data);
    insert into appointment_events (company_id, appointment_id, version, kind, actor, data, occurred_at)
    values (appointment.company_id, appointment.id, new_version, event_kind, event_actor, event_data, event_at);
    update appointments set
        branch_id = becomes.branch_id, staff_id = becomes.staff_id, service_id = becomes.service_id,
        customer_id = becomes.customer_id, call_id = becomes.call_id,
        starts_at = becomes.starts_at, ends_at = becomes.ends_at, time_zone = becomes.time_zone,
        buffer_before_min = becomes.buffer_before_min, buffer_after_min = becomes.buffer_after_min,
        seat = becomes.seat, status = becomes.status, source = becomes.source, price_cents = becomes.price_cents,
        offered = becomes.offered, hold_expires_at = becomes.hold_expires_at,
        version = new_version, updated_at = event_at
    where company_id = appointment.company_id and id = appointment.id;
    return new_version;
end $$;

-- Let go of holds that ran out and are in the way.
create function expire_holds(company uuid, staff_ids uuid[], wanted tstzrange) returns void
language plpgsql
as $$
declare
    hold appointments;
begin
    for hold in
        select * from appointments a
        where a.company_id = company and a.staff_id = any (staff_ids) and a.status = 'held'
          and a.hold_expires_at <= clock_timestamp()
          and a.starts_at >= lower(wanted) - interval '2 days' and a.starts_at < upper(wanted) + interval '1 day'
          and a.busy && wanted
        order by a.id
        for update
    loop
        perform append_appointment_event(
            hold, 'hold_expired', 'system', '{"status": "cancelled", "hold_expires_at": null}', clock_timestamp());
    end loop;
end $$;

-- Book one appointment, or say why not. One call is the whole transaction's work: what the names mean, who does it,
-- the row and its event; a refusal of a call's wish leaves a callback request and the call's outcome says so.
-- Asking again with the same key gives the same answer and changes nothing.
-- Any staff (staff_slug null): of those who are free, least booked that day, then by id.
create function book_appointment(
    company uuid, booking_key text, service_slug text, branch_slug text, called_branch uuid, staff_slug text,
    wanted_at timestamptz, asked_at timestamptz, origin text, actor text,
    customer uuid, call uuid, attendee_name text, attendee_email text, attendee_phone text,
    callback_due interval, tz_version text
) returns table (
    refusal text, appointment_id uuid, staff_id uuid, starts_at timestamptz, ends_at timestamptz, version integer,
    callback_id uuid, is_new boolean
)
language plpgsql set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    service services;
    branch branches;
    person staff;
    candidates uuid[];
    candidate uuid;
    wanted tstzrange;
    offered jsonb;
    made appointments;
begin
    perform pg_advisory_xact_lock(hashtextextended(booking_key, 0));
    select * into made from appointments a where a.company_id = company and a.idempotency_key = booking_key;
    if found then
        return query select null::text, made.id, made.staff_id, made.starts_at, made.ends_at, made.version,
                            null::uuid, false;
        return;
    end if;
    if call is not null then
        return query
            select c.reason, null::uuid, null::uuid, null::timestamptz, null::timestamptz, null::integer, c.id, false
            from callback_requests c
            where c.company_id = company and c.call_id = call and c.reason = any (booking_refusals())
            limit 1;
        if found then
            return;
        end if;
    end if;

    select * into service from services s where s.company_id = company and s.slug = service_slug and s.is_active;
    select * into branch from branches b
    where b.company_id = company
      and (b.slug = branch_slug
           or branch_slug is null and (b.id = called_branch
                                       or called_branch is null and (select count(*) from branches o
                                                                     where o.company_id = company) = 1));
    if staff_slug is not null then
        select * into person from staff p where p.company_id = company and p.slug = staff_slug;
        candidates := case
            when person.is_bookable
                 and exists (select from staff_services o where o.staff_id = person.id and o.service_id = service.id)
                 and exists (select from staff_branches w where w.staff_id = person.id and w.branch_id = branch.id)
            then array[person.id] else '{}' end;
    else
        select coalesce(array_agg(p.id order by p.id), '{}') into candidates
        from staff_services o
        join staff_branches w on w.staff_id = o.staff_id and w.branch_id = branch.id
        join staff p on p.id = o.staff_id and p.is_bookable
        where o.company_id = company and o.service_id = service.id;
    end if;

    refusal := case
        when wanted_at is null then 'time_unreadable'
        when wanted_at < asked_at then 'in_past'
        when wanted_at > asked_at + interval '731 days' then 'too_far'
        when service.id is null then 'service_unknown'
        when branch.id is null then 'branch_unknown'
        when staff_slug is not null and person.id is null then 'staff_unknown'
        when cardinality(candidates) = 0 then 'not_offered'
    end;
    if refusal is null then
        starts_at := wanted_at;
        ends_at := wanted_at + make_interval(mins => service.duration_min);
        wanted := tstzrange(starts_at - make_interval(mins => service.buffer_before_min),
                            ends_at + make_interval(mins => service.buffer_after_min), '[)');
        foreach candidate in array candidates loop
            perform pg_advisory_xact_lock(hashtextextended('staff:' || candidate, 0));
        end loop;
        if exists (select from appointments a
                   where a.company_id = company and a.status = 'held' and a.hold_expires_at <= clock_timestamp()) then
            perform expire_holds(company, candidates, wanted);
        end if;
        offered := slot_offered(wanted_at, branch.time_zone, tz_version);
        refusal := 'slot_taken';
        for candidate in
            select free.id
            from unnest(candidates) free (id)
            where (
                select true from appointments a
                where a.staff_id = free.id and a.status not in ('completed', 'cancelled', 'no_show')
                  and a.starts_at >= lower(wanted) - interval '2 days' and a.starts_at < upper(wanted) + interval '1 day'
                  and a.busy && wanted
                limit 1) is null
            order by case when cardinality(candidates) = 1 then 0 else (
                         select count(*) from appointments a
                         where a.staff_id = free.id and a.status not in ('completed', 'cancelled', 'no_show')
                           and a.starts_at >= date_trunc('day', wanted_at, branch.time_zone)
                           and a.starts_at < date_trunc('day', wanted_at, branch.time_zone) + interval '1 day') end,
                     free.id
        loop
            begin
                insert into appointments (
                    company_id, branch_id, staff_id, service_id, customer_id, call_id, starts_at, ends_at, time_zone,
                    buffer_before_min, buffer_after_min, status, source, price_cents, offered,
                    attendee_name, attendee_email, attendee_phone, idempotency_key, version)
                values (
                    company, branch.id, candidate, service.id, customer, call, starts_at, ends_at, branch.time_zone,
                    service.buffer_before_min, service.buffer_after_min, 'confirmed', origin, service.price_cents,
                    offered, coalesce(attendee_name, ''), attendee_email, attendee_phone, booking_key, 1)
                returning * into made;
                insert into appointment_events (company_id, appointment_id, version, kind, actor, data)
                values (company, made.id, 1, 'booked', actor, jsonb_build_object(
                    'branch_id', made.branch_id, 'staff_id', made.staff_id, 'service_id', made.service_id,
                    'customer_id', made.customer_id, 'call_id', made.call_id,
                    'starts_at', made.starts_at, 'ends_at', made.ends_at, 'time_zone', made.time_zone,
                    'buffer_before_min', made.buffer_before_min, 'buffer_after_min', made.buffer_after_min,
                    'seat', made.seat, 'status', made.status, 'source', made.source,
                    'price_cents', made.price_cents, 'offered', made.offered, 'hold_expires_at', null));
                refusal := null;
                exit;
            exception when exclusion_violation then
                null;  -- Somebody who takes no lock was faster: try the next one.
            end;
        end loop;
    end if;

    if refusal is null then
        return query select null::text, made.id, made.staff_id, made.starts_at, made.ends_at, 1, null::uuid, true;
        return;
    end if;
    if call is not null then
        insert into callback_requests (company_id, call_id, customer_id, phone, name, reason, due_at)
        values (company, call, customer, attendee_phone, coalesce(attendee_name, ''), refusal, now() + callback_due)
        on conflict (company_id, call_id, reason) do nothing
        returning id into callback_id;
        update calls set outcome = 'callback', updated_at = now() where company_id = company and id = call;
    end if;
    return query select refusal, null::uuid, null::uuid, null::timestamptz, null::timestamptz, null::integer,
                        callback_id, true;
end $$;

-- Let an event happen to an appointment: done, not_found, stale (another version by now), not_allowed (in its
-- status), not_offered (by the new staff member), slot_taken. `event_data` sets fields by name; the status follows from
-- the event, and a rescheduled appointment keeps its length.
create function change_appointment(
    company uuid, appointment uuid, expected_version integer, event_kind text, actor text, event_data jsonb,
    tz_version text
) returns table (result text, version integer, status text)
language plpgsql set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    present appointments;
    becomes appointments;
    next_status text := appointment_event_result(event_kind);
    takes_time boolean := coalesce(next_status in ('held', 'confirmed'), true);
begin
    select * into present from appointments a where a.company_id = company and a.id = appointment;
    if not found then
        return query select 'not_found', null::integer, null::text;
        return;
    end if;
    becomes := jsonb_populate_record(present, event_data);
    if takes_time then
        perform lock_staff(array[present.staff_id, becomes.staff_id]);
    end if;
    select * into present from appointments a where a.company_id = company and a.id = appointment for update;
    if present.version <> expected_version then
        return query select 'stale', present.version, present.status;
        return;
    end if;
    if not appointment_event_allowed(event_kind, present.status)
       or event_kind = 'confirmed' and present.hold_expires_at <= clock_timestamp() then
        return query select 'not_allowed', present.version, present.status;
        return;
    end if;
    becomes := jsonb_populate_record(present, event_data);
    if becomes.staff_id <> present.staff_id and not exists (
        select from staff p
        join staff_services o on o.staff_id = p.id and o.service_id = becomes.service_id
        join staff_branches w on w.staff_id = p.id and w.branch_id = becomes.branch_id
        where p.company_id = company and p.id = becomes.staff_id and p.is_bookable
    ) then
        return query select 'not_offered', present.version, present.status;
        return;
    end if;
    if event_kind = 'rescheduled' then
        becomes.ends_at := becomes.starts_at + (present.ends_at - present.starts_at);
        event_data := event_data || jsonb_build_object(
            'ends_at', becomes.ends_at, 'offered', slot_offered(becomes.starts_at, becomes.time_zone, tz_version));
    end if;
    if next_status is not null then
        event_data := event_data || jsonb_build_object('status', next_status);
    end if;
    if present.hold_expires_at is not null then
        event_data := event_data || '{"hold_expires_at": null}';
    end if;
    if takes_time then
        perform expire_holds(company, array[becomes.staff_id], tstzrange(
            becomes.starts_at - make_interval(mins => becomes.buffer_before_min),
            becomes.ends_at + make_interval(mins => becomes.buffer_after_min), '[)'));
    end if;
    begin
        version := append_appointment_event(present, event_kind, actor, event_data, clock_timestamp());
    exception when exclusion_violation then
        return query select 'slot_taken', present.version, present.status;
        return;
    end;
    return query select 'done', version, coalesce(next_status, present.status);
end $$;

grant execute on function appointment_event_result(text), appointment_event_allowed(text, text), booking_refusals(),
    lock_staff(uuid[]), slot_offered(timestamptz, text, text),
    append_appointment_event(appointments, text, text, jsonb, timestamptz), expire_holds(uuid, uuid[], tstzrange),
    book_appointment(uuid, text, text, text, uuid, text, timestamptz, timestamptz, text, text, uuid, uuid, text, text,
                     text, interval, text),
    change_appointment(uuid, uuid, integer, text, text, jsonb, text)
    to askpro_api, askpro_worker;
