"""Figures as people read them: one format for ages, durations, sizes, rates, money; small multiples as sparklines.

Units are dim and stand after their number. None is drawn as a dash: unknown, or nothing to say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from widgets.pieces import Piece, Tone

DASH = "–"


def age_text(seconds: float | None) -> str:
    """An age or a duration in one unit: `0.4 s`, `12 s`, `3 m`, `2 h`, `5 d`."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 3570:
        return f"{seconds / 60:.0f} m"
    if seconds < 84600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def span_text(seconds: float | None) -> str:
    """A short duration to the millisecond, a long one as an age: `4 ms`, `212 ms`, `1.4 s`, `3 m`."""
    if seconds is None or not math.isfinite(seconds) or seconds >= 0.9995:
        return age_text(seconds)
    return f"{max(0.0, seconds) * 1000:.0f} ms"


def length_text(seconds: float | None) -> str:
    """How long something lasted, to the second: `0:48`, `12:04`, `1:02:10`."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02}:{rest % 60:02}"
    return f"{rest // 60}:{rest % 60:02}"


def count_text(number: float | None) -> str:
    """A count with thin spaces between thousands: `1 200`."""
    return DASH if number is None else f"{number:,.0f}".replace(",", " ")


def short_text(number: float | None, digits: int = 1) -> str:
    """A number in at most four or five characters: `0.3`, `12`, `1.2 k`, `3.4 M`."""
    if number is None or not math.isfinite(number):
        return DASH
    for limit, divisor, unit in ((999.5, 1, ""), (999_500, 1_000, " k"), (math.inf, 1_000_000, " M")):
        if abs(number) < limit:
            value = number / divisor
            shown = (
                f"{value:.{digits}f}"
                if abs(value) < 9.95 and (divisor > 1 or value != round(value))
                else f"{value:.0f}"
            )
            return f"{shown}{unit}"
    return DASH


def size_text(size: float | None) -> str:
    """Bytes: `512 B`, `41 MB`, `2.1 GB` (in 1024s)."""
    if size is None or not math.isfinite(size):
        return DASH
    value = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.1f} {unit}" if abs(value) < 9.95 and unit != "B" else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


def ratio_text(ratio: float | None, digits: int = 0) -> str:
    """A share: `97 %`."""
    return DASH if ratio is None else f"{ratio * 100:.{digits}f} %"


def money_text(cents: float | None) -> str:
    """Euros: `0.21 €`, `1 204 €`."""
    if cents is None:
        return DASH
    euros = cents / 100
    return f"{count_text(euros)} €" if abs(euros) >= 1000 else f"{euros:.2f} €"


def with_unit(text: str, tone: Tone = Tone.TEXT) -> tuple[Piece, ...]:
    """A formatted figure with its unit dim: the part after the last space."""
    number, space, unit = text.rpartition(" ")
    if not space or not unit or unit[0].isdigit():
        return (Piece(text, Tone.DIM if text == DASH else tone),)
    return (Piece(number, tone), Piece(f" {unit}", Tone.DIM))


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars, from zero to their maximum; the newest is at the right.

    With fewer cells than values, neighbours are averaged, so that the whole span stays visible.
    """
    if width <= 0 or not values:
        return ""
    shown = list(values)
    if len(shown) > width:
        step = len(shown) / width
        bounds = [round(index * step) for index in range(width + 1)]
        shown = [sum(shown[start:end]) / (end - start) for start, end in itertools.pairwise(bounds) if end > start]
    top = max(shown)
    if top <= 0:
        return _BARS[0] * len(shown)
    return "".join(_BARS[min(7, math.ceil(value / top * 7))] if value > 0 else _BARS[0] for value in shown)


def meter(ratio: float, width: int) -> str:
    """A share as a bar of `width` cells, in eighths."""
    cells = max(0.0, min(1.0, ratio)) * width
    full = int(cells)
    part = int((cells - full) * 8)
    bar = "█" * full + (" ▏▎▍▌▋▊▉"[part] if full < width else "")
    return bar.ljust(width, "·")[:width]


def resampled(values: Sequence[float | None], width: int, *, worst: bool = False) -> list[float | None]:
    """The values in at most `width` cells: neighbours share one, with their mean, or with the largest of them.

    With room for it each value gets several cells. None is a gap; it stays one only where no neighbour is known.
    """
    count = len(values)
    if width <= 0 or not count:
        return []
    if count <= width:
        return [values[index * count // width] for index in range(width)]
    bounds = [round(index * count / width) for index in range(width + 1)]
    found: list[float | None] = []
    for start, end in itertools.pairwise(bounds):
        known = [value for value in values[start:end] if value is not None]
        found.append((max(known) if worst else sum(known) / len(known)) if known else None)
    return found


def chart(values: Sequence[float | None], rows: int) -> list[str]:
    """Bars of `rows` cells in height, from zero to the largest value, top row first; None leaves its column empty."""
    top = max((value for value in values if value is not None), default=0.0)
    eighths = [
        None if value is None else (math.ceil(value / top * rows * 8) if value > 0 and top > 0 else 0)
        for value in values
    ]
    lines = []
    for row in range(rows - 1, -1, -1):
        cells = []
        for level in eighths:
            part = 0 if level is None else max(0, min(8, level - row * 8))
            ground = _BARS[0] if row == 0 and level is not None else " "
            cells.append(_BARS[part - 1] if part else ground)
        lines.append("".join(cells))
    return lines
