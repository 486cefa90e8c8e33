"""Slots: how many jobs of a queue run at once on a node, said by a person (pinned) or shifted by the balancer."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backend.domain.balancing import Shift
from backend.postgres.pools import Connection
from backend.queue.policies import Policies, in_force
from backend.services.operating.audit import By, kept_reason, record
from backend.services.operating.refusals import AlreadySo, NotPossible
from backend.services.operating.subjects import known_node, known_queue

BALANCER = "balancer"
"""Who decided what no person did."""

# What is asked for all nodes has no one answer where the balancer decided about each: then the first node's.
_NOW = """
select node, slots, is_pinned from queue_slots
where queue = $1 and (node in ($2, '') or $2 = '' and not is_pinned)
order by node = $2 desc, node limit 1
"""

_SAY = """
insert into queue_slots (queue, node, slots, is_pinned, decided_by, reason) values ($1, $2, $3, true, $4, $5)
on conflict (queue, node) do update
set slots = excluded.slots, is_pinned = true, decided_by = excluded.decided_by, reason = excluded.reason,
    decided_at = now()
"""

# What is said for all nodes holds on those that the balancer decided about as well.
_FORGET_SHIFTS = "delete from queue_slots where queue = $1 and not is_pinned and ($2 = '' or node = $2)"

_UNPIN = "delete from queue_slots where queue = $1 and node = $2 and is_pinned returning slots"

_FOR_ALL = "select slots from queue_slots where queue = $1 and node = ''"

_NOTE = """
insert into slot_changes (queue, node, before, after, decided_by, why) values ($1, $2, $3, $4, $5, $6)
"""

_SET_BALANCING = "update balancing set is_on = $1, said_by = $2, said_at = now() where is_on is distinct from $1"

_RESET = "delete from queue_slots where not is_pinned returning queue, node, slots"

_SHIFT = """
insert into queue_slots as known (queue, node, slots, is_pinned, decided_by, reason)
select $1, $2, $4, false, $6, $5
where (select is_on from balancing)
  -- Without a row it has its policy's number, whatever the balancer saw.
  and ($3::integer = $7::integer or exists (select from queue_slots said where said.queue = $1 and said.node = $2))
  and not exists (select from queue_slots said where said.queue = $1 and said.node in ($2, '') and said.is_pinned)
on conflict (queue, node) do update
set slots = excluded.slots, decided_by = excluded.decided_by, reason = excluded.reason, decided_at = now()
where known.slots = $3 and not known.is_pinned
returning slots
"""

_HOME = "delete from queue_slots where queue = $1 and node = $2 and slots = $3 and not is_pinned"


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """What was said about a queue's slots."""

    queue: str
    node: str
    """Empty: every node without a number of its own."""
    before: int
    after: int
    is_pinned: bool
    """Whether a person's number holds now."""


async def scale(
    connection: Connection,
    by: By,
    queue: str,
    slots: int,
    *,
    node: str = "",
    reason: str,
    policies: Policies | None = None,
) -> Scaled:
    """Give a queue this many slots until somebody says otherwise; the balancer leaves it alone.

    A person may go below the floor, which binds the balancer, but nobody beyond the ceiling. Raises NotPossible,
    AlreadySo when it has been said already, asyncpg's errors.
    """
    policy = (policies or in_force()).queue(known_queue(queue))
    if node:
        await known_node(connection, node)
    if not 1 <= slots <= policy.ceiling:
        none = f"`askpro node drain {node}`" if node else f"`askpro queue pause {queue}`"
        hint = f"{none} lets none run." if slots < 1 else f"`askpro queue policies {queue}` shows where that is set."
        raise NotPossible(f"{queue.capitalize()} may have 1 to {policy.ceiling} slots, not {slots}.", hint)
    said = await connection.fetchrow(_NOW, queue, node)
    before = policy.concurrency if said is None else int(said["slots"])
    if said is not None and said["is_pinned"] and said["node"] == node and before == slots:
        where, option = (f" on {node}", f" --node {node}") if node else ("", "")
        raise AlreadySo(
            f"{queue.capitalize()} has {slots} slots{where} already.",
            f"`askpro queue scale {queue} auto{option}` frees it.",
        )
    await connection.execute(_FORGET_SHIFTS, queue, node)
    await connection.execute(_SAY, queue, node, slots, by.actor, kept_reason(reason))
    scaled = Scaled(queue=queue, node=node, before=before, after=slots, is_pinned=True)
    await _note(connection, by, "slots.pin", scaled, reason=reason, why="said by hand")
    return scaled


