"""The statements behind `backend.watch.details`: each one round trip that answers with one JSON value, or null.

Pieces that several of them share have a name in braces; bytes travel as base64.
"""

from __future__ import annotations

from backend.watch.job_details import RUN_TRACEBACK
from backend.watch.row_sql import spelled_out

_DELIVERY = """json_build_object(
            'id', w.id, 'provider', w.provider, 'event', left(w.event, 100), 'subject', left(w.subject, 200),
            'company', coalesce((select slug from companies where id = w.company_id), ''),
            'state', w.state, 'error', left(coalesce(w.error, ''), 2000),
            'received_at', date_part('epoch', w.received_at), 'processed_at', date_part('epoch', w.processed_at),
            'size_bytes', octet_length(w.body))"""

_CALLBACK = """json_build_object(
            'id', r.id, 'reason', left(r.reason, 200), 'name', left(r.name, 200),
            'phone', coalesce(left(r.phone, 64), ''), 'state', r.state, 'due_at', date_part('epoch', r.due_at),
            'created_at', date_part('epoch', r.created_at), 'closed_by', coalesce(left(r.closed_by, 200), ''),
            'note', left(r.note, 500))"""

_EVENT = """json_build_object(
            'version', e.version, 'kind', e.kind, 'actor', left(e.actor, 200),
            'occurred_at', date_part('epoch', e.occurred_at),
            'data', case when jsonb_typeof(e.data) = 'object' then e.data else '{}' end)"""

_JOB = """json_build_object(
            'job_id', known.job_id,
            'entrypoint', coalesce(j.entrypoint, h.entrypoint, ran.entrypoint, ''),
            'company', coalesce((select slug from companies where id::text = j.headers ->> 'company'),
                                (select slug from companies where id = coalesce(h.company_id, ran.company_id)), ''),
            'state', coalesce(j.status::text, 'gone'),
            'attempts', coalesce(j.attempts, h.attempts, ran.attempt, 0),
            'priority', coalesce(j.priority, 0),
            'enqueued_at', date_part('epoch', coalesce(j.created, h.enqueued_at)),
            'execute_after', date_part('epoch', j.execute_after),
            'heartbeat_at', case when j.status = 'picked' then date_part('epoch', j.heartbeat) end,
            'dedupe_key', coalesce(left(j.dedupe_key, 500), ''),
            'payload', replace(encode(substr(coalesce(j.payload, h.payload, ''), 1, 100000), 'base64'), E'\\n', ''),
            'held', case when h.job_id is not null then json_build_object(
                'queue', h.queue, 'fingerprint', h.fingerprint, 'error_type', left(h.error_type, 500),
                'message', left(h.message, 20000), 'traceback', left(h.traceback, 100000), 'attempts', h.attempts,
                'enqueued_at', date_part('epoch', h.enqueued_at), 'held_at', date_part('epoch', h.held_at),
                'state', h.state, 'decided_at', date_part('epoch', h.decided_at),
                'decided_by', coalesce(h.decided_by, '')) end,
            'runs', (select coalesce(json_agg(json_build_object(
                    'job_id', r.job_id, 'attempt', r.attempt, 'entrypoint', r.entrypoint,
                    'node', coalesce((select node from workers where id = r.worker_id), ''), 'worker_id', r.worker_id,
                    'started_at', date_part('epoch', r.started_at), 'ended_at', date_part('epoch', r.ended_at),
                    -- A start without an end whose worker has the job no more: it brought the worker down.
                    'outcome', coalesce(r.outcome, case when j.queue_manager_id = r.worker_id and j.status = 'picked'
                                                        then '' else 'crashed' end),
                    'waited_s', r.waited_ms / 1000.0::float8,
                    'error', left(coalesce(r.error, ''), 2000), 'traceback', {run_traceback})
                    order by r.started_at), '[]')
                from (select * from job_runs where job_id = known.job_id order by started_at desc limit 200) r))"""

