"""Stopping what is done with many held jobs, whoever began it and wherever it runs: asked first, then told in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

from textual.binding import Binding, BindingType

from backend.domain.vocabulary import BulkState
from backend.watch.snapshots import BulkRow
from screens.bulk_lines import jobs_text
from screens.changing import change
from screens.forms import Form, choice, fact, told
from screens.link import Link, module
from screens.moments import day_text
from widgets.figures import count_text, meter
from widgets.pieces import Line, Piece, Tone

if TYPE_CHECKING:
    from backend.postgres.pools import Connection
    from backend.services.held_jobs.recorded import BulkLine
    from backend.services.operating.audit import By
    from screens.base import ConsoleScreen
    from screens.host import Host


class CancelForm(Form[BulkRow]):
    """What is under way, one of several at a time; answers with the one that is to stop."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "next_row", "another one"),
        Binding("n", "leave", "do nothing"),
    ]

    def __init__(self, rows: Sequence[BulkRow]) -> None:
        """A question about one of `rows`, the first of them at first; there is at least one."""
        super().__init__()
        self._rows = tuple(rows)
        self._chosen = 0

    def above(self, width: int) -> Iterable[Line]:
        """What it is, who began it, how far it is."""
        row = self._rows[self._chosen]
        through = row.done + row.skipped
        ratio = through / row.matched if row.matched else 1.0
        yield Line()
        yield from told(f"Cancel the {row.action} of {jobs_text(row.matched)}?", width, Tone.BRIGHT)
        yield from told("It stops after the batch that is under way, wherever it runs.", width, Tone.DIM)
        yield Line()
        yield fact("Begun by", Piece(row.started_by), Piece(f"  {day_text(row.started_at)}", Tone.DIM), width=width)
        if row.reason:
            yield fact("Why", Piece(row.reason), width=width)
        yield fact("So far", Piece(meter(ratio, 30), Tone.ACCENT), Piece(f"  {ratio * 100:.0f} %"), width=width)
        skipped = f", {count_text(row.skipped)} skipped" if row.skipped else ""
        yield fact("", Piece(f"{count_text(row.done)} done{skipped}; that stays so", Tone.DIM), width=width)
        left = max(0, row.matched - through)
        stay = "1 job stays held" if left == 1 else f"{count_text(left)} jobs stay held"
        yield fact("The rest", Piece(stay), width=width)
        if (others := len(self._rows) - 1) > 0:
            which = f"{self._chosen + 1} of {others + 1} that are under way"
            yield fact("This is", Piece(which, Tone.DIM), width=width)

    def below(self, width: int) -> Iterable[Line]:
        """The keys."""
        yield Line()
        yield choice("y", "cancel it")
        if len(self._rows) > 1:
            yield choice("a", "another one")
        yield choice("esc", "do nothing")
        yield Line()

    def action_next_row(self) -> None:
        """About another one."""
        self._chosen = (self._chosen + 1) % len(self._rows)
        self.draw()

    def action_agree(self) -> None:
        """This one."""
        self.dismiss(self._rows[self._chosen])


def cancel_bulk(screen: ConsoleScreen, rows: Sequence[BulkRow]) -> None:
    """Ask which of what runs of `rows` is to stop, and stop it; it goes on when the screen is left meanwhile."""
    running = [row for row in rows if row.state == BulkState.RUNNING]
    if not running:
        screen.host.say("Nothing is being done with many held jobs now.")
        return

    def answered(row: BulkRow | None) -> None:
        if row is None:
            return
        bulk_id = UUID(row.id)

        async def stop(connection: Connection, by: By) -> bool:
            recorded = await module("backend.services.held_jobs.recorded")
            asked: bool = await recorded.ask_cancel(connection, by, bulk_id)
            return asked

        change(screen, stop, said=lambda asked: told_of(row, is_asked=asked))

    screen.app.push_screen(CancelForm(running), answered)


def told_of(row: BulkRow, *, is_asked: bool) -> str:
    """What came of it, for the remark."""
    return f"The {row.action} stops after the batch that is under way." if is_asked else "It was over already."


async def running_bulks(host: Host) -> tuple[BulkRow, ...]:
    """What is being done with many held jobs now, as the database knows it, the latest first. Raises NotDone."""
    recorded = await module("backend.services.held_jobs.recorded")
    link = Link(host)

    async def read(connection: Connection) -> tuple[BulkRow, ...]:
        lines: list[BulkLine] = await recorded.latest_actions(connection)
        return tuple(row_of(found) for found in lines if found.state == BulkState.RUNNING)

    try:
        return await link.run(read)
    finally:
        await link.aclose()


def row_of(found: BulkLine) -> BulkRow:
    """A line of the record as snapshots tell it."""
    return BulkRow(
        id=str(found.bulk_id),
        action=found.action,
        reason=found.reason,
        started_by=found.started_by,
        started_at=found.started_at.timestamp(),
        ended_at=None if found.ended_at is None else found.ended_at.timestamp(),
        state=found.state,
        matched=found.matched,
        done=found.done,
        skipped=found.skipped,
        per_s=found.per_s,
        error=found.error,
    )
