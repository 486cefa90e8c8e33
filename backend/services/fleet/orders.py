"""Orders to nodes: written by whoever sits anywhere, taken up by the node itself within two seconds."""

from __future__ import annotations

from dataclasses import dataclass

from backend.domain.vocabulary import NodeOrder, OrderState
from backend.postgres.pools import Connection
from backend.services.fleet.registry import VANISHED_S, not_registered
from backend.services.operating.audit import By, kept_reason, record
from backend.services.operating.refusals import NotPossible

CHANNEL = "askpro_orders"
"""Rings with the node's name at each order."""

LATE_S = 30.0
"""An order that was not taken up for so long is not obeyed any more: whoever gave it has long done something else."""

KEPT_DAYS = 7

STORES = ("postgres", "valkey")
"""Processes that an order for all does not mean: others work on them too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order as its node takes it up."""

    id: int
    node: str
    process: str
    """Empty: all of the node's own."""
    action: NodeOrder
    reason: str
    ordered_by: str
    is_late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What became of an order."""

    state: OrderState
    detail: str


_NODE = """
select left_at is not null as has_left, date_part('epoch', now() - seen_at) as silent_s, is_joined,
       array(select p ->> 'name' from jsonb_array_elements(told -> 'processes') p) as processes
from nodes where node = $1
"""

_ORDER = """
insert into node_orders (node, process, action, reason, ordered_by) values ($1, $2, $3, $4, $5) returning id
"""

_WAITING = """
select id, node, process, action, reason, ordered_by, ordered_at < now() - make_interval(secs => $2) as is_late
from node_orders where node = $1 and state = 'waiting' order by id limit 50
"""


async def order(connection: Connection, by: By, node: str, process: str, action: NodeOrder, *, reason: str = "") -> int:
    """Tell a node something, in the caller's transaction; the order's number. Recorded.

    Raises NotPossible when the node is unknown or does not answer, or has no such process.
    """
    row = await connection.fetchrow(_NODE, node)
    if row is None:
        raise await not_registered(connection, node)
    if row["has_left"]:
        raise NotPossible(f"{node} does not run.", "Start it there with `askpro serve` or `askpro up`.")
    if row["silent_s"] > VANISHED_S:
        raise NotPossible(
            f"{node} has not been heard of for {row['silent_s']:.0f} s: nobody there would take the order up.",
            "Look at that machine: `askpro status` there.",
        )
    if process and row["processes"] and process not in row["processes"]:
        raise NotPossible(f"There is no process {process} on {node}.", f"There are {', '.join(row['processes'])}.")
    if action is NodeOrder.STOP and not row["is_joined"]:
        raise NotPossible(f"{node} holds the database: it is stopped there.", "`askpro down` on that machine.")
    number = await connection.fetchval(_ORDER, node, process, action.value, kept_reason(reason), by.actor)
    await record(
        connection, by, f"node.{action.value}", f"{node} {process}".strip(), reason=reason, detail={"order": number}
    )
    return int(number)


async def waiting(connection: Connection, node: str) -> list[Order]:
    """The orders that a node has not taken up, oldest first."""
    rows = await connection.fetch(_WAITING, node, LATE_S)
    return [Order(**{**dict(row), "action": NodeOrder(row["action"])}) for row in rows]


async def end(connection: Connection, number: int, state: OrderState, detail: str) -> None:
    """Write down what became of an order; orders of last week are let go."""
    await connection.execute(
        "update node_orders set state = $2, ended_at = now(), detail = $3 where id = $1", number, state.value, detail
    )
    await connection.execute("delete from node_orders where ordered_at < now() - make_interval(days => $1)", KEPT_DAYS)


async def became(connection: Connection, number: int) -> Ended | None:
    """What became of an order; None when it is not known any more."""
    row = await connection.fetchrow("select state, detail from node_orders where id = $1", number)
    return None if row is None else Ended(state=OrderState(row["state"]), detail=row["detail"])
