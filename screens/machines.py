"""The machines of the fleet as lines: state, load, memory, disk, network; the cache; what nodes were told."""

from __future__ import annotations

from collections.abc import Sequence

from backend.domain.vocabulary import NodeState, OrderState
from backend.watch.snapshots import CacheFigures, FleetSnapshot, NodeRow, OrderRow
from widgets.figures import age_text, count_text, meter, ratio_text, short_text, size_text, with_unit
from widgets.pieces import Content, Line, Piece, Tone, fitted, pieces_of, rule, verdict

HIGH = 0.85
"""Share of a machine's memory or disk, or of a ceiling, from which on it is a warning."""

FULL = 0.95

NAME_WIDTH = 16

ORDERS_S = 60.0
"""So long an order is told of after it was given."""

SLOW_ORDER_S = 6.0
"""An order that waits for longer is not being taken up."""


def steady_age(seconds: float) -> str:
    """An age that changes once a minute at most, so that a quiet screen stays quiet."""
    return "now" if seconds < 60 else age_text(seconds)


def name_piece(node: NodeRow) -> Content:
    """The machine's name behind the glyph of its state."""
    if node.state is NodeState.VANISHED:
        return verdict(Tone.CRIT, node.node)
    if node.rival or node.drained_by:
        return verdict(Tone.WARN, node.node)
    if node.state is NodeState.LEFT:
        return Piece(f"  {node.node}", Tone.DIM)
    return Piece(f"● {node.node}", Tone.BRIGHT)


def out_of_reach(node: NodeRow, snapshot: FleetSnapshot) -> Content:
    """What is told of a machine that does not work, in place of its figures."""
    if node.state is NodeState.LEFT:
        return Piece(f"stopped {age_text(node.silent_s)} ago", Tone.DIM)
    had = sum(worker.busy for worker in snapshot.workers if worker.node == node.node and worker.state != "stopped")
    jobs = f"{count_text(had)} {'job' if had == 1 else 'jobs'} it had run elsewhere" if had else "it had no job"
    return (
        Piece(f"vanished: not heard of for {age_text(node.silent_s)}", Tone.CRIT),
        Piece(f"  {jobs}", Tone.TEXT),
        Piece(f"  {node.home}", Tone.DIM),
    )


def _share(used: float, total: float) -> tuple[float, Tone]:
    ratio = used / total if total else 0.0
    return ratio, Tone.CRIT if ratio >= FULL else Tone.WARN if ratio >= HIGH else Tone.TEXT


def node_line(node: NodeRow, width: int, *, chosen: bool = False) -> Line:
    """One machine: CPU, load, memory, disk, network; the least important is left out when it is narrow."""
    memory, memory_tone = _share(node.memory_used_bytes, node.memory_total_bytes)
    disk, disk_tone = _share(node.disk_used_bytes, node.disk_total_bytes)
    cpu_tone = Tone.WARN if node.load_1m > 2 * node.cores else Tone.TEXT
    groups: list[tuple[int, tuple[Piece, ...]]] = [
        (1, _head(node, chosen=chosen)),
        (1, _figure("cpu", ratio_text(node.cpu_ratio), 5, cpu_tone)),
        (4, (Piece(meter(node.cpu_ratio, 8), cpu_tone), Piece("  "))),
        (2, _figure("load", f"{node.load_1m:.1f}/{node.cores}", 7, cpu_tone)),
        (
            1,
            _figure(
                "mem", f"{size_text(node.memory_used_bytes)} of {size_text(node.memory_total_bytes)}", 16, memory_tone
            ),
        ),
        (4, (Piece(meter(memory, 8), memory_tone), Piece("  "))),
        (1, _figure("disk", ratio_text(disk), 5, disk_tone)),
        (4, (Piece(meter(disk, 8), disk_tone), Piece("  "))),
        (3, _figure("in", f"{size_text(node.net_in_bytes_per_s)}/s", 9, Tone.TEXT)),
        (3, _figure("out", f"{size_text(node.net_out_bytes_per_s)}/s", 9, Tone.TEXT)),
        (2, _figure("up", steady_age(node.uptime_s), 5, Tone.TEXT)),
        (5, (Piece(f"version {node.version}", Tone.DIM),)),
    ]
    return _fitting(groups, width)


def _head(node: NodeRow, *, chosen: bool) -> tuple[Piece, ...]:
    mark = Piece("▌" if chosen else " ", Tone.ACCENT)
    return (mark, *fitted(name_piece(node), NAME_WIDTH), Piece(" "))


def _figure(label: str, text: str, width: int, tone: Tone) -> tuple[Piece, ...]:
    return (Piece(f"{label} ", Tone.DIM), *fitted(with_unit(text, tone), width), Piece("  "))


def cache_line(cache: CacheFigures, width: int) -> Line:
    """Valkey in one line."""
    head = (Piece(" "), *fitted(Piece("  Valkey", Tone.BRIGHT), NAME_WIDTH), Piece(" "))
    if not cache.up:
        return Line((*head, *verdict(Tone.CRIT, "does not answer"), Piece("  nothing durable lives there", Tone.DIM)))
    used, limit = cache.used_bytes, cache.max_bytes
    _, tone = _share(used or 0, limit or 0)
    memory = f"{size_text(used)} of {size_text(limit)}" if limit else size_text(used)
    groups: list[tuple[int, tuple[Piece, ...]]] = [
        (1, head),
        (1, _figure("mem", memory, 16, tone)),
        (2, _figure("keys", count_text(cache.keys), 7, Tone.TEXT)),
        (3, _figure("no TTL", count_text(cache.keys_without_ttl), 4, Tone.TEXT)),
        (1, _figure("evicted", count_text(cache.evicted), 5, Tone.WARN if cache.evicted else Tone.TEXT)),
        (3, _figure("clients", count_text(cache.clients), 5, Tone.TEXT)),
        (2, _figure("ops", f"{short_text(cache.commands_per_s)} /s", 8, Tone.TEXT)),
        (4, (Piece(f"version {cache.version}", Tone.DIM),)),
    ]
    return _fitting(groups, width)


