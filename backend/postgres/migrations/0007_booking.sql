-- Booking, whole: seats, services of several parts, holds, policies, and one place that knows who is busy.
--
-- An appointment is one row, however many people it needs: `parts` says who does what when. A trigger spells out each
-- active appointment in `staff_time`, one row for each stretch of somebody's time, and the exclusion constraint there
-- guards all of it: no writer, whichever way it comes in, can make somebody be in two places.
-- Locks are taken in one order (the booking's key, then staff by id, then the row), so that no two bookings wait for
-- each other. Events are written last, so that whoever follows them finds the appointment as it has become.

drop function book_appointment(uuid, text, text, text, uuid, text, timestamptz, timestamptz, text, text, uuid, uuid,
                               text, text, text, interval, text);
drop function change_appointment(uuid, uuid, integer, text, text, jsonb, text);
drop function expire_holds(uuid, uuid[], tstzrange);

alter table appointments
    drop constraint appointments_no_double_booking,
    drop column busy,
    add column capacity smallint not null default 1 check (capacity between 1 and 500),
    add column parts jsonb,
    add column fee_cents integer not null default 0 check (fee_cents >= 0),
    add constraint appointments_seat check (seat between 1 and capacity);
comment on column appointments.seat is 'which of `capacity` seats it takes';
comment on column appointments.capacity is
    'how many of the same service may be with this staff member at once, as it was when booked; 1: nobody else';
comment on column appointments.parts is
    '[{"staff_id", "from_min", "minutes"}, …] from starts_at on, by time, when others take part or the staff member is '
    'free in between; null: staff_id, from starts_at to ends_at';
comment on column appointments.fee_cents is 'what was charged for late changes';

-- Who did how much on a day, and what an appointment's day looks like. Row-level security adds the company to every
-- condition: without it in the index the planner reads two indexes and joins them.
create index appointments_staff_date on appointments (company_id, staff_id, starts_at);

-- Who is busy -----------------------------------------------------------------------------------------------------------

create table staff_time (
    company_id      uuid not null,
    appointment_id  uuid not null,
    position        smallint not null,
    staff_id        uuid not null,
    service_id      uuid not null,
    seats           int4range not null,
    busy_from       timestamptz not null,
    busy_until      timestamptz not null,
    busy            tstzrange not null generated always as (tstzrange(busy_from, busy_until, '[)')) stored,
    hold_expires_at timestamptz,
    primary key (company_id, appointment_id, position),
    foreign key (company_id, appointment_id) references appointments (company_id, id),
    foreign key (company_id, staff_id) references staff (company_id, id),
    constraint staff_time_no_double_booking exclude using gist (staff_id with =, seats with &&, busy with &&),
    -- Whoever shares a time shares it with the same service. Only these rows can have an overlap at all.
    constraint staff_time_one_service_at_once exclude using gist (staff_id with =, service_id with <>, busy with &&)
        where (not upper_inf(seats))
);
comment on table staff_time is
    'the time that active appointments take of staff, buffers included; written by triggers on appointments alone';
comment on column staff_time.seats is 'one seat, or all from 1 on when nobody else may be there';
create index staff_time_staff on staff_time (company_id, staff_id, busy_from);

-- The rows of one appointment, from what stands in its row; also for writers whose search path is another.
create function keep_staff_time() returns trigger
language plpgsql
as $$
begin
    if tg_op = 'UPDATE' then
        delete from askpro.staff_time where company_id = old.company_id and appointment_id = old.id;
    end if;
    if new.status not in ('held', 'pending', 'confirmed', 'in_progress') then
        return null;
    end if;
    if new.parts is null then
        insert into askpro.staff_time (company_id, appointment_id, position, staff_id, service_id, seats, busy_from,
                                busy_until, hold_expires_at)
        values (new.company_id, new.id, 1, new.staff_id, new.service_id,
                case when new.capacity = 1 then int4range(1, null) else int4range(new.seat, new.seat + 1) end,
                new.starts_at - make_interval(mins => new.buffer_before_min),
                new.ends_at + make_interval(mins => new.buffer_after_min), new.hold_expires_at);
    else
        insert into askpro.staff_time (company_id, appointment_id, position, staff_id, service_id, seats, busy_from,
                                busy_until, hold_expires_at)
        select new.company_id, new.id, part.position, part.staff_id, new.service_id, int4range(1, null),
               new.starts_at + make_interval(mins => part.from_min
                   - case part.position when 1 then new.buffer_before_min else 0 end),
               new.starts_at + make_interval(mins => part.from_min + part.minutes
                   + case part.position when jsonb_array_length(new.parts) then new.buffer_after_min else 0 end),
               new.hold_expires_at
        from rows from (jsonb_to_recordset(new.parts) as (staff_id uuid, from_min integer, minutes integer))
             with ordinality as part (staff_id, from_min, minutes, position)
        order by part.staff_id, part.position;
    end if;
    return null;
end $$;

create trigger appointments_take_time after insert on appointments
    for each row when (new.status in ('held', 'pending', 'confirmed', 'in_progress'))
    execute function keep_staff_time();
create trigger appointments_retake_time after update on appointments
    for each row when (
        (old.status in ('held', 'pending', 'confirmed', 'in_progress'), old.staff_id, old.service_id, old.starts_at,
         old.ends_at, old.buffer_before_min, old.buffer_after_min, old.seat, old.capacity, old.parts,
         old.hold_expires_at)
        is distinct from
        (new.status in ('held', 'pending', 'confirmed', 'in_progress'), new.staff_id, new.service_id, new.starts_at,
         new.ends_at, new.buffer_before_min, new.buffer_after_min, new.seat, new.capacity, new.parts,
         new.hold_expires_at))
    execute function keep_staff_time();

-- What is booked already. The owner sees tenants' rows only while the tables are not under forced security.
alter table appointments no force row level security;
insert into staff_time (company_id, appointment_id, position, staff_id, service_id, seats, busy_from, busy_until,
                        hold_expires_at)
select company_id, id, 1, staff_id, service_id, int4range(1, null),
       starts_at - make_interval(mins => buffer_before_min), ends_at + make_interval(mins => buffer_after_min),
       hold_expires_at
from appointments
where status in ('held', 'pending', 'confirmed', 'in_progress');
alter table appointments force row level security;

alter table staff_time enable row level security;
alter table staff_time force row level security;
create policy tenant on staff_time to askpro_api, askpro_worker
    using (company_id = (select current_company())) with check (company_id = (select current_company()));
create policy across on staff_time for select to askpro_watch, askpro_console using (true);
create policy setup on staff_time to askpro_setup using (true) with check (true);
grant select, insert, delete on staff_time to askpro_api, askpro_worker, askpro_setup;

-- Words -----------------------------------------------------------------------------------------------------------------

create or replace function booking_refusals() returns text[]
language sql immutable parallel safe
return array['slot_taken', 'service_unknown', 'branch_unknown', 'staff_unknown', 'not_offered', 'time_unreadable',
             'in_past', 'too_far', 'outside_hours', 'too_soon', 'company_inactive'];

-- Changes ---------------------------------------------------------------------------------------------------------------

-- Project an event onto an appointment whose row the caller has locked (or just made), and append it.
create or replace function append_appointment_event(
    appointment appointments, event_kind text, event_actor text, event_data jsonb, event_at timestamptz
) returns integer
language plpgsql
as $$
declare
    becomes appointments := jsonb_populate_record(appointment, event_data);
    new_version integer := appointment.version + 1;
begin
    update appointments set
        branch_id = becomes.branch_id, staff_id = becomes.staff_id, service_id = becomes.service_id,
        customer_id = becomes.customer_id, call_id = becomes.call_id,
        starts_at = becomes.starts_at, ends_at = becomes.ends_at, time_zone = becomes.time_zone,
        buffer_before_min = becomes.buffer_before_min, buffer_after_min = becomes.buffer_after_min,
        seat = becomes.seat, capacity = becomes.capacity, parts = becomes.parts,
        status = becomes.status, source = becomes.source, price_cents = becomes.price_cents,
        offered = becomes.offered, hold_expires_at = becomes.hold_expires_at, fee_cents = becomes.fee_cents,
        version = new_version, updated_at = event_at
    where company_id = appointment.company_id and id = appointment.id;
    insert into appointment_events (company_id, appointment_id, version, kind, actor, data, occurred_at)
    values (appointment.company_id, appointment.id, new_version, event_kind, event_actor, event_data, event_at);
    return new_version;
end $$;

-- Let go of holds that ran out and are in the way of something from `starts` to `ends`.
create function let_go_of_holds(company uuid, staff_ids uuid[], starts timestamptz, ends timestamptz) returns void
language plpgsql
as $$
declare
    hold appointments;
begin
    for hold in
        select a.* from appointments a
        where a.company_id = company and a.status = 'held' and a.hold_expires_at <= clock_timestamp()
          and exists (select from staff_time t
                      where t.company_id = company and t.appointment_id = a.id and t.staff_id = any (staff_ids)
                        and t.busy_from < ends and t.busy_until > starts)
        order by a.id
        for update
    loop
        perform append_appointment_event(
            hold, 'hold_expired', 'system', '{"status": "cancelled", "hold_expires_at": null}', clock_timestamp());
    end loop;
end $$;

-- Who of the candidates does one role, which takes these stretches of time (buffers included), and on which seat;
-- null when nobody is free. `moved` is the appointment that is being moved: it is not in its own way.
-- Best is who does it already; then who has such a service at the very time and a seat left; then who is booked least
-- on the day, who has been idle longest before, and the lower id.
-- Subqueries have a limit so that they are not turned into joins, which may read the whole table.
create function choose_person(
    company uuid, candidates uuid[], present uuid[], service uuid, capacity integer,
    starts timestamptz[], ends timestamptz[], day timestamptz, moved uuid,
    out person uuid, out seat integer
)
language plpgsql
as $$
begin
    if capacity = 1 then
        select c.id, 1 into person, seat
        from unnest(candidates) c (id)
        where (
            select true from unnest(starts, ends) w (starts, ends)
            cross join lateral (
                select true from staff_time t
                where t.company_id = company and t.staff_id = c.id
                  and t.busy_from > w.starts - interval '33 hours' and t.busy_from < w.ends
                  and t.busy_until > w.starts and t.appointment_id is distinct from moved
                limit 1) meeting
            limit 1) is null
        order by c.id = any (present) desc,
                 case when cardinality(candidates) > 1 then appointments_on_day(company, c.id, day) end,
                 case when cardinality(candidates) > 1 then idle_since(company, c.id, starts[1]) end nulls first,
                 c.id
        limit 1;
    else
        select c.id, free.seat into person, seat
        from unnest(candidates) c (id)
        cross join lateral (
            select min(n) as seat from generate_series(1, capacity) n
            where (
                select true from staff_time t
                where t.company_id = company and t.staff_id = c.id
                  and t.busy_from > starts[1] - interval '33 hours' and t.busy_from < ends[1]
                  and t.busy_until > starts[1] and t.appointment_id is distinct from moved
                  and (t.service_id <> service or upper_inf(t.seats) or lower(t.seats) in (n)
                       or lower(t.seats) > capacity)
                limit 1) is null
        ) free
        where free.seat is not null
        order by c.id = any (present) desc,
                 (select true from staff_time t
                  where t.company_id = company and t.staff_id = c.id and t.busy_from = starts[1]
                    and t.service_id = service and t.appointment_id is distinct from moved
                  limit 1) nulls last,
                 case when cardinality(candidates) > 1 then appointments_on_day(company, c.id, day) end,
                 case when cardinality(candidates) > 1 then idle_since(company, c.id, starts[1]) end nulls first,
                 c.id
        limit 1;
    end if;
end $$;

-- How many appointments somebody has, or takes part in, that begin on the day after `day` (its first instant).
create function appointments_on_day(company uuid, person uuid, day timestamptz) returns bigint
language sql stable
return (
    select count(*) from (
        select a.id from appointments a
        where a.company_id = company and a.staff_id = person
          and a.starts_at >= day and a.starts_at < day + interval '1 day'
          and a.status not in ('cancelled', 'no_show')
        union
        select t.appointment_id from staff_time t
        where t.company_id = company and t.staff_id = person
          and t.busy_from >= day and t.busy_from < day + interval '1 day'
    ) booked
);

-- When somebody's last appointment before an instant ended; null when there is none.
create function idle_since(company uuid, person uuid, before timestamptz) returns timestamptz
language sql stable
return (
    select a.ends_at from appointments a
    where a.company_id = company and a.staff_id = person and a.starts_at < before
      and a.status not in ('cancelled', 'no_show')
    order by a.starts_at desc
    limit 1
);

-- Who does all roles of a service at a time: `staff` by role; null when somebody is missing.
-- Parts are by time; `part_roles` numbers roles from 1, and candidates are told by the role that they can do.
create function choose_staff(
    company uuid, candidates uuid[], candidate_roles integer[], present uuid[], service uuid, capacity integer,
    part_roles integer[], part_from integer[], part_minutes integer[], before_min integer, after_min integer,
    wanted_at timestamptz, zone text, moved uuid,
    out staff uuid[], out seat integer
)
language plpgsql
as $$
declare
    chosen record;
    day timestamptz := date_trunc('day', wanted_at, zone);
    last integer := cardinality(part_roles);
begin
    seat := 1;
    if cardinality(candidates) = 1 and last = 1 and capacity = 1 then
        -- By far the most frequent: one person, from start to end.
        if not exists (
            select from staff_time t
            where t.company_id = company and t.staff_id = candidates[1]
              and t.busy_from > wanted_at - make_interval(mins => before_min) - interval '33 hours'
              and t.busy_from < wanted_at + make_interval(mins => part_minutes[1] + after_min)
              and t.busy_until > wanted_at - make_interval(mins => before_min)
              and t.appointment_id is distinct from moved
        ) then
            staff := candidates;
        end if;
        return;
    end if;
    staff := '{}';
    for number in 1 .. (select max(r) from unnest(part_roles) r) loop
        select p.person, p.seat into chosen
        from (select array_agg(c.id) as ids from unnest(candidates, candidate_roles) c (id, role)
              where c.role = number) able,
             (select array_agg(wanted_at + make_interval(mins => part_from[n] - case n when 1 then before_min else 0 end)
                               order by n) as starts,
                     array_agg(wanted_at + make_interval(mins => part_from[n] + part_minutes[n]
                                                             + case n when last then after_min else 0 end)
                               order by n) as ends
              from generate_subscripts(part_roles, 1) n where part_roles[n] = number) stretches,
             choose_person(company, able.ids, present, service, capacity, stretches.starts, stretches.ends, day,
                           moved) p;
        if chosen.person is null then
            staff := null;
            return;
        end if;
        staff := staff || chosen.person;
        seat := chosen.seat;
    end loop;
end $$;

-- What `parts` of an appointment says; null when one person does all of it without a pause.
create function appointment_parts(staff uuid[], part_roles integer[], part_from integer[], part_minutes integer[])
returns jsonb
language sql immutable
return case when cardinality(part_roles) > 1 then (
    select jsonb_agg(jsonb_build_object(
        'staff_id', staff[part_roles[n]], 'from_min', part_from[n], 'minutes', part_minutes[n]) order by n)
    from generate_subscripts(part_roles, 1) n) end;

-- Book one appointment, or say why not. One call is the whole transaction's work: who does it, the row and its event;
-- a refusal of a call's wish leaves a callback request and the call's outcome says so. Asking again with the same key
-- gives the same answer and changes nothing.
-- The caller has read the company's calendar (`calendar_seen`, its version) and says what follows from it: a refusal
-- (`verdict`), or who can do the service then, were nothing booked. `calendar_changed` is answered when it has another
-- version by now, and nothing has happened.
create function place_booking(
    company uuid, booking_key text, calendar_seen bigint, verdict text, service_id_ uuid, branch_id_ uuid,
    candidates uuid[], candidate_roles integer[], capacity_ integer,
    part_roles integer[], part_from integer[], part_minutes integer[],
    wanted_at timestamptz, held_for interval, origin text, actor text,
    customer uuid, call uuid, attendee_name text, attendee_email text, attendee_phone text,
    callback_due interval, tz_version text
) returns table (
    refusal text, appointment_id uuid, staff_id uuid, starts_at timestamptz, ends_at timestamptz, version integer,
    status text, hold_expires_at timestamptz, parts jsonb, callback_id uuid, is_new boolean
)
language plpgsql set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    tenant companies;
    service services;
    zone text;
    chosen record;
    made appointments;
    tries integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended(booking_key, 0));
    select * into made from appointments a where a.company_id = company and a.idempotency_key = booking_key;
    if found then
        return query select null::text, made.id, made.staff_id, made.starts_at, made.ends_at, made.version,
                            made.status, made.hold_expires_at, made.parts, null::uuid, false;
        return;
    end if;
    if call is not null then
        select c.reason, c.id into refusal, callback_id
        from callback_requests c
        where c.company_id = company and c.call_id = call and c.reason = any (booking_refusals())
        limit 1;
        if found then
            is_new := false;
            return next;
            return;
        end if;
    end if;

    select * into tenant from companies c where c.id = company;
    if tenant.is_active and verdict is null and tenant.calendar_version <> calendar_seen then
        refusal := 'calendar_changed';
        is_new := false;
        return next;
        return;
    end if;
    refusal := case when tenant.is_active then verdict else 'company_inactive' end;
    if refusal is null then
        select * into service from services s where s.company_id = company and s.id = service_id_;
        select b.time_zone into zone from branches b where b.company_id = company and b.id = branch_id_;
        refusal := 'slot_taken';
        loop
            -- Who does not get it lets go of the locks at once, with the block that took them: whoever waits behind is
            -- not held up by what the loser does next.
            begin
                perform lock_staff(candidates);
                if exists (select from appointments a
                           where a.company_id = company and a.status = 'held'
                             and a.hold_expires_at <= clock_timestamp()) then
                    perform let_go_of_holds(
                        company, candidates, wanted_at - make_interval(mins => service.buffer_before_min),
                        wanted_at + make_interval(mins => service.duration_min + service.buffer_after_min));
                end if;
                select * into chosen from choose_staff(
                    company, candidates, candidate_roles, '{}', service.id, capacity_, part_roles, part_from,
                    part_minutes, service.buffer_before_min, service.buffer_after_min, wanted_at, zone, null);
                if chosen.staff is null then
                    raise exception using errcode = 'AP001', message = refusal;
                end if;
                insert into appointments (
                    company_id, branch_id, staff_id, service_id, customer_id, call_id, starts_at, ends_at, time_zone,
                    buffer_before_min, buffer_after_min, seat, capacity, parts, status, source, price_cents, offered,
                    attendee_name, attendee_email, attendee_phone, idempotency_key, hold_expires_at, version)
                values (
                    company, branch_id_, chosen.staff[1], service.id, customer, call, wanted_at,
                    wanted_at + make_interval(mins => service.duration_min), zone,
                    service.buffer_before_min, service.buffer_after_min, chosen.seat, capacity_,
                    appointment_parts(chosen.staff, part_roles, part_from, part_minutes),
                    case when held_for is null then 'confirmed' else 'held' end, origin, service.price_cents,
                    slot_offered(wanted_at, zone, tz_version),
                    coalesce(attendee_name, ''), attendee_email, attendee_phone, booking_key,
                    clock_timestamp() + held_for, 1)
                returning * into made;
                insert into appointment_events (company_id, appointment_id, version, kind, actor, data, occurred_at)
                values (company, made.id, 1, case when held_for is null then 'booked' else 'held' end, actor,
                        jsonb_build_object(
                            'branch_id', made.branch_id, 'staff_id', made.staff_id, 'service_id', made.service_id,
                            'customer_id', made.customer_id, 'call_id', made.call_id,
                            'starts_at', made.starts_at, 'ends_at', made.ends_at, 'time_zone', made.time_zone,
                            'buffer_before_min', made.buffer_before_min, 'buffer_after_min', made.buffer_after_min,
                            'seat', made.seat, 'capacity', made.capacity, 'parts', made.parts,
                            'status', made.status, 'source', made.source, 'price_cents', made.price_cents,
                            'offered', made.offered, 'hold_expires_at', made.hold_expires_at,
                            'fee_cents', made.fee_cents),
                        clock_timestamp());
                refusal := null;
                exit;
            exception
                when sqlstate 'AP001' then
                    exit;
                when exclusion_violation then
                    -- A writer that takes no lock was faster. It has committed, so it is seen now: try the next one.
                    tries := tries + 1;
                    exit when tries > cardinality(candidates);
            end;
        end loop;
    end if;

    is_new := true;
    if refusal is null then
        return query select null::text, made.id, made.staff_id, made.starts_at, made.ends_at, 1, made.status,
                            made.hold_expires_at, made.parts, null::uuid, true;
        return;
    end if;
    if call is not null then
        insert into callback_requests (company_id, call_id, customer_id, phone, name, reason, due_at)
        values (company, call, customer, attendee_phone, coalesce(attendee_name, ''), refusal, now() + callback_due)
        on conflict (company_id, call_id, reason) do nothing
        returning id into callback_id;
        update calls set outcome = 'callback', updated_at = now() where company_id = company and id = call;
    end if;
    return next;
