"""One supervised process: started, watched, restarted with growing pauses, drained when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from backend.stack.child import LIFELINE_FD, LISTEN_FD, READY_FD
from backend.stack.exits import ExitWatch, first_of
from backend.stack.failures import StackFailure
from backend.stack.last_words import OWN_MARK, last_words
from backend.stack.logs import ProcessLog
from backend.stack.records import ChildRecords
from backend.stack.restarts import CRASH_WINDOW_S, CRASHES_UNTIL_FAILED, RestartPolicy
from backend.stack.spawn import ProcessSpec, spawn
from backend.stack.status import ProcessState, ProcessStatus

PROBE_INTERVAL_S = 0.02

SILENCES = 6

JUDGE_AFTER_S = 0.1
"""After an end: whether something it needs has ended too may become known a moment later."""


@dataclass(frozen=True, slots=True)
class StopStage:
    """One request to end, and how long it may take."""

    signal: signal.Signals
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPlan:
    """How to run one process of the stack."""

    name: str
    spec: Callable[[], ProcessSpec]
    """Asked at each start. Raises StackFailure."""
    stop: tuple[StopStage, ...]
    """The last stage should be one that no process can refuse."""
    probe: Callable[[int], bool] | None = None
    """Whether the process with this pid is ready; None: it says so itself on its ready pipe."""
    listener: Callable[[], socket.socket] | None = None
    """A listening socket that outlives each single run."""
    memory_ceiling_bytes: int | None = None
    """Resident memory above this: drained and started afresh."""
    start_limit_s: float = 60.0
    answers: Callable[[], Awaitable[bool]] | None = None
    """Whether it still answers, asked every `ask_every_s` seconds while it is ready."""
    ask_every_s: float = 5.0
    restart_when_silent: bool = True
    """Drain and start it afresh after `SILENCES` questions in a row without an answer; else only tell."""
    may_crash_at_work: bool = False
    """What it works on may bring it down, so a crash after it was ready says nothing about the process itself."""
    needed_for_ready: bool = True
    """Whether the system waits for it before it calls itself ready."""


@dataclass(slots=True)
class _Run:
    """One life of the process."""

    child: subprocess.Popen[bytes]
    held: contextlib.ExitStack
    """Gives back descriptors and watches when the life is over."""
    started: float = field(default_factory=time.monotonic)
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _End:
    """How a life ended."""

    words: str
    crashed: bool
    ran_s: float = 0.0
    excused: bool = False
    """Something it needs went away: no fault of its own."""
    was_ready: bool = False


class SupervisedProcess:
    """Keeps one process running until `stop`."""

    def __init__(
        self,
        plan: ProcessPlan,
        *,
        log: ProcessLog,
        records: ChildRecords,
        requires: Sequence[SupervisedProcess] = (),
        policy: RestartPolicy | None = None,
    ) -> None:
        self.plan = plan
        self.name = plan.name
        self.log = log
        self.ready = asyncio.Event()
        self.settled = asyncio.Event()
        """Set once it is ready or has failed."""
        self.state = ProcessState.WAITING
        self.since = time.time()
        self.detail = ""
        self.restarts = 0
        self.rss_bytes = 0
        self.cpu_ratio = 0.0
        self.lost_at = float("-inf")
        """When it was last ready and stopped being so, monotonic seconds."""
        self._records = records
        self._requires = tuple(requires)
        self._policy = policy or RestartPolicy()
        self._run: _Run | None = None
        self._stopping = asyncio.Event()
        self._again = asyncio.Event()
        self._reason = ""

    @property
    def pid(self) -> int | None:
        """The running child's pid, None between two runs."""
        return self._run.child.pid if self._run else None

    def status(self) -> ProcessStatus:
        """What to tell about it."""
        return ProcessStatus(
            name=self.name,
            pid=self.pid,
            state=self.state,
            rss_bytes=self.rss_bytes if self._run else 0,
            cpu_ratio=self.cpu_ratio if self._run else 0.0,
            restarts=self.restarts,
            since=self.since,
            detail=self.detail,
        )

    def stop(self) -> None:
        """Drain it and end `supervise`."""
        self._stopping.set()
        self._again.set()

    def restart(self, reason: str) -> None:
        """Drain it and start afresh; a failed one is given another chance."""
        self._policy.forgive()
        self._reason = reason
        self._again.set()

    async def supervise(self) -> None:
        """Run the process again and again until `stop`; never raises for what the process does."""
        try:
            while not self._stopping.is_set():
                await self._wait_for_needed()
                if self._stopping.is_set():
                    break
                self._again.clear()
                end = await self._live()
                if self._stopping.is_set():
                    break
                await self._pause(end)
                self.restarts += 1
        finally:
            self._enter(ProcessState.STOPPED)

    async def _wait_for_needed(self) -> None:
        for needed in self._requires:
            while not needed.ready.is_set() and not self._stopping.is_set():
                self._enter(ProcessState.WAITING, f"waits for {needed.name}")
                await first_of(needed.ready.wait(), self._stopping.wait())

    async def _live(self) -> _End:
        """One life, from start to end."""
        self._enter(ProcessState.STARTING, self.detail if self.restarts else "")
        try:
            run = self._start()
        except StackFailure as failure:
            return _End(failure.message, crashed=True)
        except OSError as error:
            return _End(f"could not be started: {error.strerror or error}", crashed=True)
        self._run = run
        self._records.add(self.name, run.child.pid)
        try:
            if await self._until_ready(run):
                self._enter(ProcessState.READY, self._reason)
                self._reason = ""
                self.ready.set()
                self.settled.set()
                await first_of(run.exited.wait(), self._again.wait(), self._listen())
                self.lost_at = time.monotonic()
            elif not run.exited.is_set() and not self._again.is_set():
                words = f"was not ready within {self.plan.start_limit_s:.0f} s"
                await self._drain(run, words)
                return _End(words, crashed=True, ran_s=time.monotonic() - run.started)
            return await self._see_end(run)
        finally:
            self.ready.clear()
            self._run = None
            self._records.remove(run.child.pid)
            run.held.close()
            self.log.finish()

    def _start(self) -> _Run:
        """Start the child with its pipes. Raises StackFailure and OSError."""
        spec = self.plan.spec()
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            output = _pipe(ours, theirs)
            inherited: dict[str, int] = {}
            ready = None
            if self.plan.probe is None:
                ready, inherited[READY_FD] = _pipe(ours, theirs)
                inherited[LIFELINE_FD], _ = _pipe(theirs, ours)
            if self.plan.listener is not None:
                inherited[LISTEN_FD] = self.plan.listener().fileno()
            child = spawn(
                spec,
                output=output[1],
                pass_fds=tuple(inherited.values()),
                environment={name: str(descriptor) for name, descriptor in inherited.items()},
            )
            run = _Run(child, ours.pop_all())
        os.set_blocking(output[0], False)
        loop.add_reader(output[0], self._take_output, output[0])
        run.held.callback(loop.remove_reader, output[0])
        run.held.callback(self._take_last_output, output[0])
        if ready is not None:
            loop.add_reader(ready, _take_ready, ready, run)
            run.held.callback(loop.remove_reader, ready)
        run.held.callback(ExitWatch(child, run.exited.set).close)
        return run

    def _take_output(self, descriptor: int) -> bool:
        """Take one chunk of what the process wrote; whether there may be more."""
        try:
            chunk = os.read(descriptor, 65_536)
        except BlockingIOError:
            return False
        if not chunk:
            asyncio.get_running_loop().remove_reader(descriptor)
            return False
        self.log.feed(chunk)
        return True

    def _take_last_output(self, descriptor: int) -> None:
        """Keep the last words of a process that ended; bounded, for a grandchild may go on writing."""
        for _ in range(64):
            if not self._take_output(descriptor):
                return

    async def _until_ready(self, run: _Run) -> bool:
        """Whether it became ready; else it ended, or was told to, or took too long."""
        probing = None
        if self.plan.probe is not None:
            probing = asyncio.ensure_future(_probe(self.plan.probe, run))
        try:
            async with asyncio.timeout(self.plan.start_limit_s):
                await first_of(run.ready.wait(), run.exited.wait(), self._again.wait())
        except TimeoutError:
            return False
        finally:
            if probing is not None:
                probing.cancel()
        return run.ready.is_set() and not run.exited.is_set() and not self._again.is_set()

    async def _listen(self) -> None:
        """Ask again and again whether it still answers; returns once it has to be started afresh."""
        silent = 0
        while self.plan.answers is not None:
            await asyncio.sleep(self.plan.ask_every_s)
            if await self.plan.answers():
                if silent:
                    self.detail = ""
                silent = 0
                continue
            silent += 1
            self.detail = f"has not answered for {silent * self.plan.ask_every_s:g} s"
            if silent >= SILENCES and self.plan.restart_when_silent:
                self.restart(self.detail)
                return
        await asyncio.Event().wait()

    async def _see_end(self, run: _Run) -> _End:
        """The end that came by itself, or the one asked for."""
        ran_s = time.monotonic() - run.started
        if not run.exited.is_set():
            await self._drain(run, self._reason)
            return _End(self._reason, crashed=False, ran_s=ran_s)
        words = _ended(run.child.returncode)
        self.ready.clear()
        self._enter(ProcessState.BACKOFF, words)
        await asyncio.sleep(JUDGE_AFTER_S)
        excused = any(not needed.ready.is_set() or needed.lost_at > run.started for needed in self._requires)
        return _End(words, crashed=True, ran_s=ran_s, excused=excused, was_ready=run.ready.is_set())

    async def _drain(self, run: _Run, why: str) -> None:
        self.ready.clear()
        self._enter(ProcessState.DRAINING, why)
        for stage in self.plan.stop:
            run.child.send_signal(stage.signal)
            try:
                async with asyncio.timeout(stage.limit_s):
                    await run.exited.wait()
                    return
            except TimeoutError:
                self.log.line(f"{OWN_MARK} {self.name} did not end within {stage.limit_s:g} s of {stage.signal.name}")

    async def _pause(self, end: _End) -> None:
        """Wait before the next life: not at all when asked for one, for ever when it has crashed too often."""
        if not end.crashed or end.excused:
            self.detail = end.words
            return
        delay = self._policy.crashed(end.ran_s, at_work=end.was_ready and self.plan.may_crash_at_work)
        if delay is None:
            self._enter(ProcessState.FAILED, self._last_words(end.words))
            self.settled.set()
            await self._again.wait()
            return
        self._enter(ProcessState.BACKOFF, end.words)
        self.log.line(f"{OWN_MARK} {self.name} {end.words}; starts again in {delay:.1f} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._again.wait()

    def _last_words(self, words: str) -> str:
        head = f"{CRASHES_UNTIL_FAILED} crashes within {CRASH_WINDOW_S:.0f} s; the last: {words}"
        return "\n".join((head, *last_words(self.log.tail)))

    def _enter(self, state: ProcessState, detail: str = "") -> None:
        if state is not self.state:
            self.since = time.time()
        self.state, self.detail = state, detail


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed with their owners."""
    read_end, write_end = os.pipe()
    reader.callback(os.close, read_end)
    writer.callback(os.close, write_end)
    return read_end, write_end


def _take_ready(descriptor: int, run: _Run) -> None:
    asyncio.get_running_loop().remove_reader(descriptor)
    if os.read(descriptor, 64):
        run.ready.set()


async def _probe(probe: Callable[[int], bool], run: _Run) -> None:
    while not probe(run.child.pid):  # noqa: ASYNC110 (a server of others has no event of ours to set)
        await asyncio.sleep(PROBE_INTERVAL_S)
    run.ready.set()


def _ended(code: int | None) -> str:
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
