-- The calendar of a company: breaks, exceptions, composite services, seats, policies; and its version.
-- Times are wall time of the branch. A span that ends at or before its start ends on the next day (a night shift;
-- 00:00-00:00 is the whole day), and belongs to the day on which it starts.

alter table companies
    add column calendar_version bigint not null default 1;
comment on column companies.calendar_version is
    'raised by every change of what times and services are offered: what was computed from another version is stale';

alter table branches
    add column is_active boolean not null default true,
    -- Not checked for what is there already: a code that was never checked must not keep the system from starting.
    add constraint branches_bundesland check (bundesland in (
        'BB', 'BE', 'BW', 'BY', 'HB', 'HE', 'HH', 'MV', 'NI', 'NW', 'RP', 'SH', 'SL', 'SN', 'ST', 'TH')
        or bundesland = '') not valid;
comment on column branches.bundesland is 'ISO 3166-2:DE without DE-; whose public holidays are kept; empty: none are';
comment on column branches.opening_hours is
    '{"mon": [["08:00:00", "12:30:00"], …], …}: spans by day (mon to sun), absent days are closed; {}: no limit';

alter table services
    add column step_min integer not null default 15 check (step_min between 1 and 1440),
    add column capacity integer not null default 1 check (capacity between 1 and 500),
    add column cancel_hours integer not null default 0 check (cancel_hours between 0 and 8760),
    add column cancel_fee_cents integer not null default 0 check (cancel_fee_cents >= 0),
    add column calcom_event_type_id bigint check (calcom_event_type_id > 0);
comment on column services.step_min is 'slots start every so many minutes, counted from the start of the window';
comment on column services.capacity is 'how many may be booked with one staff member at the same time (seats)';
comment on column services.cancel_hours is 'free of charge until so many hours before; later it costs cancel_fee_cents';

-- A composite service: its parts, one after the other, together as long as the service. The staff member is free
-- during a gap, while the customer waits.
create table service_segments (
    company_id       uuid not null,
    service_id       uuid not null,
    position         smallint not null check (position between 1 and 20),
    label            text not null check (label <> ''),
    duration_min     integer not null check (duration_min between 1 and 1440),
    is_gap           boolean not null default false,
    role             text,
    skill_service_id uuid,
    primary key (service_id, position),
    check (is_gap = (role is null)),
    check (not is_gap or skill_service_id is null),
    foreign key (company_id, service_id) references services (company_id, id),
    foreign key (company_id, skill_service_id) references services (company_id, id)
);
comment on column service_segments.role is 'parts with the same role are done by the same person';
comment on column service_segments.skill_service_id is
    'whoever offers this service can do the part; null: whoever offers the composite service';
create index service_segments_service on service_segments (company_id, service_id);
create index service_segments_skill on service_segments (company_id, skill_service_id)
    where skill_service_id is not null;

create table breaks (
    id          uuid primary key default uuidv7(),
    company_id  uuid not null,
    staff_id    uuid not null,
    weekday     smallint not null check (weekday between 1 and 7),
    starts      time not null,
    ends        time not null,
    unique (staff_id, weekday, starts, ends),
    foreign key (company_id, staff_id) references staff (company_id, id)
);
comment on table breaks is 'taken out of the weekly working hours, at whichever branch; not out of exceptional hours';
create index breaks_staff on breaks (company_id, staff_id);

-- What differs on certain days, for a branch (no staff member), for a staff member everywhere (no branch), or for a
-- staff member at one branch (both).
create table calendar_exceptions (
    id          uuid primary key default uuidv7(),
    company_id  uuid not null references companies,
    staff_id    uuid,
    branch_id   uuid,
    kind        text not null check (kind in ('closed', 'hours', 'extra')),
    first_day   date not null,
    last_day    date not null,
    starts      time,
    ends        time,
    reason      text not null default '',
    check (staff_id is not null or branch_id is not null),
    check (kind = 'closed' or branch_id is not null),
    check (last_day between first_day and first_day + 1100),
    check ((starts is null) = (ends is null)),
    check (kind = 'closed' or starts is not null),
    unique nulls not distinct (company_id, staff_id, branch_id, kind, first_day, last_day, starts, ends),
    foreign key (company_id, staff_id) references staff (company_id, id),
    foreign key (company_id, branch_id) references branches (company_id, id)
);
comment on column calendar_exceptions.kind is
    'closed: not there on these days, or (with times) not in this span; hours: these instead of the weekly ones, several '
    'rows are several spans; extra: these as well';
