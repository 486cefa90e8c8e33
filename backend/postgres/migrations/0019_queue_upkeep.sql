-- A busy queue is swept by its workers, see backend/queue/upkeep.py.
grant maintain on pgqueuer to askpro_worker;

-- Every statement that puts jobs in asks for their priority itself: no trigger has to know which job types those are.
drop trigger pgqueuer_priority on pgqueuer;
drop function put_in_by_policy();

create function priority_of(kind text) returns integer
language sql stable security definer set search_path = askpro, pg_temp
as $$ select coalesce((select priority from job_priorities where entrypoint = kind), 0) $$;
revoke execute on function priority_of(text) from public;
grant execute on function priority_of(text) to askpro_api, askpro_worker, askpro_setup, askpro_intake;
comment on function priority_of(text) is 'with which priority jobs of this type start, as the workers'' policies say';

do $$
declare
    puts_in record;
    before  text;
    after   text;
begin
    for puts_in in
        select * from (values ('push_to_calendar(uuid, uuid[], integer[])', 'default.calendar_sync'),
                              ('follow_appointment_events()', 'notifications.follow_up')) known (name, kind)
    loop
        before = pg_get_functiondef(puts_in.name::regprocedure);
        after = replace(before, format('select 0, %L,', puts_in.kind), format('select priority_of(%1$L), %1$L,', puts_in.kind));
        if after = before then
            raise exception '% is not as it was', puts_in.name;
        end if;
        execute after;
    end loop;
end $$;
