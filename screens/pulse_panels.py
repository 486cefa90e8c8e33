"""Pulse's panels: pure functions from snapshots to lines. What is drawn where is `screens.pulse`'s matter."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from backend.domain.vocabulary import BreakerState, NodeState, Verdict
from backend.watch.findings import Finding
from backend.watch.snapshots import (
    BusinessSnapshot,
    CacheFigures,
    DatabaseSnapshot,
    FleetSnapshot,
    NodeRow,
    QueueRow,
    QueuesSnapshot,
    Timing,
)
from screens.base import ZONE
from widgets.figures import (
    DASH,
    age_text,
    count_text,
    money_text,
    ratio_text,
    short_text,
    size_text,
    span_text,
    sparkline,
    with_unit,
)
from widgets.pieces import GLYPHS, Content, Line, Piece, Tone, beside, fitted, line, rule, spread, verdict
from widgets.safe_text import cell_width, head, safe_text

_ZONE = ZoneInfo(ZONE)
_VALUE = re.compile(r"\{[^}]*\}")

TONES = {Verdict.OK: Tone.OK, Verdict.WARN: Tone.WARN, Verdict.CRIT: Tone.CRIT, Verdict.UNKNOWN: Tone.UNKNOWN}

TRAIL_STEPS = 60
TRAIL_STEP_S = 5.0
"""A trail spans five minutes: what this console saw itself, for figures whose snapshot carries no trend."""


@dataclass(slots=True)
class Trails:
    """The recent past of some figures, as this console saw it."""

    _values: dict[str, deque[float]] = field(default_factory=dict)
    _step: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, value: float | None, at: float) -> None:
        """Note a value at a time (Unix seconds); of each step the largest counts. None is left out."""
        if value is None:
            return
        step = int(at / TRAIL_STEP_S)
        values = self._values.setdefault(name, deque(maxlen=TRAIL_STEPS))
        if values and self._step.get(name) == step:
            values[-1] = max(values[-1], value)
        else:
            values.append(value)
        self._step[name] = step

    def bars(self, name: str, width: int) -> Piece:
        """The trail as bars at the right of `width` cells."""
        return Piece(sparkline(tuple(self._values.get(name, ())), width).rjust(width), Tone.DIM)


LABEL = 16
"""Cells of a label and the space after it."""

FIGURE = 10
"""Cells that a figure beside bars takes at most, with the space before it."""


def labelled(label: str, value: Content, width: int, bars: Piece | None = None) -> tuple[Piece, ...]:
    """A dim label and its figure, the figure at the right end of `width` cells; bars between them never move it."""
    name = Piece(label, Tone.DIM)
    if bars is None:
        return spread((name,), value, width)
    room = width - FIGURE
    return (*spread((name, Piece(" ")), bars, room), *fitted(value, FIGURE, right=True))


def feel_lines(business: BusinessSnapshot, queues: QueuesSnapshot | None, width: int, trails: Trails) -> list[Line]:
    """What customers feel: the twelve figures that matter, in as many columns as fit."""
    columns = 4 if width >= 112 else 2
    gap = 3
    cell = (width - 2 - gap * (columns - 1)) // columns
    room = min(60, cell - FIGURE - (LABEL if cell >= 34 else 10))

    def trend(values: Sequence[float]) -> Piece | None:
        return Piece(sparkline(values, room).rjust(room), Tone.DIM) if room >= 6 else None

    calls = trails.bars("calls", room) if room >= 6 else None
    cells = [
        labelled("Calls now", Piece(f"{business.calls_ongoing}", Tone.BRIGHT), cell, calls),
        labelled("Bookings", _bookings(business), cell, trend(business.bookings.values)),
        labelled("Webhooks", _success(business), cell, trend(business.webhooks.values)),
        labelled("Errors", _share(business.error_ratio, 0.01, 0.05), cell),
        labelled("Effect p99", with_unit(age_text(business.webhook_effect_p99_s)), cell),
        labelled("Oldest job", _oldest(queues), cell),
        labelled("Call length", with_unit(age_text(business.median_call_s)), cell),
        labelled("Revenue/request", with_unit(money_text(business.revenue_per_request_cents)), cell),
        labelled("vs. last week", _versus(business), cell),
        labelled("Revenue today", with_unit(money_text(business.revenue_today_cents), Tone.BRIGHT), cell),
        labelled("Call cost today", with_unit(money_text(business.call_cost_today_cents)), cell),
        labelled("Watching", _watching(business), cell),
    ]
    shown = cells if columns == 4 else cells[:8]
    return [_joined(shown[start : start + columns], gap) for start in range(0, len(shown), columns)]


def _joined(cells: Sequence[Iterable[Piece]], gap: int) -> Line:
    pieces: list[Piece] = [Piece(" ")]
    for index, cell in enumerate(cells):
        if index:
            pieces.append(Piece(" " * gap))
        pieces += cell
    return Line(tuple(pieces))


def _bookings(business: BusinessSnapshot) -> tuple[Piece, ...]:
    return (Piece(f"{business.bookings_per_min:.1f}", Tone.BRIGHT), Piece(" /min", Tone.DIM))


def _versus(business: BusinessSnapshot) -> tuple[Piece, ...]:
    before = business.bookings_per_min_last_week
    if not before:
        return (Piece(DASH, Tone.DIM),)
    change = business.bookings_per_min / before - 1
    return (Piece(f"{change * 100:+.0f}"), Piece(" % booked", Tone.DIM))


def _success(business: BusinessSnapshot) -> tuple[Piece, ...]:
    ratio = business.webhook_success_ratio
    if ratio is None:
        return (Piece(DASH, Tone.DIM),)
    tone = Tone.CRIT if ratio < 0.99 else Tone.TEXT
    return with_unit(f"{ratio * 100:.0f} % ok" if ratio == 1 else f"{ratio * 100:.1f} % ok", tone)


def _share(ratio: float | None, warn: float, crit: float) -> tuple[Piece, ...]:
    tone = Tone.TEXT if ratio is None or ratio < warn else Tone.CRIT if ratio >= crit else Tone.WARN
    return with_unit(ratio_text(ratio, 2), tone)


def _oldest(queues: QueuesSnapshot | None) -> tuple[Piece, ...]:
    if queues is None:
        return (Piece(DASH, Tone.DIM),)
    ages = [queue.oldest_s for queue in queues.queues if queue.oldest_s is not None]
    return with_unit(age_text(max(ages))) if ages else (Piece("none waits", Tone.DIM),)


def _watching(business: BusinessSnapshot) -> tuple[Piece, ...]:
    if business.watching_ratio is None:
        return (Piece(DASH, Tone.DIM),)
    return (Piece(f"{business.watching_ratio * 100:.1f}"), Piece(" % of a core", Tone.DIM))


def finding_lines(
    findings: Sequence[Finding], width: int, most: int, keys: dict[str, str], *, awaited: bool = False
) -> list[Line]:
    """What needs a person, and the key that leads there; or that nothing does: nothing else when people are awaited."""
    if not findings:
        text = " Nothing else needs you." if awaited else " Nothing needs you."
        return [line(" ", Piece("●", Tone.OK), Piece(text, Tone.DIM))]
    shown = findings if len(findings) <= most else findings[: max(1, most - 1)]
    lines = [_finding_line(finding, width, keys) for finding in shown]
    if len(shown) < len(findings):
        lines.append(line(Piece(f"   and {len(findings) - len(shown)} more", Tone.DIM)))
    return lines


def _finding_line(finding: Finding, width: int, keys: dict[str, str]) -> Line:
    tone = TONES[finding.verdict]
    key = keys.get(finding.screen, "")
    left = (
        Piece(" "), Piece(GLYPHS[tone], tone), Piece(f" {finding.subject}  ", Tone.BRIGHT), Piece(finding.text),
    )  # fmt: skip
    hint: list[Piece] = []
    if finding.hint and width - Line(left).width - len(finding.hint) >= 6:
        hint.append(Piece(f"{finding.hint}  ", Tone.DIM))
    if key:
        hint.append(Piece(key, Tone.ACCENT))
    return Line(spread(left, (*hint, Piece(" ")), width))


def change_lines(business: BusinessSnapshot, width: int, most: int) -> list[Line]:
    """What changed lately, newest first."""
    if not business.changes:
        return [line(Piece(" nothing lately", Tone.DIM))]
    return [
        Line(fitted((Piece(f" {_clock(change.at)}  ", Tone.DIM), Piece(change.what)), width))
        for change in business.changes[:most]
    ]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, _ZONE).strftime("%H:%M")


def queue_lines(queues: QueuesSnapshot, width: int) -> list[Line]:
    """One line for each queue: ready, oldest, time to drain, busy, held, trend."""
    bars = max(0, min(60, width - 53))
    over = "  ready, 1 h" if bars >= 10 else "  1 h" if bars >= 6 else ""
    head = f" {'':<13}{'ready':>7}{'oldest':>8}{'drain':>8}{'busy':>8}{'held':>6}"
    lines = [line(Piece(head, Tone.DIM), Piece(over, Tone.DIM))]
    return lines + [_queue_line(queue, bars) for queue in queues.queues]


def _queue_line(queue: QueueRow, bars: int) -> Line:
    slow = 10.0 if queue.queue in {"webhooks", "appointments"} else 60.0
    old = queue.oldest_s is not None and queue.oldest_s >= slow
    name = Piece(f" {queue.queue:<13}", Tone.BRIGHT if queue.ready or queue.held else Tone.TEXT)
    state = Piece("▲ paused".rjust(16), Tone.WARN) if queue.paused else None
    if not queue.workers:
        state = Piece("✖ no worker".rjust(16), Tone.CRIT)
    busy = Piece(f"{queue.running}/{queue.concurrency}".rjust(8), Tone.TEXT if queue.running else Tone.DIM)
    held = (Piece(f"▲ {queue.held}".rjust(6), Tone.WARN),) if queue.held else (Piece("0".rjust(6), Tone.DIM),)
    middle: tuple[Piece, ...] = (
        *_right(with_unit(age_text(queue.oldest_s), Tone.WARN if old else Tone.TEXT), 8),
        *((state,) if state else (*_right(with_unit(age_text(queue.drain_s)), 8), busy)),
    )
    trend = queue.ready_trend.values if queue.ready_trend else ()
    tail = (Piece("  "), Piece(sparkline(trend, bars), Tone.DIM)) if bars >= 6 and trend else ()
    return line(name, Piece(f"{short_text(queue.ready)}".rjust(7)), middle, held, tail)


def _right(content: Content, width: int) -> tuple[Piece, ...]:
    return fitted(content, width, right=True)


def route_lines(routes: Sequence[Timing], width: int, most: int) -> list[Line]:
    """The busiest routes: rate, percentiles, errors."""
    name = max(16, width - 36)
    head = f" {'':<{name}}{'/s':>6}{'p50':>7}{'p95':>7}{'p99':>7}{'err':>6}"
    lines = [line(Piece(head, Tone.DIM))]
    if not routes:
        return [*lines, line(Piece(" nobody asked anything in the last minute", Tone.DIM))]
    for route in sorted(routes, key=lambda entry: -entry.per_s)[:most]:
        bad = Tone.CRIT if route.errors else Tone.DIM
        slow = Tone.WARN if route.p99_ms is not None and route.p99_ms >= 1000 else Tone.TEXT
        lines.append(
            line(
                " ",
                fitted(_route_text(route.route, name), name),
                Piece(short_text(route.per_s).rjust(6)),
                Piece(_ms(route.p50_ms).rjust(7), Tone.DIM),
                Piece(_ms(route.p95_ms).rjust(7), Tone.DIM),
                Piece(_ms(route.p99_ms).rjust(7), slow),
                Piece(f"{route.errors}".rjust(6), bad),
            )
        )
    return lines


def _route_text(route: str, width: int) -> str:
    """A route in at most `width` cells: what stands for a value goes first, then its middle; how it ends tells most."""
    text = _VALUE.sub("…", safe_text(route).replace(" /api/", " "))
    if cell_width(text) <= width:
        return text
    start, _, end = text.rpartition("/")
    room = width - cell_width(end) - 2
    return f"{head(start, room)}…/{end}" if room >= 8 else text


def _ms(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


FIRST = 23
"""Cells of a store's or machine's first figure where bars tell its past."""


def store_lines(
    database: DatabaseSnapshot | None, fleet: FleetSnapshot | None, width: int, trails: Trails
) -> list[Line]:
    """PostgreSQL, Valkey and the machines: one line each; with room bars tell the past of its first figure."""
    bars = min(60, width - 14 - FIRST - 3 - 73)

    def row(name: str, figures: Sequence[tuple[Piece, ...]], trail: str) -> Line:
        return _store_line(name, figures, width, trails.bars(trail, bars) if bars >= 6 else None)

    lines: list[Line] = []
    if database is not None:
        lines.append(row("PostgreSQL", _database_figures(database), "connections"))
    if fleet is not None:
        lines.append(row("Valkey", _cache_figures(fleet.cache), "cache"))
        lines += [
            row(node.node, _node_figures(node), f"cpu {node.node}")
            for node in fleet.nodes[:8]
            if node.state is not NodeState.LEFT
        ]
    return lines


def _store_line(name: str, figures: Sequence[tuple[Piece, ...]], width: int, bars: Piece | None) -> Line:
    """A name, and as many whole figures as fit; with bars the figures after the first stand below each other."""
    pieces: tuple[Piece, ...] = (Piece(" "), *fitted(Piece(name, Tone.BRIGHT), 12), Piece(" "))
    room = width - 14
    if bars is not None and len(figures) > 1:
        pieces += (*fitted(figures[0], FIRST), bars, Piece("   "))
        room -= FIRST + len(bars.text) + 3
        figures = figures[1:]
    for figure in figures:
        taken = Line(figure).width
        if taken > room:
            break
        pieces += figure
        room -= taken
    return Line(pieces)


def _figure(label: str, value: Content, width: int) -> tuple[Piece, ...]:
    return (Piece(f"{label} ", Tone.DIM), *fitted(value, width), Piece("  "))


def _database_figures(database: DatabaseSnapshot) -> list[tuple[Piece, ...]]:
    waiting = Piece(f"{database.waiting_for_lock}", Tone.WARN if database.blocked else Tone.TEXT)
    connections = (Piece(f"{database.connections}"), Piece(f"/{database.connections_usable}", Tone.DIM))
    return [
        _figure("conn", connections, 6),
        _figure("commits", (Piece(short_text(database.commits_per_s)), Piece(" /s", Tone.DIM)), 7),
        _figure("locks", waiting, 3),
        _figure("oldest tx", with_unit(age_text(database.oldest_transaction_s)), 6),
        _figure("hit", with_unit(ratio_text(database.hit_ratio, 1)), 7),
        _figure("size", with_unit(size_text(database.size_bytes)), 7),
    ]


def _cache_figures(cache: CacheFigures) -> list[tuple[Piece, ...]]:
    if not cache.up:
        return [(Piece("▲ down", Tone.WARN), Piece("  rebuilt when it returns", Tone.DIM))]
    used = (*with_unit(size_text(cache.used_bytes)), Piece(f" of {size_text(cache.max_bytes)}", Tone.DIM))
    return [
        _figure("used", used, 16),
        _figure("keys", Piece(count_text(cache.keys)), 5),
        _figure("no TTL", Piece(count_text(cache.keys_without_ttl)), 4),
        _figure("evicted", Piece(count_text(cache.evicted), Tone.WARN if cache.evicted else Tone.TEXT), 5),
        _figure("ops", (Piece(short_text(cache.commands_per_s)), Piece(" /s", Tone.DIM)), 7),
    ]


def _node_figures(node: NodeRow) -> list[tuple[Piece, ...]]:
    if node.state is NodeState.VANISHED:
        return [verdict(Tone.CRIT, f"vanished {age_text(node.silent_s)} ago")]
    memory = f"{node.memory_used_bytes / 2**30:.1f}/{node.memory_total_bytes / 2**30:.0f} GB"
    disk = node.disk_used_bytes / node.disk_total_bytes if node.disk_total_bytes else None
    return [
        _figure("cpu", with_unit(ratio_text(node.cpu_ratio)), 6),
        _figure("mem", with_unit(memory), 11),
        _figure("disk", with_unit(ratio_text(disk)), 6),
        _figure("in", (*with_unit(size_text(node.net_in_bytes_per_s)), Piece("/s", Tone.DIM)), 9),
        _figure("out", (*with_unit(size_text(node.net_out_bytes_per_s)), Piece("/s", Tone.DIM)), 9),
    ]


def callback_pieces(business: BusinessSnapshot | None) -> Content:
    """Customers who are to be called back: how many, how many too late already, and how soon the next one is due."""
    figures = business.callbacks if business else None
    if business is None or figures is None or not figures.open:
        return ()
    pieces = [Piece(f"call back {count_text(figures.open)}", Tone.DIM)]
    if figures.overdue:
        pieces += [Piece(", ", Tone.DIM), Piece(f"{count_text(figures.overdue)} overdue", Tone.WARN)]
    if figures.next_at is not None:
        pieces.append(Piece(f", next in {age_text(figures.next_at - business.taken_at)}", Tone.DIM))
    return pieces


def company_lines(business: BusinessSnapshot, width: int, most: int) -> list[Line]:
    """Today by company: calls, bookings, revenue."""
    name = max(12, min(40, width - 28))
    lines = [line(Piece(f" {'':<{name}}{'calls':>7}{'booked':>8}{'revenue':>12}", Tone.DIM))]
    if not business.companies:
        return [*lines, line(Piece(" no company yet: askpro simulate makes some", Tone.DIM))]
    ranked = sorted(business.companies, key=lambda entry: (-entry.revenue_cents, entry.company))
    shown = ranked if len(ranked) <= most else ranked[: max(1, most - 1)]
    lines += [
        line(
            " ",
            fitted(company.name, name),
            Piece(count_text(company.calls).rjust(7)),
            Piece(count_text(company.booked).rjust(8)),
            _right(with_unit(money_text(company.revenue_cents)), 12),
        )
        for company in shown
    ]
    if len(shown) < len(ranked):
        lines.append(line(Piece(f"   and {count_text(len(ranked) - len(shown))} more", Tone.DIM)))
    return lines


def held_lines(queues: QueuesSnapshot, width: int, most: int) -> list[Line]:
    """What is held, by cause, the latest first: type and error, how many, how many within the hour, since when not."""
    name = width - 24
    if not queues.held:
        return [line(Piece(" nothing is held", Tone.DIM))]
    lines = [line(Piece(f" {'':<{name}}{'held':>7}{'1 h':>7}{'last':>8}", Tone.DIM))]
    groups = sorted(queues.held, key=lambda group: -group.last_at)
    shown = groups if len(groups) <= most else groups[: max(1, most - 1)]
    for group in shown:
        cause = (Piece(group.entrypoint, Tone.BRIGHT), Piece(f"  {group.error_type}: {group.message}".rstrip(": ")))
        lines.append(
            line(
                " ",
                fitted(cause, name),
                Piece(short_text(group.held_total).rjust(7), Tone.WARN),
                Piece(short_text(group.held_1h).rjust(7), Tone.TEXT if group.held_1h else Tone.DIM),
                _right(with_unit(age_text(queues.taken_at - group.last_at)), 8),
            )
        )
    if len(shown) < len(groups):
        lines.append(line(Piece(f"   and {count_text(len(groups) - len(shown))} more", Tone.DIM)))
    return lines


_BREAKERS = {
    BreakerState.CLOSED: (Tone.OK, "answers"),
    BreakerState.HALF_OPEN: (Tone.WARN, "tried again"),
    BreakerState.OPEN: (Tone.WARN, "held back"),
}


def provider_lines(queues: QueuesSnapshot, width: int) -> list[Line]:
    """Providers that were called lately: whether calls go through, how many, how many in vain, how long they take."""
    name = width - 24
    if not queues.providers:
        return [line(Piece(" none was called lately", Tone.DIM))]
    lines = [line(Piece(f" {'':<{name}}{'calls':>7}{'failed':>8}{'p99':>7}", Tone.DIM))]
    for row in queues.providers:
        tone, word = _BREAKERS.get(BreakerState(row.breaker), (Tone.UNKNOWN, row.breaker))
        state = (*fitted(Piece(row.provider, Tone.BRIGHT), 12), *verdict(tone, word))
        since = () if tone is Tone.OK else (Piece(f" for {age_text(row.since_s)}", Tone.DIM),)
        lines.append(
            line(
                " ",
                fitted((*state, *since), name),
                Piece(short_text(row.calls).rjust(7)),
                Piece(short_text(row.failures).rjust(8), Tone.TEXT if row.failures else Tone.DIM),
                _right(with_unit(span_text(row.p99_s)), 7),
            )
        )
    return lines


def titled(title: str, lines: Sequence[Line], width: int, right: Content = ()) -> list[Line]:
    """A rule with the title over the lines."""
    return [rule(Piece(title, Tone.BRIGHT), width, right), *lines]


def side_by_side(left: Sequence[Line], right: Sequence[Line], left_width: int) -> list[Line]:
    """Two panels beside each other."""
    return beside(left, left_width, right, gap=2)
