"""Which alert limits of its policy a queue breaks. Pure: a row in, words and verdicts out.

A queue's limits are those its workers work by; of a queue without a worker, those that are built in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backend.domain.vocabulary import QueueName, Verdict
from backend.queue.policies import DRAIN_CRITICAL, FEWEST_RUNS, OLDEST_CRITICAL, POLICIES, AlertLimits
from backend.watch.queue_snapshots import QueueRow

FEWEST_STUCK = 100
"""So many ready jobs that are not getting fewer are critical, whatever their number."""


@dataclass(frozen=True, slots=True)
class Broken:
    """One limit that is broken."""

    limit: str
    """oldest, drain, backlog, silence, failures"""
    verdict: Verdict
    text: str
    """What is wrong, with the number that says so and the limit."""


def limits_of(row: QueueRow) -> AlertLimits:
    """The limits that hold for a queue."""
    if row.limits is not None:
        return row.limits
    known = {queue.value: policy for queue, policy in POLICIES.items()}
    return known[row.queue].limits if row.queue in known else POLICIES[QueueName.DEFAULT].limits


def broken(row: QueueRow) -> Iterator[Broken]:
    """The limits that a queue breaks; a paused one is not expected to get through its jobs."""
    limits = limits_of(row)
    if not row.paused:
        yield from _speed(row, limits)
    if limits.backlog and row.ready >= limits.backlog:
        yield Broken("backlog", Verdict.WARN, f"{row.ready:,} jobs are ready, its limit is {limits.backlog:,}")
    if limits.silence_s and row.silent_s >= limits.silence_s:
        yield Broken(
            "silence",
            Verdict.CRIT,
            f"nothing was put in for {span(row.silent_s)}, its limit is {span(limits.silence_s)}",
        )
    if limits.failure_share and row.runs >= FEWEST_RUNS and row.failed / row.runs >= limits.failure_share:
        share = f"{row.failed / row.runs * 100:.0f} % of {row.runs:,} runs"
        yield Broken("failures", Verdict.WARN, f"{share} failed lately, its limit is {limits.failure_share * 100:g} %")


def _speed(row: QueueRow, limits: AlertLimits) -> Iterator[Broken]:
    if limits.oldest_s and row.oldest_s is not None and row.oldest_s >= limits.oldest_s:
        yield Broken(
            "oldest",
            _verdict(row.oldest_s, limits.oldest_s * OLDEST_CRITICAL),
            f"the oldest job waits for {span(row.oldest_s)}, its limit is {span(limits.oldest_s)}",
        )
    if limits.drain_s and row.ready > FEWEST_STUCK and row.drain_s is None:
        yield Broken("drain", Verdict.CRIT, f"{row.ready:,} ready and not getting fewer")
    elif limits.drain_s and row.drain_s is not None and row.drain_s >= limits.drain_s:
        yield Broken(
            "drain",
            _verdict(row.drain_s, limits.drain_s * DRAIN_CRITICAL),
            f"{row.ready:,} ready, drained in {span(row.drain_s)}, its limit is {span(limits.drain_s)}",
        )


def _verdict(value: float, critical: float) -> Verdict:
    return Verdict.CRIT if value >= critical else Verdict.WARN


def span(seconds: float) -> str:
    """A stretch of time in one unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} m" if seconds < 5400 else f"{seconds / 3600:.0f} h"
