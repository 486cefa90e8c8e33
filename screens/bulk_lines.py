"""What is told about a decision on held jobs: before it (a dry run), while it runs, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screens.forms import LABEL, fact, told
from screens.moments import day_text
from widgets.figures import age_text, count_text, meter
from widgets.pieces import Line, Piece, Tone, fitted, wrapped
from widgets.safe_text import cell_width

if TYPE_CHECKING:
    from backend.services.held_jobs.selecting import Preview

VERBS = {"retry": "Retry", "discard": "Discard", "move": "Move", "edit": "Edit"}
DONE = {"retry": "Retried", "discard": "Discarded", "move": "Moved", "edit": "Edited"}
DOING = {"retry": "Retrying", "discard": "Discarding", "move": "Moving", "edit": "Editing"}

SETTLED_S = 0.5
"""After so long its pace tells how long the rest takes."""

ORPHAN = 8
"""Cells that a second line has at least."""

MEANING = {
    "retry": "Each starts again from its first attempt, as if it had just been put in.",
    "discard": "They are deleted for good and never run. What is known about their failure stays.",
    "move": "A new job is made of each in the other queue; the original stays, marked as replaced.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """How far a decision is, or how it ended."""

    action: str
    matched: int
    done: int
    skipped: int
    elapsed_s: float
    is_stopping: bool = False
    is_cancelled: bool = False
    problem: str = ""
    waiting_for: str = ""
    """What keeps it up just now."""
    why_skipped: Mapping[str, int] = field(default_factory=dict)
    """Reasons and jobs."""


def jobs_text(count: int) -> str:
    """`1 held job`, `1 200 held jobs`."""
    return "1 held job" if count == 1 else f"{count_text(count)} held jobs"


def share_text(shares: Sequence[tuple[str, int]], kinds: int, *, most: int = 3) -> str:
    """The biggest shares: `nord 190, süd 6, +2 more`."""
    shown = [f"{name or 'no company'} {count_text(count)}" for name, count in shares[:most]]
    more = kinds - len(shown)
    return ", ".join([*shown, *([f"+{more} more"] if more > 0 else [])])


def preview_lines(
    preview: Preview, action: str, width: int, *, target: str = "", is_whole: bool = True
) -> Iterable[Line]:
    """What the decision would touch; nothing was touched yet.

    Args:
        preview: What was counted.
        action: A word of `BulkAction`.
        width: Cells across.
        target: The queue that they would be moved to; empty while none is chosen.
        is_whole: Whether it was counted for that queue; else only what the jobs are is told.
    """
    yield from _what_they_are(preview, width)
    if action == "discard" or (action == "move" and not target):
        return
    if not is_whole:
        yield fact("There", Piece("counting …", Tone.DIM), width=width)
        return
    yield from _what_awaits(preview, target, width)


def _what_they_are(preview: Preview, width: int) -> Iterable[Line]:
    """Types, companies, causes, times of the jobs."""
    if len(preview.by_type) > 1:
        yield fact("Job types", Piece(share_text(preview.by_type, len(preview.by_type))), width=width)
    else:
        yield fact("Job type", *(Piece(name) for name, _ in preview.by_type[:1]), width=width)
    if preview.companies or preview.by_company:
        label = "Companies" if preview.companies > 1 else "Company"
        shares = preview.by_company
        kinds = max(preview.companies, len(shares))
        text = shares[0][0] or "none"
        if len(shares) > 1:
            text = share_text(shares, kinds)
            if cell_width(text) > width - LABEL - 4:
                text = share_text(shares, kinds, most=2)
        yield fact(label, Piece(text), width=width)
    if preview.by_cause:
        first = preview.by_cause[0]
        for place, found in enumerate(_folded(f"{first.error_type}: {first.message}", width - LABEL - 4)):
            yield fact("" if place else "Cause", *found.pieces, width=width)
        if preview.causes > 1:
            more = preview.causes - 1
            others = "1 other cause" if more == 1 else f"{count_text(more)} other causes"
            yield fact("", Piece(f"and {others}", Tone.DIM), width=width)
    if preview.oldest_at is not None and preview.newest_at is not None:
        oldest, newest = preview.oldest_at.timestamp(), preview.newest_at.timestamp()
        span = day_text(newest) if newest - oldest < 60 else f"{day_text(oldest)} – {day_text(newest)}"
        yield fact("Held", Piece(span), width=width)
    if preview.deliveries:
        yield fact("Deliveries", Piece(f"{count_text(preview.deliveries)} webhooks are held with them"), width=width)


def _folded(text: str, width: int) -> Sequence[Line]:
    """The text in at most two lines, the second one of them never a word's rest or a unit alone."""
    lines = wrapped(text, width, most=2)
    return wrapped(text, width - ORPHAN, most=2) if len(lines) == 2 and lines[1].width < ORPHAN else lines


