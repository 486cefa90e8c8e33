"""A decision about held jobs at work in the console's background: what it is about, how far it is, how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from backend.domain.vocabulary import BulkAction, QueueName
from screens.bulk_lines import DONE, VERBS, Stand, jobs_text
from screens.link import NotDone, connected, module, sentence_of, who
from widgets.figures import count_text

if TYPE_CHECKING:
    from backend.services.held_jobs.bulk import BulkResult, Progress
    from backend.services.held_jobs.selecting import HeldFilter
    from screens.host import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which held jobs are meant; what is empty does not narrow it."""

    queue: str = ""
    entrypoint: str = ""
    fingerprint: str = ""
    company: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    job_ids: tuple[int, ...] | None = None

    def as_filter(self, selecting: Any) -> HeldFilter:  # noqa: ANN401 -- the module, which is imported late
        """As the backend takes it."""
        held: HeldFilter = selecting.HeldFilter(
            queue=QueueName(self.queue) if self.queue else None,
            entrypoint=self.entrypoint or None,
            fingerprint=self.fingerprint or None,
            company=self.company or None,
            text=self.text,
            since=self.since,
            until=self.until,
            job_ids=self.job_ids,
        )
        return held


@dataclass(frozen=True, slots=True)
class Scope:
    """Some held jobs, in words and as a choice."""

    words: str
    """`job 123`, `3 marked jobs`, `all of this cause`."""
    choice: Choice
    entrypoint: str = ""
    """Their job type, when they have one in common."""
    company: str = ""
    """Their company's slug, when they have one in common."""
    fingerprint: str = ""
    """Their cause, when they have one in common."""


class BulkRun:
    """One decision at work, in the console's background."""

    def __init__(
        self, host: Host, action: str, chosen: Choice, *, per_s: float | None, reason: str, queue: str
    ) -> None:
        self.host = host
        self.action = action
        self.chosen = chosen
        self.per_s = per_s
        self.reason = reason
        self.queue = queue
        self.matched = 0
        self.done = 0
        self.skipped = 0
        self.is_over = False
        self.is_stopping = False
        self.is_cancelled = False
        self.problem = ""
        self.waiting_for = ""
        self.why_skipped: Mapping[str, int] = {}
        self.started = time.monotonic()
        self.ended = 0.0
        self.watcher: Callable[[], None] | None = None
        """Is told of each step while a dialog shows it."""
        self._stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def elapsed_s(self) -> float:
        """How long it has been at work, or took."""
        return (self.ended or time.monotonic()) - self.started

    def stand(self) -> Stand:
        """How far it is."""
        return Stand(
            action=self.action,
            matched=self.matched,
            done=self.done,
            skipped=self.skipped,
            elapsed_s=self.elapsed_s,
            is_stopping=self.is_stopping,
            is_cancelled=self.is_cancelled,
            problem=self.problem,
            waiting_for=self.waiting_for,
            why_skipped=self.why_skipped,
        )

    def begin(self, after: Callable[[BulkRun], None]) -> None:
        """Start; `after` is told when it is over. Returns at once."""
        self.task = asyncio.create_task(self._work(), name=f"{self.action} held jobs")
        RUNNING.add(self)

        def ended(_task: asyncio.Task[None]) -> None:
            RUNNING.discard(self)
            self.is_over, self.ended = True, time.monotonic()
            self._tell()
            after(self)

        self.task.add_done_callback(ended)

    def cancel(self) -> None:
        """Stop after the batch that is under way."""
        self.is_stopping = True
        self._stop.set()
        self._tell()

    def in_words(self) -> str:
        """What is at work: `retry of 10 000 held jobs, 4 200 done`."""
        return f"{self.action} of {jobs_text(self.matched)}, {count_text(self.done)} done"

    def sentence(self) -> str:
        """What came of it, in a sentence."""
        if self.problem:
            return f"{VERBS[self.action]}: {self.problem}"
        text = f"{DONE[self.action]} {count_text(self.done)} of {jobs_text(self.matched)}"
        skipped = f"; {count_text(self.skipped)} skipped" if self.skipped else ""
        return f"{text}{skipped}{', then cancelled' if self.is_cancelled else ''}."

    def take(self, progress: Progress) -> None:
        """A step was made."""
        self.matched, self.done, self.skipped = progress.matched, progress.done, progress.skipped
        self.waiting_for = progress.waiting_for
        self._tell()

    def _tell(self) -> None:
        if self.watcher is not None:
            self.watcher()

    async def _work(self) -> None:
        try:
            bulk = await module("backend.services.held_jobs.bulk")
            selecting = await module("backend.services.held_jobs.selecting")
            by = await who(self.host)
            result: BulkResult = await bulk.run_bulk(
                lambda: connected(self.host, changes=True),
                by,
                BulkAction(self.action),
                self.chosen.as_filter(selecting),
                per_s=self.per_s,
                reason=self.reason,
                queue=QueueName(self.queue) if self.queue else None,
                on_progress=self.take,
                stop=self._stop,
            )
        except asyncio.CancelledError:
            self.is_cancelled = True
        except NotDone as problem:
            self.problem = str(problem)
        except Exception as error:
            self.problem = sentence_of(error)
        else:
            self.matched, self.done, self.skipped = result.matched, result.done, result.skipped
            self.is_cancelled, self.problem = result.cancelled, result.error
            self.why_skipped = result.why_skipped


RUNNING: set[BulkRun] = set()
"""What is at work in this console; keeps it alive."""
