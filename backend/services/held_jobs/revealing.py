"""A job's payload as it is, shown to somebody who says why; the record tells who looked."""

from __future__ import annotations

from backend.postgres.pools import Connection
from backend.services.operating.audit import By, record
from backend.services.operating.refusals import NotPossible

_PAYLOAD = """
select coalesce(j.payload, h.payload, '') as payload, coalesce(j.entrypoint, h.entrypoint) as entrypoint,
       coalesce(h.company_id, case when jsonb_typeof(j.headers) = 'object' then (j.headers ->> 'company')::uuid end)
           as company_id
from (select $1::bigint as id) asked
left join pgqueuer j on j.id = asked.id
left join held_jobs h on h.job_id = asked.id
where j.id is not null or h.job_id is not null
"""


async def reveal_payload(connection: Connection, by: By, job_id: int, *, reason: str) -> bytes:
    """The job's payload as it was put in. Recorded before it is shown, so commit before you show it.

    Needs the worker's role and an open transaction. Raises NotPossible without a reason, and for a job whose payload
    is not kept any more.
    """
    if not reason.strip():
        raise NotPossible("A payload is shown for a reason.", "Say in a few words what you need it for.")
    row = await connection.fetchrow(_PAYLOAD, job_id)
    if row is None:
        raise NotPossible(f"The payload of job {job_id} is not kept.", "Finished jobs leave their runs only.")
    await record(
        connection,
        by,
        "job.reveal",
        f"job {job_id}",
        reason=reason.strip(),
        company_id=row["company_id"],
        detail={"type": row["entrypoint"], "bytes": len(row["payload"])},
    )
    payload: bytes = row["payload"]
    return payload
