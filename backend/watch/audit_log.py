"""The record of what was done by hand, read a page at a time. Needs no more than to read."""

from __future__ import annotations

import msgspec

from backend.postgres.pools import Connection

PAGE = 200
"""Entries read at once."""

_PAGE = """
select coalesce(json_agg(json_build_object(
           'id', a.id, 'at', extract(epoch from a.at), 'actor', a.actor, 'db_user', a.db_user, 'node', a.node,
           'action', a.action, 'subject', a.subject, 'company', coalesce(c.slug, ''), 'reason', a.reason,
           'detail', a.detail
       ) order by a.id desc), '[]')
from (
    select * from audit_log
    where ($1::bigint is null or id < $1)
      and ($2 = '' or concat_ws(' ', actor, action, subject, reason, node, detail::text) ilike all ($3::text[]))
    order by id desc
    limit $4
) a
left join companies c on c.id = a.company_id
"""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done."""

    id: int
    at: float
    """Unix seconds."""
    actor: str
    """The person, as the machine they sat at knows them; or the part of the system."""
    db_user: str
    """The login role."""
    node: str
    action: str
    """`held.retry`, `queue.pause`."""
    subject: str
    """To what."""
    company: str
    """Slug; empty when it concerns no single one."""
    reason: str
    detail: dict[str, object]


async def audit_entries(
    connection: Connection, *, words: str = "", before: int | None = None, limit: int = PAGE
) -> tuple[AuditEntry, ...]:
    """The newest entries, or those before the entry `before`, in which every one of `words` stands. Newest first."""
    wanted = words.replace("\0", " ").split()[:8]
    patterns = ["%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%" for word in wanted]
    answer = await connection.fetchval(_PAGE, before, " ".join(wanted), patterns, max(1, min(limit, 1_000)))
    return msgspec.json.decode(answer, type=tuple[AuditEntry, ...])