end $$;

-- What a late change costs: null when it is free, -1 when it is not allowed. `policy` is `keep` (whoever asks must be
-- told first), `accept` (the fee is agreed to) or `waive`.
create function late_fee(appointment appointments, policy text, asked_at timestamptz, out fee integer)
language plpgsql stable
as $$
declare
    service services;
begin
    if policy = 'waive' or appointment.status not in ('pending', 'confirmed') then
        return;
    end if;
    select * into service from services s
    where s.company_id = appointment.company_id and s.id = appointment.service_id;
    if service.cancel_hours = 0 or appointment.starts_at >= asked_at + make_interval(hours => service.cancel_hours) then
        return;
    end if;
    fee := case when policy = 'accept' and service.cancel_fee_cents > 0 then service.cancel_fee_cents else -1 end;
end $$;

-- Let an event other than a move happen to an appointment: done, not_found, stale (another version by now),
-- not_allowed (in its status), hold_expired, policy, slot_taken. The status follows from the event.
-- A no-show raises the customer's count, restoring from it lowers it.
create function change_appointment(
    company uuid, appointment uuid, expected_version integer, event_kind text, actor text, policy text,
    asked_at timestamptz
) returns table (
    result text, version integer, status text, staff_id uuid, starts_at timestamptz, ends_at timestamptz,
    fee_cents integer, cancel_hours integer, cancel_fee_cents integer
)
language plpgsql set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    present appointments;
    event_data jsonb := jsonb_build_object('status', appointment_event_result(event_kind));
    fee integer;
    counts integer := 0;
