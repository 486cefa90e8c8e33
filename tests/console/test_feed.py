"""The feed reads what is watched, survives readers that fail, and never loses the last picture."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from askpro_console.feed import Feed
from backend.watch.reader import Reading
from screens.host import Seen
from tests.screens import samples


class Moody:
    """A reader that fails when told to."""

    def __init__(self) -> None:
        self.fails = False
        self.hangs = False
        self.reads: list[str] = []
        self.listeners = 0
        self.changed: asyncio.Queue[str] = asyncio.Queue()

    async def read(self, domain: str) -> Reading:
        """A fleet, or trouble."""
        self.reads.append(domain)
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise RuntimeError("the reader broke")
        return Reading(domain, samples.fleet_snapshot(), "valkey", 0.5, None, "live")

    async def changes(self) -> AsyncGenerator[str, None]:
        """What the test says."""
        self.listeners += 1
        try:
            while True:
                yield await self.changed.get()
        finally:
            self.listeners -= 1

    async def aclose(self) -> None:
        """Nothing to close."""


class Running:
    """A feed at work, and what arrived."""

    def __init__(self, reader: Moody) -> None:
        self.seen: list[Seen] = []
        self.attempts = 0
        self.broken = 0
        self.reader = reader
        self.feed = Feed(self.connect, self.seen.append)
        self.task: asyncio.Task[None] | None = None

    async def connect(self) -> Moody:
        """The reader, after `broken` failures."""
        self.attempts += 1
        if self.attempts <= self.broken:
            raise OSError("no endpoints yet")
        return self.reader

    async def __aenter__(self) -> Running:
        self.task = asyncio.create_task(self.feed.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait({self.task}, timeout=5)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.005)


async def test_what_is_watched_is_read_at_once_and_when_it_changes() -> None:
    async with Running(Moody()) as running:
        running.feed.watch(["fleet"])
        await until(lambda: len(running.seen) == 1)
        running.reader.changed.put_nowait("calls")
        running.reader.changed.put_nowait("fleet")
        await until(lambda: len(running.seen) == 2)
        assert running.reader.reads == ["fleet", "fleet"]
        assert not running.seen[-1].stale


async def test_a_reader_that_breaks_leaves_the_last_picture_with_its_age_and_the_reason() -> None:
    async with Running(Moody()) as running:
        running.feed.watch(["fleet"])
        await until(lambda: len(running.seen) == 1)
        running.reader.fails = True
        running.feed.read_now()
        await until(lambda: len(running.seen) == 2)
        last = running.seen[-1]
        assert last.snapshot == samples.fleet_snapshot()
        assert (last.stale, last.source, last.error) == (True, "memory", "the reader broke")
        assert last.age_s >= 0.5
        running.reader.fails = False
        running.feed.read_now()
        await until(lambda: not running.seen[-1].stale)


async def test_a_reader_that_hangs_is_given_up() -> None:
    async with Running(Moody()) as running:
        running.reader.hangs = True
        running.feed.watch(["fleet"])
        await until(lambda: bool(running.seen))
        assert running.seen[0].snapshot is None
        assert running.seen[0].error == "no answer in time"


async def test_a_reader_that_cannot_be_made_yet_is_tried_again_and_told_of() -> None:
    running = Running(Moody())
    running.broken = 1
    running.feed.watch(["fleet"])
    async with running:
        await until(lambda: bool(running.seen))
        assert running.seen[0].error == "no endpoints yet"
        await until(lambda: running.seen[-1].snapshot is not None)


async def test_while_paused_nothing_is_read_or_listened_to() -> None:
    async with Running(Moody()) as running:
        running.feed.watch(["fleet"])
        await until(lambda: len(running.seen) == 1 and running.reader.listeners == 1)
        running.feed.pause()
        running.reader.changed.put_nowait("fleet")
        await until(lambda: running.reader.listeners == 0)
        assert running.reader.reads == ["fleet"]
        running.feed.read_now()
        await until(lambda: len(running.seen) == 2)
        running.feed.resume()
        await until(lambda: len(running.seen) == 3 and running.reader.listeners == 1)