_JOB_JOINS = """left join pgqueuer j on j.id = known.job_id
        left join held_jobs h on h.job_id = known.job_id
        left join lateral (select entrypoint, company_id, attempt from job_runs
                           where job_id = known.job_id order by started_at desc limit 1) ran on true"""

# Each with its own condition: the engine has indexes of those that wait and of those that run, beside many held ones.
_WAITING_OR_RUNNING = """(select * from pgqueuer where status = 'queued'
              union all select * from pgqueuer where status = 'picked')"""

_PIECES = {
    "delivery": _DELIVERY,
    "callback": _CALLBACK,
    "event": _EVENT,
    "job": _JOB,
    "job_joins": _JOB_JOINS,
    "run_traceback": RUN_TRACEBACK,
    "waiting_or_running": _WAITING_OR_RUNNING,
}


def _complete(statement: str) -> str:
    for name, piece in _PIECES.items():
        statement = statement.replace("{" + name + "}", piece)
    return spelled_out(statement)


CALL = _complete("""
select json_build_object(
    'row', {call_row},
    'provider', c.provider,
    'agent_id', coalesce(c.agent_id, ''),
    'call_type', coalesce(c.call_type, ''),
    'disconnection_reason', coalesce(left(c.disconnection_reason, 200), ''),
    'caller_name', coalesce(left(c.caller_name, 500), ''),
    'summary', coalesce(left(c.summary, 20000), ''),
    'transcript', coalesce(left(c.transcript, 100000), ''),
    'recording_url', coalesce(left(c.recording_url, 2000), ''),
    'latency', case when jsonb_typeof(c.latency) = 'object' then c.latency else '{}' end,
    'events', c.events,
    'created_at', date_part('epoch', c.created_at),
    'updated_at', date_part('epoch', c.updated_at),
    'appointments', (select coalesce(json_agg({appointment_row} order by a.starts_at), '[]')
        from (select * from appointments where company_id = c.company_id and call_id = c.id limit 50) a
        {appointment_joins}),
    'callbacks', (select coalesce(json_agg({callback} order by r.created_at), '[]')
        from (select * from callback_requests where company_id = c.company_id and call_id = c.id limit 50) r),
    'deliveries', (select coalesce(json_agg({delivery} order by w.id), '[]')
        from (select * from webhook_inbox where provider = c.provider and subject = c.provider_call_id
              order by id limit 50) w))
from calls c
        {call_joins}
where c.id = $1
""")

CUSTOMER = _complete("""
select json_build_object(
    'id', p.id,
    'company', (select slug from companies where id = p.company_id),
    'first_name', left(p.first_name, 500),
    'last_name', left(p.last_name, 500),
    'email', coalesce(left(p.email, 500), ''),
    'phone', coalesce(left(p.phone, 64), ''),
    'tags', p.tags,
    'notes', left(p.notes, 20000),
    'is_vip', p.is_vip,
    'no_show_count', p.no_show_count,
    'consented_at', date_part('epoch', p.consented_at),
    'erased_at', date_part('epoch', p.erased_at),
    'created_at', date_part('epoch', p.created_at),
    'updated_at', date_part('epoch', p.updated_at),
    'version', p.version,
    'calls', (select coalesce(json_agg({call_row} order by c.started_at desc), '[]')
        from (select * from calls where company_id = p.company_id and customer_id = p.id
              order by started_at desc limit 50) c
        {call_joins}),
    'appointments', (select coalesce(json_agg({appointment_row} order by a.starts_at desc), '[]')
        from (select * from appointments where company_id = p.company_id and customer_id = p.id
              order by starts_at desc limit 50) a
        {appointment_joins}),
    'callbacks', (select coalesce(json_agg({callback} order by r.created_at desc), '[]')
        from (select * from callback_requests where company_id = p.company_id and customer_id = p.id
              order by created_at desc limit 50) r))
from customers p
where p.id = $1
""")

