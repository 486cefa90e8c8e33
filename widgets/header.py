"""The strip at the top of every screen: where one is, whose data, how old it is, what time it is, who one is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from widgets.figures import age_text
from widgets.line_view import LineView
from widgets.pieces import Line, Piece, Tone, fitted

Liveness = Literal["live", "stale", "paused", "waiting", "none", "timeless", "read"]


@dataclass(frozen=True, slots=True)
class Badge:
    """How old what is shown is, and why it is not newer."""

    state: Liveness
    age_s: float | None = None
    reason: str = ""

    def pieces(self) -> tuple[Piece, ...]:
        """`LIVE 0.4 s`, `STALE 12 s`, `PAUSED 3 m`, `READ 3 m ago`, `NO DATA`; nothing for what has no age."""
        age = "" if self.age_s is None else f" {age_text(self.age_s)}"
        match self.state:
            case "live":
                return (Piece("LIVE", Tone.DIM), Piece(f"{age:>7}", Tone.DIM))
            case "stale":
                return (Piece(f"▲ STALE{age:>6}", Tone.WARN),)
            case "paused":
                return (Piece(f"PAUSED{age:>6}", Tone.ACCENT),)
            case "timeless":
                return ()
            case "read":
                return (Piece(f"READ{age:>7} ago", Tone.DIM),)
            case "waiting":
                return (Piece("READING …", Tone.DIM),)
        return (Piece("✖ NO DATA", Tone.CRIT),)


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What the strip tells."""

    screen: str
    crumbs: tuple[str, ...] = ()
    """What the screen is inside of, outermost first: `Calls` above one call."""
    scope: str = ""
    user: str = ""
    read_only: bool = False
    badge: Badge = Badge("waiting")
    zone_name: str = ""


class HeaderStrip(LineView):
    """Draws `HeaderFacts`; the clock and the ages repaint only their own cells."""

    DEFAULT_CSS = """
    HeaderStrip { height: 1; }
    """

    def tell(self, facts: HeaderFacts, now: datetime) -> None:
        """Show these facts at this time (with its zone)."""
        self.show([header_line(facts, now, self.size.width or self.app.size.width)])


def header_line(facts: HeaderFacts, now: datetime, width: int) -> Line:
    """The strip in `width` cells: what matters least is left out first."""
    left: list[Piece] = [Piece(" AskPro", Tone.ACCENT), Piece("  ")]
    for crumb in facts.crumbs:
        left += [Piece(crumb, Tone.DIM), Piece(" › ", Tone.FAINT)]
    left.append(Piece(facts.screen, Tone.BRIGHT))
    if facts.read_only:
        left.append(Piece("  READ ONLY", Tone.WARN))
    clock = now.strftime("%H:%M:%S")
    day = f"{now:%a} {now.day} {now:%b} "
    badge = facts.badge.pieces()
    space, edge = Piece("   "), Piece(" ")
    # From the fullest to the barest right side; the first that leaves the left side whole is taken.
    rights: list[tuple[Piece, ...]] = [
        (
            *badge,
            space,
            Piece(f"{day}{clock}"),
            Piece(f" {facts.zone_name}", Tone.DIM),
            space,
            Piece(facts.user, Tone.DIM),
            edge,
        ),
        (*badge, space, Piece(f"{day}{clock}"), Piece(f" {facts.zone_name}", Tone.DIM), edge),
        (*badge, space, Piece(clock), edge),
        (*badge, edge),
    ]
    left_width = Line(tuple(left)).width
    scope_width = len(facts.scope) + 6 if facts.scope else 0
    for needed in (left_width + scope_width, left_width):
        for right in rights[: 3 if needed > left_width else 4]:
            right_width = Line(right).width
            if needed + right_width + 2 <= width:
                middle: tuple[Piece, ...] = ()
                if needed > left_width:
                    start = max(left_width + 4, min(width // 2 - 12, width - right_width - len(facts.scope) - 3))
                    middle = (Piece(" " * (start - left_width)), Piece(facts.scope, Tone.DIM))
                used = left_width + Line(middle).width
                return Line((*left, *middle, Piece(" " * (width - right_width - used)), *right))
    return Line(fitted(tuple(left), width))


def monotonic_age(seen_at: float, age_s: float) -> float:
    """Age now of something that had `age_s` at the monotonic time `seen_at`."""
    return age_s + time.monotonic() - seen_at
