"""Which held jobs rows of the Queues screen stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backend.watch.snapshots import HeldGroup
from screens.held_actions import Choice, Scope
from screens.queue_lists import QueueLine, TypeLine
from widgets.figures import count_text

if TYPE_CHECKING:
    from backend.services.held_jobs.selecting import HeldFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class CausesChoice(Choice):
    """Held jobs of any of several causes."""

    causes: tuple[str, ...]
    """Their fingerprints."""

    def as_filter(self, selecting: Any) -> HeldFilter:  # noqa: ANN401 -- the module, which is imported late
        """As the backend takes it."""
        return replace(Choice.as_filter(self, selecting), causes=self.causes)


def scopes_of(rows: Sequence[object]) -> tuple[Scope, ...]:
    """What can be decided about: all causes that are chosen, or one job type or queue; the likeliest first."""
    causes = [row for row in rows if isinstance(row, HeldGroup)]
    if len(causes) > 1:
        return (_of_causes(causes),)
    match rows[0] if len(rows) == 1 else None:
        case HeldGroup() as cause:
            return _of_cause(cause)
        case TypeLine(row=row):
            words = f"all {count_text(row.held)} held {row.entrypoint}"
            return (Scope(words, Choice(entrypoint=row.entrypoint), row.entrypoint),)
        case QueueLine(row=row):
            return (Scope(f"all {count_text(row.held)} held of {row.queue}", Choice(queue=row.queue)),)
    return ()


def _of_causes(causes: Sequence[HeldGroup]) -> Scope:
    total = sum(cause.held_total for cause in causes)
    types = {cause.entrypoint for cause in causes}
    return Scope(
        f"all {count_text(total)} of {len(causes)} marked causes",
        CausesChoice(causes=tuple(cause.fingerprint for cause in causes)),
        types.pop() if len(types) == 1 else "",
    )


def _of_cause(cause: HeldGroup) -> tuple[Scope, ...]:
    everything = Scope(
        f"all {count_text(cause.held_total)} of this cause",
        Choice(fingerprint=cause.fingerprint),
        cause.entrypoint,
        fingerprint=cause.fingerprint,
    )
    if cause.companies <= 1:
        return (everything,)
    return (
        everything,
        *(
            Scope(
                f"{count_text(count)} of it of {slug}",
                Choice(fingerprint=cause.fingerprint, company=slug),
                cause.entrypoint,
                company=slug,
                fingerprint=cause.fingerprint,
            )
            for slug, count in cause.top_companies
        ),
    )
