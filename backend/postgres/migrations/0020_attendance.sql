-- Who did not come is written behind to Cal.com like every other change, and compared with it.

alter table reconciliation_differences drop constraint reconciliation_differences_kind_check;
alter table reconciliation_differences add constraint reconciliation_differences_kind_check check (kind in (
    'call_missing', 'end_missing', 'analysis_missing', 'call_unassigned', 'call_unknown_there', 'call_differs',
    'missing_there', 'missing_here', 'time_differs', 'cancelled_there', 'cancelled_here', 'attendance_differs',
    'conflict', 'unmapped', 'doubled'));

-- As in 0009, but that a calendar is told who did not come. It calls a booking over by its own clock, so that neither
-- a beginning nor an end has to be written.
do $$
declare
    before text = pg_get_functiondef('follow_into_calendar()'::regprocedure);
    after  text = replace(before, '(''held'', ''started'', ''completed'', ''no_show'')',
                                  '(''held'', ''started'', ''completed'')');
begin
    if after = before then
        raise exception 'follow_into_calendar is not as it was';
    end if;
    execute after;
end $$;