comment on column calendar_exceptions.last_day is 'included';
create index calendar_exceptions_staff on calendar_exceptions (company_id, staff_id, last_day);
create index calendar_exceptions_branch on calendar_exceptions (company_id, branch_id, last_day);

-- The version ---------------------------------------------------------------------------------------------------------

create function raise_calendar_version() returns trigger
language plpgsql
as $$
begin
    update companies set calendar_version = calendar_version + 1
    where id in (select company_id from changed);
    return null;
end $$;

do $$
declare
    item text;
    happening text;
begin
    foreach item in array array['branches', 'services', 'service_segments', 'staff', 'staff_branches', 'staff_services',
                                'working_hours', 'breaks', 'calendar_exceptions'] loop
        foreach happening in array array['insert', 'update', 'delete'] loop
            execute format('create trigger %I after %s on %I referencing %s table as changed
                            for each statement execute function raise_calendar_version()',
                           'calendar_version_' || happening, happening, item,
                           case happening when 'delete' then 'old' else 'new' end);
        end loop;
    end loop;
end $$;

-- Deleting what nothing refers to -------------------------------------------------------------------------------------

-- Delete branches, services or staff (`item`) with what only belongs to their calendar. What appointments, calls or
-- customers refer to stays, without calendar; its id is returned. The foreign keys decide, so nobody can be too fast.
create function delete_unreferenced(item text, company uuid, ids uuid[]) returns setof uuid
language plpgsql
as $$
#variable_conflict use_column
declare
    one uuid;
begin
    case item
        when 'branches' then
            delete from calendar_exceptions where company_id = company and branch_id = any (ids);
            delete from working_hours where company_id = company and branch_id = any (ids);
            delete from staff_branches where company_id = company and branch_id = any (ids);
        when 'staff' then
            delete from calendar_exceptions where company_id = company and staff_id = any (ids);
            delete from breaks where company_id = company and staff_id = any (ids);
            delete from working_hours where company_id = company and staff_id = any (ids);
            delete from staff_branches where company_id = company and staff_id = any (ids);
            delete from staff_services where company_id = company and staff_id = any (ids);
        when 'services' then
            delete from service_segments where company_id = company and service_id = any (ids);
            delete from staff_services where company_id = company and service_id = any (ids);
    end case;
    foreach one in array ids loop
        begin
            execute format('delete from %I where company_id = $1 and id = $2', item) using company, one;
        exception when foreign_key_violation then
            return next one;
        end;
    end loop;
end $$;

-- Row-level security and grants ---------------------------------------------------------------------------------------

do $$
declare
    item text;
begin
    foreach item in array array['service_segments', 'breaks', 'calendar_exceptions'] loop
        execute format('alter table %I enable row level security', item);
        execute format('alter table %I force row level security', item);
        execute format('create policy tenant on %I to askpro_api, askpro_worker
                        using (company_id = (select current_company())) with check (company_id = (select current_company()))', item);
        execute format('create policy across on %I for select to askpro_watch, askpro_console using (true)', item);
        execute format('create policy setup on %I to askpro_setup using (true) with check (true)', item);
    end loop;
end $$;

grant select on service_segments, breaks, calendar_exceptions to askpro_api, askpro_worker;
grant select, insert, update, delete on service_segments, breaks, calendar_exceptions to askpro_setup;
grant execute on function delete_unreferenced(text, uuid, uuid[]) to askpro_setup;
