"""How a call and an appointment are spelled out as a row, once for the lists and for the details.

A statement names the places: `{call_row}` with `{call_joins}` for the alias `c`, `{appointment_row}` with
`{appointment_joins}` for the alias `a`.
"""

from __future__ import annotations

CALL_ROW = """json_build_object(
            'id', c.id,
            'provider_call_id', left(c.provider_call_id, 100),
            'company', co.slug,
            'branch', coalesce(b.slug, ''),
            'direction', coalesce(left(c.direction, 20), ''),
            'from_number', coalesce(left(c.from_number, 64), ''),
            'to_number', coalesce(left(c.to_number, 64), ''),
            'caller', left(coalesce(nullif(concat_ws(' ', nullif(cu.first_name, ''), nullif(cu.last_name, '')), ''),
                                    c.caller_name, ''), 200),
            'status', c.status,
            'outcome', coalesce(c.outcome, ''),
            'sentiment', coalesce(c.sentiment, ''),
            'started_at', date_part('epoch', c.started_at),
            'ended_at', date_part('epoch', c.ended_at),
            'duration_s', c.duration_ms / 1000.0::float8,
            'cost_cents', c.cost_cents,
            'customer_id', c.customer_id,
            'appointment_id', (select a.id from appointments a where a.company_id = c.company_id and a.call_id = c.id
                               order by a.created_at limit 1),
            'summary', left(coalesce(c.summary, ''), 240))"""

CALL_JOINS = """join companies co on co.id = c.company_id
        left join branches b on b.company_id = c.company_id and b.id = c.branch_id
        left join customers cu on cu.company_id = c.company_id and cu.id = c.customer_id"""

APPOINTMENT_ROW = """json_build_object(
            'id', a.id,
            'company', co.slug,
            'branch', coalesce(b.slug, ''),
            'staff', coalesce(left(st.name, 100), ''),
            'service', coalesce(left(sv.name, 100), ''),
            'customer', left(coalesce(nullif(concat_ws(' ', nullif(cu.first_name, ''), nullif(cu.last_name, '')), ''),
                                      a.attendee_name, ''), 200),
            'customer_id', a.customer_id,
            'call_id', a.call_id,
            'starts_at', date_part('epoch', a.starts_at),
            'ends_at', date_part('epoch', a.ends_at),
            'time_zone', a.time_zone,
            'status', a.status,
            'source', a.source,
            'price_cents', a.price_cents,
            'created_at', date_part('epoch', a.created_at),
            'version', a.version)"""

APPOINTMENT_JOINS = """join companies co on co.id = a.company_id
        left join branches b on b.company_id = a.company_id and b.id = a.branch_id
        left join staff st on st.company_id = a.company_id and st.id = a.staff_id
        left join services sv on sv.company_id = a.company_id and sv.id = a.service_id
        left join customers cu on cu.company_id = a.company_id and cu.id = a.customer_id"""


def spelled_out(statement: str) -> str:
    """The statement with the rows in the places that it names."""
    return (
        statement.replace("{call_row}", CALL_ROW)
        .replace("{call_joins}", CALL_JOINS)
        .replace("{appointment_row}", APPOINTMENT_ROW)
        .replace("{appointment_joins}", APPOINTMENT_JOINS)
    )