begin
    select * into present from appointments a where a.company_id = company and a.id = appointment;
    if found and event_kind in ('confirmed', 'restored') then
        perform lock_staff(appointment_staff(present));
    end if;
    select * into present from appointments a where a.company_id = company and a.id = appointment for update;
    if event_kind = 'cancelled' then
        fee := late_fee(present, policy, coalesce(asked_at, clock_timestamp()));
    end if;
    result := case
        when present.id is null then 'not_found'
        when present.version <> expected_version then 'stale'
        when not appointment_event_allowed(event_kind, present.status) then 'not_allowed'
        when event_kind = 'confirmed' and present.hold_expires_at <= clock_timestamp() then 'hold_expired'
        when fee < 0 then 'policy'
        else 'done'
    end;
    if result = 'done' then
        if present.hold_expires_at is not null then
            event_data := event_data || '{"hold_expires_at": null}';
        end if;
        if fee > 0 then
            event_data := event_data || jsonb_build_object('fee_cents', present.fee_cents + fee);
        end if;
        if event_kind = 'restored' then
            perform let_go_of_holds(company, appointment_staff(present),
                                    present.starts_at - make_interval(mins => present.buffer_before_min),
                                    present.ends_at + make_interval(mins => present.buffer_after_min));
        end if;
        begin
            perform append_appointment_event(present, event_kind, actor, event_data, clock_timestamp());
            counts := case when event_kind = 'no_show' then 1
                           when event_kind = 'restored' and present.status = 'no_show' then -1 else 0 end;
            if counts <> 0 and present.customer_id is not null then
                update customers set no_show_count = greatest(0, no_show_count + counts), version = version + 1,
                                     updated_at = clock_timestamp()
                where company_id = company and id = present.customer_id;
            end if;
            select * into present from appointments a where a.company_id = company and a.id = appointment;
        exception when exclusion_violation then
            result := 'slot_taken';
        end;
    end if;
    return query
        select result, present.version, present.status, present.staff_id, present.starts_at, present.ends_at,
               present.fee_cents, s.cancel_hours, s.cancel_fee_cents
        from (select) nothing
        left join services s on s.company_id = company and s.id = present.service_id;