def _fitting(groups: Sequence[tuple[int, tuple[Piece, ...]]], width: int) -> Line:
    """The groups up to the highest rank with which they fit."""
    for most in sorted({rank for rank, _ in groups}, reverse=True):
        pieces = tuple(piece for rank, group in groups if rank <= most for piece in group)
        if most == 1 or Line(pieces).width <= width:
            return Line(fitted(pieces, width))
    return Line()


def machine_lines(snapshot: FleetSnapshot, width: int, most: int, *, chosen: str = "") -> list[Line]:
    """The machines, those in trouble first when there are more than `most`; the cache; what they were told lately.

    `chosen` is the machine that has the cursor below.
    """
    right = (
        Piece(f"publisher on {snapshot.publisher}", Tone.DIM)
        if snapshot.publisher
        else Piece("no publisher", Tone.WARN)
    )
    shown = shown_nodes(snapshot.nodes, most, chosen)
    lines = [rule((Piece("Machines", Tone.BRIGHT), Piece(f"  {len(snapshot.nodes)}")), width, right)]
    for node in shown:
        lines += node_lines(node, snapshot, width, chosen=node.node == chosen and len(snapshot.nodes) > 1)
    if rest := [node for node in snapshot.nodes if node not in shown]:
        lines.append(rest_line(rest, width))
    lines.append(cache_line(snapshot.cache, width))
    lines += [order_line(order, snapshot.taken_at, width) for order in latest_orders(snapshot)]
    return lines


def rest_line(nodes: Sequence[NodeRow], width: int) -> Line:
    """How many machines there is no room for, and how those are."""
    bad = sum(_in_trouble(node) for node in nodes)
    stopped = sum(node.state is NodeState.LEFT for node in nodes)
    told = [f"{bad} in trouble"] if bad else []
    told += [f"{stopped} stopped"] if stopped else []
    tone = Tone.WARN if bad else Tone.DIM
    how = Piece(f"{'▲ ' if bad else ''}{', '.join(told) or 'all well'}", tone)
    return Line(
        fitted((Piece(f" and {len(nodes)} more, ", Tone.DIM), how, Piece(": < > sort by node", Tone.DIM)), width)
    )


def shown_nodes(nodes: Sequence[NodeRow], most: int, chosen: str) -> list[NodeRow]:
    """At most `most` machines in their order: what is in trouble and what has the cursor stay."""
    if len(nodes) <= most:
        return list(nodes)
    ranked = sorted(nodes, key=lambda node: (not _in_trouble(node), node.node != chosen))
    kept = {node.node for node in ranked[:most]}
    return [node for node in nodes if node.node in kept]


def _in_trouble(node: NodeRow) -> bool:
    return node.state is NodeState.VANISHED or bool(node.rival or node.drained_by)


def node_lines(node: NodeRow, snapshot: FleetSnapshot, width: int, *, chosen: bool) -> list[Line]:
    """One machine, and under it what needs a word."""
    if node.state is not NodeState.UP:
        told = (*_head(node, chosen=chosen), *pieces_of(out_of_reach(node, snapshot)))
        return [Line(fitted(told, width))]
    lines = [node_line(node, width, chosen=chosen)]
    if node.drained_by:
        ago = age_text(snapshot.taken_at - node.drained_at) if node.drained_at is not None else ""
        busy = sum(worker.busy for worker in snapshot.workers if worker.node == node.node and worker.state != "stopped")
        left = f"{count_text(busy)} still in work" if busy else "nothing in work"
        why = f": {node.drain_reason}" if node.drain_reason else ""
        lines.append(_under(f"drained by {node.drained_by} {ago} ago{why}; {left}", Tone.WARN, width))
    if node.rival:
        lines.append(_under(f"{node.rival} wants the same name: set another stack.node there", Tone.WARN, width))
    return lines


def _under(text: str, tone: Tone, width: int) -> Line:
    return Line(fitted(Piece(f"   {text}", tone), width))


def latest_orders(snapshot: FleetSnapshot) -> list[OrderRow]:
    """The last two orders that somebody may still wonder about."""
    young = [order for order in snapshot.orders if snapshot.taken_at - order.ordered_at < ORDERS_S]
    return young[:2]


def order_line(order: OrderRow, now: float, width: int) -> Line:
    """Who told a node what, and what became of it."""
    what = f"{order.ordered_by} told {order.node}: {order.action} {order.process or 'everything'}"
    ago = now - order.ordered_at
    match order.state:
        case OrderState.DONE:
            became: Content = Piece("done", Tone.DIM)
        case OrderState.WAITING:
            slow = ago > SLOW_ORDER_S
            became = (
                verdict(Tone.WARN, "not taken up: is its publisher down?") if slow else Piece("on its way", Tone.DIM)
            )
        case _:
            became = verdict(Tone.CRIT, f"{order.state}: {order.detail}")
    return Line(fitted((Piece(f"   {what}  ", Tone.DIM), *pieces_of(became)), width))