APPOINTMENT = _complete("""
select json_build_object(
    'row', {appointment_row},
    'seat', a.seat,
    'buffer_before_min', a.buffer_before_min,
    'buffer_after_min', a.buffer_after_min,
    'attendee_name', left(a.attendee_name, 500),
    'attendee_email', coalesce(left(a.attendee_email, 500), ''),
    'attendee_phone', coalesce(left(a.attendee_phone, 64), ''),
    'offered', case when jsonb_typeof(a.offered) = 'object' then a.offered else '{}' end,
    'provider_booking_uid', coalesce(left(a.provider_booking_uid, 200), ''),
    'idempotency_key', coalesce(left(a.idempotency_key, 500), ''),
    'hold_expires_at', date_part('epoch', a.hold_expires_at),
    'updated_at', date_part('epoch', a.updated_at),
    'calendar', (select json_build_object(
            'state', k.state, 'uid', coalesce(left(k.uid, 200), ''), 'wanted_version', k.wanted_version,
            'synced_version', k.synced_version, 'attempts', k.attempts,
            'last_error', coalesce(left(k.last_error, 1000), ''), 'last_at', date_part('epoch', k.last_at),
            'synced_at', date_part('epoch', k.synced_at), 'pending_since', date_part('epoch', k.pending_since))
        from calendar_sync k where k.company_id = a.company_id and k.appointment_id = a.id),
    'events', (select coalesce(json_agg({event} order by e.version), '[]')
        from (select * from appointment_events where company_id = a.company_id and appointment_id = a.id
              order by version desc limit 200) e),
    'notified', (select coalesce(json_agg(json_build_object(
            'kind', n.kind, 'state', n.state, 'detail', left(n.detail, 500),
            'at', date_part('epoch', coalesce(n.decided_at, n.created_at))) order by n.created_at), '[]')
        from (select * from notifications where company_id = a.company_id and appointment_id = a.id
              order by created_at desc limit 50) n))
from appointments a
        {appointment_joins}
where a.id = $1
""")

JOB = _complete("""
select {job}
from (select $1::bigint as job_id) known
        {job_joins}
where j.id is not null or h.job_id is not null or ran.entrypoint is not null
""")

WEBHOOK = _complete("""
select json_build_object(
    'row', {delivery},
    'dedup_key', left(w.dedup_key, 500),
    'branch', coalesce((select slug from branches where company_id = w.company_id and id = w.branch_id), ''),
    'headers', case when jsonb_typeof(w.headers) = 'object' then w.headers else '{}' end,
    'body', replace(encode(substr(w.body, 1, 100000), 'base64'), E'\\n', ''),
    'call_id', (select id from calls where provider = w.provider and provider_call_id = w.subject),
    'jobs', (select coalesce(json_agg({job} order by known.job_id), '[]')
        from (select id as job_id from {waiting_or_running} each
              where entrypoint like 'webhooks.%' and position(convert_to(w.id::text, 'UTF8') in payload) > 0
              union
              -- index held_texts_searched: a few letters lead there, the rest is compared
              select job_id from held_texts t join held_jobs using (job_id)
              where t.searched like '%' || right(w.id::text, 10) || '%'
                and position(convert_to(w.id::text, 'UTF8') in payload) > 0
              limit 10) known
        {job_joins}))
from webhook_inbox w
where w.id = $1
""")