async def unpin(
    connection: Connection, by: By, queue: str, *, node: str = "", reason: str = "", policies: Policies | None = None
) -> Scaled:
    """Take back what a person said about a queue's slots; nodes of which something else was said keep it.

    Then what was said for all nodes holds on this one, or else the policy's number, which the balancer may shift.
    Raises NotPossible, AlreadySo, asyncpg's errors.
    """
    policy = (policies or in_force()).queue(known_queue(queue))
    before = await connection.fetchval(_UNPIN, queue, node)
    for_all = await connection.fetchval(_FOR_ALL, queue) if node else None
    if before is None:
        if node:
            await known_node(connection, node)
        raise AlreadySo(
            f"Nobody has said how many slots {queue} has{f' on {node}' if node else ''}.",
            f"What was said for all nodes holds there: {for_all}. `askpro queue scale {queue} auto` frees it."
            if for_all is not None
            else "",
        )
    after = policy.concurrency if for_all is None else int(for_all)
    freed = Scaled(queue=queue, node=node, before=before, after=after, is_pinned=for_all is not None)
    why = "its policy's number again" if for_all is None else "what was said for all nodes again"
    await _note(connection, by, "slots.unpin", freed, reason=reason, why=why)
    return freed


async def set_balancing(connection: Connection, by: By, on: bool, *, reason: str = "") -> bool:
    """Let slots follow the load, or leave them as they are; whether that is news. Raises asyncpg's errors."""
    is_news: bool = await connection.execute(_SET_BALANCING, on, by.actor) != "UPDATE 0"
    if is_news:
        await record(connection, by, "balancing.on" if on else "balancing.off", "slots", reason=reason)
    return is_news


async def reset_shifts(connection: Connection, by: By, *, reason: str = "", policies: Policies | None = None) -> int:
    """Give every queue that no person decided about its policy's number back; how many had another."""
    rows = await connection.fetch(_RESET)
    for row in rows:
        base = (policies or in_force()).queue(known_queue(row["queue"])).concurrency
        await connection.execute(
            _NOTE, row["queue"], row["node"], row["slots"], base, by.actor, kept_reason(reason) or "all given back"
        )
    if rows:
        await record(connection, by, "balancing.reset", "slots", reason=reason, detail={"queues": len(rows)})
    return len(rows)


async def shift(connection: Connection, shifts: Sequence[Shift]) -> bool:
    """Do what the balancer decided, all of it or nothing; False when somebody said something else meanwhile.

    Needs a transaction of its own, which is to be rolled back after False.
    """
    for one in shifts:
        asked = (one.queue, one.node, one.before, one.after, one.why, BALANCER, one.base)
        if await connection.fetchval(_SHIFT, *asked) is None:
            return False
        if one.after == one.base:
            await connection.execute(_HOME, one.queue, one.node, one.after)
        await connection.execute(_NOTE, one.queue, one.node, one.before, one.after, BALANCER, one.why)
    return True


async def _note(connection: Connection, by: By, action: str, said: Scaled, *, reason: str, why: str) -> None:
    """Keep the decision; `why` stands for a reason that was not given."""
    told = kept_reason(reason) or why
    await connection.execute(_NOTE, said.queue, said.node, said.before, said.after, by.actor, told)
    detail = {"node": said.node, "before": said.before, "after": said.after}
    await record(connection, by, action, said.queue, reason=reason, detail=detail)
