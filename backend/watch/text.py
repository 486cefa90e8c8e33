"""Snapshots as plain text, for `askpro show` and wherever no console can be drawn. Nothing in it is ever an escape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.cells import cell_len, set_cell_size

from backend.domain.vocabulary import NodeState
from backend.watch.plain_text import masked_phone, plain
from backend.watch.queue_said import said
from backend.watch.reader import Reading
from backend.watch.snapshots import (
    AppointmentRow,
    AppointmentsSnapshot,
    BusinessSnapshot,
    CallbackFigures,
    CallsSnapshot,
    DatabaseSnapshot,
    FleetSnapshot,
    QueuesSnapshot,
    Snapshot,
    Trend,
)

ZONE = ZoneInfo("Europe/Berlin")
"""Zone of the printed times, as on the console."""

BARS = "▁▂▃▄▅▆▇█"

UNKNOWN = "?"
"""Stands for a figure that is unknown; the notes say why."""

NONE = "–"
"""Stands for nothing: there is no such thing now."""


def render(reading: Reading, *, rows: int = 40, width: int = 120, reveal: bool = False) -> str:
    """What was read, as text of at most `width` columns with lists of at most `rows` rows.

    Phone numbers are masked unless `reveal`. Every line is printable, whatever callers called themselves.
    """
    snapshot = reading.snapshot
    lines = [headline(reading)]
    if snapshot is not None:
        lines += body(snapshot, rows, (lambda number: plain(number, 24)) if reveal else masked_phone)
        lines += [f"note: {plain(note)}" for note in snapshot.notes]
    return "\n".join(line if cell_len(line) <= width else cut(line, width) for line in lines)


def headline(reading: Reading) -> str:
    """The domain, how fresh it is, where it came from, and why it is no fresher."""
    error = f"  ({plain(reading.error)})" if reading.error else ""
    if reading.snapshot is None or reading.age_s is None:
        return f"{reading.domain}: unknown{error}"
    return (
        f"{reading.domain}: {reading.freshness}, {age(reading.age_s)} old, from {reading.source}, "
        f"{clock(reading.snapshot.taken_at)}{error}"
    )


def body(snapshot: Snapshot, rows: int, phone: Callable[[str], str]) -> list[str]:
    """The lines below the headline."""
    match snapshot:
        case CallsSnapshot():
            return calls(snapshot, rows, phone)
        case AppointmentsSnapshot():
            return appointments(snapshot, rows)
        case QueuesSnapshot():
            return queues(snapshot, rows)
        case DatabaseSnapshot():
            return database(snapshot, rows)
        case FleetSnapshot():
            return fleet(snapshot, rows)
        case BusinessSnapshot():
            return business(snapshot, rows)
        case _:
            return []


def calls(snapshot: CallsSnapshot, rows: int, phone: Callable[[str], str]) -> list[str]:
    """Calls, newest first."""
    outcomes = ", ".join(f"{plain(name)} {count}" for name, count in sorted(snapshot.by_outcome_today.items()))
    return [
        f"ongoing {snapshot.ongoing}   last hour {snapshot.started_last_hour}   today {snapshot.started_today}"
        f"   median {seconds(snapshot.median_duration_s)}   {sparkline(snapshot.per_minute)} /min",
        f"today: {outcomes or 'no outcome yet'}",
        *table(
            ("started", "company", "from", "caller", "status", "outcome", "duration", "cost"),
            [
                (
                    clock(row.started_at),
                    row.company,
                    phone(row.from_number),
                    row.caller or NONE,
                    row.status,
                    row.outcome or NONE,
                    seconds(row.duration_s),
                    money(row.cost_cents),
                )
                for row in snapshot.rows[:rows]
            ],
            right=(6, 7),
        ),
        *more(len(snapshot.rows), rows, "calls"),
    ]


def appointments(snapshot: AppointmentsSnapshot, rows: int) -> list[str]:
    """Appointments, the next to come first."""

    def lines(listed: Sequence[AppointmentRow]) -> list[str]:
        return table(
            ("starts", "company", "staff", "service", "customer", "status", "price"),
            [
                (
                    clock(row.starts_at, row.time_zone, with_date=True),
                    row.company,
                    row.staff,
                    row.service,
                    row.customer or NONE,
                    row.status,
                    money(row.price_cents),
                )
                for row in listed[:rows]
            ],
            right=(6,),
        ) + more(len(listed), rows, "appointments")

    statuses = ", ".join(f"{plain(name)} {count}" for name, count in sorted(snapshot.by_status_7d.items()))
    return [
        f"booked today {snapshot.booked_today}   still to come today {snapshot.upcoming_today}"
        f"   to call back {snapshot.open_callbacks}, overdue {snapshot.overdue_callbacks}",
        f"7 days back and ahead: {statuses or 'none'}",
        "next:",
        *lines(snapshot.upcoming),
        "latest booked:",
        *lines(snapshot.latest),
    ]


def _steered(snapshot: QueuesSnapshot) -> Iterator[str]:
    """What people said, and the balancer's latest decisions."""
    for word in said(snapshot):
        yield f"{plain(word.subject)} {plain(word.text)}"
    if not snapshot.is_balancing:
        yield "slots stay as they are: balancing is off"
    for why in dict.fromkeys(change.why for change in snapshot.slot_changes[:6]):
        yield f"slots: {plain(why)}"
    for row in snapshot.troubles[:6]:
        job = f"{plain(row.entrypoint)} {row.job_id or ''}".rstrip()
        yield f"trouble: {job} {plain(row.kind)}, {row.count}×: {plain(row.detail)}"