LINEAGE = _complete("""
with c as materialized (
    select * from calls where id = $1
),
a as materialized (
    select x.* from appointments x, c where x.company_id = c.company_id and x.call_id = c.id limit 50
),
moments as (
    select started_at as at, 'call' as kind, id::text as id, 'call began' as what, status as state,
           null::float8 as took_s
    from c
    union all
    select ended_at, 'call', id::text, concat_ws(': ', 'call ended', outcome), status, duration_ms / 1000.0::float8
    from c where ended_at is not null
    union all
    (select w.received_at, 'webhook', w.id::text, 'webhook ' || left(w.event, 100), w.state,
            date_part('epoch', w.processed_at - w.received_at)
     from webhook_inbox w, c where w.provider = c.provider and w.subject = c.provider_call_id
     order by w.id limit 100)
    union all
    (select h.held_at, 'job', h.job_id::text, concat(h.entrypoint, ' held: ', left(h.error_type, 200)), h.state, null
     from held_texts t join held_jobs h using (job_id), c
     where t.company_id = c.company_id
       and t.searched like '%' || translate(lower(right(c.provider_call_id, 10)), '\\%_', '___') || '%'
       and position(convert_to(to_json(c.provider_call_id)::text, 'UTF8') in h.payload) > 0
     limit 50)
    union all
    (select j.created, 'job', j.id::text, j.entrypoint, j.status::text, null
     from {waiting_or_running} j, c
     where j.headers ->> 'company' = c.company_id::text
       and position(convert_to(to_json(c.provider_call_id)::text, 'UTF8') in j.payload) > 0
     limit 50)
    union all
    (select e.occurred_at, 'appointment', e.appointment_id::text, concat('appointment ', e.kind, ' by ', e.actor),
            a.status, null
     from appointment_events e join a on a.company_id = e.company_id and a.id = e.appointment_id
     order by e.occurred_at limit 200)
    union all
    select p.created_at, 'customer', p.id::text, 'customer known since', '', null
    from customers p, c where p.company_id = c.company_id and p.id = c.customer_id
    union all
    select r.created_at, 'callback', r.id::text, 'call back: ' || left(r.reason, 200), r.state, null
    from callback_requests r, c where r.company_id = c.company_id and r.call_id = c.id
)
select json_build_object(
    'call', {call_row},
    'moments', (select coalesce(json_agg(json_build_object(
        'at', date_part('epoch', at), 'kind', kind, 'id', id, 'what', what, 'state', coalesce(state, ''),
        'took_s', took_s) order by at, kind), '[]') from moments))
from c
        {call_joins}
""")

PAGE_CALLS = _complete("""
select json_build_object(
    'rows', coalesce(json_agg({call_row} order by c.started_at desc, c.id desc), '[]'),
    'looked_at', null)
from (select * from calls where (started_at, id) < (to_timestamp($1::float8), $2::uuid)
      order by started_at desc, id desc limit $3) c
        {call_joins}
""")

SEARCH_CALLS = _complete("""
with looked_at as materialized (
    select id, started_at, company_id, customer_id, provider_call_id, from_number, to_number, caller_name, status,
           outcome
    from calls where (started_at, id) < (to_timestamp($1::float8), $2::uuid)
    order by started_at desc, id desc limit 20000
),
found as materialized (
    select k.id
    from looked_at k
    join companies co on co.id = k.company_id
    left join customers cu on cu.company_id = k.company_id and cu.id = k.customer_id
    where k.from_number like $4 or k.to_number like $4 or k.provider_call_id ilike $4 or k.caller_name ilike $4
       or concat_ws(' ', cu.first_name, cu.last_name) ilike $4 or k.id::text like $4 or co.slug ilike $4
       or k.status = btrim($4, '%') or k.outcome = btrim($4, '%')
    order by k.started_at desc, k.id desc limit $3
)
select json_build_object(
    'rows', (select coalesce(json_agg({call_row} order by c.started_at desc, c.id desc), '[]')
        from found join calls c using (id)
        {call_joins}),
    'looked_at', (select json_build_array(date_part('epoch', started_at), id) from looked_at
                  where (select count(*) from looked_at) = 20000 order by started_at, id limit 1))
""")

HELD_JOBS = """
select coalesce(json_agg(json_build_object(
    'job_id', h.job_id, 'entrypoint', h.entrypoint, 'company', coalesce(co.slug, ''), 'message', left(h.message, 500),
    'attempts', h.attempts, 'enqueued_at', date_part('epoch', h.enqueued_at), 'held_at', date_part('epoch', h.held_at)
    ) order by h.held_at desc, h.job_id desc), '[]')
from (select * from held_jobs where fingerprint = $1 and state = 'held' order by held_at desc limit 500) h
left join companies co on co.id = h.company_id
"""
