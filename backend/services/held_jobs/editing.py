"""A held job with another payload: the held one stays as it was, a new one is put in, and both know of each other."""

from __future__ import annotations

import hashlib

import msgspec

from backend.domain.vocabulary import HeldState, JobOrigin
from backend.postgres.pools import Connection
from backend.queue.held import Replacement, lock_held, replace_held
from backend.services.operating.audit import By, record
from backend.services.operating.refusals import NotPossible

LARGEST = 1_000_000
"""Bytes of a payload."""

_HELD = """
select h.state, h.company_id, coalesce(j.payload, h.payload, '') as payload, coalesce(j.entrypoint, h.entrypoint)
           as entrypoint
from held_jobs h left join pgqueuer j on j.id = h.job_id
where h.job_id = $1
"""


async def held_payload(connection: Connection, job_id: int) -> bytes:
    """A held job's whole payload: not to be shown, but for an edit to begin from. Needs no more than to read.

    Raises NotPossible when the job is not held.
    """
    row = await connection.fetchrow(_HELD, job_id)
    if row is None or row["state"] != HeldState.HELD:
        became = "it is not known" if row is None else f"it was {row['state']}"
        raise NotPossible(f"Job {job_id} is not held: {became}.", "`askpro queue held` lists those that are.")
    payload: bytes = row["payload"]
    return payload


async def edit_and_retry(
    connection: Connection, by: By, job_id: int, payload: bytes, *, expected: bytes, reason: str = ""
) -> int:
    """Put a job with `payload` in for a held one; the new job's id.

    `expected` is the payload that was edited: when the held one's is another by now, nothing is overwritten. What was
    JSON must be JSON. Needs the worker's role and an open transaction. Raises NotPossible, and asyncpg's
    UniqueViolationError when an equal job is put in at the same moment.
    """
    await lock_held(connection, [job_id])
    row = await connection.fetchrow(_HELD, job_id)
    if row is None or row["state"] != HeldState.HELD:
        became = "is not known" if row is None else f"was {row['state']}"
        raise NotPossible(f"Job {job_id} is not held: it {became}.", "Read it anew.")
    if row["payload"] != expected:
        raise NotPossible(f"The payload of job {job_id} is not what you edited.", "Read it anew and edit that.")
    if payload == expected:
        raise NotPossible("Nothing was changed.", "To run it as it is, retry it.")
    if len(payload) > LARGEST:
        raise NotPossible(f"The payload has {len(payload):,} bytes.", f"At most {LARGEST:,} can be put in.")
    if (wrong := not_json(payload)) and not not_json(expected):
        raise NotPossible(f"The payload is not JSON: {wrong}.", "What was JSON has to stay JSON.")
    edited = [Replacement(job_id, row["entrypoint"], payload)]
    new_id = (await replace_held(connection, edited, JobOrigin.EDITED, by=by.actor)).get(job_id)
    if new_id is None:
        raise NotPossible(f"Another job with the same key as {job_id} waits already.", "See what becomes of that one.")
    await record(
        connection,
        by,
        "held.edit",
        f"job {job_id}",
        reason=reason,
        company_id=row["company_id"],
        # The payloads themselves may hold personal data; both jobs keep theirs.
        detail={
            "new_job": new_id,
            "fields": changed(expected, payload),
            "was": _digest(expected),
            "is": _digest(payload),
        },
    )
    return new_id


def not_json(payload: bytes) -> str:
    """What is wrong with it as JSON; empty when nothing is."""
    try:
        msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        return str(wrong)
    return ""


def changed(before: bytes, after: bytes) -> list[str]:
    """The names of the outermost fields that differ; none when one of them is no JSON object."""
    try:
        old, new = msgspec.json.decode(before), msgspec.json.decode(after)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return []
    missing = object()
    return sorted(name for name in {*old, *new} if old.get(name, missing) != new.get(name, missing))


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:16]
