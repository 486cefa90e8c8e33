"""One supervisor for each layout: a locked pid file, which no reused pid can imitate."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import msgspec
import psutil

from backend.stack.failures import AlreadyRunning, place_unusable

PATIENCE_S = 1.0
"""For another process that only looks whether the lock is held."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the lock."""

    pid: int
    create_time: float
    """Unix seconds, as the kernel tells it."""


class SupervisorLock:
    """The lock, held until the process ends or `release` is called. The kernel drops it even on kill -9."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock and write who has it. Raises AlreadyRunning or PlaceUnusable; waits at most 1 s."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise place_unusable(self._path, error) from error
        end = time.monotonic() + PATIENCE_S
        while not _try_lock(descriptor):
            if time.monotonic() > end:
                owner = _read(descriptor)
                os.close(descriptor)
                raise AlreadyRunning(owner.pid if owner else 0)
            time.sleep(0.02)
        me = psutil.Process()
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(Owner(pid=me.pid, create_time=me.create_time())), 0)
        except OSError as error:
            os.close(descriptor)
            raise place_unusable(self._path, error) from error
        self._descriptor = descriptor

    def holds(self) -> bool:
        """Whether the locked file is still the one at the lock's path: not after somebody removed the directory."""
        try:
            there, held = self._path.stat(), os.fstat(self._descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two owners lock two files."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def running_supervisor(path: Path) -> int | None:
    """The pid of the supervisor that holds the lock (0 while it has not written it yet), None when none does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if _try_lock(descriptor, fcntl.LOCK_SH):
            return None
        owner = _read(descriptor)
        return owner.pid if owner else 0
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Owner | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None