def queues(snapshot: QueuesSnapshot, rows: int) -> list[str]:
    """Queues, job types, held jobs by cause, the intake."""
    rejected = ", ".join(f"{plain(name)} {count}" for name, count in sorted(snapshot.rejected_by_reason_1h.items()))
    lines = table(
        ("queue", "ready", "oldest", "drained in", "in", "done", "busy", "scheduled", "held", "ready, 10 min"),
        [
            (
                row.queue + (" (paused)" if row.paused else ""),
                str(row.ready),
                seconds(row.oldest_s),
                seconds(row.drain_s) if row.drain_s is not None else "never",
                f"{row.in_per_s:.1f}/s",
                f"{row.done_per_s:.1f}/s",
                f"{row.running}/{row.concurrency}" if row.workers else "no worker",
                str(row.scheduled),
                str(row.held),
                sparkline(row.ready_trend) if row.ready_trend is not None else "",
            )
            for row in snapshot.queues
        ],
        right=(1, 2, 3, 4, 5, 6, 7, 8),
    )
    lines += table(
        ("job type", "ready", "running", "held", "done", "retried", "wait p50", "p99", "run p50", "p99"),
        [
            (
                row.entrypoint,
                str(row.ready),
                str(row.running),
                str(row.held),
                str(row.done),
                str(row.retried),
                *(seconds(figure) for figure in (row.wait_p50_s, row.wait_p99_s, row.run_p50_s, row.run_p99_s)),
            )
            for row in snapshot.job_types[:rows]
        ],
        right=range(1, 10),
    )
    if snapshot.held:
        lines += table(
            ("held: job type", "error", "message", "1 h", "24 h", "all", "companies", "last"),
            [
                (
                    group.entrypoint,
                    group.error_type,
                    plain(group.message, 40),
                    str(group.held_1h),
                    str(group.held_24h),
                    str(group.held_total),
                    str(group.companies),
                    clock(group.last_at, with_date=True),
                )
                for group in snapshot.held[:rows]
            ],
            right=(3, 4, 5, 6),
        )
    else:
        lines.append("No held jobs.")
    lines.append(
        f"inbox: {snapshot.inbox_waiting} waiting, oldest {seconds(snapshot.inbox_oldest_s)}, "
        f"{snapshot.quarantined} quarantined; last hour: {snapshot.accepted_1h} accepted, "
        f"{snapshot.rejected_1h} rejected" + (f" ({rejected})" if rejected else "")
    )
    lines.append(
        f"calendars: {snapshot.calendar_pending} not written yet, oldest {seconds(snapshot.calendar_oldest_s)}, "
        f"{snapshot.calendar_failed} refused"
    )
    lines += _steered(snapshot)
    lines += [
        f"provider {plain(row.provider)}: breaker {plain(row.breaker)} for {seconds(row.since_s)}, {row.calls} calls, "
        f"{row.failures} without an answer, p99 {seconds(row.p99_s)}"
        for row in snapshot.providers
    ]
    lines += [
        f"compared with {plain(row.provider)}: {plain(row.state)}, all of it {seconds(row.done_s)} ago, "
        f"{row.open} differences need somebody"
        for row in snapshot.reconciled
    ]
    return lines