end $$;

-- Everybody who takes part in an appointment.
create function appointment_staff(appointment appointments) returns uuid[]
language sql immutable
return case when appointment.parts is null then array[appointment.staff_id] else (
    select array_agg(distinct (part ->> 'staff_id')::uuid) from jsonb_array_elements(appointment.parts) part) end;

-- Move an appointment to another time, or to others: done, not_found, stale, not_allowed, policy, slot_taken,
-- calendar_changed. Its length stays, and so do its parts; who does the other roles stays where that is possible.
create function move_appointment(
    company uuid, appointment uuid, expected_version integer, actor text, calendar_seen bigint, wanted_at timestamptz,
    candidates uuid[], candidate_roles integer[], capacity_ integer,
    part_roles integer[], part_from integer[], part_minutes integer[],
    policy text, asked_at timestamptz, tz_version text
) returns table (
    result text, version integer, status text, staff_id uuid, starts_at timestamptz, ends_at timestamptz,
    fee_cents integer, cancel_hours integer, cancel_fee_cents integer
)
language plpgsql set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    present appointments;
    event_data jsonb;
    chosen record;
    fee integer;
    tries integer := 0;
begin
    -- As in a booking: who does not get it lets go of all locks at once.
    begin
        select * into present from appointments a where a.company_id = company and a.id = appointment;
        if found then
            perform lock_staff(appointment_staff(present) || candidates);
        end if;
        select * into present from appointments a where a.company_id = company and a.id = appointment for update;
        fee := late_fee(present, policy, coalesce(asked_at, clock_timestamp()));
        result := case
            when present.id is null then 'not_found'
            when present.version <> expected_version then 'stale'
            when not appointment_event_allowed('rescheduled', present.status) then 'not_allowed'
            when calendar_seen <> (select c.calendar_version from companies c where c.id = company)
                then 'calendar_changed'
            when fee < 0 then 'policy'
            else 'done'
        end;
        if result = 'done' then
            perform let_go_of_holds(company, candidates,
                                    wanted_at - make_interval(mins => present.buffer_before_min),
                                    wanted_at + (present.ends_at - present.starts_at)
                                        + make_interval(mins => present.buffer_after_min));
            result := 'slot_taken';
            while tries <= cardinality(candidates) loop
                tries := tries + 1;
                select * into chosen from choose_staff(
                    company, candidates, candidate_roles, appointment_staff(present), present.service_id, capacity_,
                    part_roles, part_from, part_minutes, present.buffer_before_min, present.buffer_after_min, wanted_at,
                    present.time_zone, present.id);
                exit when chosen.staff is null;
                event_data := jsonb_build_object(
                    'starts_at', wanted_at, 'ends_at', wanted_at + (present.ends_at - present.starts_at),
                    'staff_id', chosen.staff[1], 'seat', chosen.seat, 'capacity', capacity_,
                    'parts', appointment_parts(chosen.staff, part_roles, part_from, part_minutes),
                    'offered', slot_offered(wanted_at, present.time_zone, tz_version));
                if fee > 0 then
                    event_data := event_data || jsonb_build_object('fee_cents', present.fee_cents + fee);
                end if;
                begin
                    perform append_appointment_event(present, 'rescheduled', actor, event_data, clock_timestamp());
                    result := 'done';
                    exit;
                exception when exclusion_violation then
                    null;
                end;
            end loop;
            if result = 'slot_taken' then
                raise exception using errcode = 'AP001', message = result;
            end if;
            select * into present from appointments a where a.company_id = company and a.id = appointment;
        end if;
    exception when sqlstate 'AP001' then
        result := 'slot_taken';
    end;
    return query
        select result, present.version, present.status, present.staff_id, present.starts_at, present.ends_at,
               present.fee_cents, s.cancel_hours, s.cancel_fee_cents
        from (select) nothing
        left join services s on s.company_id = company and s.id = present.service_id;
end $$;

do $$
declare
    item regprocedure;
begin
    for item in
        select p.oid::regprocedure from pg_proc p
        where p.pronamespace = 'askpro'::regnamespace
          and p.proname in ('append_appointment_event', 'let_go_of_holds', 'choose_person', 'appointments_on_day',
                            'idle_since', 'choose_staff', 'appointment_parts', 'place_booking', 'late_fee',
                            'change_appointment', 'appointment_staff', 'move_appointment')
    loop
        execute format('grant execute on function %s to askpro_api, askpro_worker', item);
    end loop;
end $$;
grant execute on function keep_staff_time() to askpro_api, askpro_worker, askpro_setup;
