"""The pictures and the list of the History screen as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from screens.base import ZONE
from widgets.columns import Column
from widgets.figures import DASH, age_text, chart, ratio_text, resampled, short_text, span_text, with_unit
from widgets.pieces import Content, Line, Piece, Tone, fitted, rule, verdict

if TYPE_CHECKING:
    from backend.watch.history import History, HistoryStep, Tally

LABEL = 13
FIGURES = 32
"""Cells beside each picture."""

STILL_S = 300.0
"""Counts come by the minute; when the last one is older than this, counting stands still."""

_ZONE = ZoneInfo(ZONE)


@dataclass(frozen=True, slots=True)
class Span:
    """How far back."""

    title: str
    length: timedelta


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn."""

    history: History
    name: str
    span: Span

    @property
    def steps(self) -> list[HistoryStep]:
        """Those that have begun."""
        return [step for step in self.history.steps if step.at < self.history.until]


@dataclass(frozen=True, slots=True)
class Room:
    """The room for one figure: cells and rows of its picture, cells beside it."""

    cells: int
    rows: int
    beside: int


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A queue, a job type, or all of them together."""

    key: str
    queue: str | None
    entrypoint: str | None
    tally: Tally


@dataclass(frozen=True, slots=True)
class Figure:
    """One picture."""

    label: str
    value: Callable[[HistoryStep, float], float | None]
    """Of a step, and of its length in seconds."""
    text: Callable[[float | None], str]
    rank: int
    """1 is always shown; the highest goes first when there is little room."""
    tone: Tone = Tone.ACCENT
    worst: bool = False
    """Where steps share a cell it shows the largest of them, not their mean."""


def _per_minute(count: Callable[[Tally], int]) -> Callable[[HistoryStep, float], float | None]:
    return lambda step, length: count(step.tally) * 60.0 / length


def _rate_text(value: float | None) -> str:
    return DASH if value is None else f"{short_text(round(value, 1))} /min"


FIGURES_SHOWN: tuple[Figure, ...] = (
    Figure("done", _per_minute(lambda tally: tally.done), _rate_text, 1),
    Figure("put in", _per_minute(lambda tally: tally.put_in), _rate_text, 6),
    Figure("failed", _per_minute(lambda tally: tally.failed + tally.held), _rate_text, 1, Tone.WARN, worst=True),
    Figure("wait p50", lambda step, _: step.tally.wait.p50_s, span_text, 5, worst=True),
    Figure("wait p95", lambda step, _: step.tally.wait.p95_s, span_text, 4, worst=True),
    Figure("wait p99", lambda step, _: step.tally.wait.p99_s, span_text, 2, worst=True),
    Figure("run p50", lambda step, _: step.tally.run.p50_s, span_text, 5, worst=True),
    Figure("run p95", lambda step, _: step.tally.run.p95_s, span_text, 4, worst=True),
    Figure("run p99", lambda step, _: step.tally.run.p99_s, span_text, 2, worst=True),
)


def chart_lines(picture: Picture, width: int, room: int, now: float) -> list[Line]:
    """The pictures of one queue or job type in at most `room` lines: how much, what failed, how long it took."""
    history, span = picture.history, picture.span
    shown, rows = _fitting(room - 2)
    beside = FIGURES if width >= 72 else 0
    space = Room(max(10, width - LABEL - beside - 2), rows, beside)
    counted = _clock(history.until, span)
    stale = now - history.until > STILL_S
    right = verdict(Tone.WARN, f"counted until {counted}") if stale else (Piece(f"until {counted}", Tone.DIM),)
    lines = [rule((Piece(picture.name, Tone.BRIGHT), Piece(f"  {span.title}", Tone.DIM)), width, right)]
    for figure in shown:
        lines += _figure_lines(figure, picture, space)
    lines.append(_axis(history, span, space.cells))
    return lines[: max(1, room)]


def _fitting(room: int) -> tuple[list[Figure], int]:
    """The figures and the height of each with which `room` lines are enough."""
    for most in sorted({figure.rank for figure in FIGURES_SHOWN}, reverse=True):
        shown = [figure for figure in FIGURES_SHOWN if figure.rank <= most]
        if len(shown) <= room or most == 1:
            return shown, max(1, min(4, room // len(shown)))
    return [], 1


def _figure_lines(figure: Figure, picture: Picture, room: Room) -> list[Line]:
    steps, span = picture.steps, picture.span
    values = [figure.value(step, picture.history.step_s) for step in steps]
    known = [(value, step.at) for value, step in zip(values, steps, strict=True) if value is not None]
    most = max(known, default=None, key=lambda entry: entry[0])
    last = values[-1] if values else None
    quiet = most is None or not most[0]
    # A gap above each picture where there is room for one; nothing is drawn high that is nothing.
    rows = 1 if quiet else max(1, room.rows - 1 if room.rows > 2 else room.rows)
    drawn = chart(resampled(values, room.cells, worst=figure.worst), rows)
    peak: tuple[Piece, ...] = ()
    if most is not None and not quiet:
        when = Piece(f" {_clock(most[1], span)}" if room.cells >= 40 else "", Tone.FAINT)
        peak = (Piece("most ", Tone.DIM), *with_unit(figure.text(most[0])), when)
    lines = [Line()] if room.rows > 2 else []
    for index, bars in enumerate(drawn):
        is_last = index == len(drawn) - 1
        label = Piece(f" {figure.label}" if is_last else "", Tone.DIM)
        told: tuple[Piece, ...] = ()
        if room.beside and is_last:
            now = fitted((Piece("now ", Tone.DIM), *with_unit(figure.text(last))), 13)
            told = (*now, *peak) if rows == 1 else now
        elif room.beside and index == len(drawn) - 2:
            told = peak
        tone = Tone.FAINT if quiet else figure.tone
        lines.append(
            Line((*fitted(label, LABEL), Piece(f"{bars:<{room.cells}}", tone), Piece("  "), *fitted(told, room.beside)))
        )
    return lines


def _axis(history: History, span: Span, cells: int) -> Line:
    """From when to when, under the pictures."""
    start, middle, end = (
        _clock(history.since + (history.until - history.since) * part, span) for part in (0.0, 0.5, 1.0)
    )
    left = f"{start}{' ' * max(1, cells // 2 - len(start) - len(middle) // 2)}{middle}"
    rest = max(1, cells - len(left) - len(end))
    return Line((Piece(" " * LABEL), Piece(f"{left}{' ' * rest}{end}"[: cells + 6], Tone.FAINT)))


def _clock(at: float, span: Span) -> str:
    when = datetime.fromtimestamp(at, _ZONE)
    return when.strftime("%a %H:%M") if span.length > timedelta(days=1) else when.strftime("%H:%M")


# The list


def _name_cell(row: HistoryRow) -> Content:
    if row.entrypoint is not None:
        return Piece(f"  {row.entrypoint}")
    return Piece(row.key, Tone.BRIGHT)


def _count(
    key: str, title: str, value: Callable[[Tally], int], priority: int, *, alarm: bool = False
) -> Column[HistoryRow]:
    def cell(row: HistoryRow) -> Content:
        count = value(row.tally)
        if not count:
            return Piece("0", Tone.DIM)
        return Piece(short_text(count), Tone.WARN if alarm else Tone.TEXT)

    return Column(
        key, title, cell=cell, width=7, align="right", sort=lambda row: value(row.tally), descending=True,
        searched=False, priority=priority, export=lambda row: f"{value(row.tally)}",
    )  # fmt: skip


def _long(key: str, title: str, value: Callable[[Tally], float | None], priority: int) -> Column[HistoryRow]:
    return Column(
        key, title, cell=lambda row: with_unit(span_text(value(row.tally))), width=8, align="right",
        sort=lambda row: value(row.tally), descending=True, searched=False, priority=priority,
    )  # fmt: skip


def _share_cell(row: HistoryRow) -> Content:
    share = row.tally.failure_share
    if share is None:
        return Piece(DASH, Tone.DIM)
    return with_unit(ratio_text(share, 1), Tone.WARN if share >= 0.01 else Tone.DIM if not share else Tone.TEXT)


COLUMNS: tuple[Column[HistoryRow], ...] = (
    Column("name", "Queue, job type", cell=_name_cell, width=24, grow=1, most=44),
    _count("put", "put in", lambda tally: tally.put_in, 7),
    _count("done", "done", lambda tally: tally.done, 1),
    _count("failed", "retried", lambda tally: tally.failed, 3, alarm=True),
    _count("held", "held", lambda tally: tally.held, 1, alarm=True),
    Column("share", "failed", cell=_share_cell, width=7, align="right", sort=lambda row: row.tally.failure_share,
           descending=True, searched=False, priority=2),
    _long("wait50", "wait p50", lambda tally: tally.wait.p50_s, 6),
    _long("wait95", "wait p95", lambda tally: tally.wait.p95_s, 5),
    _long("wait99", "wait p99", lambda tally: tally.wait.p99_s, 2),
    _long("run50", "run p50", lambda tally: tally.run.p50_s, 6),
    _long("run95", "run p95", lambda tally: tally.run.p95_s, 5),
    _long("run99", "run p99", lambda tally: tally.run.p99_s, 2),
    Column("ran", "ran", cell=lambda row: with_unit(age_text(row.tally.run_total_s)), width=7, align="right",
           sort=lambda row: row.tally.run_total_s, descending=True, searched=False, priority=8),
)  # fmt: skip