def _what_awaits(preview: Preview, target: str, width: int) -> Iterable[Line]:
    """What stands in the way of a retry, or of a move to `target`."""
    if preview.providers:
        yield fact("Calls", Piece(f"{', '.join(preview.providers)}: their limits and breakers hold"), width=width)
    if preview.ahead:
        text = "1 job waits" if preview.ahead == 1 else f"{count_text(preview.ahead)} jobs wait"
        where = f"in {target}" if target else "in their queue"
        yield fact("Ahead", Piece(f"{text} {where} already"), width=width)
    for text in skip_texts(preview, target):
        yield fact("Would skip", Piece(text, Tone.WARN), width=width)
    for paused in preview.queue_paused[:3]:
        yield fact("Paused", Piece(f"▲ {paused}: they would wait until it is resumed", Tone.WARN), width=width)
    for quarantine in preview.quarantined[:3]:
        yield fact("Quarantine", Piece(f"▲ {quarantine} may hold them again", Tone.WARN), width=width)


def skip_texts(preview: Preview, target: str = "") -> Iterable[str]:
    """Which jobs would be left, and why: those in the target queue, and those of which an equal one waits."""
    if target and preview.standing:
        yield f"{count_text(preview.standing)} {_verb(preview.standing, 'stand')} in {target} already"
    equal = 0 if preview.would_skip is None else preview.would_skip - (preview.standing if target else 0)
    if equal > 0:
        yield f"{count_text(equal)}: an equal job waits already"


def _verb(count: int, verb: str) -> str:
    return f"{verb}s" if count == 1 else verb


def progress_lines(stand: Stand, width: int) -> Iterable[Line]:
    """How far it is."""
    through = stand.done + stand.skipped
    ratio = through / stand.matched if stand.matched else 1.0
    bar = max(10, width - 12)
    yield Line((Piece("  "), Piece(meter(ratio, bar), Tone.ACCENT), Piece(f"  {ratio * 100:3.0f} %", Tone.BRIGHT)))
    yield Line()
    yield _done_line(stand, width)
    yield fact("Skipped", Piece(count_text(stand.skipped), Tone.WARN if stand.skipped else Tone.DIM), width=width)
    pieces = [Piece(age_text(stand.elapsed_s))]
    if through and stand.elapsed_s > SETTLED_S:
        left = (stand.matched - through) * stand.elapsed_s / through
        pieces.append(Piece(f", about {age_text(left)} to go", Tone.DIM))
    yield fact("Running", *pieces, width=width)
    if stand.waiting_for:
        yield from told(f"▲ Waiting for {stand.waiting_for}.", width, Tone.WARN)
    elif stand.is_stopping:
        yield from told("Stops after the batch that is under way.", width, Tone.WARN)


def result_lines(stand: Stand, width: int) -> Iterable[Line]:
    """What came of it."""
    if stand.problem:
        yield from told(f"✖ {stand.problem}", width, Tone.CRIT)
        yield Line()
    elif stand.is_cancelled:
        yield from told("▲ Cancelled. What was done stays done; the rest is held as before.", width, Tone.WARN)
        yield Line()
    yield _done_line(stand, width)
    yield fact("Skipped", Piece(count_text(stand.skipped), Tone.WARN if stand.skipped else Tone.DIM), width=width)
    for reason, count in sorted(stand.why_skipped.items(), key=lambda entry: -entry[1])[:4]:
        yield fact("", Piece(f"{count_text(count)}: {reason}", Tone.DIM), width=width)
    left = stand.matched - stand.done - stand.skipped
    if left > 0:
        yield fact("Left", Piece(f"{count_text(left)} still held"), width=width)
    yield fact("Took", Piece(age_text(stand.elapsed_s)), width=width)


def _done_line(stand: Stand, width: int) -> Line:
    of = Piece(f" of {count_text(stand.matched)}", Tone.DIM)
    return fact(DONE[stand.action], Piece(count_text(stand.done), Tone.BRIGHT), of, width=width)


def scope_line(words: Sequence[str], chosen: int, width: int) -> Line:
    """What it can be about, the chosen one bright; `a` takes the next."""
    pieces = [Piece(f"  {'About':<{LABEL}}", Tone.DIM)]
    for index, text in enumerate(words):
        if index:
            pieces.append(Piece("  │  ", Tone.FAINT))
        pieces.append(Piece(f"▸ {text}" if index == chosen else text, Tone.BRIGHT if index == chosen else Tone.DIM))
    return Line(fitted(pieces, width))