def database(snapshot: DatabaseSnapshot, rows: int) -> list[str]:
    """PostgreSQL."""
    disk = NONE
    if snapshot.disk_free_bytes is not None and snapshot.disk_total_bytes:
        disk = f"{size(snapshot.disk_free_bytes)} of {size(snapshot.disk_total_bytes)} free"
    states = ", ".join(f"{plain(name)} {count}" for name, count in sorted(snapshot.by_state.items()))
    lag = NONE if snapshot.replication_lag_s is None else seconds(snapshot.replication_lag_s)
    return [
        f"PostgreSQL {plain(snapshot.version)}{' (replica)' if snapshot.is_replica else ''}, "
        f"up since {clock(snapshot.started_at, with_date=True)}",
        f"connections {snapshot.connections} of {snapshot.connections_usable} ({states})   "
        f"waiting for a lock {snapshot.waiting_for_lock}   deadlocks {snapshot.deadlocks}",
        f"oldest transaction {seconds(snapshot.oldest_transaction_s)}   query {seconds(snapshot.oldest_query_s)}   "
        f"idle in transaction {seconds(snapshot.oldest_idle_in_transaction_s)}   replication lag {lag}",
        f"commits {per_s(snapshot.commits_per_s)}   hit ratio {ratio(snapshot.hit_ratio)}   "
        f"WAL {size(snapshot.wal_bytes_per_s)}/s   database {size(snapshot.size_bytes)}   disk {disk}",
        *(
            table(
                ("waits", "pid", "blocked by", "application", "query"),
                [
                    (
                        seconds(row.wait_s),
                        str(row.pid),
                        ", ".join(map(str, row.blocked_by)),
                        row.application,
                        plain(row.query, 60),
                    )
                    for row in snapshot.blocked[:rows]
                ],
                right=(0, 1),
            )
            if snapshot.blocked
            else ["Nobody waits for a lock."]
        ),
    ]


def fleet(snapshot: FleetSnapshot, rows: int) -> list[str]:
    """Nodes, processes, workers, cache."""
    lines = table(
        ("node", "state", "version", "cpu", "load", "memory", "disk", "in", "out", "seen"),
        [
            (
                node.node,
                f"drained by {plain(node.drained_by, 20)}"
                if node.drained_by and node.state not in {NodeState.LEFT, NodeState.VANISHED}
                else node.state.value,
                node.version,
                ratio(node.cpu_ratio),
                f"{node.load_1m:.1f}/{node.cores}",
                f"{size(node.memory_used_bytes)}/{size(node.memory_total_bytes)}",
                f"{size(node.disk_used_bytes)}/{size(node.disk_total_bytes)}",
                f"{size(node.net_in_bytes_per_s)}/s",
                f"{size(node.net_out_bytes_per_s)}/s",
                age(node.silent_s),
            )
            for node in snapshot.nodes[:rows]
        ],
        right=(3, 4, 5, 6, 7, 8, 9),
    )
    processes = [
        (
            node.node,
            process.name,
            process.state,
            str(process.pid or NONE),
            size(process.rss_bytes),
            ratio(process.cpu_ratio),
            str(process.restarts),
            plain(process.detail, 40),
        )
        for node in snapshot.nodes
        for process in node.processes
    ]
    lines += table(
        ("node", "process", "state", "pid", "memory", "cpu", "restarts", ""), processes[:rows], right=(3, 4, 5, 6)
    )
    lines += table(
        ("worker", "node", "state", "busy", "done", "memory", "heard of"),
        [
            (
                worker.queue,
                worker.node,
                worker.state,
                f"{worker.busy}/{worker.concurrency}",
                str(worker.done),
                size(worker.rss_bytes),
                age(max(0.0, snapshot.taken_at - worker.heartbeat_at)),
            )
            for worker in snapshot.workers[:rows]
        ],
        right=(3, 4, 5, 6),
    )
    cache = snapshot.cache
    if cache.up:
        lines.append(
            f"Valkey {plain(cache.version)}: {size(cache.used_bytes)} of {size(cache.max_bytes)}, {cache.keys} keys "
            f"({cache.keys_without_ttl} without an end), evicted {cache.evicted}, {cache.clients} clients"
        )
    else:
        lines.append("Valkey: not reachable")
    return lines


def callback_lines(figures: CallbackFigures | None) -> list[str]:
    """Customers who are to be called back."""
    if figures is None:
        return []
    next_one = NONE if figures.next_at is None else f"{datetime.fromtimestamp(figures.next_at, ZONE):%a %d %b %H:%M}"
    return [f"to call back {figures.open}, overdue {figures.overdue}, next due {next_one}"]


