"""Which job froze its worker: a job that keeps the interpreter to itself (a regular expression that goes astray).

Not even a thread runs then, so the process cannot say anything. What the watchdog has set up beforehand ends it: the
kernel's clock of processor time, at whose signal the interpreter's fault handler writes into a file what each thread
is at. That tells functions by their names and nothing else, so the function that calls a handler bears the id of its
job (`bearing`). The next worker of the queue on that node reads the file: here.
"""

from __future__ import annotations

import logging
import re
import sysconfig
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import FunctionType
from typing import TextIO, TypeVar, cast
from uuid import UUID

from backend.domain.vocabulary import QueueName, TroubleKind
from backend.postgres.pools import Pool
from backend.queue.claims import Claims
from backend.queue.failures import TRACEBACK_LIMIT, Failure, WorkerBlocked, bounded, describe, storable
from backend.queue.troubles import Trouble

logger = logging.getLogger(__name__)

Called = TypeVar("Called", bound=Callable[..., object])
Frame = tuple[str, int, str]
"""File, line, function."""

UNKNOWN_KEPT_S = 3_600.0
"""A file of a worker that the roster does not know is deleted when it is so old."""

LONGEST_FILE = 1_000_000
"""Bytes of a file that are read."""

_NAME = "job {:d}"
_THREAD = re.compile(r"^(?:Current thread|Thread) 0x[0-9a-f]+.*:\n((?:  .*(?:\n|\Z))*)", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_JOB = re.compile(r"job (\d+)")
_IDLE = frozenset({("threading.py", "wait"), ("thread.py", "_worker")})
"""Where threads stand that wait for work."""
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


@dataclass(frozen=True, slots=True)
class Frozen:
    """Who froze a worker."""

    job_id: int
    place: str
    """Where: file, line and function, the innermost that is no library's."""
    stack: str
    """As Python writes it, the innermost last."""


def bearing(job_id: int, function: Called) -> Called:
    """The same function, called after a job wherever its name is told."""
    of = cast("FunctionType", function)
    named = FunctionType(of.__code__.replace(co_name=_NAME.format(job_id)), of.__globals__)
    return cast("Called", named)


@contextmanager
def stack_file(directory: Path | None, queue: QueueName, worker_id: UUID) -> Iterator[TextIO | None]:
    """The file of a worker that lives within the block; None when there is no directory, or none can be made there."""
    if directory is None:
        yield None
        return
    path = directory / f"{queue}-{worker_id}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        logger.warning("a job that freezes this worker will not be known: %s", error)
        yield None
        return
    try:
        yield file
    finally:
        # Still open for whoever wants to write; it goes with the process.
        with suppress(OSError):
            path.unlink()


def read_stack(text: str) -> Frozen | None:
    """Who did it, by what the fault handler wrote; None when it is not certain.

    It is not when a thread that is no loop's was at work as well: which of them had the interpreter is not told.
    """
    found: Frozen | None = None
    for thread in _THREAD.finditer(text):
        frames: list[Frame] = [(file, int(line), name) for file, line, name in _FRAME.findall(thread[1])]
        jobs = [int(told[1]) for _, _, name in frames if (told := _JOB.fullmatch(name))]
        if jobs:
            place = next((frame for frame in frames if not frame[0].startswith(_LIBRARIES)), frames[0])
            stack = traceback.StackSummary.from_list([(*frame, None) for frame in reversed(frames)]).format()
            found = Frozen(jobs[0], _told(place), "".join(stack))
        elif not _is_idle(frames):
            return None
    return found


def _told(frame: Frame) -> str:
    return f"{PurePath(frame[0]).name}:{frame[1]} {frame[2]}"


def _is_idle(frames: list[Frame]) -> bool:
    """Whether this thread waits, or only watches."""
    if not frames or (PurePath(frames[0][0]).name, frames[0][2]) in _IDLE:
        return True
    return any((PurePath(file).name, name) == ("watchdog.py", "_watch") for file, _, name in frames)


async def hold_frozen(
    pool: Pool, directory: Path | None, queue: QueueName, dead: Collection[UUID], living: Collection[UUID]
) -> tuple[Trouble, ...]:
    """Hold the jobs that froze these `dead` workers, and clear the other jobs that ran in them of all suspicion.

    Their files are gone afterwards. Raises asyncpg's errors; then it can be done once more.
    """
    told = []
    for path, worker_id in _files(directory, queue):
        if worker_id in dead:
            if (frozen := read_stack(_read(path))) is not None:
                told.append(await _hold(pool, queue, worker_id, frozen))
        elif worker_id in living or _age_s(path) < UNKNOWN_KEPT_S:
            continue
        with suppress(OSError):
            path.unlink()
    return tuple(one for one in told if one is not None)


async def _hold(pool: Pool, queue: QueueName, worker_id: UUID, frozen: Frozen) -> Trouble | None:
    claims = Claims(pool, worker_id, queue, lease_s=1.0, suspect_from=1)
    claim = await claims.of(frozen.job_id)
    await claims.relieve(frozen.job_id, f"job {frozen.job_id} froze its worker")
    if claim is None:
        logger.warning("job %d froze its worker in %s, and is gone", frozen.job_id, frozen.place)
        return None
    failure = _failure(frozen, claim.entrypoint)
    is_held = await claims.hold(claim, failure)
    logger.error(
        "%s %d %s%s\n%s", claim.entrypoint, claim.job_id, failure.message, ": held" if is_held else "", frozen.stack
    )
    return Trouble(TroubleKind.BLOCKS, claim.entrypoint, claim.job_id, failure.message)


def _failure(frozen: Frozen, entrypoint: str) -> Failure:
    error = WorkerBlocked(f"froze its worker, in which nothing else ran any more, in {frozen.place}")
    told = describe(error, entrypoint)
    stack = f"Traceback (most recent call last):\n{frozen.stack}{told.traceback}"
    return replace(told, traceback=storable(bounded(stack, TRACEBACK_LIMIT)))


def _files(directory: Path | None, queue: QueueName) -> Iterator[tuple[Path, UUID]]:
    for path in sorted(directory.glob(f"{queue}-*")) if directory is not None else ():
        with suppress(ValueError):
            yield path, UUID(path.name.removeprefix(f"{queue}-"))


def _read(path: Path) -> str:
    with suppress(OSError), path.open(errors="replace") as file:
        return file.read(LONGEST_FILE)
    return ""


def _age_s(path: Path) -> float:
    with suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0
