"""The register of nodes: each name belongs to one home; who falls silent has vanished, who says goodbye has left.

All times are the database's, so that clocks of machines need not agree.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from backend.domain.vocabulary import PauseKind
from backend.postgres.pools import Connection
from backend.services.operating.audit import By, record
from backend.services.operating.pauses import resume
from backend.services.operating.refusals import AlreadySo, NotPossible
from backend.services.operating.subjects import known_node

BEAT_S = 2.0
"""A node tells of itself so often."""

VANISHED_S = 6.0
"""A node that has been silent for so long has vanished: three beats missed. Told on within 10 s, the look included."""

GRACE_S = 10.0
"""A publisher that ends in good order while its node goes on is not missed for so long."""


class NameTaken(Exception):
    """Another node works under this name; the message says where, in a sentence."""

    def __init__(self, node: str, home: str, silent_s: float) -> None:
        super().__init__(
            f"There is a node named {node} already, at {home} (heard of {silent_s:.0f} s ago):"
            " two nodes need two names."
        )
        self.home = home
        self.silent_s = silent_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """A node as it introduces itself."""

    node: str
    home: str
    """Its machine and directory."""
    version: str
    is_joined: bool


_CLAIM = """
insert into nodes as n (node, home, version, is_joined) values ($1, $2, $3, $4)
on conflict (node) do update
set home = excluded.home, version = excluded.version, is_joined = excluded.is_joined, started_at = now(),
    seen_at = now(), left_at = null, told = null, rival_home = null, rival_at = null
where n.home = excluded.home or n.left_at is not null
   or n.seen_at < now() - make_interval(secs => $5) and not exists (
          select from workers w where w.node = n.node and w.heartbeat_at > now() - make_interval(secs => $5))
returning true
"""

_BEAT = """
insert into nodes as n (node, home, version, is_joined, told) values ($1, $2, $3, $4, $6::jsonb)
on conflict (node) do update
set home = excluded.home, version = excluded.version, is_joined = excluded.is_joined, seen_at = now(), left_at = null,
    told = excluded.told,
    started_at = case when n.home = excluded.home and n.left_at is null then n.started_at else now() end
where n.home = excluded.home or n.left_at is not null
   or n.seen_at < now() - make_interval(secs => $5) and not exists (
          select from workers w where w.node = n.node and w.heartbeat_at > now() - make_interval(secs => $5))
returning true
"""

_RIVAL = """
update nodes set rival_home = $2, rival_at = now() where node = $1
returning home, date_part('epoch', now() - seen_at) as silent_s
"""

_STANDING = """
select left_at is null and (
           seen_at > now() - make_interval(secs => $2) or exists (
               select from workers w where w.node = n.node and w.heartbeat_at > now() - make_interval(secs => $2))
       ) as works
from nodes n where node = $1
"""


async def claim(connection: Connection, me: Self) -> None:
    """Take the name for this home before the node starts. Raises NameTaken; a silent or departed owner gives way."""
    if not await connection.fetchval(_CLAIM, me.node, me.home, me.version, me.is_joined, VANISHED_S):
        await _complain(connection, me)


async def beat(connection: Connection, me: Self, told: str) -> None:
    """Tell that the node works, with its figures as JSON. Raises NameTaken when another home holds the name."""
    if not await connection.fetchval(_BEAT, me.node, me.home, me.version, me.is_joined, VANISHED_S, told):
        await _complain(connection, me)


async def leave(connection: Connection, me: Self) -> None:
    """Say goodbye: the node stops in good order."""
    await connection.execute("update nodes set left_at = now() where node = $1 and home = $2", me.node, me.home)


async def back_soon(connection: Connection, me: Self) -> None:
    """Say that only the publisher starts afresh: its silence means nothing for some seconds."""
    await connection.execute(
        "update nodes set seen_at = now() + make_interval(secs => $3) where node = $1 and home = $2",
        me.node,
        me.home,
        GRACE_S,
    )


async def forget(connection: Connection, by: By, node: str, *, reason: str = "") -> None:
    """Strike a node that does not work any more off the register, with what was said of it. Recorded.

    Another machine of that name begins afresh: not drained, with the slots that hold for all. Raises NotPossible.
    """
    row = await connection.fetchrow(_STANDING, node, VANISHED_S)
    if row is None:
        raise await not_registered(connection, node)
    if row["works"]:
        raise NotPossible(f"{node} works: it would be back in a moment.", "`askpro down` there stops it.")
    with suppress(AlreadySo):
        await resume(connection, by, PauseKind.NODE, node, reason=reason)
    await connection.execute("delete from queue_slots where node = $1", node)
    await connection.execute("delete from nodes where node = $1", node)
    await record(connection, by, "node.forget", node, reason=reason)


async def not_registered(connection: Connection, node: str) -> NotPossible:
    """The refusal for a node that the register does not have. Raises NotPossible itself where nothing knows it."""
    await known_node(connection, node)
    return NotPossible(f"{node} is not registered: no machine of that name works here.", "`askpro node ls` lists them.")


async def _complain(connection: Connection, me: Self) -> None:
    """Leave a note for the fleet that two want one name. Raises NameTaken."""
    row = await connection.fetchrow(_RIVAL, me.node, me.home)
    raise NameTaken(me.node, row["home"] if row else "another place", row["silent_s"] if row else 0.0)