def business(snapshot: BusinessSnapshot, rows: int) -> list[str]:
    """What customers feel and what the business earns."""
    last_week = UNKNOWN if snapshot.bookings_per_min_last_week is None else f"{snapshot.bookings_per_min_last_week:.1f}"
    effect = seconds(snapshot.webhook_effect_p99_s)
    request = (
        NONE if snapshot.revenue_per_request_cents is None else f"{snapshot.revenue_per_request_cents / 100:.2f} EUR"
    )
    return [
        f"calls now {snapshot.calls_ongoing}   bookings {snapshot.bookings_per_min:.1f}/min (last week {last_week})"
        f"   {sparkline(snapshot.bookings)}",
        f"webhooks ok {ratio(snapshot.webhook_success_ratio)}, effect p99 {effect}   {sparkline(snapshot.webhooks)}",
        f"errors {ratio(snapshot.error_ratio)}   median call {seconds(snapshot.median_call_s)}   "
        f"revenue today {money(snapshot.revenue_today_cents)}, calls cost {money(snapshot.call_cost_today_cents)}, "
        f"{request} for each webhook   watching costs {ratio(snapshot.watching_ratio)} of a core",
        *callback_lines(snapshot.callbacks),
        *table(
            ("company", "name", "calls", "booked", "revenue"),
            [
                (row.company, row.name, str(row.calls), str(row.booked), money(row.revenue_cents))
                for row in snapshot.companies[:rows]
            ],
            right=(2, 3, 4),
        ),
        *more(len(snapshot.companies), rows, "companies"),
        *table(
            ("route", "/s", "p50 ms", "p95", "p99", "5xx", "4xx"),
            [
                (
                    row.route,
                    f"{row.per_s:.1f}",
                    *(NONE if figure is None else f"{figure:.0f}" for figure in (row.p50_ms, row.p95_ms, row.p99_ms)),
                    str(row.errors),
                    str(row.refused),
                )
                for row in snapshot.routes[:rows]
            ],
            right=range(1, 7),
        ),
        *(f"{clock(change.at, with_date=True)}  {plain(change.what)}" for change in snapshot.changes[:rows]),
    ]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Lines of a table, made plain; nothing at all without rows."""
    made = [[plain(cell, 48) for cell in row] for row in rows]
    if not made:
        return []
    widths = [max(cell_len(line[column]) for line in (heads, *made)) for column in range(len(heads))]
    to_the_right = frozenset(right)

    def line(cells: Sequence[str]) -> str:
        fitted = []
        for column, cell in enumerate(cells):
            blanks = " " * (widths[column] - cell_len(cell))
            fitted.append(blanks + cell if column in to_the_right else cell + blanks)
        return "  ".join(fitted).rstrip()

    return [line(heads), *(line(cells) for cells in made)]


def more(listed: int, shown: int, what: str) -> list[str]:
    """A line that says how much is not shown, if anything."""
    return [f"… and {listed - shown} more {what}"] if listed > shown else []


def cut(line: str, width: int) -> str:
    """`line` cut to `width` columns, with an ellipsis."""
    return set_cell_size(line, max(1, width) - 1).rstrip() + "…"


def clock(at: float, zone: str | None = None, *, with_date: bool = False) -> str:
    """A time of day in Berlin, or in `zone` (an IANA name; an unknown one is taken for Berlin)."""
    try:
        there = ZoneInfo(zone) if zone else ZONE
    except (ZoneInfoNotFoundError, ValueError, OSError):
        there = ZONE
    moment = datetime.fromtimestamp(at, UTC).astimezone(there)
    return moment.strftime("%d %b %H:%M" if with_date else "%H:%M:%S")


def age(duration_s: float) -> str:
    """A duration in its largest unit: `0.4 s`, `12 s`, `3 m`, `2 h`, `5 d`."""
    if duration_s < 10:
        return f"{duration_s:.1f} s"
    for unit, length in (("s", 60.0), ("m", 60.0), ("h", 48.0)):
        if duration_s < length:
            return f"{duration_s:.0f} {unit}"
        duration_s /= 24.0 if unit == "h" else 60.0
    return f"{duration_s:.0f} d"


def seconds(duration_s: float | None) -> str:
    """A duration, or a dash; below a second in milliseconds."""
    if duration_s is None:
        return NONE
    return f"{duration_s * 1000:.0f} ms" if 0 < duration_s < 1 else age(duration_s)


def money(cents: int | None) -> str:
    """Euros, or a dash."""
    return NONE if cents is None else f"{cents / 100:,.2f} EUR"


def ratio(share: float | None) -> str:
    """A share in percent, or a question mark."""
    return UNKNOWN if share is None else f"{share * 100:.1f} %"


def per_s(rate: float | None) -> str:
    """A rate, or a question mark."""
    return UNKNOWN if rate is None else f"{rate:.1f}/s"


def size(count: float | None) -> str:
    """Bytes in the nearest unit, or a question mark."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def sparkline(trend: Trend) -> str:
    """The trend as bars, 30 of them: each is the larger of two steps."""
    values = trend.values
    pairs = [max(values[step : step + 2]) for step in range(0, len(values), 2)]
    top = max(pairs, default=0.0)
    if top <= 0:
        return BARS[0] * len(pairs)
    return "".join(BARS[min(len(BARS) - 1, int(value / top * (len(BARS) - 1) + 0.5))] for value in pairs)
